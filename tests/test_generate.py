"""Generators: carried state, loss and perplexity against torch, resuming, sampling, ranks."""

from __future__ import annotations

import math
import os
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import unrolled
from unrolled.config import TrainSpec, VocabularySpec
from unrolled.data.items import Corpus
from unrolled.data.streams import (
    LINE,
    Streams,
    build_vocabulary,
    file_lines,
    text_lines,
    write_ids,
)
from unrolled.data.vocab import BOS, EOS
from unrolled.errors import ConfigError, DataError
from unrolled.nn.build import build
from unrolled.options import GenerateOptions
from unrolled.runtime.generator import GeneratorNetwork
from unrolled.runtime.generator_model import GeneratorModel
from unrolled.runtime.sampling import Sampling, distribution, draw
from unrolled.runtime.state import SessionState
from unrolled.spec import GeneratorSpec, RecurrentSpec
from unrolled.tasks import Generator
from unrolled.tasks.base import Run
from unrolled.tasks.generate import pack_state, train_text, unpack_state
from unrolled.tasks.measure_generator import (
    every_step_metrics,
    frame_metrics,
    next_item_metrics,
    rank_metrics,
    stream_metrics,
)
from unrolled.train.loop import Interrupted

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n" * 30
SMALL = {"hidden_size": 8, "embedding_size": 6}


def options(**choices: object) -> GenerateOptions:
    return GenerateOptions(**{**SMALL, "bptt": 7, **choices})


def training(**choices: object) -> TrainSpec:
    return TrainSpec(**{"epochs": 2, "batch_size": 4, "lr": 0.01, **choices})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generator") / "model"
    train_text(text_lines(TEXT), options(), training(), run=Run(out))
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> GeneratorModel:
    return unrolled.load(folder)


def network(**choices: object) -> GeneratorSpec:
    recurrent = RecurrentSpec(cell="lstm", input_size=6, hidden_sizes=(8, 8))
    given = {"recurrent": recurrent, "vocab_size": 11, "embedding_size": 6, **choices}
    return GeneratorSpec(**given)


def test_the_loss_is_that_of_torch_layers_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = build(network())
    embedding, stack, output = nn.Embedding(11, 6), nn.LSTM(6, 8, 2, batch_first=True), None
    output = nn.Linear(8, 11)
    embedding.load_state_dict(ours.embedding.state_dict())
    stack.load_state_dict(ours.recurrent.state_dict())
    output.load_state_dict(ours.output.state_dict())
    ids = torch.randint(0, 11, (3, 13))
    state, theirs = None, None
    for begin, end in ((0, 5), (5, 12)):
        logits, state = ours(ids[:, begin:end], state)
        y, theirs = stack(embedding(ids[:, begin:end]), theirs)
        wanted = ids[:, begin + 1 : end + 1].flatten()
        a = nn.functional.cross_entropy(logits.flatten(0, 1), wanted)
        b = nn.functional.cross_entropy(output(y).flatten(0, 1), wanted)
        assert float(a.detach()) == pytest.approx(float(b.detach()), rel=1e-6)
        found = torch.autograd.grad(a, ours.recurrent.weight_hh_l0)[0]
        expected = torch.autograd.grad(b, stack.weight_hh_l0)[0]
        assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
        state = unpack_state(pack_state(state))
        theirs = tuple(part.detach() for part in theirs)


@pytest.mark.parametrize(("tied", "frames"), [(False, 0), (True, 0), (False, 5)])
def test_both_sides_compute_the_same(tied: bool, frames: int) -> None:
    torch.manual_seed(1)
    spec = network(tied=tied)
    if frames:
        recurrent = RecurrentSpec(cell="gru", input_size=5, hidden_sizes=(8,))
        spec = GeneratorSpec(recurrent=recurrent, frame_size=5)
    ours = build(spec).eval()
    weights = {k: v.numpy() for k, v in ours.state_dict().items()}
    ids = torch.randint(0, 11, (3, 9))
    read = torch.bernoulli(torch.full((3, 9, 5), 0.3)) if frames else ids
    expected = ours(read)[0].detach().numpy()
    found = GeneratorNetwork(spec, weights).logits(read.numpy())[0]
    assert np.abs(found - expected).max() < 1e-5


