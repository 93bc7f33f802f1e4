"""A language model over the Zen of Python: trained by truncated BPTT, then asked to go on."""

from __future__ import annotations

import codecs
import contextlib
import io

from unrolled.tasks import Generator


def main() -> None:
    """Train on a text that Python ships, continue a prompt, and follow it step by step."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    zen = codecs.decode(this.s, "rot13")

    model = Generator(
        tokens="char",
        hidden_size=64,
        embedding_size=32,
        bptt=25,
        batch_size=8,
        epochs=120,
        lr=0.01,
        dropout=0.0,
        seed=1,
    ).fit(zen, validation=zen)
    print("log-likelihood of a line:", round(model.score("Beautiful is better than ugly."), 2))
    print("continuation:", model.generate("Simple", max_length=40, temperature=0.3)[0])

    session = model.model_.stream()
    probabilities = session.read("Explicit is better tha")
    vocabulary = model.model_.vocabulary
    print("after 'tha':", repr(vocabulary.unit(int(probabilities.argmax()))))


if __name__ == "__main__":
    main()
