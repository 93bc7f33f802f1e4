"""`unrolled evaluate MODEL DATA`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from unrolled.cli.common import write_json
from unrolled.cli.levels import LEVEL, SpreadLevels

# More classes than this are told by --json and --report only.
MOST_LISTED = 60


@click.command(name="evaluate", cls=SpreadLevels)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(allow_dash=True))
@click.option("--format", "kind", help="csv, jsonl, conllu ... (else by the ending).")
@click.option("--source", help="Column of the text or source [default: as in training].")
@click.option("--target", help="Column of the label or target [default: as in training].")
@click.option("--beam", type=click.IntRange(1), default=1, show_default=True, help="Beam width.")
@LEVEL
@click.option(
    "--windows",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Forecasters: origins of each series, the last a horizon before its end (0: all).",
)
@click.option("--stride", type=click.IntRange(1), help="Steps between them [default: the horizon].")
@click.option(
    "--step",
    type=click.IntRange(0),
    default=0,
    help="Forecasters: measure this step of the horizon only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write a page too: metrics, confusion matrix, each class (classify, regress).",
)
def command(
    model: str,
    data: str,
    kind: str | None,
    source: str | None,
    target: str | None,
    beam: int,
    level: tuple[float, ...],
    windows: int,
    stride: int | None,
    step: int,
    as_json: bool,
    report: Path | None,
) -> None:
    """Measure MODEL on the labelled rows of DATA; a forecaster, on the end of each series.

    A forecaster's errors stand beside those of the seasonal naive forecast and the drift. With
    --windows there are several origins, each told only what is before it (rolling origin).

    Example: unrolled evaluate model/ test.csv
    """
    from unrolled.cli import forecasting, generating
    from unrolled.cli.flags import check_flags, need
    from unrolled.runtime.forecaster_model import ForecastModel
    from unrolled.runtime.generator_model import GeneratorModel
    from unrolled.runtime.model import load
    from unrolled.tasks.evaluate import evaluate_examples, read_examples

    loaded = load(model)
    check_flags(loaded.config)
    need("--windows", ("--stride",), "one origin has no distance to another")
    if isinstance(loaded, ForecastModel):
        forecasting.evaluate(
            loaded, data, kind, level=level, windows=windows, stride=stride, step=step,
            as_json=as_json,
        )  # fmt: skip
        return
    if isinstance(loaded, GeneratorModel):
        metrics = generating.evaluate(loaded, data, kind)
    else:
        examples = read_examples(loaded, data, format=kind, source=source, target=target)
        metrics = evaluate_examples(loaded, examples, beam=beam)
    if report is not None:
        _write_report(report, Path(model).name, data, metrics)
    if as_json:
        write_json(metrics)
    else:
        sys.stdout.write(_table(metrics))


def _table(metrics: dict[str, Any]) -> str:
    """Return the metrics as lines; rates in %, the confusion matrix with its classes."""
    percent = ("per", "wer", "span_precision", "span_recall", "micro_precision", "micro_recall")
    width = max(16, *(len(name) + 1 for name in metrics))
    lines = []
    for name, value in metrics.items():
        if name in percent or "@" in name or name.endswith(("accuracy", "_f1")):
            lines.append(f"{name:<{width}}{100 * value:8.2f} %")
        elif name in ("mae", "rmse"):
            lines.append(f"{name:<{width}}{value:8.4g}")
        elif isinstance(value, float):
            lines.append(f"{name:<{width}}{value:8.3f}")
        elif isinstance(value, (int, str)):
            lines.append(f"{name:<{width}}{value:>8}")
    if "span_types" in metrics:
        lines += ["", *_spans(metrics["span_types"])]
    if "confusion" in metrics and len(metrics["classes"]) <= 20:
        lines += ["", *_confusion(metrics["confusion"], metrics["classes"])]
    if "per_class" in metrics and len(metrics["per_class"]) <= MOST_LISTED:
        lines += ["", *_spans(metrics["per_class"], "class")]
    if len(metrics.get("per_target", ())) > 1:
        lines += ["", *_targets(metrics["per_target"])]
    return "\n".join(lines) + "\n"


def _write_report(path: Path, name: str, data: str, metrics: dict[str, Any]) -> None:
    from unrolled.explain import report

    page = report.classification_report(f"{name} on {Path(data).name}", [], metrics=metrics)
    report.write_report(path, page)


def _targets(report: dict[str, dict[str, float]]) -> list[str]:
    width = max(16, *(len(name) + 1 for name in report))
    keys = ("mae", "rmse", "r2", "spearman")
    head = f"{'target':<{width}}" + "".join(f"{key:>12}" for key in keys)
    body = [
        f"{name:<{width}}" + "".join(f"{each[key]:12.4g}" for key in keys)
        for name, each in report.items()
    ]
    return [head, *body]


def _spans(types: dict[str, dict[str, Any]], what: str = "span") -> list[str]:
    width = max(16, *(len(name) + 1 for name in types)) if types else 16
    names = ("f1", "precision", "recall", "count")
    head = f"{what:<{width}}" + "".join(f"{name:>12}" for name in names)
    body = [
        f"{name:<{width}}"
        + "".join(f"{100 * rates[key]:10.2f} %" for key in names[:3])
        + f"{rates['count']:>12}"
        for name, rates in types.items()
    ]
    return [head, *body]


def _confusion(rows: list[list[int]], names: list[str]) -> list[str]:
    width = max(6, *(len(name) + 1 for name in names))
    head = " " * width + "".join(f"{name:>{width}}" for name in names)
    body = [
        f"{name:<{width}}" + "".join(f"{count:>{width}}" for count in row)
        for name, row in zip(names, rows, strict=True)
    ]
    return ["confusion (rows: true, columns: predicted)", head, *body]
