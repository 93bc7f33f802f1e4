"""Tagged sequences as arrays: word ids or frames, the spelling of words, tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled.data.batch import Batch, Ids, pad
from unrolled.data.vocab import Vocabulary


class TaggerInput(NamedTuple):
    """What a tagger reads of N sequences.

    `values` are word ids [N, T] or frames [N, T, I], `lengths` [N]. `spellings` [U, W] with
    `spelling_lengths` [U] are the characters of the different words of the batch, and `words`
    [N, T] says which of them each word is; None where no spelling is read.
    """

    values: npt.NDArray[Any]
    lengths: Ids
    spellings: Ids | None = None
    spelling_lengths: Ids | None = None
    words: Ids | None = None


@dataclass(frozen=True)
class TagBatch(Batch):
    """A batch with a tag at every step: `tags` [N, T]; `labels` are the intents."""

    inputs: TaggerInput | None = None
    tags: Ids | None = None


@dataclass(frozen=True)
class Corpus:
    """Sequences as ids (or frames), and each different word's spelling once.

    `values[i]` are word ids or frames [T, I]; `forms[i]` says for each word of sequence i which of
    `spellings` is its own.
    """

    values: Sequence[Any]
    forms: Sequence[Sequence[int]] = ()
    spellings: Sequence[Sequence[int]] = ()

    @property
    def lengths(self) -> list[int]:
        """How many steps each sequence has."""
        return [len(each) for each in self.values]

    def cut(self, limit: int) -> Corpus:
        """Return the same with each sequence cut after `limit` steps."""
        values, forms = ([each[:limit] for each in part] for part in (self.values, self.forms))
        return Corpus(values, forms, self.spellings)

    def batch(self, index: npt.NDArray[np.integer] | Sequence[int]) -> TaggerInput:
        """Return the sequences at `index` [N], padded."""
        chosen = [self.values[i] for i in index]
        if isinstance(chosen[0], np.ndarray):
            return TaggerInput(*pad_frames(chosen))
        values, lengths = pad(chosen)
        if not self.forms:
            return TaggerInput(values, lengths)
        forms, _ = pad([self.forms[i] for i in index])
        inside = np.arange(forms.shape[1]) < lengths[:, None]
        different, which = np.unique(forms[inside], return_inverse=True)
        words = np.zeros_like(forms)
        words[inside] = which.reshape(-1)
        return TaggerInput(values, lengths, *pad([self.spellings[k] for k in different]), words)


def pad_frames(frames: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], Ids]:
    """Return frames [N, T, I] filled up with zeros to the longest, and the lengths [N]."""
    lengths = np.array([len(each) for each in frames], dtype=np.int64)
    padded = np.zeros((len(frames), int(lengths.max()), frames[0].shape[1]), np.float32)
    for row, each in enumerate(frames):
        padded[row, : len(each)] = each
    return padded, lengths


def encode_words(
    sentences: Sequence[Sequence[str]],
    words: Vocabulary | None,
    characters: Vocabulary | None,
    max_word_length: int,
) -> Corpus:
    """Return sentences as ids of their words and of the words' first characters.

    Without `words` all ids are 0: the network reads spellings only.
    """
    if words is None:
        values = [[0] * len(sentence) for sentence in sentences]
    else:
        values = [words.encode_words(sentence) for sentence in sentences]
    if characters is None:
        return Corpus(values)
    known: dict[str, int] = {}
    forms = [[known.setdefault(word, len(known)) for word in sentence] for sentence in sentences]
    return Corpus(values, forms, [characters.encode(word)[:max_word_length] for word in known])


def tag_batch(
    corpus: Corpus,
    tags: Sequence[Sequence[int]],
    intents: Ids | None,
    index: npt.NDArray[np.integer] | Sequence[int],
) -> TagBatch:
    """Return the sequences at `index` [N] with their tags and intents as one batch."""
    chosen = np.asarray(index, dtype=np.int64)
    inputs = corpus.batch(chosen)
    padded, _ = pad([tags[i] for i in chosen])
    ids = inputs.values if inputs.values.ndim == 2 else np.empty((len(chosen), 0), np.int64)
    labels = None if intents is None else intents[chosen]
    return TagBatch(ids, inputs.lengths, chosen, labels=labels, inputs=inputs, tags=padded)
