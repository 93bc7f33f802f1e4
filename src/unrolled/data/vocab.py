"""Vocabularies: text to ids and back, by character, word or BPE, and class labels.

All text is normalised to NFC first (Unicode Standard Annex 15), so that a Hangul syllable written
as one code point and the same syllable written as conjoining jamo meet in one unit. Nothing else is
folded: compatibility jamo, full-width forms, joiners and direction marks stay what they are.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from unrolled.config import VocabularySpec
from unrolled.data import bpe
from unrolled.data.table import names
from unrolled.errors import ConfigError, DataError, ModelError, did_you_mean
from unrolled.spec import Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNK, BOS, EOS = range(4)


class _VocabularyFile(
    msgspec.Struct, tag="vocabulary", tag_field="kind", forbid_unknown_fields=True
):
    spec: VocabularySpec
    units: list[str]
    tokenizer: dict[str, Any] | None = None


class _LabelFile(msgspec.Struct, tag="labels", tag_field="kind", forbid_unknown_fields=True):
    labels: list[str]


def normalise(text: str, *, lowercase: bool = False) -> str:
    """Return `text` in NFC, lower-cased where asked: what a vocabulary sees of it."""
    composed = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", composed.lower()) if lowercase else composed


def suggest_tokens(texts: Iterable[str]) -> Tokens:
    """Return `"char"` where most texts hold no white space inside, else `"word"`."""
    whole = [len(text.split()) < 2 for text in texts]
    return "char" if sum(whole) * 2 > len(whole) else "word"


@dataclass(frozen=True)
class Vocabulary:
    """Units of text and their ids: `<pad>` 0, `<unk>` 1, `<s>` 2, `</s>` 3, then what was counted.

    Units are ordered by count, highest first, and by code point where counts are equal; BPE units
    keep the order in which they were merged. A text that spells a special unit, such as `<s>`, is
    never encoded as one. `tokenizer` is the `tokenizers` JSON of a BPE vocabulary.
    """

    spec: VocabularySpec
    units: tuple[str, ...]
    tokenizer: str | None = None
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _bpe: Tokenizer | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = enumerate(self.units[len(SPECIALS) :], start=len(SPECIALS))
        object.__setattr__(self, "_ids", {unit: k for k, unit in plain})
        loaded = None if self.tokenizer is None else bpe.load(self.tokenizer)
        object.__setattr__(self, "_bpe", loaded)

    @classmethod
    def build(cls, texts: Iterable[str], spec: VocabularySpec) -> Vocabulary:
        """Count the units of `texts` and keep those that occur `spec.min_count` times or more.

        Characters and words are counted text by text, and no text is held; BPE needs them all. At
        most `spec.max_size` units are kept, specials included. Raises `ConfigError` for sizes
        out of range and `DataError` where no unit is left.
        """
        if spec.min_count < 1:
            raise ConfigError(f"min_count is {spec.min_count}; expected 1 or more")
        if spec.max_size <= len(SPECIALS):
            raise ConfigError(f"max_size is {spec.max_size}; expected more than {len(SPECIALS)}")
        seen = (normalise(text, lowercase=spec.lowercase) for text in texts)
        if spec.tokens == "bpe":
            held = list(seen)
            units, tokenizer = bpe.train(
                held, specials=SPECIALS, min_count=spec.min_count, max_size=spec.max_size
            )
            number = len(held)
        else:
            counts, number = _counted(seen, spec)
            units, tokenizer = kept(counts, spec), None
        if not units:
            raise DataError(
                f"the vocabulary is empty: none of {number} texts holds a {spec.tokens} that"
                f" occurs at least {spec.min_count} times (min_count)"
            )
        return cls(spec, (*SPECIALS, *units), tokenizer)

    @classmethod
    def of_words(
        cls, words: Iterable[str], spec: VocabularySpec, *, further: Iterable[str] = ()
    ) -> Vocabulary:
        """Count whole words, which may hold spaces, and keep them as `build` does.

        `further` words fill what places `spec.max_size` leaves, in their order.
        """
        counts = Counter(normalise(word, lowercase=spec.lowercase) for word in words)
        units = dict.fromkeys(kept(counts, spec))
        for word in further:
            if len(units) >= spec.max_size - len(SPECIALS):
                break
            units[normalise(word, lowercase=spec.lowercase)] = None
        for special in SPECIALS:
            units.pop(special, None)
        if not units:
            raise DataError(
                f"the vocabulary is empty: no word occurs at least {spec.min_count} times "
                "(min_count)"
            )
        return cls(spec, (*SPECIALS, *units))

    def __len__(self) -> int:
        return len(self.units)

    def unit(self, index: int) -> str:
        """Return the unit with this id; `IndexError` where there is none."""
        if not 0 <= index < len(self.units):
            raise IndexError(f"id {index} is outside a vocabulary of {len(self.units)} units")
        return self.units[index]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without `<s>` and `</s>`; what is not known becomes `<unk>`."""
        seen = normalise(text, lowercase=self.spec.lowercase)
        if self._bpe is not None:
            ids: list[int] = self._bpe.encode(bpe.spell(seen), add_special_tokens=False).ids
            return ids
        get = self._ids.get
        return [get(unit, UNK) for unit in _pieces(seen, self.spec.tokens)]

    def encode_words(self, words: Iterable[str]) -> list[int]:
        """Return the id of each whole word; what is not known becomes `<unk>`."""
        lowercase, get = self.spec.lowercase, self._ids.get
        return [get(normalise(word, lowercase=lowercase), UNK) for word in words]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; `<pad>`, `<s>` and `</s>` are left out, `<unk>` is shown.

        `decode(encode(x))` is `normalise(x)` for known characters; words come back with one space
        between them.
        """
        kept = [self.unit(int(k)) for k in ids if k not in (PAD, BOS, EOS)]
        if self.spec.tokens == "word":
            return " ".join(kept)
        joined = "".join(kept)
        return joined if self.tokenizer is None else bpe.join(joined)

    def to_json(self) -> bytes:
        """Return the vocabulary whole, as `from_json` reads it."""
        tokenizer = None if self.tokenizer is None else msgspec.json.decode(self.tokenizer)
        return msgspec.json.encode(_VocabularyFile(self.spec, list(self.units), tokenizer))

    @classmethod
    def from_json(cls, content: bytes | str, *, name: str = "vocab.json") -> Vocabulary:
        """Read what `to_json` wrote. Raises `ModelError` where it is damaged."""
        found = from_json(content, name=name)
        if not isinstance(found, cls):
            raise ModelError(f"{name}: expected a vocabulary, found class labels")
        return found


def _pieces(text: str, tokens: Literal["char", "word", "bpe"]) -> Sequence[str]:
    return text.split() if tokens == "word" else text


def _counted(seen: Iterable[str], spec: VocabularySpec) -> tuple[Counter[str], int]:
    """Return how often each unit occurs, and how many texts there were; none is kept."""
    counts: Counter[str] = Counter()
    number = 0
    for text in seen:
        counts.update(_pieces(text, spec.tokens))
        number += 1
    return counts, number


def kept(counts: Counter[str], spec: VocabularySpec) -> list[str]:
    """Return the counted units that a vocabulary of `spec` keeps, in its order."""
    for special in SPECIALS:
        del counts[special]
    kept = [(-count, unit) for unit, count in counts.items() if count >= spec.min_count]
    return [unit for _, unit in sorted(kept)[: spec.max_size - len(SPECIALS)]]


@dataclass(frozen=True)
class LabelVocabulary:
    """Class labels and their indices: whole numbers by value, else by code point."""

    labels: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {label: k for k, label in enumerate(self.labels)})

    @classmethod
    def build(cls, labels: Iterable[str], *, name: str = "the labels") -> LabelVocabulary:
        """Collect the classes; `name` says in messages where they are from.

        Raises `DataError` where there are fewer than two.
        """
        found = set(labels)
        if not found:
            raise DataError(f"{name}: no labels; expected at least two classes")
        if len(found) == 1:
            only = next(iter(found))
            raise DataError(f"{name}: one class only ({only!r}); expected at least two")
        whole = all(label.removeprefix("-").isdecimal() for label in found)
        return cls(tuple(sorted(found, key=(lambda x: (int(x), x)) if whole else None)))

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, index: int) -> str:
        """Return the label of class `index`."""
        return self.labels[index]

    def index(self, label: str, where: str = "") -> int:
        """Return the class of a label; `DataError` names `where` it is and the known labels."""
        found = self._ids.get(label)
        if found is None:
            place = f"{where}: " if where else ""
            hint = did_you_mean(label, self.labels)
            raise DataError(
                f"{place}label {label!r} was not seen in training;"
                f" the labels are: {names(self.labels)}.{hint}"
            )
        return found

    def encode(
        self, labels: Sequence[str], where: Callable[[int], str] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the classes [N] of labels; `where(i)` says in messages where label i is."""
        if where is not None:
            for i, label in enumerate(labels):
                if label not in self._ids:
                    self.index(label, where(i))
        return np.array([self.index(label) for label in labels], dtype=np.int64)

    def to_json(self) -> bytes:
        """Return the labels as `from_json` reads them."""
        return msgspec.json.encode(_LabelFile(list(self.labels)))

    @classmethod
    def from_json(cls, content: bytes | str, *, name: str = "vocab.json") -> LabelVocabulary:
        """Read what `to_json` wrote. Raises `ModelError` where it is damaged."""
        found = from_json(content, name=name)
        if not isinstance(found, cls):
            raise ModelError(f"{name}: expected class labels, found a vocabulary")
        return found


