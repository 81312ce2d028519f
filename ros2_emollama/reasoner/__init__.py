"""Prefix and prompt → label scores and text, over a `LlamaSession`. No torch, no transformers."""

from .base import Talker
from .decoder import Reasoner, Said
from .sampling import Decoding

__all__ = ["Decoding", "Reasoner", "Said", "Talker"]
