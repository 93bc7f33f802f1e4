"""Pictures of what a model learned: every number in its place, inline and by matplotlib."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from reports import LOG, SOURCE, TARGET, WEIGHTS, drawn, words
from unrolled.errors import ConfigError
from unrolled.explain import labels, page, svg
from unrolled.explain.figures import (
    alignment_figure,
    attribution_figure,
    figures_of,
    gates_figure,
    learning_curves_figure,
    save_figure,
    save_figures,
    states_figure,
    words_figure,
)
from unrolled.explain.forecast_figures import forecast_figure
from unrolled.explain.grids import signed_grid
from unrolled.explain.results import Explanation, Gate, LayerStates, Words


def test_heat_map_has_a_cell_for_every_weight() -> None:
    picture = svg.heat_map(
        WEIGHTS, TARGET, SOURCE, target_title="written", source_title="read", description="K at c"
    )
    cells = drawn(picture, "rect")
    assert [float(c["fill-opacity"] or 0) for c in cells] == WEIGHTS.round(3).ravel().tolist()
    assert [k for k, cell in enumerate(cells) if cell.get("class") == "peak"] == [0, 5, 10]
    assert "K ← c: 0.930" in words(picture)
    assert drawn(picture, "svg")[0]["aria-label"] == "K at c"
    assert drawn(picture, "svg")[0]["role"] == "img"


def test_heat_map_of_many_columns_has_no_numbers_in_its_cells() -> None:
    source = [f"w{k}" for k in range(30)]
    picture = svg.heat_map(
        np.eye(30)[:2], ["a", "b"], source, target_title="t", source_title="s", description="d"
    )
    assert len(drawn(picture, "rect")) == 60
    assert not [t for t in drawn(picture, "text") if t["class"] in ("on", "in")]


def test_numbers_keep_their_contrast_on_every_cell() -> None:
    def channel(value: float) -> float:
        value /= 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def luminance(colour: np.ndarray) -> float:
        return float(np.dot([0.2126, 0.7152, 0.0722], [channel(c) for c in colour]))

    def colours(block: str) -> dict[str, np.ndarray]:
        found = re.findall(r"--(\w+): #(\w{6})", block)
        return {
            name: np.array([int(code[k : k + 2], 16) for k in (0, 2, 4)]) for name, code in found
        }

    for theme in map(colours, page.STYLE.split("@media (prefers-color-scheme: dark)")[:2]):
        for weight in np.linspace(0.05, 1, 96):
            for ground in ("page", "panel"):
                cell = weight * theme["accent"] + (1 - weight) * theme[ground]
                number = theme["on" if weight >= svg.STRONG else "in"]
                bright, dark = sorted([luminance(cell), luminance(number)], reverse=True)
                assert (bright + 0.05) / (dark + 0.05) > 4.1


# By matplotlib


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_figures_are_written(tmp_path: Path, ending: str) -> None:
    begins = {"png": b"\x89PNG", "svg": b"<?xml"}[ending]
    with warnings.catch_warnings():
        # Whether the machine has a font with Hangul is not what is tested.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        heat = alignment_figure(WEIGHTS, ["값", "싼", "t", "long word"], TARGET, title="한국어")
        save_figure(heat, tmp_path / f"a.{ending}")
    save_figure(learning_curves_figure(LOG), tmp_path / f"b.{ending}")
    for name in "ab":
        assert (tmp_path / f"{name}.{ending}").read_bytes().startswith(begins)
    assert heat.axes[0].get_xticklabels()[0].get_text() == "값"
    assert heat.axes[0].images[0].get_array().tolist() == WEIGHTS.tolist()


def explained(**choices) -> Explanation:
    """An explanation of two parts and three written units, by an LSTM of two units."""
    gate = {"by_unit": (0.5, 0.5), "closed": 0.0, "open": 0.0}
    layer = LayerStates(
        layer=0, direction="backward", cell="lstm", time_constants=None, units=(3, 17),
        gates=(Gate(name="forget", over_time=(0.25, 0.75), **gate),), median_time_constant=None,
        heat=((0.5, -1.0), (0.0, 0.25)), state="c",
    )  # fmt: skip
    told = {"answer": "K", "quantity": "log-probability [nats]", "score": -1.0, "how": "replace"}
    given = {
        "words": Words(values=((2.0, 0.0), (-0.5, 1.0), (0.0, 3.0)), written=("K", "AE", "T")),
        "states": (layer,),
    }
    return Explanation(**told, score_of_nothing=-5.0, steps=("c", "a"), seed=0, **(given | choices))


def below(figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def test_the_grid_of_words_and_the_gates_are_figures_of_their_own(tmp_path: Path) -> None:
    found = explained()
    grid = words_figure(found)
    axes = grid.axes[0]
    assert axes.images[0].get_array().tolist() == [list(row) for row in found.words.values]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["c", "a"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["K (1)", "AE (2)", "T (3)"]
    assert axes.images[0].get_clim() == (-3.0, 3.0)
    assert grid.axes[1].get_ylabel() == "fall of the log-probability [nats]"
    assert "blue where it falls, orange where it rises. The most is 3." in below(grid)
    (line,) = gates_figure(found).axes[0].lines
    assert line.get_ydata().tolist() == [0.25, 0.75]
    states = states_figure(found)
    assert states.axes[0].get_title() == "The cell state c of layer 1 backward"
    assert [t.get_text() for t in states.axes[0].get_yticklabels()] == ["L0r:3", "L0r:17"]
    assert "blue above 0, orange below" in below(states)
    files = {path.name for path in save_figures(figures_of(found), tmp_path)}
    names = {f"{name}.{end}" for name in ("words", "states", "gates") for end in ("png", "svg")}
    assert files == names == {path.name for path in tmp_path.iterdir()}


def test_columns_of_short_names_stand_upright() -> None:
    def grid(*columns: str) -> str:
        return signed_grid(
            [[1.0, -1.0]], ["a"], columns, row_title="r", column_title="c", description="d"
        )

    leaning = [
        t for t in drawn(grid("long", "x"), "text") if "rotate(-60" in t.get("transform", "")
    ]
    assert len(leaning) == 2
    assert "rotate(-60" not in grid("l", "i")


def cut_off(figure) -> list[str]:
    """Return the texts of a figure that leave it, and upright ones that lie over each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    for _ in range(2):
        figure.draw_without_rendering()
    page = figure.bbox
    texts = [*figure.texts]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [axis.label, *(t for k in ticks for t in (k.label1, k.label2))]
    seen = [t for t in texts if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_rotation(), t.get_window_extent()) for t in seen]
    boxes += [("legend", 0, legend.get_window_extent()) for legend in legends]
    found = [
        text
        for text, _, b in boxes
        if min(b.x0, b.y0) < -1 or b.x1 > page.x1 + 1 or b.y1 > page.y1 + 1
    ]
    straight = [(text, box) for text, turn, box in boxes if turn in (0, 90)]
    return found + [
        f"{one} / {other}"
        for k, (one, a) in enumerate(straight)
        for other, b in straight[k + 1 :]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def foretold_example(steps: int = 4, past: int = 12, **choices) -> dict:
    name = "the load of the substation in the north, in megawatts"
    middle = [10.0 + t for t in range(steps)]
    bands = [
        {"level": level, "low": [v - wide for v in middle], "high": [v + wide for v in middle]}
        for level, wide in ((95.0, 3.0), (80.0, 2.0))
    ]
    stamps = [f"2024-01-02 {t:02}:00:00+00:00" for t in range(past + steps)]
    told = {"name": "a series with a name", "target": name, "stamps": stamps, "bands": bands}
    truth = [None, *middle[1:]]
    return {**told, "past": [5.0] * past, "forecast": middle, "truth": truth, **choices}


def foretold_by(steps: int) -> tuple[Explanation, Explanation]:
    """What a forecast came from, by steps and by covariates."""
    from unrolled.explain.results import Attribution, DeletionTest

    def found(names: list[str], **choices) -> Explanation:
        ks = tuple(range(len(names)))
        falls = dict.fromkeys(
            ("top", "bottom", "random", "random_low", "random_high"), tuple(map(float, ks))
        )
        areas = dict.fromkeys(("area_top", "area_bottom", "area_random"), 0.5)
        shares = {"above_random": 0.5, "by_chance": 0.5, "orders": 4}
        test = DeletionTest(
            ks=ks, **falls, **areas, **shares, verdict="do not trust", sentence="Do not trust it."
        )
        unit = "forecast [unit of the load of the substation in the north, in megawatts]"
        values = tuple(-1.25e-3 * k for k in ks)
        each = Attribution(
            method="occlusion", title="Occlusion", unit=unit, values=values, reading="R.",
            details={}, deletion=test,
        )  # fmt: skip
        return Explanation(
            answer="mean of the next 4 values", quantity=unit, score=1.0, score_of_nothing=0.0,
            steps=tuple(names), how="replace", seed=0, attributions=(each,) * 2, either_way=True,
            **choices,
        )  # fmt: skip

    stamps = [f"2024-01-02 {t:02}:00:00+00:00" for t in range(steps)]
    beside = ["the load of the substation, its own past", "calendar: weekday", "promo (past)"]
    return found(stamps, series=True, name="a"), found(beside, name="a, covariates")


def test_a_forecast_is_drawn_with_its_intervals_above_what_it_came_from() -> None:
    example, explanations = foretold_example(), foretold_by(12)
    figure = forecast_figure(example, explanations)
    axes, *panels = figure.axes
    past, ahead, came = axes.lines[:3]
    assert past.get_xydata().tolist() == [[t, 5.0] for t in range(12)]
    assert ahead.get_xydata().tolist() == [[12 + t, 10.0 + t] for t in range(4)]
    assert np.isnan(came.get_ydata()[0])
    wide, narrow = (c.get_paths()[0].get_extents() for c in axes.collections)
    assert (wide.y0, wide.y1, narrow.y0, narrow.y1) == (7, 16, 8, 15)
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["95 %", "80 %", "past", "forecast", "what came"]
    assert [a.get_title() for a in panels[:2]] == [
        "Occlusion, a: mean of the next 4 values", "deletion test:\ndo not trust",
    ]  # fmt: skip
    assert panels[4].get_title() == "Occlusion, a, covariates: mean of the next 4\nvalues"
    assert len(panels) == 8
    assert "The shades are intervals" in below(figure)
    assert below(figure).count("Blue bars raise the number") == 1
    many = [{**example["bands"][0], "level": level} for level in range(50, 95, 5)]
    assert len(forecast_figure({**example, "bands": many}).axes[0].collections) == len(many)
    alone = forecast_figure(foretold_example(1, truth=[None], bands=example["bands"][:0]))
    assert [len(line.get_xdata()) for line in alone.axes[0].lines] == [12, 1, 2]
    assert "intervals" not in below(alone)


@pytest.mark.parametrize("steps", [1, 2, 12, 60])
def test_nothing_of_a_figure_is_cut_off(steps: int) -> None:
    example, explanations = foretold_example(), foretold_by(steps)
    figures = [attribution_figure(each) for each in explanations]
    figures += [forecast_figure(foretold_example(1)), forecast_figure(example, explanations)]
    long = "so many words are written here that no line is long enough for them " * 3
    figures.append(alignment_figure([[1.0]], ["a"], ["b"], title=long))
    assert [cut_off(figure) for figure in figures] == [[]] * len(figures)


def test_figures_that_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the training log holds no loss and no metric to draw"):
        learning_curves_figure([])
    with pytest.raises(ConfigError, match=r"cannot draw a 'bmp' file; one of: png, svg, pdf"):
        save_figure(learning_curves_figure(LOG), tmp_path / "a.bmp")
    with pytest.raises(ValueError, match="expected 1"):
        alignment_figure(WEIGHTS * 0.5, SOURCE, TARGET)
    with pytest.raises(ConfigError, match="no written units; ask for the method 'occlusion'"):
        words_figure(explained(words=None))
    with pytest.raises(ConfigError, match="no gates; ask for the method 'states'"):
        gates_figure(explained(states=()))


def test_figures_without_matplotlib_and_reports_without_it_or_torch() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['torch'] = None\n"
        "from unrolled.errors import ConfigError\n"
        "from unrolled.explain.figures import alignment_figure\n"
        "from unrolled.explain.report import translation_report\n"
        "assert translation_report('x', [])\n"
        "try: alignment_figure([[1.0]], ['a'], ['b'])\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "pictures need matplotlib: pip install 'unrolled[plot]'"


def test_a_legend_of_many_names_stays_inside_the_chart() -> None:
    names = ("accuracy", "span F1", "intent", "sentences")
    lines = [svg.Series(name, ((1.0, 50.0), (2.0, 60.0))) for name in names]
    drawn = svg.line_chart(lines, x_title="epoch", y_title="rate", description="rates")
    ends = [
        float(re.search(rf'<text[^>]* x="([\d.]+)"[^>]*>{name}</text>', drawn)[1])
        + labels.width(name) * svg.FONT * 0.9
        for name in names
    ]
    assert ends == sorted(ends)
    assert ends[-1] <= svg.CHART_WIDTH


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 1.25e6, 3e12])
def test_ticks_are_named_as_people_write_and_have_room(size: float) -> None:
    from unrolled.explain.timeplot import time_plot

    lines = [svg.Series("y", ((1.0, -size), (2.0, size)))]
    pictures = (
        svg.line_chart(lines, x_title="x", y_title="y", description="d"),
        time_plot([-size, size], [size], stamps=["a", "b", "c"], y_title="y", description="d"),
    )
    for picture in pictures:
        ends = [
            t for t in drawn(picture, "text") if t["text-anchor"] == "end" and "dominant" in str(t)
        ]
        assert len(ends) >= 3
        names = re.findall(r'text-anchor="end" dominant-baseline="central">([^<]*)<', picture)
        for tick, name in zip(ends, names, strict=True):
            assert float(tick["x"] or 0) >= labels.width(name) * 12
    assert [svg.named(v) for v in (0.0, 0.25, -1.25e6, 0.1 + 0.2, 3e12)] == [
        "0", "0.25", "-1,250,000", "0.3", "3e+12",
    ]  # fmt: skip


