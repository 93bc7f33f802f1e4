"""What is held out for validation: a share of the records, equal keys kept together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, DataError

Positions = npt.NDArray[np.int64]


def split(keys: Sequence[Hashable], fraction: float, seed: int) -> tuple[Positions, Positions]:
    """Return the positions [*] of the training and of the validation records, both ascending.

    Records with equal keys, such as one spelling with two pronunciations, are always on the same
    side. About `fraction` of the records, and never none of them, are for validation; which,
    depends on `keys`, `fraction` and `seed` only. Raises `ConfigError` for a fraction outside
    (0, 1) and `DataError` where there are fewer than two different keys.
    """
    if not 0 < fraction < 1:
        raise ConfigError(
            f"the validation fraction is {fraction}; expected more than 0, less than 1"
        )
    numbers: dict[Hashable, int] = {}
    group = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    if len(numbers) < 2:
        raise DataError(
            f"{len(keys)} records with {len(numbers)} different inputs; at least 2 different ones"
            " are needed to hold some out for validation"
        )
    sizes = np.bincount(group).tolist()
    wanted, taken = max(1, round(fraction * len(keys))), 0
    held_out = np.zeros(len(numbers), dtype=bool)
    for k in np.random.default_rng(seed).permutation(len(numbers)).tolist():
        if taken + sizes[k] <= wanted:
            held_out[k] = True
            taken += sizes[k]
    if not taken:
        held_out[int(np.argmin(sizes))] = True
    elif held_out.all():
        held_out[int(np.argmax(sizes))] = False
    in_validation = held_out[group]
    return np.flatnonzero(~in_validation), np.flatnonzero(in_validation)
