"""Flax NNX modules around cells."""

from seqjax.nn.classifier import Classifier
from seqjax.nn.decoder import Decoder
from seqjax.nn.embedding import WordEmbedding
from seqjax.nn.encoder import Encoded, ImageEncoder, RecurrentEncoder, VectorEncoder
from seqjax.nn.encoder_decoder import EncoderDecoder
from seqjax.nn.flax_cells import FlaxCell, from_flax
from seqjax.nn.forecaster import DirectForecaster
from seqjax.nn.language_model import LanguageModel
from seqjax.nn.model_cells import model_cell
from seqjax.nn.outputs import Gaussian, Quantiles, Regression, Sigmoid, Softmax
from seqjax.nn.pooling import AttentionPooling
from seqjax.nn.recursive_forecaster import RecursiveForecaster
from seqjax.nn.rnn import RNN
from seqjax.nn.tagger import CRFTagger, Tagger
from seqjax.nn.transcriber import Transcriber

__all__ = [
    "RNN",
    "AttentionPooling",
    "CRFTagger",
    "Classifier",
    "Decoder",
    "DirectForecaster",
    "Encoded",
    "EncoderDecoder",
    "FlaxCell",
    "Gaussian",
    "ImageEncoder",
    "LanguageModel",
    "Quantiles",
    "RecurrentEncoder",
    "RecursiveForecaster",
    "Regression",
    "Sigmoid",
    "Softmax",
    "Tagger",
    "Transcriber",
    "VectorEncoder",
    "WordEmbedding",
    "from_flax",
    "model_cell",
]
