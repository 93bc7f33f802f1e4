"""`unrolled inspect MODEL` and `unrolled inspect --engine`."""

from __future__ import annotations

import sys

import click

from unrolled.cli.common import write_json
from unrolled.errors import ConfigError


@click.command(name="inspect")
@click.argument("model", type=click.Path(), required=False)
@click.option("--engine", is_flag=True, help="Tell which instruction set and threads would run.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(model: str | None, engine: bool, as_json: bool) -> None:
    """Show the layers, shapes and parameters of MODEL, and the network drawn unrolled."""
    if engine:
        _engine(as_json)
    if model is None:
        if not engine:
            raise ConfigError("name a model folder, or give --engine")
        return
    from unrolled import artifact
    from unrolled.explain import structure

    found = artifact.load(model)
    if as_json:
        write_json(
            {
                "config": found.config,
                "metrics": found.metrics,
                "parameters": {name: list(w.shape) for name, w in sorted(found.weights.items())},
                "parameter_count": sum(w.size for w in found.weights.values()),
            }
        )
        return
    parts = [
        structure.describe(found.config),
        structure.draw(found.config.network),
        structure.parameter_table(found.weights),
    ]
    sys.stdout.write("\n\n".join(parts) + "\n")


def _engine(as_json: bool) -> None:
    from unrolled import _native

    isa, available, threads = _native.isa(), _native.available_isas(), _native.num_threads()
    if as_json:
        write_json({"isa": isa, "available": available, "threads": threads})
        return
    sys.stdout.write(
        f"instruction set  {isa} (this CPU runs: {', '.join(available)})\n"
        f"threads          {threads}\n"
    )
