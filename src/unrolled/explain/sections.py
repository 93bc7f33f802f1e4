"""Explanations as sections of a page: which step mattered, gates and states, memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unrolled.explain import page, svg
from unrolled.explain.grids import signed_grid
from unrolled.explain.labels import counted, join, shown
from unrolled.explain.readings import (
    DELETION_READING,
    GATE_READING,
    HEAT_READING,
    MEMORY_READING,
    SERIES_READING,
    TEXT_READING,
    WORDS_READING,
)
from unrolled.explain.results import Attribution, DeletionTest, Explanation, LayerStates, Memory
from unrolled.explain.svg import Series

MOST_READ = 400
MOST_NAMED = 2
MOST_HEADING = 60
TEST = (
    "Each method ranks the steps of the input. Its own test then takes steps away, those that it"
    " ranks highest first, and lets the model answer again. A method to trust makes the answer fall"
    " sooner than random orders do."
)
CAPTION = (
    "Mean {move} of the {unit} as steps go: those that a method ranks highest, those that it ranks"
    " lowest; of random ones it is {random:.3g}"
)
GATES = (
    "Gates are numbers from 0 (closed) to 1 (open). The forget gate of an LSTM and the update gate"
    " of a GRU say how much of the last state is kept; a unit's time constant is after how many"
    " steps what it holds has faded to 1/e."
)
MEMORY = (
    "How much the last state still depends on a step that lies some lag back (the norm of its"
    " derivative), whatever the answer makes of it, and beside it how far the answer moves when"
    " that step is gone. A lag counts steps back from the last one read."
)


WROTE = (
    "What is looked into is the part that writes, over what it read as it wrote: <s>, which begins"
    " the text, and then each unit that it had written."
)


def with_explanations(
    report: page.Report, found: Sequence[Explanation], answers: tuple[str, str] | None = None
) -> page.Report:
    """Return the report with its answers and the sections that explanations have something for.

    `answers` is a heading and HTML. Who asks why an answer is as it is reads that first: where
    there are explanations, they and the answers come before what `report` holds.
    """
    first = page.Report("", "") if answers is None else page.Report("", "").add(*answers)
    explained = _explained(first, found)
    parts = (explained.sections, report.sections)
    return replace(report, sections=sum(parts if found else reversed(parts), ()))


def _explained(report: page.Report, found: Sequence[Explanation]) -> page.Report:
    mattered = [each for each in found if each.attributions]
    if mattered:
        body = page.paragraph(TEST) + _panels(mattered, _attributed)
        report = report.add("Which step mattered", body)
    if any(each.states for each in found):
        body = page.paragraph(GATES) + _panels([e for e in found if e.states], _states)
        report = report.add("Gates and states", body)
    if any(each.memory for each in found):
        body = page.paragraph(MEMORY) + _panels([e for e in found if e.memory], _remembered)
        report = report.add("Memory", body)
    return report


def _panels(found: Sequence[Explanation], body: object) -> str:
    assert callable(body)
    return page.articles([(_heading(each), body(each), True) for each in found])


def _heading(found: Explanation) -> str:
    whole = found.name or "".join(join(found.steps[:MOST_HEADING]))
    return whole if len(whole) <= MOST_HEADING else whole[: MOST_HEADING - 1] + "…"


def _attributed(found: Explanation) -> str:
    gone = "removed" if found.how == "remove" else "replaced by what says nothing"
    whole, nothing = _score(found, found.score), _score(found, found.score_of_nothing)
    said = (
        f"Explained: {found.answer}. Its {found.quantity} is {whole} given all"
        f" {counted(len(found.steps), 'part')} of the input, and {nothing} given none. Tested parts"
        f" are {gone}."
    )
    rows = [_row(found, each) for each in found.attributions]
    header = ("Method", "Verdict", "Highest gone", "Lowest gone", "Ranks highest")
    test = found.attributions[0].deletion
    assert test is not None
    caption = CAPTION.format(move=_move(found), unit=found.quantity, random=test.area_random)
    parts = [_method(found, each) for each in found.attributions]
    return (
        page.paragraph(said) + page.table(caption, header, rows) + _by_word(found) + "".join(parts)
    )


def _score(found: Explanation, score: float) -> str:
    """Return a score, of a log-probability with the probability that it is."""
    if not found.quantity.startswith("log-probability"):
        return f"{score:.4g}"
    share = math.exp(min(score, 0.0))
    said = page.percent(share, 1) if share >= 0.001 else f"{share:.1g}"
    return f"{score:.4g} (a probability of {said})"


def _by_word(found: Explanation) -> str:
    """Return the grid of written units by steps, where there is one."""
    if found.words is None:
        return ""
    values, written = found.words.values, found.words.written
    most = max(abs(value) for row in values for value in row)
    rows = [f"{shown(unit)} ({t})" for t, unit in enumerate(written, start=1)]
    grid = signed_grid(
        values,
        rows,
        found.steps,
        row_title="written",
        column_title="part of the input",
        description=f"What {len(found.steps)} parts did for each of {len(written)} written units",
    )
    reading = WORDS_READING.format(most=most)
    numbers: list[tuple[str | float, ...]] = [
        (name, *(round(value, 3) for value in row)) for name, row in zip(rows, values, strict=True)
    ]
    header = ("written", *(shown(step) for step in found.steps))
    return page.figure(
        "What each part did for each word [nats]", grid, reading, scrolls=True
    ) + page.details("Each part and word in numbers", page.table("Nats lost", header, numbers))


def _row(found: Explanation, each: Attribution) -> tuple[str | float, ...]:
    assert each.deletion is not None
    size = np.abs(each.values) if found.either_way else np.array(each.values)
    order = np.argsort(-size, kind="stable")[:MOST_NAMED]
    named = ", ".join(_named_step(found, t) for t in order)
    test = each.deletion
    return each.title, test.verdict, round(test.area_top, 3), round(test.area_bottom, 3), named


def _named_step(found: Explanation, t: int) -> str:
    """Return a step's name and place, which are one where steps are only numbered."""
    step = _step(found, t)
    # Stamps stay on one line.
    whole = step.replace("-", "\u2011").replace(" ", "\u00a0") if found.series else step
    return step if step == str(t + 1) else f"{whole}\u00a0({t + 1})"


