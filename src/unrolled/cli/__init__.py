"""The `unrolled` command. One file a verb; a verb's file is imported when the verb is used."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

import click

from unrolled import __version__
from unrolled.errors import (
    ConfigError,
    DataError,
    InteropError,
    ModelError,
    TrainingError,
    UnrolledError,
    did_you_mean,
)

VERBS = {
    "train": "Train a model from your file: classify, regress, tag, translate, caption ...",
    "evaluate": "Measure a model on labelled data.",
    "predict": "Answer for every row of a file, or every line of stdin.",
    "cross-validate": "Forecast from several origins, each told what was before it.",
    "doctor": "Say what went wrong in a training run, by numbers, and what to try.",
    "compare": "Train cells, depths and attentions on your data; say what differs beyond noise.",
    "explain": "Show what a model looked at, as one HTML page.",
    "inspect": "Show a model's layers, shapes and parameters, drawn unrolled.",
    "export": "Write a model as ONNX, or with recurrent weights of fewer bits.",
    "import": "Show what a file of PyTorch, Keras, ONNX or numpy holds; keep its recurrent layers.",
    "lab": "Put what textbooks say about recurrent networks to the test.",
    "demo": "Train on data that packages carry and show what was learned: sounds, digits, CO2 ...",
    "bench": "Time our layers against their peers, turn about.",
}
# A verb's file has its name, but where no module could have it.
FILES = {"import": "importing", "cross-validate": "validating"}
USAGE_ERROR, FAILED = 2, 1


class _Verbs(click.Group):
    """A group whose commands are imported by name, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"unrolled.cli.{FILES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            near = did_you_mean(args[0], VERBS)
            raise click.UsageError(f"no command {args[0]!r}.{near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="unrolled")
@click.option("--debug", is_flag=True, help="Show Python tracebacks.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Train recurrent sequence models from files, see what they learned, run them anywhere."""
    ctx.obj = {"debug": debug}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 failed, 2 usage or data error, 130 or 143 by signal."""
    arguments = list(sys.argv[1:] if args is None else args)
    sys.exit(run(arguments))


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code. No traceback is shown without `--debug`."""
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            cli.main(arguments, prog_name="unrolled", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE_ERROR
    except (KeyboardInterrupt, click.Abort):
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        return _explain_failure(error, debug)
    return 0


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"unrolled: warning: {message}", file=sys.stderr)


def _explain_failure(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    number = getattr(error, "signal_number", None)
    if number is not None:
        print(f"unrolled: {error}", file=sys.stderr)
        return 128 + int(number)
    if isinstance(error, UnrolledError):
        print(f"unrolled: error: {error}", file=sys.stderr)
        mended_by_user = (DataError, ConfigError, InteropError, ModelError)
        failed = isinstance(error, TrainingError) or not isinstance(error, mended_by_user)
        return FAILED if failed else USAGE_ERROR
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        print(f"unrolled: error: {place}{error.strerror or error}", file=sys.stderr)
        return FAILED
    if not debug:
        kind = type(error).__name__
        print(
            f"unrolled: this is a bug: {kind}: {error} (run again with --debug to see where)",
            file=sys.stderr,
        )
    return FAILED
