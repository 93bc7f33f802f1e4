"""Rows of captioners: dialogue acts to sentences, by the protocol of RNNLG.

Wen et al. 2015 (Semantically Conditioned LSTM): values are taken out of acts and sentences and put
back into answers; references are the sentences of all acts that are the same without their values;
a final mark is dropped; BLEU-4 over the corpus; slot error is (missing + redundant) / slots, a slot
being counted by its mark and a yes-or-no slot by a word for it. As there, of a search's answers the
five with the fewest slot errors are all scored; the one with the fewest is told beside. The search
is a beam of 10 here.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.quality.row import Prepare, Row

OPTIONS = (
    "--tokens word --hidden-size 128 --embedding-size 64 --dropout 0.4 --epochs 15 --batch-size 32 "
    "--lr 3e-3 --label-smoothing 0.1 --ema 0.998 --cell lstm"
)
BEAM = 10
SPECIAL = {"true": "yes", "false": "no", "dont_care": "dontcare"}
KEPT = ("yes", "no", "none", "dontcare", "?")
MARKED = (
    "address", "area", "count", "food", "goodformeal", "name", "near", "phone", "postcode", "price",
    "pricerange",
)  # fmt: skip
WORDS = {
    "kidsallowed": ("child", "kid", "kids", "children"),
    "dogsallowed": ("dog", "dogs", "puppy"),
    "hasinternet": ("internet", "wifi"),
    "acceptscreditcards": ("card", "cards"),
}
NOT_SCORED = ("?select", "suggest")
Act = tuple[str, list[tuple[str, str]]]


def rows() -> list[Row]:
    """Restaurants and hotels."""
    published = {
        "restaurant": ".7398 / 2.78 (BLEU / slot error %, attention LSTM); .7525 / 0.38 (SC-LSTM)",
        "hotel": ".8549 / 4.69 (BLEU / slot error %, attention LSTM); .8482 / 3.07 (SC-LSTM)",
    }
    return [
        Row(
            f"rnnlg-{domain}",
            "caption",
            OPTIONS,
            "--beam 5",
            ("five_bleu", "five_slot_error", "one_bleu", "one_slot_error"),
            figure,
            _acts(domain),
            measure=measure,
        )
        for domain, figure in published.items()
    ]


def measure(files: dict[str, Path], model: Path) -> dict[str, float]:
    """Return BLEU and slot error, as shares, of sentences whose values are back in.

    `five`: the five of each act's answers with the fewest slot errors, as RNNLG counts; `one`: the
    one with the fewest; `first`: the likeliest, whatever its slots.
    """
    command = ["predict", str(model), str(files["test"])]
    flags = ["--beam", str(BEAM), "--n-best", str(BEAM), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "unrolled", *command, *flags],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    chosen: dict[str, list[tuple[str, list[str]]]] = {"five": [], "one": [], "first": []}
    errors, slots = Counter[str](), Counter[str]()
    for line in done.stdout.splitlines():
        record = json.loads(line)
        act = parse(record["act"])
        answers = [answer["text"] for answer in record["answers"]]
        fewest = sorted(answers, key=lambda text: slot_errors(act, text)[0])
        taken = {"five": fewest[:5], "one": fewest[:1], "first": answers[:1]}
        for name, texts in taken.items():
            for text in texts:
                wrong, count = slot_errors(act, text)
                errors[name], slots[name] = errors[name] + wrong, slots[name] + count
                said = lexicalised(text, act[1], record["type"])
                chosen[name].append((said, record["references"]))
    found = {}
    for name, texts_of in chosen.items():
        found[f"{name}_bleu"] = bleu(texts_of)
        found[f"{name}_slot_error"] = errors[name] / slots[name]
    return found


def parse(act: str) -> Act:
    """Return an act's type, and its slots with their values (`?` where it has none)."""
    kind, _, inner = act.partition("(")
    pairs = []
    for part in filter(None, inner.replace(")", "").split(";")):
        slot, mark, value = part.partition("=")
        value = value.strip("'\"") if mark else "?"
        pairs.append((re.sub("[_ '\"]", "", slot), SPECIAL.get(value, value)))
    return kind, pairs


def attributes(act: Act) -> list[str]:
    """Return an act without its values: `act=inform`, `name=_1`, `kidsallowed=yes`."""
    kind, pairs = act
    seen = Counter[str]()
    found = [f"act={kind}"]
    for slot, value in pairs:
        seen[slot] += value not in KEPT
        found.append(f"{slot}={value if value in KEPT else f'_{seen[slot]}'}")
    return [found[0], *sorted(found[1:])]