def _method(found: Explanation, each: Attribution) -> str:
    assert each.deletion is not None
    title = f"{each.title} [{each.unit.partition(' [')[2].rstrip(']') or each.unit}]"
    if len(found.steps) <= MOST_READ and not found.series:
        most = max(map(abs, each.values))
        reading = TEXT_READING[found.either_way].format(
            what=each.reading, most=most, unit=each.unit
        )
        picture = page.figure(title, _shaded(found, each), reading)
    else:
        points = tuple((float(t + 1), value) for t, value in enumerate(each.values))
        drawn = svg.line_chart(
            [Series(each.title, points)],
            x_title="step",
            y_title=each.unit,
            description=f"{each.title} of {len(points)} steps. {each.deletion.sentence}",
        )
        picture = page.figure(
            title, drawn, SERIES_READING[found.either_way].format(what=each.reading)
        )
    details = ""
    if each.details:
        named = [(name.replace("_", " "), value) for name, value in each.details.items()]
        details = page.details(
            "The method in numbers", page.table(each.title, ("", "Value"), named)
        )
    values = [(t + 1, _step(found, t), float(value)) for t, value in enumerate(each.values)]
    numbers = page.details(
        "Every step in numbers", page.table(each.title, ("Place", "Step", each.unit), values)
    )
    test = page.paragraph(each.deletion.sentence) + _deleted(each.deletion, found)
    return page.subheading(each.title) + page.beside(picture + details + numbers, test)


def _shaded(found: Explanation, each: Attribution) -> str:
    """Return the steps shaded by value; those of an input with a name are no running text."""
    return page.signed_text(found.steps, each.values, apart=bool(found.name))


def _step(found: Explanation, t: int) -> str:
    """Return a step's name; what is no unit of a text, such as a stamp, keeps its spaces."""
    step = found.steps[t]
    return step if " " in step.strip() else shown(step)


def _move(found: Explanation) -> str:
    return "change" if found.either_way else "fall"


def _deleted(test: DeletionTest, found: Explanation) -> str:
    quantity, move = found.quantity, _move(found)
    if len(test.ks) < 2:
        return ""
    full = test.top[0]

    def line(name: str, scores: Sequence[float]) -> Series:
        points = zip(test.ks, scores, strict=True)
        return Series(name, tuple((float(k), full - score) for k, score in points))

    lines = [line("highest", test.top), line("random", test.random), line("lowest", test.bottom)]
    ends = zip(test.ks, test.random_low, test.random_high, strict=True)
    picture = svg.line_chart(
        lines,
        x_title="steps gone",
        y_title=f"{move} of the {quantity}",
        description=f"{move.capitalize()} of the {quantity} as steps go. {test.sentence}",
        band=[(float(k), full - high, full - low) for k, low, high in ends],
    )
    return page.figure(f"Deletion test, {quantity} by steps gone", picture, DELETION_READING)


