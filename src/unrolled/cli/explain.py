"""`unrolled explain MODEL TEXT... --out report.html`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from unrolled.cli.common import say, write_json
from unrolled.cli.levels import LEVEL, SpreadLevels


@click.command(name="explain", cls=SpreadLevels)
@click.argument("model", type=click.Path())
@click.argument("texts", nargs=-1)
@click.option("--data", "data", type=click.Path(), help="File of sequences, in place of TEXTS.")
@click.option("--format", "kind", help="Of --data: csv, npz ... (else by the ending).")
@click.option("--rows", default="1-5", show_default=True, help="Of --data: 3 or 1-5 or 2,7.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--png", type=click.Path(path_type=Path), help="Draw the first text as PNG or SVG.")
@click.option("--beam", type=click.IntRange(1), default=1, show_default=True, help="Beam width.")
@LEVEL
@click.option("--json", "as_json", is_flag=True, help="Print the weights as JSON.")
@click.option("--quiet", is_flag=True, help="No closing line.")
def command(
    model: str,
    texts: tuple[str, ...],
    data: str | None,
    kind: str | None,
    rows: str,
    out: Path,
    png: Path | None,
    beam: int,
    level: tuple[float, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what MODEL looked at in each of TEXTS, as one HTML page that needs no network.

    A translator's page shows which source unit each written unit came from; a classifier's, what
    each part of the text weighed in the label, and its confusion matrix; a tagger's, how likely
    each tag of each word is; a generator's, how many bits each unit surprised it by. A model of
    numbers takes its sequences from --data. A forecaster takes a file in the place of texts and
    shows its forecasts beside what came; so does a captioner, and shows what each word came from.

    Example: unrolled explain model/ "some text" --out report.html
    """
    from unrolled.cli import captioning, forecasting
    from unrolled.explain import report
    from unrolled.explain.captioning import captioning_report
    from unrolled.explain.explanation import examples_of
    from unrolled.explain.generating import surprise_report, surprised_examples
    from unrolled.explain.tagging import tagged_examples, tagging_report
    from unrolled.runtime.captioner_model import CaptionerModel
    from unrolled.runtime.forecaster_model import ForecastModel
    from unrolled.runtime.generator_model import GeneratorModel
    from unrolled.runtime.model import ClassifierModel, RegressorModel, load
    from unrolled.runtime.tagger_model import TaggerModel

    if not texts and data is None:
        raise click.UsageError("Missing argument 'TEXTS...'.")
    loaded = load(model)
    if isinstance(loaded, ForecastModel):
        history = _history(Path(model))
        forecasting.explain(loaded, Path(model), texts, out, level, history, as_json=as_json)
        say(f"the report is in {out}", quiet=quiet)
        return
    if data is not None and not isinstance(loaded, (ClassifierModel, RegressorModel)):
        raise click.UsageError("--data is for classifiers and regressors; give TEXTS")
    if isinstance(loaded, TaggerModel):
        examples = tagged_examples(loaded, _words(loaded, texts))
    elif isinstance(loaded, CaptionerModel):
        examples = captioning.examples(loaded, texts, beam)
    elif isinstance(loaded, (ClassifierModel, RegressorModel)):
        examples = _explained(loaded, texts, data, kind, rows)
    elif isinstance(loaded, GeneratorModel):
        examples = surprised_examples(loaded, list(texts))
    else:
        examples = examples_of(loaded, list(texts), beam=beam)
    log, metrics = _history(Path(model))
    title = f"What {Path(model).name} looked at"
    if isinstance(loaded, TaggerModel):
        title = f"How {Path(model).name} tagged"
        page = tagging_report(title, examples, log=log, metrics=metrics)
    elif isinstance(loaded, CaptionerModel):
        page = captioning_report(title, examples, log=log, metrics=metrics)
    elif isinstance(loaded, GeneratorModel):
        title = f"What surprised {Path(model).name}"
        page = surprise_report(title, examples, log=log, metrics=metrics)
    elif isinstance(loaded, (ClassifierModel, RegressorModel)):
        page = report.classification_report(title, examples, log=log, metrics=metrics)
    else:
        page = report.translation_report(title, examples, log=log, metrics=metrics)
    report.write_report(out, page)
    if png is not None:
        _draw(png, examples[0])
    if as_json:
        write_json([_plain(example) for example in examples])
    else:
        sys.stdout.writelines(f"{e['predicted']}\n" for e in examples)
    say(f"the report is in {out}", quiet=quiet)


def _explained(
    model: Any, texts: tuple[str, ...], data: str | None, kind: str | None, rows: str
) -> list[dict[str, Any]]:
    """Return what the page shows of the texts, or of some sequences of a file."""
    from unrolled.data.examples import read_examples
    from unrolled.errors import DataError
    from unrolled.explain.explanation import examples_of

    if data is None:
        if model.reads_frames:
            raise DataError("explain takes texts; this model reads frames of numbers: give --data")
        return examples_of(model, list(texts))
    found = read_examples(data, model.config.data, format=kind, answered=False)
    chosen = _chosen(rows, len(found))
    return examples_of(model, [found.inputs[i] for i in chosen])


def _chosen(rows: str, count: int) -> list[int]:
    """Return the places that `--rows` names, from 0; ConfigError where it names none."""
    from unrolled.errors import ConfigError

    places: list[int] = []
    for part in rows.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(f"--rows {rows}: expected numbers such as 3 or 1-5 or 2,7")
        places += range(int(first) - 1, min(int(last or first), count))
    found = [place for place in places if 0 <= place < count]
    if not found:
        raise ConfigError(f"--rows {rows}: the file has sequences 1 to {count}")
    return found


def _words(model: Any, texts: tuple[str, ...]) -> list[list[str]]:
    """Return the words of each text; DataError where the model reads frames or a text has none."""
    from unrolled.errors import DataError

    if model.reads_frames:
        raise DataError("explain takes texts; this model reads frames of numbers")
    for number, text in enumerate(texts, start=1):
        if not text.split():
            raise DataError(f"text {number} is empty; expected at least one word")
    return [text.split() for text in texts]


def _history(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the log, its epochs' gradient flow in it, and the metrics of a model folder."""
    from unrolled import artifact
    from unrolled.train.history import read_history

    return read_history(folder), dict(artifact.load(folder).metrics)


def _draw(path: Path, example: dict[str, Any]) -> None:
    from unrolled.errors import DataError
    from unrolled.explain import figures

    if "target_tokens" not in example or example["weights"] is None:
        raise DataError("--png draws alignments; this model has none")
    figures.save_figure(
        figures.alignment_figure(
            example["weights"],
            example["source_tokens"],
            example["target_tokens"],
            title=f"{example['word']} → {example['predicted']}",
        ),
        path,
    )


def _plain(example: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in example.items()}
