"""Inference without torch: recurrent layers, attention, networks and decoding in numpy."""

from unrolled.runtime.attention import Attention, AttentionPooling
from unrolled.runtime.operator import Activation, CellOptions
from unrolled.runtime.recurrent import Recurrent

__all__ = ["Activation", "Attention", "AttentionPooling", "CellOptions", "Recurrent"]
