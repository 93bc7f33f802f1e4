"""Inference without torch: recurrent layers, sessions, attention, networks and decoding."""

from unrolled.runtime.attention import Attention, AttentionPooling
from unrolled.runtime.generator_session import GeneratorSession
from unrolled.runtime.lookahead import LookaheadSession
from unrolled.runtime.operator import Activation, CellOptions
from unrolled.runtime.recurrent import Recurrent
from unrolled.runtime.running import ClassifierSession, classify_many
from unrolled.runtime.session import Session, SessionPool, step_many
from unrolled.runtime.state import SessionState
from unrolled.runtime.tagging_session import RunningTag, TaggerSession, tag_many
from unrolled.runtime.writing import WritingSession, Written

__all__ = [
    "Activation",
    "Attention",
    "AttentionPooling",
    "CellOptions",
    "ClassifierSession",
    "GeneratorSession",
    "LookaheadSession",
    "Recurrent",
    "RunningTag",
    "Session",
    "SessionPool",
    "SessionState",
    "TaggerSession",
    "WritingSession",
    "Written",
    "classify_many",
    "step_many",
    "tag_many",
]
