"""The networks of `unrolled.nn`: fast ways against the plain loop, and what their options mean."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

import networks
from tolerances import close
from unrolled.errors import ConfigError
from unrolled.nn.build import build

TRANSLATORS = networks.translators()


def tensors(arrays):
    return [torch.from_numpy(array) for array in arrays]


def seeded(spec, dtype=torch.float64):
    torch.manual_seed(0)
    return build(spec).to(dtype)


def gradients(module, logits, lengths):
    """Gradients by name of a fixed random weighting of the logits within their rows' lengths."""
    generator = torch.Generator().manual_seed(1)
    weighting = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
    inside = torch.arange(logits.shape[1]) < lengths[:, None]
    module.zero_grad()
    (logits * weighting * inside[:, :, None]).sum().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize("name", TRANSLATORS)
def test_fast_decoder_equals_the_plain_loop_in_logits_and_gradients(name):
    module = seeded(TRANSLATORS[name])
    batch = tensors(networks.pairs())
    fast = module(*batch)
    plain = module(*batch, stepwise=True)
    assert fast.shape == (5, 4, 8)
    assert close(fast, plain, "forward")
    expected = gradients(module, plain, batch[3])
    for key, found in gradients(module, fast, batch[3]).items():
        assert found.abs().max() > 0, key
        assert close(found, expected[key], "gradient"), key


def test_readouts_past_a_rows_own_length_do_not_matter():
    module = seeded(networks.translator("additive"))
    source, lengths, target_in, target_lengths = networks.pairs()
    before = module(*tensors((source, lengths, target_in, target_lengths)))
    source[np.arange(source.shape[1]) >= lengths[:, None]] = 5
    after = module(*tensors((source, lengths, target_in, target_lengths)))
    assert torch.equal(before, after)


@pytest.mark.parametrize("attention", ["additive", "general", None])
def test_packed_logits_are_those_within_the_target_lengths(attention):
    module = seeded(networks.translator(attention))
    batch = tensors(networks.pairs())
    packed, mask = module.packed_logits(*batch)
    assert mask.sum(1).tolist() == batch[3].tolist()
    assert close(packed, module(*batch)[mask], "forward")


@pytest.mark.parametrize("attention", networks.ATTENTIONS)
def test_full_teacher_forcing_by_coin_is_teacher_forcing(attention):
    module = seeded(networks.translator(attention))
    batch = tensors(networks.pairs())
    almost = np.nextafter(1.0, 0.0)
    sampled = module(*batch, almost, torch.Generator().manual_seed(0))
    assert close(sampled, module(*batch), "forward")


@pytest.mark.parametrize("attention", networks.ATTENTIONS)
def test_without_teacher_forcing_each_step_reads_the_likeliest_token_before_it(attention):
    module = seeded(networks.translator(attention, "lstm"))
    source, lengths, target_in, target_lengths = tensors(networks.pairs())
    free = module(source, lengths, target_in, target_lengths, 0.0)
    own = torch.cat([target_in[:, :1], free.argmax(-1)[:, :-1]], dim=1)
    assert not torch.equal(own, target_in)
    assert close(free, module(source, lengths, own, target_lengths), "forward")


def test_scheduled_sampling_depends_on_the_generator_alone():
    module = seeded(networks.translator("additive"))
    batch = tensors(networks.pairs(rows=16))

    def logits(seed):
        torch.manual_seed(seed + 17)
        return module(*batch, 0.5, torch.Generator().manual_seed(seed))

    assert torch.equal(logits(0), logits(0))
    assert not torch.equal(logits(0), logits(1))


def test_scheduled_sampling_reads_the_true_token_as_often_as_asked():
    module = seeded(networks.translator(None, vocab=(9, 40)))
    read = []
    module.target_embedding.register_forward_hook(lambda m, i, o: read.append(i[0]))
    source, lengths, target_in, target_lengths = tensors(networks.pairs(rows=400, target=8))
    target_in = torch.where(target_in == 2, 2, 39)
    with torch.no_grad():
        module.output.bias[5] += 50
    generator = torch.Generator().manual_seed(0)
    module(source, lengths, target_in, target_lengths, 0.7, generator)
    later = torch.stack(read[2:])
    assert later.shape == (7, 400)
    assert float((later == 39).double().mean()) == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout"])
def test_the_decoders_dropout_acts_in_training_only(rate):
    layers = {rate: 0.5}
    for attention in ("additive", "general"):
        module = seeded(networks.translator(attention, decoder_hidden=(6, 6), decoder=layers))
        batch = tensors(networks.pairs())
        assert not torch.equal(module(*batch), module(*batch))
        module.eval()
        assert torch.equal(module(*batch), module(*batch))


def test_readout_dropout_acts_in_training_only():
    module = seeded(networks.translator("additive", dropout=0.5))
    batch = tensors(networks.pairs())
    assert not torch.equal(module(*batch), module(*batch))
    module.eval()
    assert torch.equal(module(*batch), module(*batch))


