"""States and memory of what writes: over the units that it read, held against torch's own cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import captioning
import explaining
import networks
import tiny
import unrolled
from test_torch_free import BLOCK
from tolerances import close
from unrolled.data.captions import Described
from unrolled.data.vocab import BOS, EOS, UNK
from unrolled.errors import ConfigError
from unrolled.explain.remembering import _norms
from unrolled.explain.states import nearest, trace
from unrolled.explain.subjects import stack_of
from unrolled.explain.subjects.writing import recalled, written
from unrolled.nn.build import build
from unrolled.runtime.captioner import CaptionerNetwork
from unrolled.runtime.model import TranslatorModel
from unrolled.runtime.networks import TranslatorNetwork
from unrolled.spec import TranslatorSpec
from unrolled.tasks import caption, translate
from unrolled.tasks.base import Run
from unrolled.tasks.translate import Pairs

translators = networks.translators()
CHOSEN = (
    *("None-gru-1", "additive-gru-1", "additive-lstm-2", "additive-rnn-1", "dot-lstm-2"),
    *("general-gru-feeding", "concat-lstm-feeding", "none-gru-from-lstm", "none-shared"),
)
SPECS = captioning.specs() | {name: translators[name] for name in CHOSEN}
IDS = np.array([BOS, 5, 7, 4, 6])
WANTED = np.array([*IDS[1:], EOS])
KINDS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}


def network_of(name: str):
    """A module in float64, its twin without torch, and a source to write about."""
    torch.manual_seed(0)
    module = build(SPECS[name]).double().eval()
    for each in module.parameters():
        torch.nn.init.uniform_(each, -0.7, 0.7)
    weights = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    draw = np.random.default_rng(0)
    if isinstance(SPECS[name], TranslatorSpec):
        return module, TranslatorNetwork(SPECS[name], weights), np.array([[3, 5, 4]])
    if SPECS[name].inputs == "attributes":
        source = np.array([[3, 5, 4]])
    else:
        source = draw.normal(size=(1, 1 if SPECS[name].inputs == "vector" else 3, 4))
    return module, CaptionerNetwork(SPECS[name], weights), source


def states(module, source, embedded) -> tuple[list, list]:
    """h of every layer after each step [T][L] and the inputs [T], by torch's own cells.

    `embedded` [T, E] stands for the units. The context of additive attention is of the state
    before; what is fed back is the readout of the step before.
    """
    spec = module.spec
    about = module.encode(torch.from_numpy(source), torch.tensor([source.shape[1]]))
    cells = []
    for k, width in enumerate(spec.decoder.hidden_sizes):
        reads = spec.decoder.input_size if k == 0 else spec.decoder.hidden_sizes[k - 1]
        cells.append(KINDS[spec.decoder.cell](reads, width).double())
        held = {n: getattr(module.decoder, f"{n}_l{k}") for n in dict(cells[k].named_parameters())}
        cells[k].load_state_dict(held)
    h, c = list(about.h), list(about.c or ())
    readout = torch.zeros(1, spec.readout_size).double()
    memory, after, read = about.memory, [], []
    for row in embedded:
        x = token = row[None] if about.fed is None else torch.cat([row[None], about.fed], 1)
        additive = spec.attention is not None and spec.attention.kind == "additive"
        if additive:
            context, _ = module.attention(h[-1], memory.values, memory.mask, memory.keys)
            x = torch.cat([token, context], 1)
        elif spec.input_feeding:
            x = torch.cat([token, readout], 1)
        read.append(x[0])
        for k, cell in enumerate(cells):
            if c:
                h[k], c[k] = cell(x, (h[k], c[k]))
            else:
                h[k] = cell(x, h[k])
            x = h[k]
        joined = [h[-1]]
        if additive:
            joined += [context, token]
        elif spec.attention is not None:
            joined.append(module.attention(h[-1], memory.values, memory.mask, memory.keys)[0])
        readout = torch.tanh(module.readout(torch.cat(joined, 1)))
        after.append(list(h))
    return after, read


@pytest.mark.parametrize("name", SPECS)
def test_the_states_of_what_writes_are_torchs(name: str) -> None:
    module, network, source = network_of(name)
    steps, x, start = written(network, source, IDS, tuple("abcd"))
    assert steps == ("<s>", "a", "b", "c", "d")
    with torch.no_grad():
        embedded = torch.from_numpy(network.target_embedding[IDS])
        expected, read = states(module, source, embedded)
    close(x, torch.stack(read), "forward")
    for each in trace(network.decoder, x, start):
        close(each.h, torch.cat([h[each.layer] for h in expected]), "forward")


@pytest.mark.parametrize("name", SPECS)
def test_the_memory_of_what_writes_is_the_jacobian_of_autograd(name: str) -> None:
    """By every way from a unit to the last state: through the cell, attention and feeding."""
    module, network, source = network_of(name)
    given = recalled(network, source, IDS, WANTED, np.arange(len(WANTED)))()
    norms, errors = _norms(
        lambda x: given.last(x)[0], SPECS[name].decoder, given.x, None, probes=8, seed=0
    )
    whole = torch.autograd.functional.jacobian(
        lambda x: states(module, source, x)[0][-1][-1][0], torch.from_numpy(given.x)
    )
    expected = whole.square().sum(dim=(0, 2)).sqrt().numpy()[::-1]
    assert np.allclose(norms, expected, rtol=1e-7, atol=1e-12)
    assert not errors.any()
    found = network.log_probs(source, np.array([source.shape[1]]), IDS[None], np.array([len(IDS)]))
    told = found[0, np.arange(len(WANTED)), WANTED].sum()
    assert given.last(torch.from_numpy(given.x[None]))[1].item() == pytest.approx(told, abs=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    values, texts = captioning.regions(60)
    things = Described("things", "regions", values, [[text] for text in texts])
    folder = tmp_path_factory.mktemp("captioner") / "model"
    run = Run(folder)
    caption.train(things, captioning.options(), captioning.training(epochs=8), run=run)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return unrolled.load(folder)


def regions(*colours: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[list(colours)]


def test_a_captioner_shows_the_states_and_memory_of_its_decoder(model) -> None:
    thing = regions(0, 2, 1)
    found = model.explain(thing, "occlusion,states,memory")
    assert found.wrote == ("<s>", *found.words.written)
    assert (found.read, len(found.steps)) == (found.wrote, 3)
    (layer,) = found.states
    steps, x, start = stack_of(model)[1](thing)
    assert steps == found.wrote
    (traced,) = trace(model.network.decoder, x, start)
    assert np.allclose(layer.heat, traced.h[:, list(layer.units)].T)
    last = model.explain(thing, "memory,states", target=2)
    assert last.wrote == found.wrote[:2]
    assert len(last.memory.norms) == len(last.states[0].heat[0]) == 2


def test_without_torch_the_memory_of_a_captioner_names_the_extra(folder) -> None:
    code = """