def delexicalised(sentence: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return a sentence with the mark of its slot for each value, longest values first."""
    sentence = f" {sentence} "
    for slot, value in sorted(pairs, key=lambda pair: -len(pair[1])):
        if value in KEPT:
            continue
        parts = value.replace(" or ", " and ").split(" and ")
        orders = [f" {joint} ".join(p) for joint in ("and", "or")
                  for p in itertools.permutations(parts)]  # fmt: skip
        form = next((order for order in orders if f" {order} " in sentence), None)
        if form is not None:
            sentence = sentence.replace(f" {form} ", f" {mark(slot)} ", 1)
    return sentence.strip()


def lexicalised(sentence: str, pairs: Sequence[tuple[str, str]], kind: str) -> str:
    """Return a sentence with the values for the marks of slots."""
    sentence = f" {sentence} "
    for slot, value in pairs:
        if value not in KEPT:
            sentence = sentence.replace(f" {mark(slot)} ", f" {value} ", 1)
    return sentence.replace(f" {mark('type')} ", f" {kind} ").strip()


def mark(slot: str) -> str:
    """Return what stands for a value of a slot."""
    return f"SLOT_{slot.upper()}"


def slot_errors(act: Act, sentence: str) -> tuple[int, int]:
    """Return the slots that are missing or redundant in a sentence with marks, and the slots."""
    kind, pairs = act
    if kind in NOT_SCORED:
        return 0, 0
    words = Counter(sentence.split())
    errors = slots = 0
    for slot in MARKED:
        wanted = sum(name == slot and value not in KEPT for name, value in pairs)
        errors, slots = errors + abs(wanted - words[mark(slot)]), slots + wanted
    for slot, forms in WORDS.items():
        wanted = sum(name == slot and value in KEPT[:-1] for name, value in pairs)
        errors += abs(wanted - sum(words[form] for form in forms))
        slots += wanted
    return errors, slots


def bleu(answers: Sequence[tuple[str, Sequence[str]]]) -> float:
    """Return BLEU-4 of the corpus (Papineni et al. 2002), against the nearest lengths."""
    matched, total, length, nearest = [0] * 4, [0] * 4, 0, 0
    for answer, references in answers:
        said, known = answer.split(), [text.split() for text in references]
        length += len(said)
        nearest += min(map(len, known), key=lambda size: (abs(size - len(said)), size))
        for n in range(1, 5):
            counts, most = grams(said, n), Counter[tuple[str, ...]]()
            for reference in known:
                most |= grams(reference, n)
            matched[n - 1] += sum((counts & most).values())
            total[n - 1] += sum(counts.values())
    if min(matched) == 0:
        return 0.0
    penalty = min(0.0, 1 - nearest / length)
    logs = [math.log(m / t) for m, t in zip(matched, total, strict=True)]
    return math.exp(penalty + sum(logs) / 4)


def grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Return how often each run of n words occurs."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _acts(domain: str) -> Prepare:
    def prepare(data: Path, work: Path) -> dict[str, Path]:
        found = {}
        for part in ("train", "valid", "test"):
            text = (data / "caption" / domain / f"{part}.json").read_text("utf-8")
            body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
            found[part] = work / f"{part}.jsonl"
            records = _records(json.loads(body), domain, grouped=part == "test")
            lines = "".join(json.dumps(record) + "\n" for record in records)
            found[part].write_text(lines, encoding="utf-8")
        return found

    return prepare


def _records(items: list[list[str]], domain: str, *, grouped: bool) -> list[dict[str, Any]]:
    acts = [parse(item[0]) for item in items]
    named = [attributes(act) for act in acts]
    plain = [re.sub(r" [.?!]$", "", item[1].lower()) for item in items]
    marked = [delexicalised(text, act[1]) for text, act in zip(plain, acts, strict=True)]
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, text in zip(named, marked, strict=True):
        groups.setdefault(tuple(key), []).append(text)
    records = []
    for item, act, key, text in zip(items, acts, named, marked, strict=True):
        known = groups[tuple(key)] if grouped else [text]
        records.append(
            {
                "attributes": key,
                "caption": known,
                "act": item[0],
                "type": domain,
                "references": [lexicalised(each, act[1], domain) for each in known],
            }
        )
    return records
