"""Makes the files of this folder: small Keras models with random weights, and what Keras answers.

Not run by the tests. Needs an environment of its own with Keras 3 and a backend:

    python3 -m venv keras-venv
    keras-venv/bin/pip install keras 'jax[cpu]' h5py
    KERAS_BACKEND=jax keras-venv/bin/python tests/golden/keras/make.py tests/golden/keras

Made with keras 3.15.1 and jax 0.10.2. NAME.keras (its parts compressed) and NAME.h5 are the model,
NAME.npz its inputs `x_INPUT` and its outputs `y_0`, `y_1` ... as `model.predict` gives them.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers as L
from keras import ops

N, T = 3, 6
RNG = np.random.default_rng(7)
Model = keras.Model


def recurrent() -> Iterator[tuple[str, Model]]:
    """Every cell, plain and with each setting that changes its numbers."""
    cells = {"lstm": L.LSTM, "gru": L.GRU, "rnn": L.SimpleRNN}
    gates = {"recurrent_activation": "hard_sigmoid"}
    for name, cell in cells.items():
        own = {} if name == "rnn" else gates
        yield f"{name}_plain", one(cell(4))
        yield f"{name}_sequences_nobias", one(cell(4, return_sequences=True, use_bias=False))
        yield f"{name}_backwards", one(cell(4, return_sequences=True, go_backwards=True))
        yield f"{name}_backwards_masked", one(cell(4, return_sequences=True, go_backwards=True), 1)
        yield f"{name}_masked", one(cell(4, return_sequences=True), 1)
        yield f"{name}_zero", one(cell(4, return_sequences=True, zero_output_for_mask=True), 1)
        yield f"{name}_zero_last", one(cell(4, zero_output_for_mask=True), 1)
        yield f"{name}_hard", one(cell(4, activation="softsign", **own))
        for act in ("relu", "linear", "elu", "softplus", "sigmoid", "leaky_relu"):
            yield f"{name}_{act}", one(cell(4, activation=act))
    yield "gru_before", one(L.GRU(4, reset_after=False, return_sequences=True), 1)
    yield "gru_before_nobias", one(L.GRU(4, reset_after=False, use_bias=False))
    yield "rnn_cell", one(L.RNN(L.LSTMCell(4), return_sequences=True))


def bidirectional() -> Iterator[tuple[str, Model]]:
    """Every merge mode, with and without a mask, whole and last."""
    for merge in ("concat", "sum", "ave", "mul", None):
        for mask in (0, 1):
            for sequences in (True, False):
                inner = L.GRU(3, return_sequences=sequences)
                layer = L.Bidirectional(inner, merge_mode=merge)
                yield f"bi_{merge}_{mask}_{sequences}".lower(), one(layer, mask)
    inner = L.LSTM(3, return_sequences=True, return_state=True)
    yield "bi_states", one(L.Bidirectional(inner), 1)
    back = L.LSTM(3, activation="relu", go_backwards=True)
    yield "bi_other_activation", one(L.Bidirectional(L.LSTM(3), backward_layer=back))


def one(layer: L.Layer, mask: int = 0) -> Model:
    """A model of one layer on frames, masked where they are zero."""
    frames = keras.Input((T, 2), name="frames")
    x = L.Masking(name="masking")(frames) if mask else frames
    layer.name = "layer"
    found = layer(x)
    return Model(frames, found)


def sequential(*parts: L.Layer) -> Model:
    return keras.Sequential([keras.Input((T, 4), name="frames"), *parts])


def others() -> Iterator[tuple[str, Model]]:
    """Layers around the recurrent ones."""
    yield (
        "conv",
        sequential(
            L.Conv1D(3, 3, padding="same", strides=2),
            L.Conv1D(4, 2, padding="causal", dilation_rate=2),
        ),
    )
    yield "conv_groups", sequential(L.Conv1D(4, 2, groups=2, activation="relu", use_bias=False))
    yield (
        "pool",
        sequential(
            L.ZeroPadding1D((1, 2)),
            L.MaxPooling1D(2, padding="same"),
            L.AveragePooling1D(3, 1, "same"),
        ),
    )
    yield "pool_valid", sequential(L.MaxPooling1D(3, 2), L.AveragePooling1D(2), L.Flatten())
    yield "norm", sequential(L.BatchNormalization(), L.LayerNormalization(), L.ELU(0.7))
    yield (
        "norm_bare",
        sequential(
            L.BatchNormalization(scale=False), L.LayerNormalization(center=False), L.LeakyReLU(0.1)
        ),
    )
    yield "shapes", sequential(L.Permute((2, 1)), L.Reshape((3, 8)), L.ReLU(2.0, 0.1, 0.2))
    yield "repeat", sequential(L.GlobalMaxPooling1D(), L.RepeatVector(3), L.SpatialDropout1D(0.1))
    yield "softmax", sequential(L.Softmax(axis=1), L.Dense(3, activation="gelu"))
    yield "distributed", sequential(L.Reshape((3, 2, 4)), L.TimeDistributed(L.LSTM(3)))
    yield "average_masked", sequential(L.Masking(), L.GlobalAveragePooling1D())
    yield "softmax_masked", soft_masked()
    for act in ("selu", "silu", "mish", "exponential", "relu6", "softmax", "hard_sigmoid"):
        yield f"dense_{act}", sequential(L.Dense(3, activation=act))


def soft_masked() -> Model:
    frames = keras.Input((T, 4), name="frames")
    x = L.Masking()(frames)
    scores = L.Flatten()(L.Dense(1)(x))
    weights = L.Softmax()(scores, mask=ops.any(ops.not_equal(frames, 0), axis=-1))
    return Model(frames, L.Dot(axes=1)([weights, x]))


def functional() -> Iterator[tuple[str, Model]]:
    """Graphs: several inputs and outputs, shared layers, models within models, attention."""
    ids, frames = keras.Input((T,), dtype="int32", name="ids"), keras.Input((T, 2), name="frames")
    both = L.Concatenate()([L.Embedding(9, 3, mask_zero=True)(ids), L.Masking()(frames)])
    y, h, _ = L.LSTM(4, return_sequences=True, return_state=True, name="first")(both)
    z = L.GRU(4, return_sequences=True, name="second")(y, initial_state=h)
    a = L.Attention(use_scale=True)([z, y])
    forward, backward = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode=None)(a)
    z = L.TimeDistributed(L.Dense(2))(L.Add()([forward, backward]))
    pooled = L.GlobalAveragePooling1D()(z)
    inner = keras.Sequential([L.Dense(4), L.BatchNormalization(), L.Dense(2)], name="inner")
    yield "graph", Model([ids, frames], [inner(pooled) + pooled, y])

    left, right = keras.Input((T,), dtype="int32", name="a"), keras.Input((T,), name="b")
    table, reader = L.Embedding(9, 3, mask_zero=True), L.Bidirectional(L.LSTM(2), "ave")
    u, v = reader(table(left)), reader(table(right))
    merged = [L.Multiply()([u, v]), L.Average()([u, v]), L.Subtract()([u, v]), L.Maximum()([u, v])]
    cosine = L.Dot(axes=-1, normalize=True)([u, v])
    yield "shared", Model([left, right], L.Concatenate()([*merged, cosine]))

    x = L.Embedding(9, 3, mask_zero=True)(ids)
    y = L.GRU(3, return_sequences=True)(x)
    a = L.AdditiveAttention()([y, y])
    c = L.Attention(score_mode="concat")([y, x, x])
    d = L.Attention()([y, y], use_causal_mask=True)
    yield "attention", Model(ids, [a, c, d, y[:, -1], y[:, 1:, :2]])

    q = keras.Input((T, 3), name="x")
    deep = keras.Sequential([keras.Input((T, 3)), L.LSTM(3, return_sequences=True), L.Dense(2)])
    hidden = Model(q, [deep(q), L.GRU(2)(q)], name="hidden")
    p = keras.Input((T, 3), name="p")
    s, g = hidden(p)
    s2, _ = hidden(L.ReLU()(p))
    yield "nested", Model(p, [s, g, L.Minimum()([s, s2])])

    state = keras.Input((4,), name="h"), keras.Input((4,), name="c")
    out = L.LSTM(4, return_sequences=True, return_state=True)(frames, initial_state=list(state))
    yield "states", Model([frames, *state], out)
    given = keras.Input((T,), dtype="bool", name="mask")
    yield "given_mask", Model([frames, given], L.LSTM(4)(frames, mask=given))


def inputs_of(model: Model) -> dict[str, np.ndarray]:
    found = {}
    for each in model.inputs:
        shape = (N, *each.shape[1:])
        if each.dtype == "bool":
            found[each.name] = RNG.random(shape) < 0.6
        elif each.dtype == "int32" or each.name == "b":
            found[each.name] = RNG.integers(0, 9, shape) * (RNG.random(shape) < 0.7)
            found[each.name] = found[each.name].astype(np.int32)
        else:
            found[each.name] = RNG.standard_normal(shape).astype(np.float32)
            if len(shape) == 3:
                found[each.name] *= RNG.random(shape[:2])[..., None] < 0.7
    return found


def randomise(model: Model) -> None:
    for weight in model.weights:
        value = RNG.uniform(-0.8, 0.8, weight.shape)
        weight.assign(np.abs(value) if "variance" in weight.path else value)


def pack(path: Path) -> None:
    """Write a .keras file again with its parts compressed, which Keras leaves undone."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 9)