def test_dropout_is_locked_in_time_and_acts_in_training_only() -> None:
    torch.manual_seed(0)
    recurrent = RecurrentSpec(cell="lstm", input_size=6, hidden_sizes=(8, 8), dropout=0.5)
    spec = network(
        recurrent=recurrent, input_dropout=0.5, weight_dropout=0.5, embedding_dropout=0.5
    )
    ours = build(spec)
    ids = torch.full((1, 6), 5)
    seen: list[torch.Tensor] = []
    ours.recurrent.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    ours(ids)
    assert all(torch.equal(seen[0][:, 0], seen[0][:, t]) for t in range(6))
    assert not torch.equal(ours(ids)[0], ours(ids)[0])
    weight = ours.recurrent.weight_hh_l0
    ours(ids)[0].sum().backward()
    dropped = float((weight.grad == 0).float().mean())
    assert 0.3 < dropped < 0.7
    ours.eval()
    assert torch.equal(ours(ids)[0], ours(ids)[0])


def test_streams_are_contiguous_and_the_windows_cover_every_step() -> None:
    ids = np.arange(101, dtype=np.int32)
    streams = Streams(ids, 4, 7, 0.3, np.random.default_rng(0))
    parts = [streams[k] for k in range(len(streams))]
    inputs = np.concatenate([part[0] for part in parts], axis=1)
    targets = np.concatenate([part[1] for part in parts], axis=1)
    assert (inputs.flatten() == np.arange(100)).all()
    assert (targets == inputs + 1).all()
    assert len({part[0].shape[1] for part in parts}) > 1


def test_a_text_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.txt"
    path.write_text("abcdefgh " * 100_000)
    sizes = [len(line) for line in file_lines(path)()]
    assert sum(sizes) == 900_000
    assert max(sizes) <= LINE
    vocabulary = build_vocabulary(file_lines(path), VocabularySpec(tokens="char"))
    ids = write_ids(file_lines(path), vocabulary)
    assert isinstance(ids, np.memmap)
    assert len(ids) == 900_001
    tracemalloc.start()
    streams = Streams(ids, 8, 50)
    for k in range(len(streams)):
        streams[k]
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()


def test_words_keep_their_lines() -> None:
    vocabulary = build_vocabulary(text_lines("a b\nc\n"), VocabularySpec(tokens="word"))
    ids = write_ids(text_lines("a b\nc\n"), vocabulary)
    assert ids[0] == BOS
    assert [k for k, i in enumerate(ids) if i == EOS] == [3, 5]


class Stop:
    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def begin(self, epochs: int, counters: object) -> None: ...

    def step(self, *args: object) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def epoch(self, record: object) -> None: ...

    def end(self) -> None: ...


def test_a_run_resumes_bit_for_bit_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    choices = options(dropout=0.3, weight_dropout=0.3, bptt_jitter=0.2)
    whole = train_text(text_lines(TEXT), choices, training())
    out = tmp_path / "model"
    with pytest.raises(Interrupted):
        train_text(text_lines(TEXT), choices, training(), run=Run(out, watchers=(Stop(9),)))
    again = train_text(text_lines(TEXT), choices, training(), run=Run(out, resume=True))
    for name, value in whole.weights.items():
        assert np.array_equal(value, again.weights[name]), name


