"""The one table of supported operators: what runs each, and which attributes it knows.

An attribute that is not named here is refused, because ignoring it would give other numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from unrolled.interop.onnx.ops import control, products, recurrent_node, selection, shaping, windows
from unrolled.interop.onnx.ops import elementwise as each
from unrolled.interop.onnx.ops.products import reduction


class Op(NamedTuple):
    """An operator: its function, the attributes that it reads, and how a graph may use it.

    `cheap` operators are computed at load time where all their inputs are constants.
    """

    run: Callable[..., Any]
    attributes: str = ""
    cheap: bool = True
    prepare: Callable[..., Any] | None = None


_REDUCE = "axes keepdims noop_with_empty_axes"
_WINDOW = "auto_pad dilations kernel_shape pads strides"
_RECURRENT = "activations activation_alpha activation_beta clip direction hidden_size layout"

OLDEST_OPSET, NEWEST_OPSET = 7, 28

CONTROL: dict[str, Op] = {
    "If": Op(control.if_, "then_branch else_branch", cheap=False),
    "Loop": Op(control.loop, "body", cheap=False),
    "Scan": Op(
        control.scan,
        "body num_scan_inputs scan_input_axes scan_input_directions scan_output_axes "
        "scan_output_directions",
        cheap=False,
    ),
}

RECURRENT: dict[str, Op] = {
    "GRU": Op(
        recurrent_node.recurrent_node,
        f"{_RECURRENT} linear_before_reset",
        cheap=False,
        prepare=recurrent_node.prepare,
    ),
    "LSTM": Op(
        recurrent_node.recurrent_node,
        f"{_RECURRENT} input_forget",
        cheap=False,
        prepare=recurrent_node.prepare,
    ),
    "RNN": Op(
        recurrent_node.recurrent_node, _RECURRENT, cheap=False, prepare=recurrent_node.prepare
    ),
}

OPS: dict[str, Op] = {
    "Abs": Op(each.unary(np.abs)),
    "Add": Op(each.binary(np.add)),
    "And": Op(each.binary(np.logical_and)),
    "ArgMax": Op(selection.arg_extreme, "axis keepdims select_last_index"),
    "ArgMin": Op(selection.arg_extreme, "axis keepdims select_last_index"),
    "AveragePool": Op(windows.average_pool, f"{_WINDOW} ceil_mode count_include_pad", cheap=False),
    "BatchNormalization": Op(
        products.batch_normalization, "epsilon momentum spatial training_mode", cheap=False
    ),
    "Cast": Op(each.cast, "to saturate round_mode"),
    "CastLike": Op(each.cast_like, "saturate round_mode"),
    "Ceil": Op(each.unary(np.ceil)),
    "Celu": Op(each.celu, "alpha"),
    "Clip": Op(each.clip, "min max"),
    "Concat": Op(shaping.concat, "axis"),
    "Constant": Op(shaping.constant, "value value_float value_floats value_int value_ints"),
    "ConstantOfShape": Op(shaping.constant_of_shape, "value"),
    "Conv": Op(windows.conv, f"{_WINDOW} group", cheap=False),
    "ConvTranspose": Op(
        windows.conv_transpose, f"{_WINDOW} group output_padding output_shape", cheap=False
    ),
    "Cos": Op(each.unary(np.cos)),
    "CumSum": Op(selection.cum_sum, "exclusive reverse"),
    "Div": Op(each.binary(each.divide)),
    "Dropout": Op(each.dropout, "ratio seed"),
    "Einsum": Op(products.einsum, "equation", cheap=False),
    "Elu": Op(each.elu, "alpha"),
    "Equal": Op(each.binary(np.equal)),
    "Erf": Op(each.unary(each.erf)),
    "Exp": Op(each.unary(np.exp)),
    "Expand": Op(shaping.expand),
    "EyeLike": Op(shaping.eye_like, "dtype k"),
    "Flatten": Op(shaping.flatten, "axis"),
    "Floor": Op(each.unary(np.floor)),
    "Gather": Op(selection.gather, "axis"),
    "GatherElements": Op(selection.gather_elements, "axis"),
    "GatherND": Op(selection.gather_nd, "batch_dims"),
    "Gelu": Op(each.gelu, "approximate"),
    "Gemm": Op(products.gemm, "alpha beta transA transB", cheap=False),
    "GlobalAveragePool": Op(windows.global_average_pool, cheap=False),
    "GlobalMaxPool": Op(windows.global_max_pool, cheap=False),
    "Greater": Op(each.binary(np.greater)),
    "GreaterOrEqual": Op(each.binary(np.greater_equal)),
    "HardSigmoid": Op(each.hard_sigmoid, "alpha beta"),
    "HardSwish": Op(each.unary(each.hard_swish)),
    "Identity": Op(each.identity),
    "InstanceNormalization": Op(products.instance_normalization, "epsilon", cheap=False),
    "IsInf": Op(each.is_inf, "detect_negative detect_positive"),
    "IsNaN": Op(each.unary(np.isnan)),
    "LayerNormalization": Op(products.layer_normalization, "axis epsilon stash_type", cheap=False),
    "LeakyRelu": Op(each.leaky_relu, "alpha"),
    "Less": Op(each.binary(np.less)),
    "LessOrEqual": Op(each.binary(np.less_equal)),
    "Log": Op(each.unary(np.log)),
    "LogSoftmax": Op(products.log_softmax, "axis"),
    "LpNormalization": Op(products.lp_normalization, "axis p"),
    "MatMul": Op(products.matmul, cheap=False),
    "Max": Op(each.variadic(np.maximum)),
    "MaxPool": Op(windows.max_pool, f"{_WINDOW} ceil_mode storage_order", cheap=False),
    "Mean": Op(each.mean),
    "MeanVarianceNormalization": Op(products.mean_variance_normalization, "axes"),
    "Min": Op(each.variadic(np.minimum)),
    "Mod": Op(each.modulo, "fmod"),
    "Mul": Op(each.binary(np.multiply)),
    "Neg": Op(each.unary(np.negative)),
    "NonZero": Op(selection.non_zero),
    "Not": Op(each.unary(np.logical_not)),
    "OneHot": Op(shaping.one_hot, "axis"),
    "Or": Op(each.binary(np.logical_or)),
    "PRelu": Op(each.p_relu),
    "Pad": Op(shaping.pad, "mode pads value"),
    "Pow": Op(each.binary(each.power)),
    "Range": Op(shaping.range_),
    "Reciprocal": Op(each.unary(np.reciprocal)),
    "ReduceL1": Op(reduction(products.reduce_l1), _REDUCE),
    "ReduceL2": Op(reduction(products.reduce_l2), _REDUCE),
    "ReduceLogSum": Op(reduction(products.reduce_log_sum), _REDUCE),
    "ReduceLogSumExp": Op(reduction(products.reduce_log_sum_exp), _REDUCE),
    "ReduceMax": Op(reduction(products.reduce_max), _REDUCE),
    "ReduceMean": Op(reduction(products.reduce_mean), _REDUCE),
    "ReduceMin": Op(reduction(products.reduce_min), _REDUCE),
    "ReduceProd": Op(reduction(products.reduce_prod), _REDUCE),
    "ReduceSum": Op(reduction(products.reduce_sum, since=13), _REDUCE),
    "ReduceSumSquare": Op(reduction(products.reduce_sum_square), _REDUCE),
    "Relu": Op(each.unary(each.relu)),
    "Reshape": Op(shaping.reshape, "allowzero"),
    "ReverseSequence": Op(selection.reverse_sequence, "batch_axis time_axis"),
    "Round": Op(each.unary(np.round)),
    "ScatterElements": Op(selection.scatter_elements, "axis reduction"),
    "ScatterND": Op(selection.scatter_nd, "reduction"),
    "Selu": Op(each.selu, "alpha gamma"),
    "Shape": Op(shaping.shape, "start end"),
    "Sigmoid": Op(each.unary(each.sigmoid)),
    "Sign": Op(each.unary(np.sign)),
    "Sin": Op(each.unary(np.sin)),
    "Size": Op(shaping.size),
    "Slice": Op(shaping.slice_, "starts ends axes"),
    "Softmax": Op(products.softmax, "axis"),
    "Softplus": Op(each.unary(each.softplus)),
    "Softsign": Op(each.unary(each.softsign)),
    "Split": Op(shaping.split, "axis split num_outputs"),
    "Sqrt": Op(each.unary(np.sqrt)),
    "Squeeze": Op(shaping.squeeze, "axes"),
    "Sub": Op(each.binary(np.subtract)),
    "Sum": Op(each.variadic(np.add)),
    "Tanh": Op(each.unary(np.tanh)),
    "ThresholdedRelu": Op(each.thresholded_relu, "alpha"),
    "Tile": Op(shaping.tile),
    "TopK": Op(selection.top_k, "axis k largest sorted"),
    "Transpose": Op(shaping.transpose, "perm"),
    "Trilu": Op(shaping.trilu, "upper"),
    "Unsqueeze": Op(shaping.unsqueeze, "axes"),
    "Where": Op(each.where),
    "Xor": Op(each.binary(np.logical_xor)),
}


def find(op_type: str) -> Op | None:
    """Return the operator of this name, or None."""
    return OPS.get(op_type) or RECURRENT.get(op_type) or CONTROL.get(op_type)