# What is kept in the repository; everything else is for a wider check by hand.
KEPT = {
    "lstm_hard": "keras",
    "gru_masked": "h5",
    "gru_before": "keras",
    "rnn_backwards_masked": "keras",
    "bi_sum_1_true": "keras",
    "bi_states": "keras",
    "bi_other_activation": "keras",
    "conv": "keras",
    "graph": "keras",
    "shared": "keras",
    "attention": "keras",
    "nested": "keras",
    "states": "keras",
    "given_mask": "h5",
}


def main(folder: Path, everything: bool) -> None:
    makers: tuple[Callable[[], Iterator[tuple[str, Model]]], ...]
    makers = (recurrent, bidirectional, others, functional)
    for maker in makers:
        for name, model in maker():
            if not everything and name not in KEPT:
                continue
            randomise(model)
            given = inputs_of(model)
            found = model.predict([given[each.name] for each in model.inputs], verbose=0)
            parts = found if isinstance(found, (list, tuple)) else [found]
            for kind in ("keras", "h5") if everything else (KEPT[name],):
                model.save(folder / f"{name}.{kind}")
                if kind == "keras":
                    pack(folder / f"{name}.keras")
            if everything or name == "lstm_hard":
                model.save_weights(folder / f"{name}.weights.h5")
            np.savez(
                folder / f"{name}.npz",
                **{f"x_{key}": value for key, value in given.items()},
                **{f"y_{k}": np.asarray(value) for k, value in enumerate(parts)},
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--all" in sys.argv)
