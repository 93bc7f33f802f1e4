"""Programs made for one set of shapes, held to the plan that is run node by node."""

from __future__ import annotations

import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnx_writer as write
from onnx_random import node_model, recurrent_nodes
from test_onnx_conformance import MODELS, SUPPORTED, array, there
from test_onnx_run import looped, normal
from tolerances import close
from unrolled.errors import InteropError
from unrolled.interop.onnx import OnnxModel, load
from unrolled.interop.onnx.model import MAX_PROGRAMS
from unrolled.interop.onnx.program import MAX_PROGRAM_BYTES, Program


def programs(model: OnnxModel) -> list[Program]:
    return [each for each in model._programs.values() if isinstance(each, Program)]


def other(model: OnnxModel, feeds: dict) -> dict:
    """Other values of the same shapes; what decides shapes and branches stays."""
    return {k: v if k in model._deciding else np.flip(v) for k, v in feeds.items()}


def same(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        wide, kind = (np.asarray(each, np.float64) for each in (found[name], value)), value.dtype
        tolerance = {"f2": 2e-3, "f4": 2e-6, "f8": 1e-12}.get(kind.str[1:], 0)
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)


def held_together(model: OnnxModel, feeds: dict) -> bool:
    """Make a program on other values, if any can be made, and hold its run to the plan's."""
    try:
        for _ in range(2):
            model.run(other(model, feeds))
    except InteropError:  # the other values are no input of this model
        for _ in range(2):
            model.run(feeds)
    expected = model.interpret(feeds)
    for _ in range(2):
        same(model.run(feeds), expected)
    return bool(programs(model))


@pytest.fixture(scope="module")
def official():
    pytest.importorskip("onnx")
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return [c for c in found if {n.op_type for n in c.model.graph.node} <= SUPPORTED.keys()]


def test_programs_give_what_the_plan_gives_on_the_official_cases(official) -> None:
    made: dict[bool, int] = {False: 0, True: 0}
    for case in official:
        try:
            model = load(case.model.SerializeToString())
            names = [value.name for value in case.model.graph.input]
            feeds = [
                {n: array(v) for n, v in zip(names, inputs, strict=True)}
                for inputs, _ in case.data_sets
            ]
            model.run(feeds[0])
        except (InteropError, TypeError):  # refused, as test_onnx_conformance checks
            continue
        for each in feeds:
            made[held_together(model, each)] += 1
    assert made[True] > 10 * made[False]


@settings(max_examples=100)
@given(recurrent_nodes(), st.booleans())
def test_programs_give_what_the_plan_gives_on_random_recurrent_nodes(case, fixed: bool) -> None:
    model = load(node_model(*case, constant=("W", "R", "B", "P") if fixed else ()))
    feeds = {value.name: case[-1][value.name] for value in model.inputs}
    lengths = {n: v for n, v in feeds.items() if v.dtype.kind == "i"}
    for _ in range(2):
        model.run({n: lengths.get(n, v * 0.5) for n, v in feeds.items()})
    assert programs(model)
    same(model.run(feeds), model.interpret(feeds))


@there
def test_programs_give_what_the_plan_gives_on_the_recorded_cases() -> None:
    folder = MODELS / "onnx_conformance"
    for case in json.loads((folder / "index.json").read_text()):
        model = load(folder / "cases" / case["name"] / "model.onnx")
        data = np.load(folder / "cases" / case["name"] / "data_0.npz")
        feeds = {value.name: data[f"in_{value.name}"] for value in model.inputs}
        assert held_together(model, feeds)
        for name, value in model.run(feeds).items():
            assert close(value, data[f"out_{name}"], "forward")


@there
@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("silero_vad/silero_vad", {"input": (1, 576), "state": (2, 1, 128), "sr": ()}),
        ("silero_vad/silero_vad", {"input": (3, 576), "state": (2, 3, 128), "sr": ()}),
        (
            "silero_vad/silero_vad_16k_sequence",
            {"input": (1, 576), "h": (1, 1, 128), "c": (1, 1, 128)},
        ),
        ("dtln/model_1", {"input_2": (1, 1, 257), "input_3": (1, 2, 128, 2)}),
        ("nsnet2/nsnet2-20ms-baseline", {"input": (1, 1, 161)}),
        ("nsnet2/nsnet2-20ms-baseline", {"input": (2, 5, 161)}),
    ],
)
def test_models_from_the_wild_have_programs(name: str, inputs: dict) -> None:
    model = load(MODELS / f"{name}.onnx")
    for seed in range(4):
        feeds = {n: normal(seed, *shape) for n, shape in inputs.items()}
        if "sr" in feeds:
            feeds["sr"] = np.array(16000)
        same(model.run(feeds), model.interpret(feeds))
    assert len(programs(model)) == 1


