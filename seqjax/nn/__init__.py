"""Flax NNX modules around cells."""

from seqjax.nn.classifier import Classifier
from seqjax.nn.embedding import WordEmbedding
from seqjax.nn.flax_cells import FlaxCell, from_flax
from seqjax.nn.forecaster import DirectForecaster, RecursiveForecaster
from seqjax.nn.language_model import LanguageModel
from seqjax.nn.outputs import Gaussian, Quantiles, Regression, Sigmoid, Softmax
from seqjax.nn.pooling import AttentionPooling
from seqjax.nn.rnn import RNN
from seqjax.nn.tagger import CRFTagger, Tagger

__all__ = [
    "RNN",
    "AttentionPooling",
    "CRFTagger",
    "Classifier",
    "DirectForecaster",
    "FlaxCell",
    "Gaussian",
    "LanguageModel",
    "Quantiles",
    "RecursiveForecaster",
    "Regression",
    "Sigmoid",
    "Softmax",
    "Tagger",
    "WordEmbedding",
    "from_flax",
]
