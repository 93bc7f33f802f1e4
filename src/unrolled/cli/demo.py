"""`unrolled demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from unrolled.cli.common import calm_threads, say, write_json


@click.command(name="demo")
@click.argument(
    "which",
    type=click.Choice(["pronounce", "stress", "signals", "forecast", "caption", "generate"]),
    default="pronounce",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the model, the data and the report.",
)
@click.option("--overwrite", is_flag=True, help="Replace the model of an earlier demo.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seeds everything.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data.")
@click.option(
    "--words", type=click.IntRange(200), help="Use only about this many words, weeks or digits."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def command(
    which: str,
    out: Path,
    overwrite: bool,
    seed: int,
    epochs: int | None,
    words: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn to pronounce English words from the CMU dictionary, in about five minutes.

    pronounce: a GRU encoder-decoder with Bahdanau attention reads letters and writes phonemes.
    stress: a bidirectional GRU with a CRF tags each vowel with its stress. signals: a GRU reads
    scikit-learn's scanned digits row by row, in half a minute. forecast: a GRU tells the carbon
    dioxide of the next 52 weeks at Mauna Loa, with intervals. caption:
    strips of digits are spoken as words. generate: a GRU tells the next character
    of Python's documentation, and writes on. Each writes OUT/model, OUT/data and
    OUT/report.html.
    """
    calm_threads()
    from unrolled.demo import forecast, generate, pronounce, signals, speak, stress
    from unrolled.train.watch import Bar, Lines

    demos: dict[str, Any] = {
        "pronounce": pronounce,
        "stress": stress,
        "signals": signals,
        "forecast": forecast,
        "caption": speak,
        "generate": generate,
    }
    demo = demos[which]
    training = msgspec.structs.replace(
        demo.TRAINING, seed=seed, epochs=epochs or demo.TRAINING.epochs
    )
    watchers: tuple[Any, ...] = ()
    if not quiet:
        watchers = (Bar() if sys.stderr.isatty() else Lines(),)
    data = {
        "pronounce": "the CMU Pronouncing Dictionary and training on its spellings",
        "stress": "the CMU Pronouncing Dictionary and training on its stress",
        "signals": "scikit-learn's scanned digits and training on their rows",
        "caption": "scikit-learn's scanned digits and training on strips of them",
        "forecast": "the weekly carbon dioxide of Mauna Loa and training on 1958 to 1997",
        "generate": "Python's documentation and training on its characters",
    }
    say(f"reading {data[which]}", quiet=quiet)
    metrics = demo.run(out, training=training, overwrite=overwrite, watchers=watchers, limit=words)
    if as_json:
        write_json({k: v for k, v in metrics.items() if k != "examples"})
        return
    summaries = {
        "pronounce": _summary,
        "stress": _stress_summary,
        "signals": _signals_summary,
        "forecast": _forecast_summary,
        "caption": _caption_summary,
        "generate": _generate_summary,
    }
    sys.stdout.write(summaries[which](metrics, out))


def _summary(metrics: dict[str, Any], out: Path) -> str:
    lines = ["", f"{'word':<14}{'predicted':<34}true"]
    for example in metrics["examples"]:
        right = example["predicted"] in example["true"]
        true = " | ".join(example["true"])
        mark = " " if right else "*"
        lines.append(f"{example['word']:<14}{example['predicted']:<33}{mark}{true}")
    lines += [
        "",
        f"{metrics['test_words']} held-out words: PER {100 * metrics['per']:.2f} %, "
        f"WER {100 * metrics['wer']:.2f} % (beam {metrics['beam']}), "
        f"trained in {metrics['train_seconds']:.0f} s",
    ]
    return _page(lines, out)


def _stress_summary(metrics: dict[str, Any], out: Path) -> str:
    lines = ["", f"{'word':<14}{'predicted':<40}true"]
    for example in metrics["examples"]:
        mark = " " if example["predicted"] == example["true"] else "*"
        lines.append(f"{example['word']:<14}{example['predicted']:<39}{mark}{example['true']}")
    lines += [
        "",
        f"{metrics['test_words']} held-out words: every stress right in "
        f"{100 * metrics['sentence_accuracy']:.2f} %, {100 * metrics['accuracy']:.2f} % of "
        f"phonemes, trained in {metrics['train_seconds']:.0f} s",
    ]
    return _page(lines, out)


def _caption_summary(metrics: dict[str, Any], out: Path) -> str:
    lines = ["", f"{'predicted':<34}true"]
    for example in metrics["examples"]:
        mark = " " if example["predicted"] in example["true"] else "*"
        lines.append(f"{example['predicted']:<33}{mark}{example['true'][0]}")
    lines += [
        "",
        f"{metrics['test_strips']} strips of held-out digits: {100 * (1 - metrics['wer']):.2f} % "
        f"of the numbers right, PER {100 * metrics['per']:.2f} %, "
        f"trained in {metrics['train_seconds']:.0f} s",
    ]
    return _page(lines, out)


def _signals_summary(metrics: dict[str, Any], out: Path) -> str:
    from unrolled.demo.signals import drawn

    shown = metrics["examples"][:4]
    pictures = [drawn(example["frames"]) for example in shown]
    lines = ["", *("   ".join(rows).rstrip() for rows in zip(*pictures, strict=True))]
    said = (f"{e['predicted']}, is {e['true']}" for e in shown)
    lines.append("   ".join(f"{text:<8}" for text in said).rstrip())
    lines += [
        "",
        f"{metrics['test_digits']} held-out digits: {100 * metrics['accuracy']:.2f} % right, "
        f"trained in {metrics['train_seconds']:.0f} s",
    ]
    return _page(lines, out)


def _forecast_summary(metrics: dict[str, Any], out: Path) -> str:
    from unrolled.cli.forecasting import table

    before = [100 * metrics[f"validation_coverage_{level}"] for level in (80, 95)]
    lines = [
        "",
        table(metrics),
        f"of the validation years the intervals held {before[0]:.0f} % and {before[1]:.0f} %; the",
        "years held out begin with the largest rise of the record",
        f"52 weeks from {metrics['windows']} origins in the four years held out, errors in ppm; "
        f"trained in {metrics['train_seconds']:.0f} s",
    ]
    return _page(lines, out)


def _generate_summary(metrics: dict[str, Any], out: Path) -> str:
    lines = []
    for example in metrics["examples"]:
        lines += ["", f"temperature {example['temperature']:g}:"]
        written = example["prompt"] + example["text"]
        lines += [f"  {line}".rstrip() for line in written.splitlines()]
    grams = f"{metrics['ngram_order']}-grams"
    rows = (
        ("this model", metrics["validation_bits"], metrics["bits"]),
        (grams, metrics["validation_ngram_bits"], metrics["ngram_bits"]),
        ("xz", None, metrics["xz_bits"]),
    )
    lines += ["", f"{'bits a character':<20}{'validation':>12}{'test':>12}"]
    for name, *values in rows:
        cells = ("-" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"{name:<20}" + "".join(f"{cell:>12}" for cell in cells))
    lines += [
        "",
        f"{metrics['test_characters']} characters of other documents; trained in "
        f"{metrics['train_seconds']:.0f} s",
    ]
    return _page(lines, out)


def _page(lines: list[str], out: Path) -> str:
    """Return lines as text, with where the model and the report are below them."""
    places = (f"model:  {out / 'model'}", f"report: {out / 'report.html'}")
    return "\n".join((*lines, *places)) + "\n"