import numpy, unrolled
from unrolled.errors import ConfigError
from unrolled.errors import ConfigError
from unrolled.explain.remembering import memory
try:
    memory(unrolled.load(sys.argv[1]), numpy.eye(3, dtype="float32"))
except ConfigError as error:
    print(error)
"""
    found = tiny.python(BLOCK + code, folder)
    assert found.stderr == ""
    assert found.stdout == (
        "the memory of a model needs the package torch: pip install 'unrolled[train]'\n"
    )


def test_what_a_hidden_word_costs_is_beside_the_memory(model) -> None:
    """Each word read as the mean of all embeddings, by a network that holds it as one more word."""
    thing = regions(0, 2, 1)
    found, network = model.explain(thing, "memory", target=3), model.network
    embedding = network.target_embedding
    ids = [BOS, *model.target_vocabulary.encode_words(found.wrote[1:])]
    units = model.explain(thing, "occlusion").words.written
    (wanted,) = model.target_vocabulary.encode_words([units[2]])
    blank, lost = len(embedding), []
    network.target_embedding = np.concatenate(
        [embedding, embedding[UNK + 1 :].mean(axis=0, keepdims=True)]
    )
    try:
        memory = network.encode(thing[None], np.array([3]))
        for at in range(len(ids) - 1, -1, -1):
            state = memory.first
            for token in [*ids[:at], blank, *ids[at + 1 :]]:
                step = network.plain_step(np.array([[token]]), state, memory)
                state = step.state
            lost.append(abs(float(step.log_probs[0, 0, wanted]) - found.score))
    finally:
        network.target_embedding = embedding
    assert found.memory.deletion == pytest.approx(lost, abs=1e-4)


def test_the_thing_that_excites_a_unit_most_is_found_from_its_own_first_state(model) -> None:
    things = [regions(*row) for row in ((0, 1), (2, 2), (1, 0), (2, 1, 0))]
    stack, read = stack_of(model)
    _, xs, starts = zip(*(read(each) for each in things), strict=True)
    best = nearest(stack, xs, "L0:3", starts=starts, count=4)
    highest = [float(trace(stack, x, s)[0].h[:, 3].max()) for x, s in zip(xs, starts, strict=True)]
    assert [peak.input for peak in best] == np.argsort(-np.array(highest)).tolist()
    assert [peak.value for peak in best] == sorted(highest, reverse=True)


def test_a_translator_shows_its_decoder_where_that_is_asked_for() -> None:
    pairs = Pairs(["a b", "b a", "a a", "b b"] * 6, ["x y", "y x", "x x", "y y"] * 6)
    training = tiny.training(epochs=3)
    fitted = translate.train(pairs, tiny.translate_options(), training)
    model = TranslatorModel.from_artifact(fitted)
    text = model.predict(["a b"])[0]
    read = model.explain("a b", "states,memory")
    found = model.explain("a b", "states,memory", stack="decoder")
    assert read == model.explain("a b", "states,memory", stack="encoder")
    assert (read.wrote, read.read) == ((), ("a", "b"))
    assert found.wrote == ("<s>", *text.split())
    assert (found.steps, found.score) == (read.steps, read.score)
    steps, x, start = stack_of(model, "decoder")[1]("a b")
    assert steps == found.wrote
    (traced,) = trace(model.network.decoder, x, start)
    (layer,) = found.states
    assert np.allclose(layer.heat, traced.h[:, list(layer.units)].T)
    assert len(found.memory.norms) == len(found.wrote)
    with pytest.raises(ConfigError, match="stack 'both': expected encoder or decoder"):
        model.explain("a b", "states", stack="both")
    with pytest.raises(ConfigError, match="its states or memory are not among the methods"):
        model.explain("a b", "occlusion", stack="decoder")
    with pytest.raises(ConfigError, match="only a translator has an encoder and a decoder"):
        explaining.planted("mean").explain("w0 w1", "states", stack="decoder")