def test_perplexity_is_that_of_a_plain_loop(model: GeneratorModel) -> None:
    text = TEXT[:300]
    ids = [BOS, *model.encode(text)]
    session, total = model.stream(), 0.0
    for token in ids[1:]:
        total -= math.log(session.probabilities[token])
        session.step(token)
    found = stream_metrics(model, write_ids(text_lines(text), model.vocabulary))
    assert found["nats"] == pytest.approx(total / 300, rel=1e-4)
    assert found["bits"] == pytest.approx(found["nats"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["nats"]))
    assert model.log_likelihood(text)[0] == pytest.approx(-total, rel=1e-4)
    chunked = sum(part.sum() for part in model.stream_losses(np.array(ids), chunk=17))
    assert chunked == pytest.approx(total, rel=1e-4)


def test_generation_is_repeatable_and_iterates_as_it_generates(model: GeneratorModel) -> None:
    one = model.generate("the ", max_length=30, seed=3)
    assert one == model.generate("the ", max_length=30, seed=3)
    assert one != model.generate("the ", max_length=30, seed=4)
    assert "".join(model.iterate("the ", max_length=30, seed=3)) == one[0]
    assert len(model.generate("the ", n=3, max_length=5)) == 3
    likeliest = model.generate("the ", max_length=10, temperature=0)
    assert likeliest == model.generate("the ", max_length=10, top_k=1, seed=9)


def test_a_session_forks_and_its_state_goes_through_bytes(model: GeneratorModel) -> None:
    session = model.stream()
    session.read("the c")
    other, third = session.fork(), model.stream()
    third.state = SessionState.from_bytes(session.state.to_bytes())
    assert session.probabilities.sum() == pytest.approx(1, abs=1e-5)
    token = model.encode("a")[0]
    after = other.step(token)
    assert np.array_equal(third.step(token), after)
    assert not np.array_equal(session.probabilities, after)
    with pytest.raises(DataError, match="no token's id; expected 0 to"):
        session.step(10_000)


def test_sampling_keeps_what_it_says() -> None:
    logits = np.log(np.array([[0.2, 0.1, 0.1, 0.1, 0.25, 0.15, 0.1]]))
    none = np.zeros_like(logits, bool)
    plain = distribution(logits, Sampling(), none)[0]
    assert plain[:3].sum() == 0
    assert plain[4] == pytest.approx(0.25 / 0.6)
    top = distribution(logits, Sampling(top_k=2), none)[0]
    assert np.flatnonzero(top).tolist() == [4, 5]
    nucleus = distribution(logits, Sampling(top_p=0.4), none)[0]
    assert np.flatnonzero(nucleus).tolist() == [4]
    seen = none.copy()
    seen[0, 4] = True
    assert distribution(logits, Sampling(repetition_penalty=2), seen)[0, 4] < plain[4]
    drawn = draw(np.repeat(plain[None], 20_000, axis=0), np.random.default_rng(0))
    assert np.abs(np.bincount(drawn, minlength=7) / 20_000 - plain).max() < 0.02
    with pytest.raises(ConfigError, match="top_p is 0; expected more than 0, at most 1"):
        Sampling(top_p=0)


def test_ranks_give_the_textbook_metrics() -> None:
    found = rank_metrics(np.array([1, 2, 11, 21, math.inf]))
    assert found["hr@10"] == pytest.approx(2 / 5)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3)) / 5)
    assert found["recall@20"] == pytest.approx(3 / 5)
    assert found["mrr@20"] == pytest.approx((1 + 1 / 2 + 1 / 11) / 5)


def test_items_are_recommended_and_ranked() -> None:
    ring = "abcdefgh"
    histories = [[ring[(s + k) % 8] for k in range(5)] for s in range(8)] * 8
    choices = {"hidden_size": 16, "embedding_size": 16, "dropout": 0.0, "epochs": 25, "lr": 0.02}
    fitted = Generator(**choices, batch_size=8, schedule="constant").fit(histories)
    found = fitted.recommend(["b", "c", "d"], 3)
    assert found.items[0] == "e"
    assert not set(found.items) & {"b", "c", "d"}
    negatives = [["x", *(c for c in ring if c != items[-1])] for items in histories]
    ranked = next_item_metrics(fitted.model_, Corpus("t", histories, negatives))
    assert ranked["hr@10"] == 1
    assert ranked["ndcg@10"] > 0.9
    assert ranked["negatives_ndcg@10"] > 0.9
    with pytest.raises(DataError, match="no item that the model knows"):
        fitted.recommend(["zzz"])


