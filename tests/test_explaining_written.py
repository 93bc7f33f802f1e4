"""Explaining what is written or foretold: generators, forecasters, captioners, and intents."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import captioning
import explaining
import forecasting
import tagging
import tiny
from unrolled.data.captions import Described
from unrolled.data.items import Corpus
from unrolled.data.streams import text_lines
from unrolled.data.vocab import SPECIALS
from unrolled.errors import ConfigError, DataError
from unrolled.explain.subject import scores
from unrolled.explain.subjects import stack_of, subject_of
from unrolled.explain.subjects.forecast import From
from unrolled.options import GenerateOptions
from unrolled.runtime.model import from_artifact
from unrolled.tasks import caption, forecast, generate, tag

DRAW = np.random.default_rng(0)
DRAWN = {
    "drawn": {"output": "normal"},
    "drawn-point": {"output": "point", "cell": "gru", "residual": "none"},
    "drawn-t": {"output": "student_t", "cell": "lstm", "future": "plan"},
    "drawn-counts": {"output": "negative_binomial", "residual": "none"},
}
KEYS = (DRAW.random((8, 4)) < 0.4).astype(np.float32)
LINES = "the cat sat on the mat.\nthe dog sat on the log.\n" * 6


def series(steps: int = 60, **columns):
    return forecasting.frame("a", steps, **columns)


def shop(name: str):
    counts = forecasting.COUNTS if name == "drawn-counts" else {}
    return series(promo=lambda k, t: t % 5, plan=lambda k, t: t % 3, **counts)


def things(kind: str) -> Described:
    if kind == "attributes":
        records = captioning.attributes()
        given = [tuple(f"{k}={v}" for k, v in each["attributes"].items()) for each in records]
        return Described("things", "attributes", given, [each["caption"] for each in records])
    values, texts = captioning.vectors() if kind == "vector" else captioning.regions()
    given = [v[None] for v in values] if kind == "vector" else values
    return Described("things", kind, given, [[text] for text in texts])


@pytest.fixture(scope="module")
def models():
    training = tiny.training(epochs=1)
    options = GenerateOptions(**tiny.SIZES)
    made = {"text": generate.train_text(text_lines(LINES), options, training)}
    words = msgspec.structs.replace(options, tokens="word", cell="gru", tied=True)
    made["words"] = generate.train_text(text_lines(LINES), words, training)
    items = [[f"i{(s + k) % 9}" for k in range(5)] for s in range(20)]
    for kind, corpus in (("items", items), ("frames", [KEYS] * 6)):
        given = Corpus(kind, corpus)
        made[kind] = generate.train_sequences(given, kind, options, training)
    covariates = {"past": "promo", "future": "plan"}
    for name, choices in {
        "mlp": {"output": "quantiles", **covariates},
        "season": {"output": "point", "residual": "season", "season": 8, "decoder": "linear"},
        "rnn": {"output": "student_t", "decoder": "rnn", "cell": "lstm", "bidirectional": True},
        **{
            name: {"decoder": "autoregressive", "samples": 8, **each}
            for name, each in DRAWN.items()
        },
    }.items():
        chosen = forecasting.options(**choices)
        frame = shop(name)
        made[name] = forecast.train(forecasting.panel(frame, **choices), chosen, training)
    for kind in ("attributes", "regions", "vector"):
        made[kind] = caption.train(things(kind), captioning.options(), captioning.training())
    made["intent"] = tag.train(tagging.sentences(), tagging.options(intent="intent"), training)
    return {name: from_artifact(found) for name, found in made.items()}


def head(steps: int, name: str):
    frame = series(steps, promo=lambda k, t: t % 5, plan=lambda k, t: t % 3)
    wanted = ("unique_id", "ds", "y", *(("promo", "plan") if name == "mlp" else ()))
    return {column: frame[column] for column in wanted}


def told(name: str):
    """The series that a forecaster of the cases is asked about, from a known origin."""
    covariates = {"past": "promo", "future": "plan"} if name == "mlp" else {}
    if name == "drawn-t":
        covariates = {"future": "plan"}
    return From(forecasting.panel(shop(name), **covariates), origin=50)


# Model, input, target.
CASES = {
    "text": ("text", "the cat", None),
    "text-3": ("text", "the cat", "3"),
    "words": ("words", "the cat sat on", None),
    "items": ("items", "i1 i2 i3 i4", None),
    "items-4": ("items", "i1 i2 i3 i4", "4"),
    "frames": ("frames", KEYS, None),
    "frames-5": ("frames", KEYS, "5"),
    "frame": ("frames", KEYS[:1], None),
    "mlp": ("mlp", told("mlp"), None),
    "mlp-2": ("mlp", told("mlp"), "2"),
    "season": ("season", told("season"), None),
    "rnn": ("rnn", told("rnn"), "4"),
    "attributes": ("attributes", {"colour": "red", "shape": "box", "big": True}, None),
    "attributes-1": ("attributes", {"colour": "red", "shape": "box", "big": True}, "1"),
    "regions": ("regions", np.eye(3, dtype=np.float32)[[0, 2]], None),
    "vector": ("vector", np.float32([1, 0, 0, 0, 1, 7]), "2"),
    "intent": ("intent", "get hot soup in rio", "intent"),
    "intent-go": ("intent", "get hot soup in rio", "intent:go"),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_score(case, models) -> None:
    """The twin's score is the runtime's, of everything and of nothing; so is its slope."""
    name, x, target = CASES[case]
    found = subject_of(models[name], x, target)
    given = found.differentiable()
    steps = len(found.steps)
    both = np.array([[True] * steps, [False] * steps])
    values, (slope, _) = given.gradient(np.stack([given.x, given.baseline]))
    expected = scores(found, both, "replace")
    blank_is_hidden = name not in ("text", "words", "items", "attributes")
    assert values[0] == pytest.approx(expected[0], abs=5e-5)
    if blank_is_hidden:
        assert values[1] == pytest.approx(expected[1], abs=5e-5)
    draw = np.random.default_rng(0)
    for _ in range(2):
        way = draw.normal(size=given.x.shape)
        (up, down), _ = given.gradient(np.stack([given.x + 1e-5 * way, given.x - 1e-5 * way]))
        assert (up - down) / 2e-5 == pytest.approx((slope * way).sum(), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_every_method_explains_every_task(case, models) -> None:
    name, x, target = CASES[case]
    found = models[name].explain(x, "all", target=target)
    by_method = {each.method: each for each in found.attributions}
    assert set(explaining.ATTRIBUTION) <= set(by_method)
    assert all(len(each.values) == len(found.steps) for each in found.attributions)
    gap = by_method["integrated"].details
    assert abs(gap["completeness_gap"]) <= 0.01 * abs(gap["change_from_baseline"]) + 1e-9
    assert sum(by_method["timeshap"].values) == pytest.approx(
        found.score - found.score_of_nothing, abs=1e-3
    )
    read = found.wrote if name in ("attributes", "regions", "vector") else found.steps
    assert len(found.memory.norms) == len(found.memory.deletion) == len(read) > 0
    assert {len(row) for each in found.states for row in each.heat} == {len(read)}


def test_the_score_is_what_the_model_says(models) -> None:
    model = models["text"]
    found = model.explain("the cat", "occlusion", target=3)
    text, shorter = model.log_likelihood(["the", "th"])
    assert found.score == pytest.approx(text - shorter, abs=1e-4)
    assert (found.steps, found.answer) == (("t", "h"), "'e' as unit 3")
    likeliest = max(model.vocabulary.units[len(SPECIALS) :], key=lambda u: one(model, u))
    assert model.explain("the cat", "occlusion").answer == f"{likeliest!r} next"
    model = models["items"]
    assert model.explain("i1 i2 i3", "occlusion").answer == (
        f"{model.recommend('i1 i2 i3', 1).items[0]!r} next"
    )
    model, frames = models["frames"], KEYS
    whole, part = model.log_likelihood([frames, frames[:-1]])
    assert model.explain(frames, "occlusion").score == pytest.approx(whole - part, abs=1e-4)
    found = model.explain(frames[:1], "occlusion")
    every = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T.astype(np.float32)
    whole = model.log_likelihood([np.stack([frames[0], after]) for after in every])
    likeliest = whole - model.log_likelihood([frames[:1]])
    assert found.score == pytest.approx(likeliest.max(), abs=1e-4)
    keys = [str(k + 1) for k in np.flatnonzero(every[likeliest.argmax()])]
    said = f"keys {', '.join(keys)}" if keys else "silence"
    assert (found.answer, found.steps) == (f"the likeliest frame next, {said}", ("1",))
    for name in ("mlp", "season", "rnn", "drawn"):
        model, given = models[name], told(name)
        said = model.cross_validate(
            head(54, name), windows=1, stride=1
        )["y_hat"]  # fmt: skip
        assert model.explain(given, "occlusion").score == pytest.approx(np.mean(said), rel=1e-5)
        score = model.explain(given, "occlusion", target=3).score
        assert score == pytest.approx(said[2], rel=1e-5)
    model = models["attributes"]
    thing = {"colour": "red", "shape": "box", "big": True}
    ((best,),) = model.caption([thing])
    found = model.explain(thing, "all")
    assert found.score == pytest.approx(best.log_prob, abs=1e-4)
    assert found.alignment.written == best.units
    assert np.allclose(found.alignment.weights, best.alignment, atol=1e-6)
    model = models["intent"]
    (intent,) = model.tag("get hot soup in rio").intents
    found = model.explain("get hot soup in rio", "occlusion", target="intent")
    assert found.score == pytest.approx(np.log(intent.probability), abs=1e-5)
    assert (found.answer, found.how) == (f"intent {intent.label}", "remove")


def one(model, unit: str) -> float:
    whole, part = model.log_likelihood([f"the cat{unit}", "the cat"])
    return float(whole - part)


@pytest.mark.parametrize("method", ["occlusion", "integrated", "timeshap"])
def test_the_parts_that_a_word_hangs_on_are_found(method: str, models) -> None:
    """Each word of these texts is one attribute, or one colour and one shape of the numbers."""
    model = models["attributes"]
    for colour in captioning.COLOURS:
        thing = {"colour": colour, "shape": "ball", "big": False}
        units = model.explain(thing, "occlusion").words.written
        for word, part in ((colour, f"colour={colour}"), ("ball", "shape=ball")):
            found = model.explain(thing, method, target=units.index(word) + 1)
            assert explaining.ranked(found, method)[0] == part, (colour, word)
    model, (values, texts) = models["vector"], captioning.vectors()
    for row in range(4):
        place = 1 + texts[row].split().index(texts[row].split()[1])
        found = model.explain(values[row], method, target=place)
        colour = captioning.COLOURS.index(texts[row].split()[1])
        assert explaining.ranked(found, method)[0] == str(colour + 1)
        assert found.attributions[0].values[5] == pytest.approx(0, abs=1e-6)


def test_every_word_has_a_row_of_parts(models) -> None:
    model = models["attributes"]
    thing = {"colour": "red", "shape": "box", "big": False}
    found = model.explain(thing, "occlusion")
    rows = np.array(found.words.values)
    assert rows.shape == (len(found.words.written), 3)
    for place, row in enumerate(rows, start=1):
        alone = model.explain(thing, "occlusion", target=place)
        assert alone.attributions[0].values == pytest.approx(row.tolist(), abs=1e-5)
        assert alone.words is None
    assert model.explain(["shape=box"], "occlusion").words is None


def mean_path(model, found, chosen: slice) -> np.ndarray:
    """The path on which each step reads the mean before, by the runtime's own steps."""
    network, rows = model.network, len(found)
    x = network.read(found, shifted=True)
    _, state = network.recurrent(x, lengths=found.lengths)
    value, observed = found.y[:, -1], found.observed[:, -1]
    base = found.base[:, :1].astype(np.float64)
    means = []
    for t in range(found.ahead.shape[1]):
        known, static = found.ahead[:, t], found.static
        outputs, state = network.advance(value, observed, known, static, state)
        added = base if network.spec.residual == "last" else np.zeros((rows, 1))
        said = network.say(outputs[:, None], added, found.location, found.scale).mean
        means.append(said[:, 0])
        value = (said[:, 0] - found.location) / found.scale
        base, observed = value[:, None], np.ones(rows)
    return np.stack(means, axis=1)[:, chosen].mean(axis=1)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("target", [None, "1", "3"])
