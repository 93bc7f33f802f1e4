"""Hand-set models whose answers are known to depend on known steps, for the tests of explainers."""

from __future__ import annotations

import numpy as np

from unrolled.artifact import Artifact
from unrolled.config import FORMAT_VERSION, DataSpec, ModelConfig, TrainSpec, VocabularySpec
from unrolled.data.vocab import SPECIALS, LabelVocabulary, Vocabulary
from unrolled.runtime.model import ClassifierModel, from_artifact
from unrolled.spec import AttentionSpec, ClassifierSpec, NetworkSpec, RecurrentSpec

WORDS = ("good", "bad", *(f"w{k}" for k in range(10)))

ATTRIBUTION = ("occlusion", "gradient", "integrated", "timeshap")
PLANTED = "w0 w1 good w2 w3 w4 w5 w6"


def model_of(task: str, network: NetworkSpec, weights: dict, vocabularies: dict, data=None):
    """Return the runtime model of a network with weights set by hand."""
    config = ModelConfig(
        format_version=FORMAT_VERSION,
        task=task,
        network=network,
        data=data or DataSpec(),
        training=TrainSpec(),
    )
    return from_artifact(Artifact(config, weights, vocabularies, {}, "by hand"))


def vocabulary(words=WORDS) -> Vocabulary:
    return Vocabulary(VocabularySpec(), (*SPECIALS, *words))


def planted(pooling: str = "attention", *, lying: bool = False) -> ClassifierModel:
    """A classifier whose label is up by `good` and down by `bad`, and by no other word.

    Its one layer copies the word's value (h = tanh of it), nothing is carried over. Attention looks
    at the same words, or, where it is `lying`, away from them.
    """
    spec = ClassifierSpec(
        vocab_size=len(SPECIALS) + len(WORDS),
        embedding_size=2,
        recurrent=RecurrentSpec(cell="rnn", input_size=2, hidden_sizes=(2,), bias=False),
        num_classes=2,
        pooling=pooling,
        attention=AttentionSpec(kind="dot", query_size=2, key_size=2)
        if pooling == "attention"
        else None,
    )
    embedding = np.zeros((spec.vocab_size, 2), np.float32)
    embedding[len(SPECIALS)] = (1.0, 1.0)
    embedding[len(SPECIALS) + 1] = (-1.0, 1.0)
    weights = {
        "embedding.weight": embedding,
        "recurrent.weight_ih_l0": np.eye(2, dtype=np.float32),
        "recurrent.weight_hh_l0": np.zeros((2, 2), np.float32),
        "output.weight": np.array([[-4.0, 0.0], [4.0, 0.0]], np.float32),
        "output.bias": np.zeros(2, np.float32),
    }
    if pooling == "attention":
        look = -0.5 if lying else 2.0
        weights["pooling.query_vector"] = np.array([0.0, look], np.float32)
    vocabularies = {"source": vocabulary(), "target": LabelVocabulary(("down", "up"))}
    return model_of("classify", spec, weights, vocabularies)


def linear(steps_kept: float = 0.9) -> ClassifierModel:
    """A classifier linear in what it reads as long as sums stay above 0: relu, last state."""
    spec = ClassifierSpec(
        vocab_size=len(SPECIALS) + len(WORDS),
        embedding_size=3,
        recurrent=RecurrentSpec(
            cell="rnn", input_size=3, hidden_sizes=(3,), nonlinearity="relu", bias=False
        ),
        num_classes=2,
        pooling="last",
    )
    draw = np.random.default_rng(0)
    weights = {
        "embedding.weight": draw.uniform(0.1, 1, (spec.vocab_size, 3)).astype(np.float32),
        "recurrent.weight_ih_l0": draw.uniform(0.1, 1, (3, 3)).astype(np.float32),
        "recurrent.weight_hh_l0": np.diag([steps_kept, 0.5, 0.25]).astype(np.float32),
        "output.weight": draw.uniform(-1, 1, (2, 3)).astype(np.float32),
        "output.bias": np.zeros(2, np.float32),
    }
    vocabularies = {"source": vocabulary(), "target": LabelVocabulary(("a", "b"))}
    return model_of("classify", spec, weights, vocabularies)


def ranked(found, method: str) -> list[str]:
    (values,) = [each.values for each in found.attributions if each.method == method]
    return [found.steps[t] for t in np.argsort(-np.array(values), kind="stable")]