def from_json(content: bytes | str, *, name: str = "vocab.json") -> Vocabulary | LabelVocabulary:
    """Read a vocabulary or the class labels, whichever `content` holds.

    Raises `ModelError` with `name` where a key is missing or unknown, a value is of another type,
    the units are not unique, do not begin with the specials, or disagree with the tokenizer.
    """
    try:
        found = msgspec.json.decode(content, type=_VocabularyFile | _LabelFile)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ModelError(f"{name}: the vocabulary is damaged: {error}") from None
    if isinstance(found, _LabelFile):
        _check(name, len(found.labels) > 1, "it holds fewer than two labels")
        _check(name, len(set(found.labels)) == len(found.labels), "a label is there twice")
        return LabelVocabulary(tuple(found.labels))
    units, by_bpe = found.units, found.spec.tokens == "bpe"
    start = tuple(units[: len(SPECIALS)])
    _check(name, start == SPECIALS, f"its units do not begin with {' '.join(SPECIALS)}")
    _check(name, len(units) > len(SPECIALS), "it holds no units")
    _check(name, len(set(units)) == len(units), "a unit is there twice")
    _check(name, (found.tokenizer is not None) == by_bpe, "only BPE has a tokenizer")
    if found.tokenizer is None:
        return Vocabulary(found.spec, tuple(units))
    tokenizer = msgspec.json.encode(found.tokenizer).decode()
    try:
        same = bpe.units_of(tokenizer) == units
    except ValueError as error:
        raise ModelError(f"{name}: the vocabulary is damaged: its tokenizer: {error}") from None
    _check(name, same, "its units are not those of its tokenizer")
    return Vocabulary(found.spec, tuple(units), tokenizer)


def _check(name: str, holds: bool, otherwise: str) -> None:
    if not holds:
        raise ModelError(f"{name}: the vocabulary is damaged: {otherwise}")
