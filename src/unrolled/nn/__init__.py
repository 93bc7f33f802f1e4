"""Layers and networks for training, in torch; each builds from the same spec as `runtime`."""

from unrolled.nn.attention import Attention, AttentionPooling
from unrolled.nn.flow import gradient_flow
from unrolled.nn.rnn import GRU, LSTM, RNN, recurrent

__all__ = ["GRU", "LSTM", "RNN", "Attention", "AttentionPooling", "gradient_flow", "recurrent"]