def test_a_near_plot_shows_the_end_of_the_past() -> None:
    from unrolled.explain.timeplot import Band, time_plot

    stamps = [f"2024-01-01 00:{t:02}:00" for t in range(60)]
    given = {"stamps": stamps, "y_title": "load " * 30, "description": "d"}
    bands = [Band(level, [0.0] * 10, [9.0] * 10) for level in (50, 80, 95)]
    near, far = (
        time_plot(range(50), [5.0] * 10, bands=bands, truth=[4.0] * 10, near=near, **given)
        for near in (True, False)
    )
    for picture, kind, steps in ((near, "near", 20), (far, "plot", 50)):
        (drawn_as,) = drawn(picture, "svg")
        past, forecast, came = drawn(picture, "polyline")
        assert drawn_as["class"] == kind
        assert len((past["points"] or "").split()) == steps
        assert len((forecast["points"] or "").split()) == len((came["points"] or "").split()) == 10
        assert f">{stamps[60 - steps - 10]}<" in picture
        assert f">{stamps[59]}<" in picture
        ends = [
            float(t["x"] or 0) + labels.width(name) * 12
            for t, name in zip(
                drawn(picture, "text"), re.findall(r"<text[^>]*>([^<]*)<", picture), strict=True
            )
            if t["text-anchor"] == "start"
        ]
        assert max(ends) <= float(drawn_as["width"] or 0)
    first, last = (next(t for t in re.findall(r"<text[^>]*>[^<]*", near) if s in t)
                   for s in (stamps[30], stamps[59]))  # fmt: skip
    assert re.search(r' y="([\d.]+)"', first)[1] < re.search(r' y="([\d.]+)"', last)[1]