@pytest.mark.parametrize("stepwise", [False, True])
def test_recurrent_dropout_drops_a_unit_for_the_whole_sequence(stepwise):
    """With one unit read by the recurrent product, a sequence has two outcomes: kept, dropped."""
    rate = 0.5
    spec = networks.translator("additive", "rnn", decoder={"recurrent_dropout": rate})
    module = seeded(spec)
    batch = tensors(networks.pairs())
    seen = set()
    with torch.no_grad():
        module.decoder.weight_hh_l0.zero_()
        module.decoder.weight_hh_l0[:, 0] = 1.0
        for seed in range(12):
            torch.manual_seed(seed)
            dropped = module(*batch, stepwise=stepwise)[0]
            seen.add(round(float(dropped.sum()), 9))
    assert len(seen) == 2


def test_shared_parameters_are_one_and_saved_under_both_names():
    spec = TRANSLATORS["none-shared"]
    module = seeded(spec)
    assert module.encoder.weight_hh_l0 is module.decoder.weight_hh_l0
    state = module.state_dict()
    assert torch.equal(state["encoder.weight_ih_l1"], state["decoder.weight_ih_l1"])
    apart = seeded(msgspec.structs.replace(spec, share_parameters=False))
    count, full = (sum(p.numel() for p in m.parameters()) for m in (module, apart))
    assert full - count == sum(p.numel() for p in module.decoder.parameters())
    other = seeded(spec)
    other.load_state_dict({name: value + 1 for name, value in state.items()})
    assert other.encoder.weight_hh_l0 is other.decoder.weight_hh_l0


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_a_classifier_does_not_see_padding(pooling):
    module = seeded(networks.classifier(pooling))
    tokens, lengths = networks.pairs()[:2]
    logits = module(*tensors((tokens, lengths)))
    assert logits.shape == (5, 3)
    for row, length in enumerate(lengths):
        alone = module(*tensors((tokens[row : row + 1, :length], lengths[row : row + 1])))
        assert close(alone[0], logits[row], "forward")


def test_last_pooling_of_one_direction_is_the_output_at_each_rows_end():
    module = seeded(networks.classifier("last", bidirectional=False))
    tokens, lengths = tensors(networks.pairs()[:2])
    y, _ = module.recurrent(module.embedding(tokens), lengths=lengths)
    last = y[torch.arange(len(y)), lengths - 1]
    assert close(module(tokens, lengths), module.output(last), "forward")


def test_the_padding_row_of_an_embedding_stays_zero():
    module = seeded(networks.classifier("mean"))
    tokens, lengths = tensors(networks.pairs()[:2])
    module(tokens, lengths).sum().backward()
    assert not module.embedding.weight[0].any()
    assert not module.embedding.weight.grad[0].any()


def changed(spec, **changes):
    return msgspec.structs.replace(spec, **changes)


def mismatched():
    plain = networks.translator("additive")
    classes = networks.classifier()
    feeding = networks.translator("general", input_feeding=True)
    return {
        "decoder.input_size is 12, expected 13": changed(
            plain, decoder=changed(plain.decoder, input_size=12)
        ),
        "encoder.input_size is 5, expected 4": changed(
            plain, encoder=changed(plain.encoder, input_size=5)
        ),
        "attention.key_size is 9, expected 10": changed(
            plain, attention=changed(plain.attention, key_size=9)
        ),
        "attention.query_size is 5, expected 6": changed(
            plain, attention=changed(plain.attention, query_size=5)
        ),
        "decoder.bidirectional is True, expected False": changed(
            plain, decoder=changed(plain.decoder, bidirectional=True)
        ),
        "decoder.initial_state is learned, expected zeros": changed(
            plain, decoder=changed(plain.decoder, initial_state="learned")
        ),
        "input_feeding needs attention": changed(plain, input_feeding=True),
        "decoder.input_size is 10, expected 3": changed(feeding, input_feeding=False),
        "share_parameters needs .* input_size is 4 in the encoder and 13": changed(
            plain, share_parameters=True
        ),
        "dropout is 1.0, expected 0 or more": changed(plain, dropout=1.0),
        "target_vocab_size": changed(plain, target_vocab_size=2),
        "num_classes is 1, expected 2 or more": changed(classes, num_classes=1),
        "pooling is 'attention' but attention is not given": changed(classes, attention=None),
        "attention is given but pooling is 'mean'": changed(classes, pooling="mean"),
        "recurrent.input_size is 4, expected 3": changed(classes, embedding_size=3),
        "recurrent: hidden_sizes": changed(
            classes, recurrent=changed(classes.recurrent, hidden_sizes=())
        ),
    }


@pytest.mark.parametrize("message", mismatched())
def test_a_spec_whose_sizes_do_not_fit_is_refused_by_name(message):
    with pytest.raises(ConfigError, match=message):
        build(mismatched()[message])


def test_modules_hold_torchs_names():
    names = set(dict(nn.Module.named_parameters(seeded(networks.translator("additive", "lstm")))))
    assert names >= {
        "source_embedding.weight",
        "target_embedding.weight",
        "encoder.weight_ih_l0_reverse",
        "bridge.h.weight",
        "bridge.c.bias",
        "decoder.weight_hh_l0",
        "attention.query.weight",
        "attention.score.weight",
        "readout.bias",
        "output.weight",
    }
