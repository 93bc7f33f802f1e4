"""What `predict` does with a tagger: read its formats, answer in the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from unrolled.data.conll import COLUMNS, COMMENT, MISC, column_index, split_columns
from unrolled.data.sequences import FRAMES, Sequences, format_of
from unrolled.data.shards import shard_paths
from unrolled.errors import ConfigError, DataError
from unrolled.runtime.tagger_model import Tagged, TaggerModel, Tagging

DIGITS = 6
CONFIDENCE = "Confidence="


def predict(
    model: TaggerModel, data: str, kind: str | None, source: str | None, n_best: int, as_json: bool
) -> None:
    """Write the tags of every sequence of `data` to stdout, in its own format.

    A folder or a pattern of files of one format is answered file by file.
    """
    paths = shard_paths(data) or [data]
    shapes = [format_of(path, kind, tagged=False) for path in paths]
    if n_best > 1 and "conllu" in shapes and not as_json:
        raise ConfigError("--n-best: a CoNLL-U file holds one tag a word; give --json")
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0] and not as_json:
            raise DataError(f"{path}: {shape}, but {paths[0]}: {shapes[0]}; give --json")
    ends = True
    for path, shape in zip(paths, shapes, strict=True):
        if not ends:
            sys.stdout.write("\n")
        ends = _answer(model, path, kind, source, n_best, as_json, shape)


def _answer(
    model: TaggerModel,
    data: str,
    kind: str | None,
    source: str | None,
    n_best: int,
    as_json: bool,
    shape: str,
) -> bool:
    """Write the tags of one file; return whether another may follow without an empty line."""
    from unrolled.tasks.evaluate import read_sentences

    sequences = read_sentences(model, data, format=kind, source=source, tagged=False)
    found = model.tag(sequences.inputs, n_best=n_best)
    ends = True
    if as_json or shape in ("jsonl", *FRAMES):
        lines = _json_lines(model, sequences, found, keep=shape == "jsonl" and not as_json)
    elif shape == "txt":
        lines = _plain_lines(found)
    else:
        lines = _conll_lines(model, sequences, found, shape)
        ends = not sequences.lines[-1].strip()
    sys.stdout.writelines(lines)
    return ends


def _plain_lines(found: Tagged) -> Iterator[str]:
    """Yield the tags of a line, further answers after tabs; an intent comes first."""
    for i, answers in enumerate(found.answers):
        intent = [] if found.intents is None else [found.intents[i].label]
        yield "\t".join([*intent, *(" ".join(answer.tags) for answer in answers)]) + "\n"


def _json_lines(
    model: TaggerModel, sequences: Sequences, found: Tagged, *, keep: bool
) -> Iterator[str]:
    for i, answers in enumerate(found.answers):
        record: dict[str, Any] = {}
        if keep and sequences.table is not None:
            record = {k: v[i] for k, v in sequences.table.columns.items()}
        elif not model.reads_frames:
            record = {"tokens": sequences.inputs[i]}
        elif sequences.ids:
            record = {model.tagging.sequence: sequences.ids[i]}
        record |= {
            "prediction": answers[0].tags,
            "confidence": _rounded(answers[0].confidences),
            "log_prob": round(answers[0].log_prob, DIGITS),
        }
        if len(answers) > 1:
            record["answers"] = [
                {"tags": a.tags, "log_prob": round(a.log_prob, DIGITS)} for a in answers
            ]
        if found.intents is not None:
            intent = found.intents[i]
            record["intent_prediction"] = intent.label
            record["intent_probability"] = round(intent.probability, DIGITS)
        yield msgspec.json.encode(record).decode() + "\n"


def _conll_lines(
    model: TaggerModel, sequences: Sequences, found: Tagged, shape: str
) -> Iterator[str]:
    """Yield the file's lines with the answers in them.

    CoNLL-U: the tag in its column, `Confidence=` in MISC. Columns: tag and confidence after those
    that are there, and the tags of further answers. An intent is a comment before its sentence.
    """
    place = column_index(model.config.data.target) if shape == "conllu" else None
    changed: dict[int, str] = {}
    for i, answers in enumerate(found.answers):
        for t, row in enumerate(sequences.step_rows[i]):
            line = sequences.lines[row - 1]
            changed[row] = _line(line, answers, t, place)
        if found.intents is not None:
            said = f"# {model.tagging.intent} = {found.intents[i].label}"
            row = _comment_row(sequences, i, model.tagging.intent)
            changed[row] = f"{said}\n{changed[row]}" if row in changed else said
    for row, line in enumerate(sequences.lines, start=1):
        yield changed.get(row, line) + "\n"


def _comment_row(sequences: Sequences, i: int, key: str) -> int:
    """Return the row of sentence i's comment with this key, else of its first word."""
    first = sequences.step_rows[i][0]
    for row in range(sequences.rows[i], first):
        comment = COMMENT.match(sequences.lines[row - 1])
        if comment and comment[1] == key:
            return row
    return first


def _line(line: str, answers: Sequence[Tagging], t: int, place: int | None) -> str:
    confidence = f"{float(answers[0].confidences[t]):.{DIGITS}f}"
    if place is None:
        added = [answers[0].tags[t], confidence, *(a.tags[t] for a in answers[1:])]
        return ("\t" if "\t" in line else " ").join([*split_columns(line), *added])
    fields = line.split("\t")
    fields[place] = answers[0].tags[t]
    if COLUMNS[place] != "misc":
        noted = [] if fields[MISC] == "_" else fields[MISC].split("|")
        kept = [note for note in noted if not note.startswith(CONFIDENCE)]
        fields[MISC] = "|".join([*kept, CONFIDENCE + confidence])
    return "\t".join(fields)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), DIGITS) for value in values]