def _wrote(found: Explanation) -> str:
    return page.paragraph(WROTE, kind="soft") if found.wrote else ""


def _states(found: Explanation) -> str:
    rows = [row for each in found.states for row in _gate_rows(each)]
    header = ("Layer and gate", "Mean", "Closed (< 0.1)", "Open (> 0.9)", "Median time constant")
    table = page.table("Gates; shares are over steps and units", header, rows) if rows else ""
    return _wrote(found) + table + "".join(_layer(found, each) for each in found.states)


def _gate_rows(each: LayerStates) -> list[tuple[str | float, ...]]:
    keeps = {"lstm": "forget", "gru": "update"}.get(each.cell)
    rows: list[tuple[str | float, ...]] = []
    for gate in each.gates:
        constant = "–"
        if gate.name == keeps:
            median = each.median_time_constant
            constant = "beyond measure" if median is None else f"{median:.3g} steps"
        mean = round(float(np.mean(gate.by_unit)), 3)
        shares = page.percent(gate.closed), page.percent(gate.open)
        rows.append((f"{_named(each)}, {gate.name}", mean, *shares, constant))
    return rows


def _named(each: LayerStates) -> str:
    return f"layer {each.layer + 1} {each.direction}"


def _layer(found: Explanation, each: LayerStates) -> str:
    state = "cell state" if each.state == "c" else "state"
    names = [each.name_of(unit) for unit in each.units]
    most = max((abs(v) for row in each.heat for v in row), default=0.0)
    grid = signed_grid(
        each.heat,
        names,
        found.read,
        row_title="units",
        column_title="steps",
        description=f"The {state} of {_named(each)} over {len(found.read)} steps",
    )
    reading = f"{HEAT_READING} The largest is {most:.2f} from 0."
    heat = page.figure(f"The {state} of {_named(each)}", grid, reading, scrolls=True)
    if not each.gates:
        return page.subheading(_named(each)) + heat
    lines = [
        Series(gate.name, tuple((float(t + 1), v) for t, v in enumerate(gate.over_time)))
        for gate in each.gates
    ]
    chart = svg.line_chart(
        lines,
        x_title="step",
        y_title="mean activity, 0 to 1",
        description=f"Mean activity of the gates of {_named(each)} over {len(found.read)} steps",
    )
    gates = page.figure(f"Gates of {_named(each)}, from 0 to 1", chart, GATE_READING)
    return page.subheading(_named(each)) + page.beside(gates, heat)


def _remembered(found: Explanation) -> str:
    memory = found.memory
    assert memory is not None
    how = "exact" if memory.exact else "estimated, see the standard errors in the JSON"
    chart = svg.line_chart(
        [Series("gradient", _shares(memory.norms)), Series("answer", _shares(memory.deletion))],
        x_title="lag in steps",
        y_title="share of the largest, 0 to 1",
        description=f"Memory over {len(memory.norms)} lags. {memory.sentence}",
    )
    names = [shown(step) if " " not in step.strip() else step for step in found.read]
    rows = [
        (lag, name, norm, change)
        for lag, (name, norm, change) in enumerate(
            zip(reversed(names), memory.norms, memory.deletion, strict=True)
        )
    ]
    header = ("Lag", "Step", "Norm of d h_T / d x", f"Change of the {found.quantity}")
    return (
        _wrote(found)
        + page.paragraph(f"{memory.sentence} The norms are {how}.")
        + page.beside(
            page.figure("Memory by lag, as shares", chart, MEMORY_READING),
            _lengths(memory)
            + page.details("Every lag in numbers", page.table("Memory by lag", header, rows)),
        )
    )


def _lengths(memory: Memory) -> str:
    def said(lag: int | None) -> str:
        return f"more than {len(memory.norms) - 1}" if lag is None else str(lag)

    rows = [
        ("Falls below 1/e of its largest", said(memory.length_e)),
        ("Falls below 1 % of its largest", said(memory.length_1)),
    ]
    return page.table("Effective memory length, in steps", ("The norm", "Lag"), rows)


def _shares(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    most = max(values) or 1.0
    return tuple((float(lag), value / most) for lag, value in enumerate(values))
