"""Small tagger specs, batches and tagged sentences that the tests of taggers share."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np

import tiny
from unrolled.data.sequences import Sequences
from unrolled.data.tagging import TaggerInput
from unrolled.options import TagOptions
from unrolled.spec import CharacterSpec, RecurrentSpec, TaggerSpec

SIZES = {"character_embedding_size": 4, "character_hidden_size": 4, "dropout": 0.1}
FLAGS = [
    *tiny.FLAGS,
    *(f"--{key.replace('_', '-')}={value}" for key, value in SIZES.items()),
]
PLACES, FOODS = ("oslo", "new york", "rio"), ("rice", "hot soup")


def options(**choices: object) -> TagOptions:
    return TagOptions(**{**tiny.SIZES, **SIZES, **choices})


def sentences(count: int = 40, *, scheme: str = "bio") -> Sequences:
    """Orders: `get hot soup in new york`, with spans and an intent, `eat` or `go`."""
    words, tags, intents = [], [], []
    for i in range(count):
        place, food = PLACES[i % 3].split(), FOODS[i // 3 % 2].split()
        eat = i % 2 == 0
        middle = food if eat else []
        words.append(["get" if eat else "fly", *middle, "in" if eat else "to", *place])
        spelled = spell(place, "LOC", scheme)
        tags.append(["O", *(spell(food, "FOOD", scheme) if eat else []), "O", *spelled])
        intents.append("eat" if eat else "go")
    return Sequences("the orders", words, tags, intents)


def spell(span: list[str], kind: str, scheme: str) -> list[str]:
    if scheme == "bioes" and len(span) == 1:
        return [f"S-{kind}"]
    end = "E" if scheme == "bioes" else "I"
    return [f"B-{kind}", *[f"I-{kind}"] * (len(span) - 2), *[f"{end}-{kind}"] * (len(span) > 1)]


def write_conll(path: Path, count: int = 40, *, intent: bool = False) -> Path:
    given = sentences(count)
    blocks = []
    for words, tags, label in zip(given.inputs, given.tags, given.intents, strict=True):
        head = f"# intent = {label}\n" if intent else ""
        lines = (f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))
        blocks.append(head + "".join(lines))
    path.write_text("\n".join(blocks))
    return path


def write_conllu(path: Path, count: int = 40) -> Path:
    given = sentences(count)
    blocks = []
    for words, tags in zip(given.inputs, given.tags, strict=True):
        rows = [
            f"{t}\t{word}\t_\t_\t{tag}\t_\t_\t_\t_\t_\n"
            for t, (word, tag) in enumerate(zip(words, tags, strict=True), start=1)
        ]
        rows.insert(1, "1-2\tboth\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No\n")
        blocks.append("# text = of the words\n" + "".join(rows))
    path.write_text("\n".join(blocks) + "\n")
    return path


def write_jsonl(path: Path, count: int = 40) -> Path:
    given = sentences(count)
    rows = zip(given.inputs, given.tags, given.intents, strict=True)
    lines = (json.dumps({"tokens": w, "tags": t, "intent": i, "n": 1}) + "\n" for w, t, i in rows)
    path.write_text("".join(lines))
    return path


def tagger(
    cell: str = "gru",
    *,
    words: int = 4,
    characters: bool = True,
    head: str = "crf",
    intents: int = 0,
    frames: int = 0,
    **recurrent: object,
) -> TaggerSpec:
    """A tagger spec whose widths fit: five tags, spelling states of 2 x 3."""
    spelling = None
    if characters and not frames:
        reads = RecurrentSpec(cell=cell, input_size=3, hidden_sizes=(3,), bidirectional=True)
        spelling = CharacterSpec(vocab_size=8, embedding_size=3, recurrent=reads)
    width = frames or words + (0 if spelling is None else spelling.output_size)
    layers = {"cell": cell, "input_size": width, "hidden_sizes": (5, 5), "bidirectional": True}
    return TaggerSpec(
        num_tags=5,
        recurrent=RecurrentSpec(**(layers | recurrent)),
        vocab_size=9 if words and not frames else 0,
        embedding_size=0 if frames else words,
        characters=spelling,
        frame_size=frames,
        head=head,
        num_intents=intents,
    )


def taggers() -> dict[str, TaggerSpec]:
    """Every cell with both heads, and every kind of input."""
    specs = {
        f"{cell}-{head}": tagger(cell, head=head)
        for cell, head in product(("rnn", "lstm", "gru"), ("crf", "softmax"))
    }
    specs["words"] = tagger(characters=False)
    specs["spelling"] = tagger(words=0)
    specs["intent"] = tagger(intents=3)
    specs["intent-lstm"] = tagger("lstm", intents=2, head="softmax", bidirectional=False)
    specs["frames"] = tagger(frames=4)
    specs["frames-intent"] = tagger("lstm", frames=2, intents=2)
    specs["merge-sum"] = tagger(merge="sum", residual=True)
    return specs


def batch(spec: TaggerSpec, dtype: str, seed: int = 0) -> TaggerInput:
    """Four ragged sequences for a spec, and five spellings."""
    draw = np.random.default_rng(seed)
    lengths = np.array([3, 6, 1, 4])
    inside = np.arange(6) < lengths[:, None]
    if spec.frame_size:
        frames = draw.normal(size=(4, 6, spec.frame_size)).astype(dtype)
        return TaggerInput(np.where(inside[:, :, None], frames, 0), lengths)
    values = np.where(inside, draw.integers(1, spec.vocab_size or 2, (4, 6)), 0)
    if spec.characters is None:
        return TaggerInput(values, lengths)
    ends = np.array([1, 4, 2, 4, 3])
    spelled = np.where(np.arange(4) < ends[:, None], draw.integers(4, 8, (5, 4)), 0)
    return TaggerInput(
        values, lengths, spelled, ends, np.where(inside, draw.integers(0, 5, (4, 6)), 0)
    )
