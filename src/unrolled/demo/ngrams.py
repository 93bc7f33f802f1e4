"""What a text model is held against: counted characters, and a compressor that has read before."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ConfigError

Array = NDArray[Any]


@dataclass(frozen=True)
class _Order:
    """What is known after contexts of one length: sorted codes of contexts and of grams.

    `totals` [C] are the counts of each context, `kinds` [C] how many different characters followed;
    `counts` [G] are those of the grams.
    """

    contexts: Array
    totals: Array
    kinds: Array
    grams: Array
    counts: Array
    discount: float


class KneserNey:
    """Characters by the `order - 1` before (Kneser and Ney 1995; Chen and Goodman 1999, section 4).

    p(c | u) = max(n(u c) - d, 0) / n(u) + d k(u) / n(u) p(c | u less its first), with k(u) the
    number of different characters after u and d = n1 / (n1 + 2 n2) by how many grams were seen once
    and twice. At the highest order n counts occurrences, below the different characters before a
    gram; under all is 1 / V. `text` holds the characters to learn from; a character that is not
    among them has the probability of one that was never counted.

    Raises ConfigError for an order whose grams do not fit in 64 bits.
    """

    def __init__(self, text: str, order: int) -> None:
        self.order = order
        self.characters = np.unique(_points(text))
        self.base = len(self.characters) + 1
        if order < 1 or self.base ** (order + 1) >= 2**63:
            raise ConfigError(f"order is {order}; expected 1 to {int(62 / np.log2(self.base)) - 1}")
        ids = self._ids(text)
        self._orders = [self._counted(ids, n, last=n == order) for n in range(1, order + 1)]

    def bits(self, text: str) -> Array:
        """Return -log2 p of each character of a text given those before it, [T]."""
        ids = self._ids(text)
        found = np.full(len(ids), 1.0 / self.base)
        for n, known in enumerate(self._orders, start=1):
            grams = _codes(ids, n, self.base)
            at = slice(n - 1, None)
            total, kinds = (_look(known.contexts, part, grams // self.base)
                            for part in (known.totals, known.kinds))  # fmt: skip
            count = np.maximum(_look(known.grams, known.counts, grams) - known.discount, 0)
            safe = np.maximum(total, 1)
            mixed = count / safe + known.discount * kinds / safe * found[at]
            found[at] = np.where(total > 0, mixed, found[at])
        bits: Array = -np.log2(found)
        return bits

    def _ids(self, text: str) -> Array:
        """Return places among the known characters; one more for those that are not."""
        points = _points(text)
        at = np.minimum(np.searchsorted(self.characters, points), len(self.characters) - 1)
        known = self.characters[at] == points
        return np.where(known, at, len(self.characters)).astype(np.int64)

    def _counted(self, ids: Array, n: int, *, last: bool) -> _Order:
        if last:
            grams, counts = np.unique(_codes(ids, n, self.base), return_counts=True)
        else:
            longer = np.unique(_codes(ids, n + 1, self.base))
            grams, counts = np.unique(longer % self.base**n, return_counts=True)
        contexts, first = np.unique(grams // self.base, return_index=True)
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        return _Order(
            contexts,
            np.add.reduceat(counts, first),
            np.diff(np.append(first, len(grams))),
            grams,
            counts,
            once / (once + 2 * twice) if once else 0.5,
        )


def best_order(train: str, valid: str, orders: range) -> KneserNey:
    """Return the model of the order that foretells `valid` best."""
    models = (KneserNey(train, order) for order in orders)
    return min(models, key=lambda model: float(model.bits(valid).mean()))


def compressed_bits(train: str, test: str) -> float:
    """Return the bits a character that xz needs for `test` after `train`.

    (size(train + test) - size(train)) / T, sizes in bits, at its best and with a dictionary that
    holds both texts.
    """
    sizes = []
    for text in (train, train + test):
        content = text.encode()
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME,
                    "dict_size": 1 << max(16, len(content).bit_length())}]  # fmt: skip
        sizes.append(8 * len(lzma.compress(content, lzma.FORMAT_RAW, filters=filters)))
    return (sizes[1] - sizes[0]) / len(test)


def _points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _codes(ids: Array, n: int, base: int) -> Array:
    """Return each run of n ids as one number, [T - n + 1]."""
    size = max(0, len(ids) - n + 1)
    found = np.zeros(size, np.int64)
    for k in range(n):
        found = found * base + ids[k : k + size]
    return found


def _look(keys: Array, values: Array, wanted: Array) -> Array:
    """Return the value of each wanted key, 0 where it is not there."""
    if not len(keys):
        return np.zeros(len(wanted))
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
