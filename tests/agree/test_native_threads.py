"""The pool of the native engine: calls at once, forks, exits, and what sets its size."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from stacks import randomise
from unrolled import _native, nn
from unrolled.runtime import Recurrent


@pytest.fixture
def two_threads():
    before = _native.num_threads()
    _native.share_always(True)
    _native.set_num_threads(2)
    yield
    _native.set_num_threads(before)
    _native.share_always(False)


def inference(cell="LSTM", rows=3):
    layer = randomise(getattr(nn, cell)(9, 17, bidirectional=True, batch_first=True)).runtime()
    x = np.random.default_rng(rows).standard_normal((rows, 12, 9)).astype(np.float32)
    lengths = [12, 0, 5, 12, 7][:rows] if rows <= 5 else None
    return lambda: layer(x, lengths=lengths)[0]


def training(cell="GRU", rows=5):
    layer = randomise(getattr(nn, cell)(9, 17, bidirectional=True, batch_first=True))
    x = torch.randn(rows, 12, 9, generator=torch.Generator().manual_seed(1))

    def step():
        y, _ = layer(x)
        found = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        return np.concatenate([g.numpy().ravel() for g in (y.detach(), *found)])

    return step


def test_python_threads_may_call_at_once(two_threads):
    """Inference and training, of one layer and of several, each as if it were alone."""
    shared = inference("LSTM", 5)
    calls = [shared, shared, training("GRU"), training("LSTM", 1), inference("GRU", 1), shared]
    expected = [call() for call in calls]

    def repeat(k):
        return all(np.array_equal(calls[k](), expected[k]) for _ in range(30))

    with ThreadPoolExecutor(len(calls)) as pool:
        assert all(pool.map(repeat, range(len(calls))))


def test_the_number_of_threads_may_change_between_and_during_calls(two_threads):
    call, step = inference("GRU", 5), training("LSTM")
    expected, stepped = call(), step()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: all(np.array_equal(step(), stepped) for _ in range(20)))
        for k in range(60):
            _native.set_num_threads(1 + k % 5)
            assert np.array_equal(call(), expected)
        assert running.result()


def test_torchs_threads_beside_ours_change_nothing(two_threads):
    call, step = inference(), training()
    expected, stepped = call(), step()
    matrix = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        product = matrix @ matrix
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                lambda: all(torch.equal(matrix @ matrix, product) for _ in range(50))
            )
            for _ in range(20):
                assert np.array_equal(call(), expected)
                torch.testing.assert_close(matrix @ matrix, product, rtol=0, atol=0)
                assert np.array_equal(step(), stepped)
            assert running.result()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", _native.available_isas())
def test_a_layer_keeps_the_instruction_set_it_was_packed_for(name):
    x = np.random.default_rng(0).standard_normal((2, 5, 9)).astype(np.float32)
    form = nn.GRU(9, 17, batch_first=True)
    try:
        _native.set_isa(name)
        layer: Recurrent = form.runtime()
        expected = layer(x)[0]
        for other in _native.available_isas():
            _native.set_isa(other)
            assert np.array_equal(layer(x)[0], expected)
    finally:
        _native.set_isa("")


SETUP = """
import os, sys, threading, time
import numpy as np
from unrolled import Recurrent, _native
_native.share_always(True)
_native.set_num_threads(3)
rng = np.random.default_rng(0)
layer = Recurrent.from_state_dict({
    "weight_ih_l0": rng.standard_normal((96, 9)).astype(np.float32),
    "weight_hh_l0": rng.standard_normal((96, 32)).astype(np.float32) * 0.1,
})
x = rng.standard_normal((4, 50, 9)).astype(np.float32)
expected = layer(x)[0]
def same():
    return np.array_equal(layer(x)[0], expected)
def forever():
    while True:
        layer(x)
"""


def run(code, **environment):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300
    )


def test_forks_while_another_thread_is_in_a_call():
    """Each child finds none of the workers and perhaps a pool in use, and runs all the same."""
    result = run(
        SETUP
        + """
threading.Thread(target=forever, daemon=True).start()
for _ in range(15):
    child = os.fork()
    if child == 0:
        os._exit(0 if same() and same() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same()
os._exit(0)
"""
    )
    assert result.returncode == 0, result.stderr


def test_a_child_may_fork_again_and_use_more_threads():
    result = run(
        SETUP
        + """
child = os.fork()
if child == 0:
    assert same()
    _native.set_num_threads(4)
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if same() else 1)
    ended = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
    os._exit(ended if same() else 2)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("daemons", [0, 1, 3])
def test_the_interpreter_ends_while_the_pool_lives_and_calls_are_running(daemons):
    for _ in range(4):
        result = run(
            SETUP
            + f"""
for _ in range({daemons}):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
print("end")
"""
        )
        assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


COUNT = "import unrolled; print(unrolled.num_threads())"


@pytest.mark.parametrize(
    "value", ["0", "-1", "257", "1.5", "two", "2 ", "2x", "0x2", "99999999999999999999", " "]
)
def test_an_invalid_number_in_the_environment_is_named(value):
    result = run(COUNT, UNROLLED_NUM_THREADS=value)
    assert result.returncode == 1
    says = f"ValueError: UNROLLED_NUM_THREADS='{value}': expected a whole number from 1 to 256"
    assert result.stderr.strip().endswith(says)


def test_the_environment_sets_the_number_and_a_call_sets_it_anew():
    assert run(COUNT, UNROLLED_NUM_THREADS="7").stdout == "7\n"
    assert run(COUNT, UNROLLED_NUM_THREADS="").stdout == f"{_native.available_cores()}\n"
    code = "import unrolled; unrolled.set_num_threads(3); print(unrolled.num_threads())"
    assert run(code, UNROLLED_NUM_THREADS="wrong").stdout == "3\n"
    assert run("import unrolled.runtime", UNROLLED_NUM_THREADS="wrong").returncode == 0


def test_the_number_is_that_of_the_cores_of_the_affinity_mask():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + COUNT
    assert run(code, UNROLLED_NUM_THREADS="").stdout == "1\n"