def branching() -> bytes:
    """`flag` chooses between x + 1 and the row of x that `place` names."""
    one = {"one": np.array(1, np.float32)}
    then = write.graph([write.node("Add", ["x", "one"], ["a"])], [], [write.value("a", (None,))])
    pick = write.graph([write.node("Gather", ["x", "place"], ["b"])], [], [write.value("b", ())])
    return write.model(
        [write.node("If", ["flag"], ["y"], then_branch=then, else_branch=pick)],
        [
            write.value("x", (None,)),
            write.value("flag", (), "b1"),
            write.value("place", (), "i8"),
        ],
        [write.value("y")],
        one,
    )


def test_a_branch_is_chosen_by_the_values_of_each_run() -> None:
    model, x = load(branching()), np.array([5, 6, 7], np.float32)
    for _ in range(3):
        for flag, place, expected in ((True, 0, [6, 7, 8]), (False, 1, 6), (False, 2, 7)):
            found = model.run({"x": x, "flag": np.array(flag), "place": np.array(place)})
            assert found["y"].tolist() == expected
    assert programs(model)


def test_an_error_of_a_program_names_its_node() -> None:
    model, x = load(branching()), np.zeros(3, np.float32)
    for place in (0, 1, 2):
        model.run({"x": x, "flag": np.array(False), "place": np.array(place)})
    assert programs(model)
    with pytest.raises(InteropError, match=r"Gather of 'b': index 9"):
        model.run({"x": x, "flag": np.array(False), "place": np.array(9)})
    found = model.run({"x": x, "flag": np.array(False), "place": np.array(1)})
    assert found["y"] == 0


def test_values_that_decide_shapes_have_programs_of_their_own() -> None:
    model = load(
        write.model(
            [write.node("Reshape", ["x", "shape"], ["y"])],
            [write.value("x", (None,)), write.value("shape", (2,), "i8")],
            [write.value("y", (None, None))],
        )
    )
    for shape in ([2, 3], [3, 2], [6, 1]) * 3:
        found = model.run({"x": np.arange(6, dtype=np.float32), "shape": np.array(shape)})
        assert found["y"].shape == tuple(shape)
        assert found["y"].reshape(-1).tolist() == list(range(6))
    assert len(programs(model)) == 3


def test_a_graph_whose_shapes_depend_on_values_runs_node_by_node() -> None:
    model = load(looped(5))
    for value in (1, 3, 5):
        assert model.run({"start": np.array([value], np.float32)})["end"] == 2 * value
    assert not programs(model)


def doubling() -> OnnxModel:
    return load(
        write.model(
            [write.node("Add", ["x", "x"], ["y"])],
            [write.value("x", (None,))],
            [write.value("y", (None,))],
        )
    )


def test_a_model_keeps_few_programs_and_none_that_are_large() -> None:
    model = doubling()
    for size in range(1, 30):
        for _ in range(3):
            x = np.arange(size, dtype=np.float32)
            assert model.run({"x": x})["y"].tolist() == (2 * x).tolist()
    assert len(model._programs) == MAX_PROGRAMS == len(programs(model))
    for _ in range(3):
        model.run({"x": np.zeros(MAX_PROGRAM_BYTES // 4, np.float32)})
    assert len(programs(model)) == MAX_PROGRAMS - 1


def test_what_a_program_gave_is_the_callers() -> None:
    model = doubling()
    found = [model.run({"x": np.full(2, k, np.float32)})["y"] for k in range(5)]
    assert [each.tolist() for each in found] == [[2 * k, 2 * k] for k in range(5)]


def test_threads_share_a_model() -> None:
    model, start = doubling(), threading.Barrier(4)

    def work(k: int) -> bool:
        start.wait()
        x = np.full(1000, k, np.float32)
        return all((model.run({"x": x})["y"] == 2 * k).all() for _ in range(300))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