def test_the_slope_of_a_drawn_forecast_is_that_of_its_mean_path(name, target, models) -> None:
    """The twin goes the runtime's path, of everything and of nothing, and its slope is the path's.

    A path of points is the forecast, and the first step of every path is what its draws are of.
    """
    from unrolled.explain.subjects.forecast import _window

    model, x = models[name], told(name)
    found = subject_of(model, x, target)
    given = found.differentiable()
    values, (slope, _) = given.gradient(np.stack([given.x, given.baseline]))
    window = _window(
        model, x, slice(None) if target is None else slice(int(target) - 1, int(target))
    )
    steps = len(found.steps)
    both = window.masked(np.array([[True] * steps, [False] * steps]))
    assert values == pytest.approx(mean_path(model, both, window.chosen), rel=1e-5)
    if name == "drawn-point":
        told_of_both = scores(found, np.array([[True] * steps, [False] * steps]), "replace")
        assert values == pytest.approx(told_of_both, rel=1e-5)
    draw = np.random.default_rng(0)
    for _ in range(2):
        way = draw.normal(size=given.x.shape)
        (up, down), _ = given.gradient(np.stack([given.x + 1e-5 * way, given.x - 1e-5 * way]))
        assert (up - down) / 2e-5 == pytest.approx((slope * way).sum(), rel=1e-4, abs=1e-7)