def test_every_step_of_a_session_is_ranked_after_those_before_it() -> None:
    histories = [list("abcab"), list("cabca"), list("bcabc")] * 8
    choices = {"hidden_size": 16, "embedding_size": 16, "dropout": 0.0, "epochs": 15, "lr": 0.02}
    model = Generator(**choices, batch_size=8, schedule="constant").fit(histories).model_
    sessions = [list("abca"), ["b"], ["c", "zz", "a"]]
    ranks = []
    for items in sessions:
        for t in range(1, len(items)):
            scores = model.next_scores([model.encode(items[:t])], exclude_seen=False)[0]
            (wanted,) = model.encode([items[t]])
            known = np.isfinite(scores[wanted])
            ranks.append((scores >= scores[wanted]).sum() if known else math.inf)
    found = every_step_metrics(model, Corpus("t", sessions))
    wanted = rank_metrics(np.array(ranks, float))
    assert found == {
        "steps_recall@20": wanted["recall@20"],
        "steps_mrr@20": pytest.approx(wanted["mrr@20"]),
        "steps": 5,
    }
    assert found["steps_recall@20"] == 4 / 5
    assert every_step_metrics(model, Corpus("t", [["b"]])) == {}


def test_frames_are_learned_and_drawn() -> None:
    song = np.tile(np.eye(4, dtype=np.float32), (5, 1))
    fitted = Generator(hidden_size=16, epochs=40, batch_size=2, lr=0.03, dropout=0.0)
    fitted.fit([song] * 8)
    drawn = fitted.generate(song[:5], max_length=3, temperature=0)[0]
    assert np.array_equal(drawn, song[5:8])
    logits = fitted.model_.network.logits(np.concatenate([song[:1] * 0, song[:-1]])[None])[0][0]
    wanted = nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), torch.from_numpy(song), reduction="sum"
    )
    assert fitted.model_.log_likelihood([song])[0] == pytest.approx(-float(wanted), rel=1e-4)
    with pytest.raises(DataError, match="values other than 0 and 1"):
        fitted.fit([song * 0.5, song])


def test_frames_are_measured_by_frame_and_by_sequence() -> None:
    """Against the total of each sequence, which another test holds against torch."""
    random = np.random.default_rng(0)
    songs = [(random.random((steps, 3)) < 0.5).astype(np.float32) for steps in (4, 30)]
    fitted = Generator(hidden_size=4, epochs=1, batch_size=2).fit(songs * 4)
    totals = -np.asarray(fitted.model_.log_likelihood(songs))
    found = frame_metrics(fitted.model_, Corpus("songs", songs))
    assert found["nats"] == pytest.approx(totals.sum() / 34, rel=1e-5)
    assert found["nats_by_sequence"] == pytest.approx(np.mean(totals / [4, 30]), rel=1e-5)
    assert (found["count"], found["steps"]) == (2, 34)


def test_unusable_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too short to learn from"):
        train_text(text_lines("ab"), options(), training())
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine\n\xff\n")
    with pytest.raises(DataError, match=r"bad.txt: a byte near row .* is not UTF-8"):
        list(file_lines(bad)())
    with pytest.raises(ConfigError, match=r"recurrent\.bidirectional is True, expected False"):
        build(
            network(
                recurrent=RecurrentSpec(
                    cell="lstm", input_size=6, hidden_sizes=(8,), bidirectional=True
                )
            )
        )


def test_what_is_neither_a_text_nor_sequences_is_refused() -> None:
    for given, message in ((b"abc", "bytes; expected a text"), ([1, 2], "sequence 1: expected a")):
        with pytest.raises(DataError, match=message):
            Generator(epochs=1).fit(given)
