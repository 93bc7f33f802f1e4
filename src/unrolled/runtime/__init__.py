"""Inference without torch: recurrent layers, sessions, attention, networks and decoding."""

from unrolled.runtime.attention import Attention, AttentionPooling
from unrolled.runtime.generator_session import GeneratorSession
from unrolled.runtime.lookahead import LookaheadSession
from unrolled.runtime.operator import Activation, CellOptions
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.running import ClassifierSession
from unrolled.runtime.session import Session, SessionPool, step_many
from unrolled.runtime.state import SessionState

__all__ = [
    "Activation",
    "Attention",
    "AttentionPooling",
    "CellOptions",
    "ClassifierSession",
    "GeneratorSession",
    "LookaheadSession",
    "Recurrent",
    "Session",
    "SessionPool",
    "SessionState",
    "step_many",
]
