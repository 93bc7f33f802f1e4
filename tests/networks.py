"""Small network specs and batches that the tests of networks share."""

from __future__ import annotations

from itertools import product

import numpy as np

from unrolled.spec import AttentionSpec, ClassifierSpec, RecurrentSpec, TranslatorSpec

ATTENTIONS = ("additive", "dot", "general", "concat", None)
CELLS = ("rnn", "lstm", "gru")


def translator(
    attention=None,
    cell="gru",
    *,
    encoder_hidden=(5,),
    decoder_hidden=(6,),
    encoder_cell=None,
    bidirectional=True,
    input_feeding=False,
    dropout=0.0,
    decoder=None,
    encoder=None,
    embedding=3,
    vocab=(9, 8),
    **choices,
):
    """A translator spec whose widths fit: source embedding 4, readout 7."""
    encoder_spec = RecurrentSpec(
        cell=encoder_cell or cell,
        input_size=4,
        hidden_sizes=encoder_hidden,
        bidirectional=bidirectional,
        **(encoder or {}),
    )
    memory = encoder_spec.output_size
    if attention == "dot":
        decoder_hidden = (*decoder_hidden[:-1], memory)
    fed = memory if attention == "additive" else 7 * input_feeding
    decoder_spec = RecurrentSpec(
        cell=cell, input_size=embedding + fed, hidden_sizes=decoder_hidden, **(decoder or {})
    )
    top = decoder_spec.output_size
    scorer = None
    if attention is not None:
        size = 5 if attention in ("additive", "concat") else 0
        scorer = AttentionSpec(kind=attention, query_size=top, key_size=memory, size=size)
    return TranslatorSpec(
        source_vocab_size=vocab[0],
        target_vocab_size=vocab[1],
        source_embedding_size=4,
        target_embedding_size=embedding,
        encoder=encoder_spec,
        decoder=decoder_spec,
        readout_size=7,
        attention=scorer,
        input_feeding=input_feeding,
        dropout=dropout,
        **choices,
    )


def translators():
    """Every attention, cell and depth, and every cell with input feeding."""
    specs = {}
    for attention, cell, layers in product(ATTENTIONS, CELLS, (1, 2)):
        name = f"{attention}-{cell}-{layers}"
        specs[name] = translator(attention, cell, decoder_hidden=(6,) * layers)
    for attention, cell in product(("dot", "general", "concat"), CELLS):
        specs[f"{attention}-{cell}-feeding"] = translator(attention, cell, input_feeding=True)
    specs["additive-widths-differ"] = translator("additive", "lstm", decoder_hidden=(4, 6))
    specs["general-widths-differ"] = translator("general", "gru", decoder_hidden=(4, 6))
    specs["additive-lstm-from-gru"] = translator("additive", "lstm", encoder_cell="gru")
    specs["none-gru-from-lstm"] = translator(None, "gru", encoder_cell="lstm")
    specs["additive-residual"] = translator(
        "additive", "gru", decoder_hidden=(6, 6), decoder={"residual": True}
    )
    specs["additive-reset-before"] = translator("additive", decoder={"reset": "before"})
    specs["additive-no-bias"] = translator("additive", decoder={"bias": False})
    specs["additive-projection"] = translator("additive", "lstm", decoder={"proj_size": 4})
    specs["additive-relu"] = translator("additive", "rnn", decoder={"nonlinearity": "relu"})
    specs["additive-merge-sum"] = translator("additive", encoder={"merge": "sum"})
    specs["additive-learned-states"] = translator("additive", encoder={"initial_state": "learned"})
    specs["none-shared"] = translator(
        None,
        "lstm",
        encoder_hidden=(6, 6),
        decoder_hidden=(6, 6),
        bidirectional=False,
        share_parameters=True,
        embedding=4,
        encoder={"initial_state": "learned"},
    )
    return specs


def classifier(pooling="attention", cell="gru", kind="additive", **recurrent):
    """A classifier spec whose widths fit: embedding 4, three classes."""
    layers = {"cell": cell, "input_size": 4, "hidden_sizes": (5, 5), "bidirectional": True}
    spec = RecurrentSpec(**(layers | recurrent))
    scorer = None
    if pooling == "attention":
        query = spec.output_size if kind == "dot" else 6
        size = 3 if kind in ("additive", "concat") else 0
        scorer = AttentionSpec(kind=kind, query_size=query, key_size=spec.output_size, size=size)
    return ClassifierSpec(
        vocab_size=9,
        embedding_size=4,
        recurrent=spec,
        num_classes=3,
        pooling=pooling,
        attention=scorer,
    )


def classifiers():
    """Every pooling and cell, every scorer, every way to merge the directions."""
    specs = {
        f"{pooling}-{cell}": classifier(pooling, cell)
        for pooling, cell in product(("last", "mean", "max", "attention"), CELLS)
    }
    specs |= {f"attention-{kind}": classifier(kind=kind) for kind in ("dot", "general", "concat")}
    specs |= {f"last-{merge}": classifier("last", merge=merge) for merge in ("sum", "mean", "mul")}
    specs["last-forward"] = classifier("last", "lstm", bidirectional=False, hidden_sizes=(4, 6))
    return specs


def ragged_tokens(generator, rows, vocab, longest):
    """Tokens [N, T] of random lengths 1..longest, padded with 0, and the lengths [N]."""
    lengths = generator.integers(1, longest + 1, rows)
    lengths[0] = longest
    tokens = generator.integers(4, vocab, (rows, longest))
    tokens[np.arange(longest) >= lengths[:, None]] = 0
    return tokens, lengths


def pairs(seed=0, rows=5, source=6, target=4, vocab=(9, 8)):
    """Source, its lengths, target_in from <s>, its lengths."""
    generator = np.random.default_rng(seed)
    tokens, lengths = ragged_tokens(generator, rows, vocab[0], source)
    target_in, target_lengths = ragged_tokens(generator, rows, vocab[1], target)
    target_in[:, 0] = 2
    return tokens, lengths, target_in, target_lengths
