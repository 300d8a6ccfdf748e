"""Flax NNX modules around cells."""

from seqjax.nn.flax_cells import FlaxCell, from_flax
from seqjax.nn.language_model import LanguageModel
from seqjax.nn.rnn import RNN

__all__ = ["RNN", "FlaxCell", "LanguageModel", "from_flax"]
