"""Rows of forecasters: ETTh1's oil temperature, and exchange rates.

ETTh1 is standardised by its training part, so that the errors are those that are published: over
all windows of the test part, one step apart. The published figures of exchange rates are of one
step of the horizon, over all windows and all eight rates together.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.quality.row import Row

HOURS_A_MONTH = 30 * 24
ETT_WINDOW, EXCHANGE_WINDOW = {24: 96, 48: 96, 168: 168}, 64
ETT = {
    24: ".114 / .272 (MSE, MAE; LSTMa); .107 (DeepAR); .098 (Informer)",
    48: ".193 / .358 (LSTMa); .162 (DeepAR); .158 (Informer)",
    168: ".236 / .392 (LSTMa); .239 (DeepAR); .183 (Informer)",
}
EXCHANGE = {3: (".0253", ".0192"), 6: (".0320", ".0264"), 12: (".0449", ".0408"),
            24: (".0596", ".0626")}  # fmt: skip


def rows() -> list[Row]:
    """ETTh1 at three horizons, exchange rates at four."""
    ett = [
        Row(
            f"etth1-{horizon}",
            "forecast",
            f"--horizon {horizon} --window {ETT_WINDOW[horizon]} {ETT_OPTIONS}",
            "--windows 0 --stride 1",
            ("mse", "mae", "seasonal_naive"),
            published,
            partial(_ett, window=ETT_WINDOW[horizon]),
            1.0,
        )
        for horizon, published in ETT.items()
    ]
    exchange = [
        Row(
            f"exchange-{horizon}",
            "forecast",
            f"--horizon {horizon} --window {EXCHANGE_WINDOW} {EXCHANGE_OPTIONS}",
            f"--windows 0 --stride 1 --step {horizon}",
            ("rse", "seasonal_naive"),
            f"{skip} (RSE, LSTNet-skip); {gru} (RNN-GRU)",
            partial(_exchange, horizon=horizon),
            1.0,
        )
        for horizon, (skip, gru) in EXCHANGE.items()
    ]
    return [*ett, *exchange]


ETT_OPTIONS = (
    "--time date --target OT --output point --loss mse --epochs 6 --batch-size 32"
    " --windows-per-epoch 3000 --validation-limit 700"
)
EXCHANGE_OPTIONS = "--output point --loss mse --epochs 3 --lr 0.001 --windows-per-epoch 6000"


def _ett(data: Path, work: Path, *, window: int) -> dict[str, Path]:
    """12 months to learn, 4 to validate, 4 to test, each with the window before it."""
    with (data / "forecast" / "ETTh1.csv").open() as stream:
        records = [(row["date"], float(row["OT"])) for row in csv.DictReader(stream)]
    train, valid, test = (months * HOURS_A_MONTH for months in (12, 16, 20))
    values = [value for _, value in records[:train]]
    mean, scale = statistics.fmean(values), statistics.pstdev(values)
    bounds = {
        "train": (0, train),
        "valid": (train - window, valid),
        "test": (valid - window, test),
    }
    found = {}
    for part, (begin, end) in bounds.items():
        found[part] = work / f"{part}.csv"
        lines = [f"{date},{(value - mean) / scale:.7f}\n" for date, value in records[begin:end]]
        found[part].write_text("date,OT\n" + "".join(lines))
    return found


def _exchange(data: Path, work: Path, *, horizon: int) -> dict[str, Path]:
    """60 % to learn, 20 % to validate, 20 % to test, each with the window before it."""
    lines = (data / "forecast" / "exchange_rate.txt").read_text().splitlines()
    rates = [[float(value) for value in line.split(",")] for line in lines]
    cuts = [0, int(0.6 * len(rates)), int(0.8 * len(rates)), len(rates)]
    found = {}
    for k, part in enumerate(("train", "valid", "test")):
        # The first window's last step is the first of its part.
        begin = max(0, cuts[k] - EXCHANGE_WINDOW - horizon + 1)
        found[part] = work / f"{part}.csv"
        found[part].write_text(_long(rates[begin : cuts[k + 1]]))
    return found


def _long(rates: Sequence[Sequence[float]]) -> str:
    lines = [f"{k},{t},{row[k]}\n" for k in range(len(rates[0])) for t, row in enumerate(rates)]
    return "unique_id,ds,y\n" + "".join(lines)