def test_the_slope_of_values_is_the_runtimes(models) -> None:
    """A value of the window moved a little moves the runtime's path by the slope along it."""
    from dataclasses import replace

    from unrolled.explain.subjects.forecast import _window

    model = models["drawn"]
    window = _window(model, told("drawn"), slice(None))
    given = subject_of(model, told("drawn"), None).differentiable()
    _, (slope,) = given.gradient(given.x[None])
    found, size = window.masked(np.ones((1, window.steps), bool)), 1e-2
    for step in (0, 5, window.steps - 1):
        moved = []
        for sign in (1, -1):
            y = found.y.copy()
            y[0, step] += sign * size
            last = y[:, -1:] if model.network.spec.residual == "last" else found.base[:, :1]
            base = np.repeat(last, found.base.shape[1], axis=1)
            moved.append(mean_path(model, replace(found, y=y, base=base), slice(None))[0])
        assert (moved[0] - moved[1]) / (2 * size) == pytest.approx(
            slope[step, 0], rel=5e-3, abs=1e-3
        )


def test_a_drawn_forecast_says_what_is_differentiated(models) -> None:
    model = models["drawn"]
    found = model.explain(told("drawn"), "all")
    assert [each.method for each in found.attributions] == list(explaining.ATTRIBUTION)
    assert len(found.memory.norms) == len(found.steps) == 12
    for each in found.attributions:
        followed = each.method in ("gradient", "integrated")
        assert ("each step reads the mean of the step before" in each.reading) == followed
    again = model.explain(told("drawn"), "occlusion")
    assert again.attributions[0].values == found.attributions[0].values
    with pytest.raises(ConfigError, match="method 'gradient': these parts are there or gone as a"):
        model.explain(told("mlp"), "gradient", target="covariates")


