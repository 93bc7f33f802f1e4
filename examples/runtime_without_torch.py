"""Run models without the training framework: a model folder, and one layer fed step by step.

    python examples/runtime_without_torch.py [MODEL]

Without MODEL a tiny classifier is trained first, by the command and in a process of its own: this
one never imports torch.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import unrolled

ROWS = [("the soup was great", "praise"), ("the soup was not great", "complaint")] * 40


def trained(folder: Path) -> Path:
    """Train a tiny classifier with `unrolled train classify` and return its folder."""
    data, model = folder / "rows.tsv", folder / "model"
    data.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))
    command = [
        sys.executable,
        "-m",
        "unrolled",
        "train",
        "classify",
        str(data),
        "--out",
        str(model),
    ]
    sizes = ["--hidden-size", "16", "--embedding-size", "8", "--epochs", "8", "--lr", "0.02"]
    # There are only two texts: neither may be held out, so they are the validation file as well.
    subprocess.run([*command, *sizes, "--valid", str(data), "--quiet"], check=True)
    return model


def answer(folder: Path) -> None:
    """Load a model folder and answer two texts, or the demo's word where it writes sequences."""
    model = unrolled.load(folder)
    print(f"loaded from {folder.name}/: {model.config.task}, {type(model).__name__}")
    classifies = model.config.task == "classify"
    for text in [text for text, _ in ROWS[:2]] if classifies else ["recurrent"]:
        print(f"  {text:<24} {model.predict(text)[0]}")
    print()


def stream() -> None:
    """Feed an LSTM one step at a time and compare with the whole sequence at once."""
    random = np.random.default_rng(0)
    size = 16
    weights = {
        "weight_ih_l0": random.normal(0, 0.3, (4 * size, 3)),
        "weight_hh_l0": random.normal(0, 0.3, (4 * size, size)),
        "bias_ih_l0": np.zeros(4 * size),
        "bias_hh_l0": np.zeros(4 * size),
    }
    layer = unrolled.Recurrent.from_state_dict(weights)
    x = random.normal(size=(1, 50, 3))
    whole, _ = layer(x)
    state, steps = None, []
    for t in range(50):
        y, state = layer.step(x[:, t], state)
        steps.append(y)
    difference = np.abs(whole[0] - np.concatenate(steps)).max()
    print(f"an LSTM read from {len(weights)} arrays: cell {layer.spec.cell!r}, H = {size}")
    print(f"50 single steps against one call over 50 steps: largest difference {difference:.1e}\n")


if len(sys.argv) > 1:
    answer(Path(sys.argv[1]))
else:
    with tempfile.TemporaryDirectory() as scratch:
        answer(trained(Path(scratch)))
stream()
print(f"torch was imported: {'torch' in sys.modules}")
