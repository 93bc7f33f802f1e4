"""What the options of ONNX's operators refuse, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled import _native
from unrolled.runtime import Activation, CellOptions, Recurrent
from unrolled.runtime.operator import onnx_activations
from unrolled.shapes import parameter_shapes
from unrolled.spec import RecurrentSpec

TANH, SIGMOID = Activation("Tanh"), Activation("Sigmoid")
NAMES = (
    "Affine, Elu, HardSigmoid, LeakyRelu, Relu, ScaledTanh, Sigmoid, Softplus, Softsign, Tanh, "
    "ThresholdedRelu"
)


def layer(cell="lstm", options=None, *, also=(), **more):
    spec = RecurrentSpec(cell=cell, input_size=3, hidden_sizes=(4,), **more)
    weights = {name: np.zeros(shape) for name, shape in parameter_shapes(spec).items()}
    return Recurrent(spec, {**weights, **dict(also)}, options)


def peepholes(*shape, suffix="_l0"):
    return {"weight_peephole" + suffix: np.zeros(shape)}.items()


BOTH = {"bidirectional": True}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Activation("tanh"), rf"'tanh': expected one of {NAMES}. Did you mean 'Tanh'?"),
        (lambda: Activation("Tanh", 0.5), "'Tanh' takes no alpha, got 0.5"),
        (lambda: Activation("Elu", 0.5, 0.1), "'Elu' takes no beta, got 0.1"),
        (lambda: Activation("ScaledTanh", 0.5), "'ScaledTanh' needs its beta: ONNX has no default"),
        (lambda: Activation("Affine", np.inf), "alpha of activation 'Affine' must be finite"),
        (
            lambda: layer("gru", CellOptions(activations=((SIGMOID,),))),
            r"activations must be 2 for each of 1 directions of 'gru', got \[1\]",
        ),
        (
            lambda: layer("rnn", CellOptions(activations=(("Tanh",),))),
            "activations must be of type Activation, got 'Tanh'",
        ),
        (
            lambda: layer("rnn", CellOptions(activations=((TANH,),)), **BOTH),
            r"1 for each of 2 directions of 'rnn', got \[1\]",
        ),
        (lambda: layer(options=CellOptions(clip=0.0)), "clip must be above 0, got 0.0"),
        (lambda: layer(options=CellOptions(clip=np.nan)), "clip must be above 0, got nan"),
        (
            lambda: layer("gru", CellOptions(input_forget=True)),
            "input_forget is for LSTM only, got it with 'gru'",
        ),
        (
            lambda: layer(options=CellOptions(clip=1.0), proj_size=2),
            "a layer with a projection takes no options",
        ),
        (
            lambda: layer(proj_size=2, also=peepholes(3, 4)),
            "'weight_peephole_l0': only an LSTM without a projection has peepholes",
        ),
        (lambda: layer("gru", also=peepholes(3, 4)), "only an LSTM without"),
        (
            lambda: layer(also=peepholes(12)),
            r"'weight_peephole_l0' must have shape \[3, 4\], got \[12\]",
        ),
        (
            lambda: layer(also=peepholes(3, 4), **BOTH),
            r"missing parameter 'weight_peephole_l0_reverse' of shape \[3, 4\]",
        ),
        (
            lambda: layer(also=peepholes(3, 4, suffix="_l1")),
            "unexpected parameter 'weight_peephole_l1'",
        ),
        (
            lambda: onnx_activations("lstm", 2, ["Tanh"] * 3),
            "6 names, 3 for each of 2 directions of 'lstm', got 3",
        ),
        (lambda: onnx_activations("rnn", 1, ["Gelu"]), f"'Gelu': expected one of {NAMES}"),
    ],
)
def test_errors_say_what_was_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def packed(cell="lstm", *, gates=4, directions=1, projected=False, **options):
    """Pack a layer by the binding alone, which trusts nobody."""
    width = 2 if projected else 5
    matrices = np.zeros((gates * 5, 3), np.float32), np.zeros((gates * 5, width), np.float32)
    projection = np.zeros((2, 5), np.float32) if projected else None
    return _native.LayerF32(cell, [(*matrices, None, None, projection)] * directions, **options)


F = ("Sigmoid", 0.0, 0.0)
P = np.zeros((3, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: packed(activations=[[F, F, ("Gelu", 0, 0)]]), f"'Gelu': expected one of {NAMES}"),
        (
            lambda: packed(activations=[[F, F, ("Elu", np.nan, 0.0)]]),
            "alpha and beta of Elu must be finite",
        ),
        (lambda: packed(activations=[[F, F]]), "activations must be 3 for each direction"),
        (lambda: packed(activations=[]), "activations must be a list for each direction"),
        (
            lambda: packed(activations=[[F] * 3], directions=2),
            "activations must be a list for each direction",
        ),
        (lambda: packed("gru_after", gates=3, activations=[[F]]), "must be 2 for each direction"),
        (lambda: packed("rnn_relu", gates=1, activations=[[F, F]]), "must be 1 for each direction"),
        (lambda: packed(clip=-1.0), "clip must be above 0"),
        (lambda: packed(clip=np.nan), "clip must be above 0"),
        (lambda: packed("gru_before", gates=3, input_forget=True), "are for an LSTM only"),
        (lambda: packed("rnn_tanh", gates=1, peepholes=[P]), "are for an LSTM only"),
        (lambda: packed(peepholes=[P, P]), "peepholes must be an array for each direction"),
        (lambda: packed(peepholes=[P[:2]]), r"peepholes must be \[3, 5\]"),
        (lambda: packed(peepholes=[P[:, :4].copy()]), r"peepholes must be \[3, 5\]"),
        (lambda: packed(projected=True, clip=1.0), "a layer with a projection takes no options"),
        (lambda: packed("general_lstm", clip=1.0), "expected rnn_tanh, rnn_relu, lstm, gru_after"),
    ],
)
def test_the_binding_checks_every_option_itself(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("wrong", [P.astype(np.float64), P[:, ::-1], np.zeros(15, np.float32)])
def test_the_binding_takes_no_other_array_for_peepholes(wrong):
    with pytest.raises(TypeError):
        packed(peepholes=[wrong])
