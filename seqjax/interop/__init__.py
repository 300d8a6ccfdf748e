"""Weights of published models and of other libraries, in and out."""

from seqjax.interop import operations
from seqjax.interop.loaded import Loaded, build, families, load, save, weights
from seqjax.interop.table import Family, Rule, under

__all__ = [
    "Family",
    "Loaded",
    "Rule",
    "build",
    "families",
    "load",
    "operations",
    "save",
    "under",
    "weights",
]
