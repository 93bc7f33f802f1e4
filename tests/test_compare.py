"""Comparing settings: equal budgets, what noise allows to say, and every output of the command."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

import captioning
import forecasting
import tagging
import tiny
from unrolled import cli
from unrolled.data.captions import Described
from unrolled.data.examples import Examples
from unrolled.data.items import Corpus
from unrolled.errors import ConfigError, DataError
from unrolled.explain.comparison import as_text, comparison_report
from unrolled.options import GenerateOptions, RegressOptions
from unrolled.runtime.model import from_artifact
from unrolled.tasks.compare import Grid, compare, differs, plan, recommend, setting_of
from unrolled.tasks.entries_in_time import FRAMES, ITEMS, Sequenced, Text, Told
from unrolled.tasks.trials import (
    TASKS,
    Bench,
    Trial,
    count_parameters,
    entry_of,
    prepare,
    run_trial,
    solve_hidden_size,
)


def counted(count: int) -> Examples:
    """Texts and how many letters they have."""
    texts = tiny.examples(count).inputs
    return Examples(texts, [np.array([float(len(text))]) for text in texts])


# A generator's row depends on what its sequences are.
ROWS = {**TASKS, "items": ITEMS, "frames": FRAMES}
LINES = "the cat sat on the mat.\nthe dog sat on the log.\n"


def described() -> Described:
    found = captioning.attributes()
    things = [tuple(f"{k}={v}" for k, v in each["attributes"].items()) for each in found]
    return Described("things", "attributes", things, [each["caption"] for each in found])


def sequences(kind: str, count: int = 30) -> Sequenced:
    draw = np.random.default_rng(0)
    items = [[f"i{(s + k) % 9}" for k in range(5)] for s in range(count)]
    frames = [(draw.random((6, 5)) < 0.4).astype(np.float32) for _ in range(count)]
    return Sequenced(Corpus(kind, items if kind == "items" else frames))


def bench(task: str) -> Bench:
    data = {
        "caption": (described(), described()),
        "forecast": TASKS["forecast"].split(Told(forecasting.panel()), 0.2, options("forecast")),
        "generate": (Text("a", LINES * 9), Text("b", LINES)),
        "items": (sequences("items"), sequences("items", 9)),
        "frames": (sequences("frames"), sequences("frames", 9)),
        "classify": (tiny.examples(60), tiny.examples(20)),
        "translate": (tiny.pairs(40), tiny.pairs(10)),
        "regress": (counted(60), counted(20)),
        "tag": (tagging.sentences(), tagging.sentences()),
    }
    return Bench(ROWS[task], *data[task])


def options(task: str):
    makers = {
        "classify": tiny.classify_options,
        "translate": tiny.translate_options,
        "regress": lambda: RegressOptions(**tiny.SIZES),
        "caption": captioning.options,
        "forecast": lambda: forecasting.options(output="normal"),
        **dict.fromkeys(("generate", "items", "frames"), lambda: GenerateOptions(**tiny.SIZES)),
    }
    return makers[task]() if task in makers else tagging.options()


def trial(name: str, quality: float, seed: int = 0, seconds: float = 1.0, **choices) -> Trial:
    values = {
        "name": name, "seed": seed, "quality": quality, "metrics": {}, "parameters": 100,
        "train_seconds": seconds, "epochs": 1, "sequences_a_second": 1.0, "predict_ms": 1.0,
        "memory": None, "longest": 5, "clipped_share": 0.0,
    }  # fmt: skip
    return Trial(**{**values, **choices})


def setting(name: str, qualities: list[float], **choices):
    trials = [trial(name, q, k, **choices) for k, q in enumerate(qualities)]
    return setting_of(name, "gru", 1, "", 8, trials)


@pytest.mark.parametrize("task", ROWS)
def test_every_task_is_trained_measured_and_timed(task):
    found = run_trial(bench(task), "as is", options(task), tiny.training())
    key, _ = ROWS[task].quality
    assert found.quality == found.metrics[key]
    assert found.parameters > 100
    assert found.longest > 1
    assert 0 < found.predict_ms < 1000


@pytest.mark.parametrize("task", ROWS)
def test_sizes_are_solved_for_equal_parameters(task):
    attentions = ("none", "dot") if ROWS[task].attention else ()
    grid = Grid(("rnn", "gru", "lstm"), (1, 2), attentions, "parameters", 1, parameters=9000)
    it = bench(task)
    planned = plan(it, grid, options(task), tiny.training())
    assert len(planned) == 6 * max(1, len(attentions))
    seen = {}
    for name, cell, depth, attention, chosen in planned:
        fitted = it.entry.train(it.train, chosen, tiny.training(epochs=1))
        learned = [v for n, v in fitted.weights.items() if not n.startswith("targets.")]
        count = sum(value.size for value in learned)
        network = fitted.config.network
        assert count == count_parameters(network)
        assert abs(count - 9000) < 0.12 * 9000, name
        seen[cell, depth, attention] = chosen.hidden_size
    first = attentions[0] if attentions else ""
    assert seen["rnn", 1, first] > seen["gru", 1, first] > seen["lstm", 1, first]
    assert seen["gru", 1, first] > seen["gru", 2, first]


def test_the_budget_is_the_first_settings_where_none_is_given():
    planned = plan(
        bench("classify"), Grid(("gru", "rnn"), (1,), (), "parameters", 1), options("classify"),
        tiny.training(),
    )  # fmt: skip
    assert planned[0][-1].hidden_size == options("classify").hidden_size
    assert planned[1][-1].hidden_size > planned[0][-1].hidden_size


def test_equal_time_leaves_sizes_as_they_are():
    grid = Grid(("gru", "rnn"), (1,), (), "time", 1, minutes_a_run=0.01)
    planned = plan(bench("classify"), grid, options("classify"), tiny.training())
    assert {chosen.hidden_size for *_, chosen in planned} == {8}
    found = compare(
        "classify", bench("classify"), grid, options("classify"), tiny.training(), lambda text: None
    )
    assert all(s.train_seconds < 30 for s in found.settings)


def test_the_nearest_size_is_found():
    assert solve_hidden_size(lambda size: size**2, 101) == 10
    assert solve_hidden_size(lambda size: size**2, 1) == 1
    assert solve_hidden_size(lambda size: size**2, 110) == 10
    assert solve_hidden_size(lambda size: size**2, 111) == 11
    with pytest.raises(ConfigError, match="one hidden unit already takes 50 parameters"):
        solve_hidden_size(lambda size: 50 * size, 49)


@pytest.mark.parametrize("seed", range(12))
def test_differs_is_welchs_test(seed):
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(seed)
    a, b = draw.normal(0, 1, 4), draw.normal(draw.choice([0, 2, 4]), 0.5, 3)
    p = stats.ttest_ind(a, b, equal_var=False).pvalue
    said = differs(setting("a", a.tolist()), setting("b", b.tolist()))
    # Rounding the degrees of freedom down can only make the test more careful.
    assert not said or p < 0.05
    assert said or p > 0.02


def test_noise_is_respected_in_words():
    best = setting("lstm x1", [0.90, 0.91, 0.92], seconds=9.0)
    near = setting("gru x1", [0.90, 0.90, 0.92], seconds=3.0)
    far = setting("rnn x1", [0.50, 0.52, 0.51])
    said = " ".join(recommend([best, near, far], "accuracy", "parameters"))
    assert "lstm x1 has the best mean accuracy, 0.9100 ± 0.0100 over 3 seeds." in said
    assert "It is better beyond noise than rnn x1." in said
    assert "Within noise of it: gru x1." in said
    assert "Use gru x1, which trains fastest of these; more seeds might" in said
    assert recommend([best, far], "accuracy", "time")[-1] == "Use lstm x1."
    noisy = setting("rnn x2", [0.95, 0.15, 0.75], seconds=0.1)
    said = recommend([best, noisy], "accuracy", "parameters")
    assert said[-2:] == [
        "Within noise of it: rnn x2.",
        "Use lstm x1; more seeds might show that another is better.",
    ]
    alone = recommend([setting("a", [0.9]), setting("b", [0.1])], "accuracy", "time")
    assert "with one seed each, no difference can be told from noise" in alone[0]
    assert recommend([best], "accuracy", "time") == ["Only lstm x1 was tried."]
    assert differs(setting("a", [0.9]), far) is None
    assert differs(setting("a", [0.5, 0.5]), setting("b", [0.6, 0.6])) is True


def test_seeds_and_splits_are_the_same_for_all(tmp_path):
    path = tiny.write_reviews(tmp_path / "reviews.csv", 40)
    it = prepare(TASKS["classify"], str(path), options("classify"))
    assert len(it.train) + len(it.test) == 40
    assert not set(it.train.inputs) & set(it.test.inputs)
    again = prepare(TASKS["classify"], str(path), options("classify"))
    assert again.test.inputs == it.test.inputs
    own = prepare(TASKS["classify"], str(path), options("classify"), test=str(path))
    assert len(own.train) == len(own.test) == 40
    small = tiny.write_reviews(tmp_path / "small.csv", 9)
    with pytest.raises(DataError, match="9 examples; at least 10 are needed to compare"):
        prepare(TASKS["classify"], str(small), options("classify"))


def test_a_task_without_a_row_says_which_have_one():
    with pytest.raises(
        ConfigError, match=r"no trials of task 'classfy'; .*Did you mean 'classify'"
    ):
        entry_of("classfy")


def test_a_tagger_has_no_attention_to_compare():
    grid = Grid(("gru",), (1,), ("dot",), "parameters", 1)
    with pytest.raises(ConfigError, match="no attention to compare; leave --attention out"):
        plan(bench("tag"), grid, options("tag"), tiny.training())


def test_what_is_held_out_comes_later(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text(LINES * 10)
    it = prepare(TASKS["generate"], str(path), options("generate"))
    assert it.train.content + it.test.content == LINES * 10
    assert it.test.content == LINES * 2
    assert it.entry.quality == ("bits", False)
    it = prepare(TASKS["generate"], str(path), options("generate"), test=str(path))
    assert len(it.train) == len(it.test) == 480
    whole = Text("one line", "abcdefghij" * 10)
    first, second = TASKS["generate"].split(whole, 0.2, None)
    assert (len(first), len(second)) == (80, 20)
    with pytest.raises(DataError, match="a text of 30 characters is too short to compare on"):
        TASKS["generate"].split(Text("c.txt", "a" * 30), 0.2, None)
    path = forecasting.write(tmp_path / "s.csv", forecasting.frame(steps=60))
    it = prepare(TASKS["forecast"], str(path), options("forecast"))
    assert [len(each) for each in it.train.panel.series] == [48, 48]
    assert [len(each) for each in it.test.panel.series] == [60, 60]
    assert (it.test.ends, len(it.train), len(it.test)) == ((48, 48), 96, 24)
    message = "the longest series has 9 steps; comparing a horizon of 4 needs more than 12"
    with pytest.raises(DataError, match=message):
        TASKS["forecast"].split(Told(forecasting.panel(forecasting.frame(steps=9))), 0.2,
                                options("forecast"))  # fmt: skip


def test_a_forecast_is_measured_on_what_no_run_saw():
    """The errors are those of a model told everything up to each origin, three a series."""
    it = bench("forecast")
    fitted = it.entry.train(it.train, options("forecast"), tiny.training(epochs=1))
    model = from_artifact(fitted)
    found = it.entry.measure(model, it.test)
    assert (found["windows"], found["count"]) == (6, 24)
    whole = forecasting.frame()
    errors = []
    for k, origin in ((k, o) for k in range(2) for o in (48, 52, 56)):
        rows = slice(60 * k, 60 * k + origin)
        said = model.predict({name: values[rows] for name, values in whole.items()})
        came = whole["y"][60 * k + origin : 60 * k + origin + 4]
        errors += np.abs(np.array(said["y_hat"]) - came).tolist()
    assert found["mae"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_short_series_of_a_test_file_are_left_out(tmp_path):
    path = forecasting.write(tmp_path / "s.csv", forecasting.frame(steps=60))
    whole, short = forecasting.frame("a", steps=40), forecasting.frame("b", steps=3)
    mixed = {name: values + short[name] for name, values in whole.items()}
    test = forecasting.write(tmp_path / "t.csv", mixed)
    it = prepare(TASKS["forecast"], str(path), options("forecast"), test=str(test))
    found = run_trial(it, "as is", options("forecast"), tiny.training(epochs=1))
    assert found.metrics["windows"] == 7
    assert found.predict_ms > 0


def test_the_metric_is_the_datas_own(tmp_path):
    draw = np.random.default_rng(0)
    items = captioning.write_jsonl(
        tmp_path / "h.jsonl", [{"items": [f"i{(s + k) % 9}" for k in range(4)]} for s in range(20)]
    )
    np.savez(tmp_path / "k.npz", x=(draw.random((20, 6, 3)) < 0.4).astype(np.float32))
    for name, metric in ((items, "ndcg@10"), (tmp_path / "k.npz", "nats")):
        it = prepare(TASKS["generate"], str(name), options("generate"))
        assert (it.entry.quality[0], len(it.train), len(it.test)) == (metric, 16, 4)
    short = forecasting.write(tmp_path / "s.csv", forecasting.frame(steps=20))
    it = prepare(TASKS["forecast"], str(short), options("forecast"))
    assert it.entry.quality == ("mae", False)
    letters = [{**each, "caption": "abc"} for each in captioning.attributes()]
    data = captioning.write_jsonl(tmp_path / "d.jsonl", letters)
    chosen = msgspec.structs.replace(options("caption"), tokens="auto")
    it = prepare(TASKS["caption"], str(data), chosen)
    assert it.entry.quality == ("per", False)
    words = [{**each, "caption": "a b c d"} for each in captioning.attributes()]
    data = captioning.write_jsonl(tmp_path / "w.jsonl", words)
    assert prepare(TASKS["caption"], str(data), options("caption")).entry.quality[0] == "bleu"


# The command

ARGUMENTS = [
    "compare",
    "classify",
    "reviews.csv",
    *tiny.FLAGS,
    "--cells",
    "rnn,gru",
    "--seeds",
    "2",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tiny.write_reviews(tmp_path / "reviews.csv")
    return tmp_path


def test_the_command_prints_a_table_and_writes_a_page(folder, capsys):
    assert cli.run([*ARGUMENTS, "--attention", "none,additive", "--out", "page.html"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "quality: accuracy, higher is better; equal parameters"
    assert {line.split("  ")[0] for line in lines[3:7]} == {
        "rnn x1 none", "rnn x1 additive", "gru x1 none", "gru x1 additive",
    }  # fmt: skip
    assert "has the best mean accuracy" in lines[8]
    assert said.err.startswith("8 runs on 32 examples, measured on 8 others\n")
    html = Path("page.html").read_text()
    assert html.count('<circle class="dot s1"') == 8
    assert "An answer [ms]" in html


def test_other_tasks_count_what_they_learn_from(folder, capsys):
    forecasting.write(Path("s.csv"), forecasting.frame())
    Path("c.txt").write_text(LINES * 20)
    flags = ("--cells=gru,rnn", "--seeds=1", "--quiet", *tiny.FLAGS[:1], *tiny.FLAGS[2:])
    for task, data, metric, counted in (
        ("forecast", "s.csv", "mase", "steps"),
        ("generate", "c.txt", "bits", "characters"),
    ):
        more = ("--horizon=4", "--window=12") if task == "forecast" else ("--embedding-size=8",)
        assert cli.run(["compare", task, data, *flags, *more, "--out", f"{task}.html"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"quality: {metric}, lower is better; equal parameters"
        assert f"{counted}/s" in lines[2]
        assert f"{counted.capitalize()} a second" in Path(f"{task}.html").read_text()
        assert {line.split()[0] for line in lines[3:5]} == {"gru", "rnn"}


def test_json_holds_every_run(folder, capsys):
    assert cli.run([*ARGUMENTS, "--json", "--quiet", "--equal", "time", "--minutes", "0.05"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["equal"] == "time"
    assert [len(s["trials"]) for s in found["settings"]] == [2, 2]
    assert found["settings"][0]["trials"][0]["metrics"]["accuracy"] <= 1
    assert found["recommendation"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--cells", "rnn,gro"], "--cells: unknown 'gro'; one of: rnn, lstm, gru. Did you mean"),
        (["--cells", ","], "--cells: expected at least one of: rnn, lstm, gru"),
        (["--depth", "1,x"], "--depth 1,x: expected whole numbers above 0, by commas"),
        (["--attention", "dott"], "--attention: unknown 'dott'"),
        (["--equal", "time"], "--equal time needs --minutes, the time for the whole comparison"),
    ],
)
def test_bad_choices_are_told(folder, capsys, given, message):
    assert cli.run([*ARGUMENTS, *given]) == 2
    assert message in capsys.readouterr().err


def test_what_the_grid_decides_is_no_option(folder, capsys):
    assert cli.run([*ARGUMENTS, "--cell", "gru"]) == 2
    assert cli.run(["compare", "classify", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--hidden-size" in said
    assert "--pooling" not in said


def test_the_page_and_the_table_speak_of_one_seed_too():
    settings = (setting("a", [0.9]), setting("b", [0.8]))
    found = type(
        "Found", (), {
            "task": "classify", "equal": "time", "metric": "accuracy", "more_is_better": True,
            "train_size": 10, "test_size": 5, "settings": settings, "recommendation": ("Well.",),
            "counted": "examples",
        },
    )()  # fmt: skip
    assert ">= 5" in as_text(found)
    assert "0.9000" in comparison_report("title", found)
    assert msgspec.json.encode(settings[0])
