"""Weights of published models and of other libraries, in and out."""

from seqjax.interop import operations
from seqjax.interop.blueprint import Published
from seqjax.interop.loaded import Loaded, build, families, load, save, weights
from seqjax.interop.table import Family, Rule, under
from seqjax.interop.tokenizer_files import read_tokenizer

__all__ = [
    "Family",
    "Loaded",
    "Published",
    "Rule",
    "build",
    "families",
    "load",
    "operations",
    "read_tokenizer",
    "save",
    "under",
    "weights",
]
