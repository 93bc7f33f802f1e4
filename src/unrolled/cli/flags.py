"""Which flags of a verb mean something for a model's task: one table, and its errors."""

from __future__ import annotations

import click
from click.core import ParameterSource

from unrolled.config import ModelConfig
from unrolled.errors import ConfigError
from unrolled.spec import TaggerSpec

# What explain asks of every task.
EXPLAIN = (
    "--methods --target --how --seed --data --format --rows --out --png --figures --json --quiet"
)
# What every folder can be exported by, and what reads labelled data beside it.
EXPORT, CHECK = "--to --precision --out --overwrite --json --quiet", "--check --format"
# What a model reads decides too: frames of numbers have no column of texts, items are not drawn.
FLAGS: dict[str, dict[str, str]] = {
    "predict": {
        "classify": "--format --source --column --json --quiet",
        "classify frames": "--format --column --json --quiet",
        "regress": "--format --source --column --json --quiet",
        "regress frames": "--format --column --json --quiet",
        "translate": "--format --source --column --beam --n-best --stream --json --quiet",
        "tag": "--format --source --n-best --json --quiet",
        "tag frames": "--format --n-best --json --quiet",
        "caption": "--format --source --beam --n-best --json --quiet",
        "forecast": "--format --level --horizon --future --seed --out --json --quiet",
        "generate text": "--format --max-length --temperature --top-k --top-p "
        "--repetition-penalty --seed --json --quiet",
        "generate items": "--format --n-best --json --quiet",
        "generate frames": "--format --max-length --temperature --seed --json --quiet",
    },
    "evaluate": {
        "classify": "--format --source --target --report --json",
        "classify frames": "--format --target --report --json",
        "regress": "--format --source --target --report --json",
        "regress frames": "--format --target --report --json",
        "translate": "--format --source --target --beam --json",
        "tag": "--format --source --target --json",
        "tag frames": "--format --target --json",
        "caption": "--format --source --target --beam --json",
        "forecast": "--format --level --windows --stride --step --json",
        "generate text": "--format --json",
        "generate items": "--format --json",
        "generate frames": "--format --json",
    },
    "explain": {
        "classify": f"{EXPLAIN} --unit",
        "classify frames": f"{EXPLAIN} --unit",
        "regress": f"{EXPLAIN} --unit",
        "regress frames": f"{EXPLAIN} --unit",
        "translate": f"{EXPLAIN} --stack --unit --beam",
        "tag": f"{EXPLAIN} --unit",
        "tag frames": f"{EXPLAIN} --unit",
        "caption": f"{EXPLAIN} --unit --beam",
        "forecast": f"{EXPLAIN} --unit --level",
        "generate text": f"{EXPLAIN} --unit",
        "generate items": f"{EXPLAIN} --unit",
        "generate frames": f"{EXPLAIN} --unit",
    },
    "export": {
        "classify": f"{EXPORT} {CHECK} --source --target --seed",
        "classify frames": f"{EXPORT} {CHECK} --target --seed",
        "regress": f"{EXPORT} {CHECK} --source --target --seed",
        "regress frames": f"{EXPORT} {CHECK} --target --seed",
        "translate": f"{EXPORT} {CHECK} --source --target --beam --seed",
        "tag": f"{EXPORT} {CHECK} --source --target --seed",
        "tag frames": f"{EXPORT} {CHECK} --target --seed",
        "caption": f"{EXPORT} {CHECK} --source --target --beam --seed",
        "forecast": f"{EXPORT} {CHECK} --seed",
        "generate text": f"{EXPORT} --seed",
        "generate items": f"{EXPORT} --seed",
        "generate frames": f"{EXPORT} --seed",
    },
}


def kind_of(config: ModelConfig) -> str:
    """Return a model's row in the tables: its task, and what it reads where that decides."""
    data, task = config.data, config.task
    if data.generation is not None:
        return f"{task} {data.generation.kind}"
    network = config.network
    reads_frames = data.frames is not None
    if isinstance(network, TaggerSpec):
        reads_frames = bool(network.frame_size)
    return f"{task} frames" if reads_frames else task


def given_flags() -> dict[str, str]:
    """Return the options that stand on the command line: parameter to flag."""
    context = click.get_current_context()
    return {
        str(each.name): max(each.opts, key=len)
        for each in context.command.params
        if isinstance(each, click.Option)
        and context.get_parameter_source(str(each.name)) is ParameterSource.COMMANDLINE
    }


def check_flags(config: ModelConfig) -> None:
    """Raise ConfigError, naming them, where flags were given that do not apply to the model's task.

    The message says which flags of the verb do.
    """
    verb, kind = str(click.get_current_context().command.name), kind_of(config)
    known = FLAGS[verb][kind].split()
    wrong = [flag for flag in given_flags().values() if flag not in known]
    if wrong:
        do = "does" if len(wrong) == 1 else "do"
        raise ConfigError(
            f"{_listed(wrong)} {do} not apply to task {kind!r}; unrolled {verb} takes for it: "
            f"{', '.join(known)}"
        )


def need(flag: str, others: tuple[str, ...], why: str) -> None:
    """Raise ConfigError where one of the flags `others` stands without `flag`, which it needs."""
    given = given_flags().values()
    lone = [each for each in others if each in given]
    if lone and flag not in given:
        verb = "needs" if len(lone) == 1 else "need"
        raise ConfigError(f"{_listed(lone)} {verb} {flag}: {why}")


def _listed(flags: list[str]) -> str:
    return " and ".join([", ".join(flags[:-1]), flags[-1]] if flags[1:] else flags)
