"""Models that others trained, where they lie beside the repository: plain arrays and Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unrolled.interop import keras
from unrolled.interop.archives import read_npz
from unrolled.interop.arrays import recurrent

MODELS = Path(__file__).parents[2] / "shared" / "models"
TOLERANCE = 1e-4  # absolute, what the models' own page gives

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="../shared/models is not there")


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max(initial=0.0)) <= TOLERANCE


def names(side: str) -> dict[str, str]:
    parts = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    return {role: f"{side}_{name}" for role, name in parts.items()}


@pytest.fixture(scope="module")
def g2p() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    folder = MODELS / "g2p_en"
    with np.load(folder / "golden.npz") as golden:
        return read_npz(folder / "checkpoint20.npz"), {name: golden[name] for name in golden.files}


def spelled(word: str) -> list[int]:
    """Places of a word's letters among <pad> <unk> </s> a ... z, </s> last."""
    return [3 + ord(letter) - ord("a") for letter in word] + [2]


# The phonemes of the CMU Pronouncing Dictionary in the package's order, behind four specials.
PHONEMES = [
    "AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1", "AO2", "AW0",
    "AW1", "AW2", "AY0", "AY1", "AY2", "B", "CH", "D", "DH", "EH0", "EH1", "EH2", "ER0", "ER1",
    "ER2", "EY0", "EY1", "EY2", "F", "G", "HH", "IH0", "IH1", "IH2", "IY0", "IY1", "IY2", "JH",
    "K", "L", "M", "N", "NG", "OW0", "OW1", "OW2", "OY0", "OY1", "OY2", "P", "R", "S", "SH", "T",
    "TH", "UH0", "UH1", "UH2", "UW", "UW0", "UW1", "UW2", "V", "W", "Y", "Z", "ZH",
]  # fmt: skip


def test_g2p_encodes_as_its_package_does_whole_and_streaming(g2p) -> None:
    weights, golden = g2p
    encoder = recurrent(weights, cell="gru", gate_order="rzn", names=names("enc"))
    words = [name for name in golden if not name.startswith("enc_")]
    assert len(words) == 8
    for word in words:
        x = weights["enc_emb"][spelled(word)]
        y, _ = encoder(x[None])
        assert close(y[0], golden[f"enc_{word}"])
        session = encoder.stream()
        assert close(np.stack([session.step(each) for each in x]), golden[f"enc_{word}"])


def test_g2p_pronounces_as_its_package_does(g2p) -> None:
    weights, golden = g2p
    encoder = recurrent(weights, cell="gru", names=names("enc"))
    decoder = recurrent(weights, cell="gru", names=names("dec"))
    for word in (name for name in golden if not name.startswith("enc_")):
        _, h = encoder(weights["enc_emb"][spelled(word)][None])
        token, said = 2, []
        for _ in range(20):
            y, h = decoder.step(weights["dec_emb"][token][None], h)
            token = int((y[0] @ weights["fc_w"].T + weights["fc_b"]).argmax())
            if token == 3:
                break
            said.append(PHONEMES[token - 4])
        assert said == list(golden[word])


def test_silero_carries_its_state_as_its_package_does() -> None:
    folder = MODELS / "silero_vad"
    roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    named = {role: f"lstm_cell.{role}" for role in roles}
    layer = recurrent(folder / "state_dict_16k.npz", cell="lstm", gate_order="ifgo", names=named)
    with np.load(folder / "golden.npz") as golden:
        x, h, ends = golden["lstm_in"], golden["lstm_h"], (golden["hn"], golden["cn"])
    y, (h_n, c_n) = layer(x[None])
    assert close(y[0], h)
    assert close(h_n[0], ends[0])
    assert close(c_n[0], ends[1])
    session = layer.stream()
    assert close(np.stack([session.step(each) for each in x]), h)


def test_dgaintel_judges_names_as_keras_does() -> None:
    folder = MODELS / "dgaintel"
    model = keras.load(folder / "domain_classifier_model.h5")
    with np.load(folder / "golden.npz") as golden:
        assert close(model.predict(golden["ids"])[:, 0], golden["prob"])
        x, expected = golden["lstm_in"], golden["lstm_out"]
    layer = model.layers["lstm_4"]
    assert close(layer(x)[0][:, -1], expected)
    session = layer.stream(len(x))
    assert close([session.step(x[:, t]) for t in range(x.shape[1])][-1], expected)
