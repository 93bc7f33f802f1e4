"""`unrolled explain MODEL TEXT... --out report.html`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import click

from unrolled.cli.common import say, write_json
from unrolled.cli.levels import LEVEL, SpreadLevels


@click.command(name="explain", cls=SpreadLevels)
@click.argument("model", type=click.Path())
@click.argument("texts", nargs=-1)
@click.option("--methods", help="Comma-separated, or all.  [default: attention,occlusion,states]")
@click.option("--target", help="The label to explain, or the place in the answer, from 1.")
@click.option(
    "--how", type=click.Choice(["remove", "replace"]), help="How steps leave the input in tests."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of random orders.")
@click.option(
    "--stack",
    type=click.Choice(["encoder", "decoder"]),
    help="Of a translator: whose states, memory and units.  [default: encoder]",
)
@click.option("--unit", help="With --data: its inputs that excite a unit most, such as L0:17.")
@click.option("--data", "data", type=click.Path(), help="File of sequences, in place of TEXTS.")
@click.option("--format", "kind", help="Of --data: csv, npz ... (else by the ending).")
@click.option("--rows", help="Of --data: 3 or 1-5 or 2,7.  [default: 1-5]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--png", type=click.Path(path_type=Path), help="Draw the first input as PNG or SVG.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    help="Folder for figures of each input, numbered where there are several.",
)
@click.option("--beam", type=click.IntRange(1), default=1, show_default=True, help="Beam width.")
@LEVEL
@click.option("--json", "as_json", is_flag=True, help="Print the weights as JSON.")
@click.option("--quiet", is_flag=True, help="No closing line.")
def command(
    model: str,
    texts: tuple[str, ...],
    methods: str | None,
    target: str | None,
    how: str | None,
    seed: int,
    stack: Literal["encoder", "decoder"] | None,
    unit: str | None,
    data: str | None,
    kind: str | None,
    rows: str | None,
    out: Path,
    png: Path | None,
    figures: Path | None,
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

    Then, by each of --methods (attention, occlusion, gradient, integrated, timeshap), which step
    mattered, with a test that says whether to trust the method; gates and states (states), and how
    long the model remembers (memory), of a captioner and of a translator's --stack decoder over the
    words that it wrote. gradient,
    integrated and memory need torch.

    --target names what is explained: a label; a place in the answer, of a tagger also intent or
    intent:NAME; a step of the horizon, covariates or covariates:3; of a generator a place in the
    text, else what comes next.

    Example: unrolled explain model/ "some text" --out report.html
    """
    from unrolled.cli.drawing import draw_each, draw_first
    from unrolled.cli.explaining import explained_by, shown_of
    from unrolled.cli.flags import check_flags
    from unrolled.cli.inputs import nearest_inputs
    from unrolled.explain.report import write_report
    from unrolled.runtime.model import load

    if not texts and data is None:
        raise click.UsageError("Missing argument 'TEXTS...'.")
    loaded = load(model)
    check_flags(loaded.config)
    if unit is not None:
        nearest_inputs(loaded, data, unit, kind, stack, as_json=as_json)
        return
    shown = shown_of(loaded, texts, data, kind, rows, beam=beam, level=level)
    choices: dict[str, Any] = {"target": target, "how": how, "seed": seed, "stack": stack}
    explained = [explained_by(loaded, each, methods, choices) for each in shown.inputs]
    every = [found for each in explained for found in each.values()]
    write_report(out, _page(loaded, Path(model), shown.examples, every))
    if png is not None:
        draw_first(png, shown.examples, explained, quiet=quiet)
    if figures is not None:
        draw_each(figures, shown.examples, explained, quiet=quiet)
    if as_json:
        plain = [_plain(example) for example in shown.examples]
        for each, found in zip(plain, explained, strict=False):
            each |= {name: one.to_dict() for name, one in found.items()}
        write_json(plain)
    else:
        sys.stdout.writelines(f"{e['predicted']}\n" for e in shown.examples if "predicted" in e)
    say(f"the report is in {out}", quiet=quiet)


def _page(model: Any, folder: Path, examples: list[Any], explained: list[Any]) -> str:
    """Return the page of the model's task."""
    from unrolled.explain import report
    from unrolled.explain.captioning import captioning_report
    from unrolled.explain.forecasting import forecasting_report
    from unrolled.explain.generating import surprise_report
    from unrolled.explain.tagging import tagging_report
    from unrolled.runtime.captioner_model import CaptionerModel
    from unrolled.runtime.forecaster_model import ForecastModel
    from unrolled.runtime.generator_model import GeneratorModel
    from unrolled.runtime.model import TranslatorModel
    from unrolled.runtime.tagger_model import TaggerModel

    log, metrics = _history(folder)
    shown: dict[str, Any] = {"log": log, "metrics": metrics, "explanations": explained}
    if isinstance(model, ForecastModel):
        return forecasting_report(f"What {folder.name} forecasts", examples, **shown)
    if isinstance(model, GeneratorModel):
        return surprise_report(f"What surprised {folder.name}", examples, **shown)
    title = f"What {folder.name} looked at"
    if isinstance(model, CaptionerModel):
        return captioning_report(title, examples, **shown)
    if isinstance(model, TaggerModel):
        return tagging_report(f"How {folder.name} tagged", examples, **shown)
    if isinstance(model, TranslatorModel):
        return report.translation_report(title, examples, **shown)
    return report.classification_report(title, examples, **shown)


def _history(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the log, its epochs' gradient flow in it, and the metrics of a model folder."""
    from unrolled import artifact
    from unrolled.train.history import read_history

    return read_history(folder), dict(artifact.load(folder).metrics)


def _plain(example: dict[str, Any]) -> dict[str, Any]:
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in example.items()}
