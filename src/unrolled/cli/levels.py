"""The options of verbs that answer with forecasts: `--level 80 95` and `--out FILE`."""

from __future__ import annotations

import re
from pathlib import Path

import click


class SpreadLevels(click.Command):
    """A command whose `--level 80 95` may name several numbers at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each number after `--level` the option's name before it."""
        found: list[str] = []
        after = False
        for word in args:
            number = re.fullmatch(r"\d+(\.\d+)?", word)
            if word == "--level":
                after = True
            elif after and number:
                found += ["--level", word]
            else:
                after = False
                found.append(word)
        if "--level" in args and "--level" not in found:
            found.append("--level")
        return super().parse_args(ctx, found)


LEVEL = click.option(
    "--level",
    multiple=True,
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    help="Forecasters: intervals of so many per cent, as in --level 80 95.",
)

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Forecasters: write a .csv, .tsv, .jsonl or .parquet file.",
)