@pytest.mark.parametrize("name", ["text", "frames", "mlp", "drawn"])
def test_states_are_the_stacks_own(name: str, models) -> None:
    """What the explanation shows of a unit is what the runtime's stack computes from its start."""
    x = {"text": "the cat", "frames": KEYS}.get(name, told(name))
    model = models[name]
    subject = subject_of(model, x, None)
    y, _ = model.network.recurrent(subject.whole[None])
    found = model.explain(x, "states").states[0]
    if found.state == "h":
        assert np.allclose(found.heat, y[0][subject.lead :, list(found.units)].T, atol=1e-6)
    names, read, start = stack_of(model)[1](x)
    assert len(names) == len(read)
    assert start is None


@pytest.mark.parametrize(
    ("name", "x", "choices", "error", "message"),
    [
        ("text", "", {}, DataError, "the text is empty; expected at least one unit"),
        ("text", "abc", {"target": "1"}, ConfigError, "target '1': expected a place in the sequ"),
        ("text", "a", {"target": "2"}, ConfigError, "target '2': expected none, of a single unit"),
        ("frames", KEYS[:1], {"target": "1"}, ConfigError, "expected none, of a single frame; the"),
        ("frames", KEYS, {"how": "remove"}, ConfigError, "can only be replaced"),
        ("mlp", told("mlp"), {"target": "9"}, ConfigError, "a place in the horizon, 1 to 4"),
        ("mlp", told("mlp"), {"target": "covariates:0"}, ConfigError, "place in the horizon"),
        ("mlp", told("mlp"), {"target": "covariates", "methods": "memory"}, ConfigError,
         "method 'memory': the parts of this input are no steps of a recurrent stack"),
        ("season", forecasting.frame("ab"), {}, DataError, "holds 2 series; expected one to exp"),
        ("vector", [1.0] * 5, {}, DataError, "5 numbers, but the model reads 6"),
        ("regions", np.eye(3)[:2], {"target": "99"}, ConfigError, "expected a place in the text"),
        ("intent", "get", {"target": "intent:eet"}, ConfigError, "no intent 'eet'. Did you mean"),
    ],
)  # fmt: skip
def test_what_can_be_asked_wrongly(name, x, choices, error, message, models) -> None:
    with pytest.raises(error, match=message):
        models[name].explain(x, **choices)
