"""Whole decodes: our translator, and the same weights in an eager loop of torch.

The network is that of a grapheme-to-phoneme translator: a bidirectional GRU, Bahdanau's attention,
a GRU. Its weights are random, so that the limit of length ends nearly every answer. A row's answer
is right where the loop of torch in float64 finds none likelier, and gives the tokens that log
probability too: two answers may differ only where they are equally likely.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unrolled.bench.cases import Case
from unrolled.bench.eager import Answer, Eager
from unrolled.bench.problem import Array, Outputs, Side
from unrolled.bench.results import OURS
from unrolled.config import FORMAT_VERSION, DataSpec, ModelConfig, TrainSpec, VocabularySpec
from unrolled.data.vocab import PAD, SPECIALS, Vocabulary
from unrolled.nn.build import build
from unrolled.runtime import decode
from unrolled.runtime.model import TranslatorModel
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.runtime.reading import BATCH_SIZE
from unrolled.spec import AttentionSpec, RecurrentSpec, TranslatorSpec

# Letters with a few marks, and as many phonemes as dictionaries of English have, stresses aside.
LETTERS = (*SPECIALS, *ascii_lowercase, "'", "-", ".", "_")
PHONEMES = (*SPECIALS, *(f"P{k}" for k in range(1, 43)))
SHORTEST, LONGEST = 4, 11


@dataclass(frozen=True)
class DecodeProblem:
    """Weights by the names of a model, words, and the same as ids [N, S] with lengths [N]."""

    case: Case
    spec: TranslatorSpec
    weights: dict[str, Tensor]
    words: list[str]
    source: NDArray[np.int64]
    lengths: NDArray[np.int64]


def translator(case: Case) -> TranslatorSpec:
    """Return the translator's sizes: H, and embeddings of half of it."""
    hidden, embedding = case.H, case.H // 2

    def layer(inputs: int, *, both: bool) -> RecurrentSpec:
        return RecurrentSpec(
            cell=case.cell, input_size=inputs, hidden_sizes=(hidden,), bidirectional=both
        )

    return TranslatorSpec(
        source_vocab_size=len(LETTERS),
        target_vocab_size=len(PHONEMES),
        source_embedding_size=embedding,
        target_embedding_size=embedding,
        encoder=layer(embedding, both=True),
        decoder=layer(embedding + 2 * hidden, both=False),
        readout_size=hidden,
        attention=AttentionSpec(
            kind="additive", query_size=hidden, key_size=2 * hidden, size=hidden
        ),
    )


def decode_problem(case: Case) -> DecodeProblem:
    """Draw the words and weights of a case; the same case has the same in every process."""
    seed = zlib.crc32(case.name.encode())
    random = np.random.default_rng(seed)
    lengths = random.integers(SHORTEST, LONGEST + 1, case.N)
    source = random.integers(len(SPECIALS), len(LETTERS), (case.N, int(lengths.max())))
    source[np.arange(source.shape[1]) >= lengths[:, None]] = PAD
    words = ["".join(LETTERS[k] for k in row if k != PAD) for row in source]
    spec = translator(case)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = build(spec).state_dict()
    return DecodeProblem(case, spec, weights, words, source, lengths)


def expected(p: DecodeProblem) -> Outputs:
    """Return the log-probabilities of the best answers, as the loop of torch in float64 has it."""
    x, lengths = torch.from_numpy(p.source), torch.from_numpy(p.lengths)
    found = Eager(p.spec, p.weights).double().search(x, lengths, p.case.T, p.case.beam)
    log_probs = np.array([log_prob for _, log_prob in found])
    return {"log_prob": log_probs, "log_prob of its tokens": log_probs}


def our_side(p: DecodeProblem) -> Side:
    """Return our search over a batch, or our model from words to what it answers."""
    case = p.case
    weights: dict[str, Array] = {name: value.numpy() for name, value in p.weights.items()}
    network = TranslatorNetwork(p.spec, weights)
    if case.task == "words":
        model = _model(p.spec, network)

        def answer() -> list[str]:
            return model.predict(p.words, beam=case.beam, max_length=case.T, length_penalty=0.0)

        return Side(OURS, answer, lambda: _of_texts(p, answer()))

    def search() -> list[list[decode.Hypothesis]]:
        if case.beam == 1:
            return decode.greedy(network, p.source, p.lengths, case.T, length_penalty=0.0)
        return decode.beam(
            network, p.source, p.lengths, beam=case.beam, max_length=case.T, length_penalty=0.0
        )

    def outputs() -> Outputs:
        return _of_answers(p, [(best[0].tokens, best[0].log_prob) for best in search()])

    return Side(OURS, search, outputs)


def torch_side(p: DecodeProblem) -> Side:
    """Return torch's loop over a batch, or over batches of words of near lengths, as ours are."""
    case, eager = p.case, Eager(p.spec, p.weights)
    if case.task == "decode":
        x, lengths = torch.from_numpy(p.source), torch.from_numpy(p.lengths)

        def search() -> list[Answer]:
            return eager.search(x, lengths, case.T, case.beam)

        return Side("torch", search, lambda: _of_answers(p, search()))
    ids = {letter: k for k, letter in enumerate(LETTERS)}
    rows = max(1, BATCH_SIZE // case.beam)

    def answer() -> list[str]:
        texts = [""] * len(p.words)
        order = sorted(range(len(p.words)), key=lambda k: len(p.words[k]))
        for start in range(0, len(order), rows):
            places = order[start : start + rows]
            spelled = [torch.tensor([ids[letter] for letter in p.words[k]]) for k in places]
            lengths = torch.tensor([len(letters) for letters in spelled])
            x = pad_sequence(spelled, batch_first=True, padding_value=PAD)
            found = eager.search(x, lengths, case.T, case.beam)
            for k, (tokens, _) in zip(places, found, strict=True):
                texts[k] = " ".join(PHONEMES[token] for token in tokens)
        return texts

    return Side("torch", answer, lambda: _of_texts(p, answer()))


def _model(spec: TranslatorSpec, network: TranslatorNetwork) -> TranslatorModel:
    by_letter, by_word = VocabularySpec(tokens="char"), VocabularySpec(tokens="word")
    config = ModelConfig(
        format_version=FORMAT_VERSION,
        task="translate",
        network=spec,
        data=DataSpec(source_vocabulary=by_letter, target_vocabulary=by_word),
        training=TrainSpec(),
    )
    source, target = Vocabulary(by_letter, LETTERS), Vocabulary(by_word, PHONEMES)
    return TranslatorModel(config, network, source, target)


def _of_answers(p: DecodeProblem, answers: Sequence[Answer]) -> Outputs:
    claimed = np.array([log_prob for _, log_prob in answers])
    return {"log_prob": claimed, **_of_tokens(p, [tokens for tokens, _ in answers])}


def _of_texts(p: DecodeProblem, texts: Sequence[str]) -> Outputs:
    ids = {phoneme: k for k, phoneme in enumerate(PHONEMES)}
    return _of_tokens(p, [[ids[phoneme] for phoneme in text.split()] for text in texts])


def _of_tokens(p: DecodeProblem, tokens: Sequence[Sequence[int]]) -> Outputs:
    """Return what the loop of torch in float64 gives for the tokens that a side wrote."""
    x, lengths = torch.from_numpy(p.source), torch.from_numpy(p.lengths)
    found = Eager(p.spec, p.weights).double().score_of(x, lengths, tokens)
    return {"log_prob of its tokens": found.numpy()}
