"""Byte pair encoding over Unicode characters, learned and applied by the `tokenizers` library.

Neural machine translation of rare words with subword units (Sennrich et al. 2016), section 3.2. A
space is written as U+2581 and belongs to the unit that follows it, so that units read as text and
their concatenation gives the text back. No unit crosses a space or joins punctuation to a word.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unrolled.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "▁"


def train(
    texts: Sequence[str], *, specials: Sequence[str], min_count: int, max_size: int
) -> tuple[list[str], str]:
    """Learn units from `texts`; return those after the specials, and the tokenizer as JSON.

    Characters and merges must occur `min_count` times. The most frequent characters come first in
    line for the `max_size` places (equal counts by code point), then merges in the order learned.
    """
    _require()
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    spelled = [spell(text) for text in texts]
    counts = Counter("".join(spelled))
    ranked = sorted((-n, c) for c, n in counts.items() if n >= min_count or c == SPACE)
    alphabet = [character for _, character in ranked[: max_size - len(specials)]]
    tokenizer = Tokenizer(models.BPE(unk_token=specials[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=max_size,
        min_frequency=min_count,
        special_tokens=list(specials),
        initial_alphabet=alphabet,
        # With as many places as the alphabet has characters, no other character gets in: left to
        # itself the trainer breaks ties between rare characters differently from run to run.
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(spelled, trainer)
    state = json.loads(tokenizer.to_str())
    # Without this a text that spells "<s>" would be read as the special unit.
    state["added_tokens"] = []
    saved = json.dumps(state, ensure_ascii=False, separators=(",", ":"))
    units = units_of(saved)[len(specials) :]
    return ([] if units == [SPACE] else units), saved


def load(saved: str) -> Tokenizer:
    """Return the tokenizer of its JSON; `ValueError` where that is damaged."""
    _require()
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(saved)
    except Exception as error:
        # The library raises bare `Exception` for whatever is wrong with the JSON.
        raise ValueError(str(error)) from None


def units_of(saved: str) -> list[str]:
    """Return the units of a tokenizer in the order of their ids, which must be 0, 1, 2, ..."""
    ids = load(saved).get_vocab()
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError("its ids are not 0, 1, 2, ...")
    return sorted(ids, key=ids.__getitem__)


def spell(text: str) -> str:
    """Return a text as the tokenizer reads it: U+2581 for every space, and one at the start."""
    return SPACE + text.replace(" ", SPACE) if text else ""


def join(units: str) -> str:
    """Return the text of concatenated units, what `spell` was given."""
    return units.removeprefix(SPACE).replace(SPACE, " ")


def _require() -> None:
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        raise ConfigError(
            "tokens 'bpe' needs the tokenizers library: pip install 'unrolled[text]'"
        ) from None
