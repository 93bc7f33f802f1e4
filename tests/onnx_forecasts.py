"""Forecasters of random weights, frames, and the inputs that a caller makes of both by a file."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

import forecasting
from tolerances import close
from unrolled.config import CalibrationSpec, DataSpec, ForecastingSpec, ModelConfig, TrainSpec
from unrolled.data.frequency import CYCLES
from unrolled.interop.onnx import load
from unrolled.nn.build import build as build_torch
from unrolled.runtime.build import build
from unrolled.runtime.forecaster_model import ForecastModel

pd = pytest.importorskip("pandas")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

HORIZON, WINDOW = 4, 9
ALL_CYCLES = tuple(CYCLES)
STATIC = ("kind", "size", "shop")
CATEGORIES = {"kind": ("a", "b", "c"), "shop": ("north", "south")}
STATISTICS = {"load": (210.0, 4.0), "rain": (0.1, 2.0), "promo": (0.5, 0.25), "size": (-3.0, 1e3)}


def session(content):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    made = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in made.get_outputs()]
    wanted = {value.name for value in made.get_inputs()}

    def run(feeds):
        known = {name: value for name, value in feeds.items() if name in wanted}
        return dict(zip(names, made.run(names, known), strict=True))

    return run


def ours(content):
    model = load(content)
    wanted = {value.name for value in model.inputs}
    return lambda feeds: model.run({k: v for k, v in feeds.items() if k in wanted})


READERS = {"onnxruntime": session, "our own reader": ours}


def runs(path: Path):
    return [make(path.read_bytes()) for make in READERS.values()]


def same(found, column) -> bool:
    """Whether a file's numbers are a column of `predict`, within what float32 tells."""
    return close(found.ravel(), np.asarray(column, np.float32), "forward")


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


def model_of(decoder: str, output: str, cell: str = "gru", **choices) -> ForecastModel:
    """A forecaster of random weights that reads covariates of every kind."""
    past = () if decoder == "autoregressive" else ("load", "rain")
    reads = ForecastingSpec(
        **{
            "freq": "h", "window": WINDOW, "past": past, "future": ("promo",), "static": STATIC,
            "statistics": STATISTICS, "categories": CATEGORIES, "calendar": ALL_CYCLES,
            **choices,
        }
    )  # fmt: skip
    spec = forecasting.forecaster(decoder, output, cell)
    known, static = 2 * (len(reads.calendar) + 1), 6
    stack = msgspec.structs.replace(spec.recurrent, input_size=2 + 2 * len(past) + known + static)
    changes = {"recurrent": stack, "known_size": known, "static_size": static}
    if spec.decoder_recurrent is not None:
        changes["decoder_recurrent"] = msgspec.structs.replace(
            spec.decoder_recurrent, input_size=1 + known + static
        )
    spec = msgspec.structs.replace(spec, past_size=2 * len(past), **changes)
    torch.manual_seed(0)
    module = build_torch(spec)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network = build(spec, {k: v.detach().numpy() for k, v in module.state_dict().items()})
    config = ModelConfig(
        format_version=1, task="forecast", network=spec, training=TrainSpec(),
        data=DataSpec(target="y", forecasting=reads),
    )  # fmt: skip
    return ForecastModel(config, network)


def frames(freq: str = "h", start: str = "2023-12-19 20:15"):
    """Three series of which one is shorter than a window, a fifth of their numbers missing."""
    draw = np.random.default_rng(7)
    past, later = [], []
    for k, steps in enumerate((30, 5, 12)):
        total = steps + HORIZON
        stamps = pd.date_range(start, periods=total, freq=freq)
        found = pd.DataFrame({"unique_id": f"s{k}", "ds": stamps})
        for column, (mean, scale) in {**STATISTICS, "y": (20.0, 3.0)}.items():
            values = draw.normal(mean, scale, total)
            values[:steps][draw.random(steps) < 0.2] = np.nan
            found[column] = values
        found["size"] = 10.0 * k
        found["kind"], found["shop"] = "cab"[k], ("north", "south")[k % 2]
        found.loc[steps - 1, "y"] = 20.0 + k
        past.append(found[:steps])
        later.append(found[["unique_id", "ds", "promo"]][steps:])
    return pd.concat(past, ignore_index=True), pd.concat(later, ignore_index=True)


def arrays(about, rows, ending: str = ""):
    """The inputs that are made of the rows of a frame, by what the file says of them."""
    found = {}
    for name, note in about.items():
        stem = name.removesuffix("_ahead")
        if name.endswith("_ahead") != bool(ending) or name == "lengths":
            continue
        if stem == "stamp":
            assert note["unit"] == "seconds since 1970-01-01 00:00"
            column = rows[note["columns"][0]]
            start = pd.Timestamp(0, tz=column.dt.tz)
            found[name] = ((column - start) / pd.Timedelta(seconds=1)).to_numpy()
        elif stem == "y":
            found[name] = rows[note["columns"][0]].to_numpy(float)
        elif stem == "static":
            found[name] = rows[note["columns"]].iloc[-1].to_numpy(float)
        elif stem == "categories":
            last = rows.iloc[-1]
            found[name] = np.array([note["values"][c].index(last[c]) for c in note["columns"]])
        else:
            found[name] = rows[note["columns"]].to_numpy(float)
    return found


def windows(path: Path, data, later):
    """Windows as a caller makes them who has the frame, the file's metadata, numpy and pandas."""
    about = json.loads(metadata(path)["inputs"])
    most = about["lengths"]["most"]
    each = []
    for _, rows in data.groupby("unique_id", sort=False):
        each.append(arrays(about, rows.tail(most)))
    lengths = np.array([len(one["y"]) for one in each])
    feeds = {"lengths": lengths}
    for name in each[0]:
        parts = [one[name] for one in each]
        if name not in ("static", "categories"):
            # What lies behind a row's length is not read.
            parts = [
                np.concatenate(
                    [part, np.full((lengths.max() - len(part), *part.shape[1:]), np.nan)]
                )
                for part in parts
            ]
        feeds[name] = np.stack(parts)
    beside = {
        name: note
        for name, note in {**about, "stamp_ahead": about.get("stamp")}.items()
        if note is not None
    }
    beside["future_ahead"] = {"columns": ["promo"]}
    ahead = [arrays(beside, rows, "_ahead") for _, rows in later.groupby("unique_id", sort=False)]
    return feeds | {name: np.stack([one[name] for one in ahead]) for name in ahead[0]}


def offsets(draw, shares) -> CalibrationSpec:
    """Offsets of which some make quantiles cross; the median's are 0, as they are measured."""
    found = draw.normal(0, 0.5, (HORIZON, len(shares)))
    found[:, shares.index(0.5)] = 0
    return CalibrationSpec(shares=shares, offsets=tuple(map(tuple, found.tolist())), windows=99)
