"""Inference without torch: recurrent layers, attention, networks and decoding in numpy."""

from unrolled.runtime.attention import Attention, AttentionPooling
from unrolled.runtime.recurrent import Recurrent

__all__ = ["Attention", "AttentionPooling", "Recurrent"]
