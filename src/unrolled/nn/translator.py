"""The encoder-decoder with teacher forcing: what training needs of it, and nothing more."""

from __future__ import annotations

from torch import Tensor, nn

from unrolled.nn.attention import Attention, sequence_mask
from unrolled.nn.decoder import Memory
from unrolled.nn.embedding import Embedding
from unrolled.nn.encoder import Bridge, final_states
from unrolled.nn.rnn import recurrent
from unrolled.nn.writer import Writer, Written
from unrolled.spec import Engine, TranslatorSpec
from unrolled.validation import check_network, final_sizes, readout_input_size


class Translator(Writer):
    """Logits of every target token given the source and the target tokens before it.

    The equations are in `unrolled.spec.TranslatorSpec`. S source length, T target length, M the
    encoder's output width, V the target vocabulary.
    Sources: Sutskever et al. 2014; Bahdanau et al. 2015, A.1 and A.2; Luong et al. 2015, 3;
    Bengio et al. 2015 (scheduled sampling).
    """

    def __init__(self, spec: TranslatorSpec, *, engine: Engine = "auto") -> None:
        super().__init__()
        check_network(spec)
        self.spec = spec
        self.source_embedding = Embedding(spec.source_vocab_size, spec.source_embedding_size)
        self.target_embedding = Embedding(spec.target_vocab_size, spec.target_embedding_size)
        self.encoder = recurrent(spec.encoder, batch_first=True, engine=engine)
        self.bridge = Bridge(*final_sizes(spec.encoder), spec.decoder)
        self.decoder = recurrent(spec.decoder, batch_first=True, engine=engine)
        if spec.share_parameters:
            for name, _ in list(self.decoder.named_parameters()):
                setattr(self.decoder, name, getattr(self.encoder, name))
        self.attention = None if spec.attention is None else Attention(spec.attention)
        self.readout = nn.Linear(readout_input_size(spec), spec.readout_size)
        self.output = nn.Linear(spec.readout_size, spec.target_vocab_size)

    def encode(self, source: Tensor, lengths: Tensor) -> Written:
        """Read source [N, S], int64, with lengths [N] of 1 or more."""
        values, hx = self.encoder(self.source_embedding(source), lengths=lengths)
        keys = None if self.attention is None else self.attention.precompute(values)
        h, c = self.bridge(*final_states(self.spec.encoder, hx))
        return Written(Memory(values, sequence_mask(lengths, values), keys), h, c)
