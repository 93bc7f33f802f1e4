"""`unrolled predict MODEL DATA`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from unrolled.cli.levels import LEVEL, OUT, SpreadLevels


@click.command(name="predict", cls=SpreadLevels)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(allow_dash=True))
@click.option("--format", "kind", help="csv, jsonl, conllu ... (else by the ending).")
@click.option("--source", help="Column of the text [default: as in training].")
@click.option(
    "--beam", type=click.IntRange(1), default=1, show_default=True, help="Texts: beam width."
)
@click.option(
    "--n-best", type=click.IntRange(1), default=1, show_default=True, help="How many answers."
)
@click.option("--column", default="prediction", show_default=True, help="Name of the answer.")
@click.option("--max-length", type=click.IntRange(1), default=200, help="Generator: units.")
@click.option("--temperature", type=float, default=1.0, help="Generator: 0 takes the likeliest.")
@click.option("--top-k", type=int, default=0, help="Generator: draw from the k likeliest.")
@click.option("--top-p", type=float, default=1.0, help="Generator: draw from this probability.")
@click.option("--repetition-penalty", type=float, default=1.0, help="Generator: above 1 varies.")
@click.option("--seed", type=int, default=0, help="Generator, forecaster: of draws.")
@LEVEL
@click.option("--horizon", type=click.IntRange(1), help="Forecasters: steps ahead.")
@click.option("--future", type=click.Path(), help="Forecasters: file of what is known ahead.")
@OUT
@click.option("--stream", is_flag=True, help="Write units as they are decoded (DATA is -).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with scores.")
@click.option("--quiet", is_flag=True, help="No messages on stderr.")
def command(
    model: str,
    data: str,
    kind: str | None,
    source: str | None,
    beam: int,
    n_best: int,
    column: str,
    level: tuple[float, ...],
    horizon: int | None,
    future: str | None,
    out: Path | None,
    stream: bool,
    as_json: bool,
    quiet: bool,
    **drawing: Any,
) -> None:
    """Answer for every row of DATA; `-` reads one text a line from stdin.

    Lines of text give one answer a line. A table comes back as a table: its columns, then
    `prediction` (and `probability`, for a classifier). With --n-best further answers follow in
    tab-separated fields of the line, or in columns `prediction_2` and so on; --column names them
    otherwise, where the table has such a column already. A tagger answers a line with the tags of
    its words, and a CoNLL file with the file, its tags filled in. A generator goes on with the
    whole text, unit by unit; of items it recommends --n-best. A forecaster answers a table of
    series with one of their next values.

    Example: echo recurrent | unrolled predict model/ -
    """
    from unrolled.cli import captioning, forecasting, generating, pooled, tagging, translating
    from unrolled.cli.flags import check_flags
    from unrolled.errors import ConfigError
    from unrolled.runtime.captioner_model import CaptionerModel
    from unrolled.runtime.forecaster_model import ForecastModel
    from unrolled.runtime.generator_model import GeneratorModel
    from unrolled.runtime.model import ClassifierModel, RegressorModel, load
    from unrolled.runtime.tagger_model import TaggerModel

    loaded = load(model)
    check_flags(loaded.config)
    if isinstance(loaded, ForecastModel):
        forecasting.predict(
            loaded, data, kind, level=level, horizon=horizon, future=future, as_json=as_json,
            out=out, seed=drawing["seed"], quiet=quiet,
        )  # fmt: skip
    elif isinstance(loaded, TaggerModel):
        tagging.predict(loaded, data, kind, source, n_best, as_json)
    elif isinstance(loaded, CaptionerModel):
        captioning.predict(loaded, data, kind, source, beam, n_best, as_json)
    elif isinstance(loaded, GeneratorModel):
        generating.predict(loaded, data, kind, n_best=n_best, as_json=as_json, **drawing)
    elif isinstance(loaded, (ClassifierModel, RegressorModel)):
        pooled.predict(loaded, data, kind, source, column, as_json=as_json, quiet=quiet)
    elif stream:
        if data != "-" or kind not in (None, "txt") or max(beam, n_best) > 1 or as_json:
            raise ConfigError("--stream reads lines from - and goes with no --beam or --json")
        translating.stream(loaded, quiet)
    else:
        translating.predict(
            loaded, data, kind, source, column, beam=beam, n_best=n_best, as_json=as_json,
            quiet=quiet,
        )  # fmt: skip
