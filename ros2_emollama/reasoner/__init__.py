"""Prefix and prompt → label scores and text, over a `LlamaSession`. No torch, no transformers."""

from .base import Talker
from .decoder import Reasoner

__all__ = ["Reasoner", "Talker"]
