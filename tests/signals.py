"""Tiny sequences of numbers whose label, or number, hangs on what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars

import tiny

LEARN = {**tiny.SMALL, "hidden_size": 12, "dropout": 0.0, "epochs": 12, "lr": 0.03}
FLAGS = [f"--{key.replace('_', '-')}={value}" for key, value in LEARN.items()]


def recordings(count=40, seed=0):
    """Two channels on odd scales; `up` where the first ends above its mean, else `down`."""
    draw = np.random.default_rng(seed)
    inputs = [draw.normal(size=(draw.integers(1, 9), 2)) for _ in range(count)]
    labels = ["up" if x[-1, 0] > 0 else "down" for x in inputs]
    return [(1000 + 50 * x).astype(np.float32) for x in inputs], labels


def sums(count=40, seed=0):
    """The same channels and two numbers: the mean of the first, 10 times that of the second."""
    inputs, _ = recordings(count, seed)
    return inputs, np.array([[x[:, 0].mean(), 10 * x[:, 1].mean()] for x in inputs])


def padded(inputs):
    """x [N, T, I] filled up with zeros, and lengths [N]."""
    lengths = np.array([len(x) for x in inputs])
    x = np.zeros((len(inputs), lengths.max(), inputs[0].shape[1]), np.float32)
    for i, n in enumerate(lengths):
        x[i, :n] = inputs[i]
    return {"x": x, "lengths": lengths}


def long_table(inputs, **columns):
    """A row a step, shuffled: id, time, a, b, and columns of one value a sequence."""
    rows = [
        {"id": f"r{i}", "t": t, "a": float(x[t, 0]), "b": float(x[t, 1])}
        | {name: values[i] for name, values in columns.items()}
        for i, x in enumerate(inputs)
        for t in range(len(x))
    ]
    order = np.random.default_rng(1).permutation(len(rows))
    return polars.DataFrame([rows[k] for k in order])


def write_npz(path: Path, count=40, seed=0) -> Path:
    inputs, labels = recordings(count, seed)
    np.savez(path, **padded(inputs), label=np.array(labels))
    return path


def write_csv(path: Path, count=40, seed=0) -> Path:
    inputs, labels = recordings(count, seed)
    long_table(inputs, y=labels).write_csv(path)
    return path
