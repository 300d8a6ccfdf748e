"""The task of saying what a picture, a clip or a vector shows."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.data.drawn import clips, scenes
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.nn.encoder import ImageEncoder, RecurrentEncoder, VectorEncoder
from seqjax.train.bounds import PositiveInt
from seqjax.train.config import OptimizerConfig, RunConfig
from seqjax.train.files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell, build_video_cell
from seqjax.train.writing import (
    DecodingConfig,
    TeachingConfig,
    WriterConfig,
    Writing,
    written_problem,
)


@dataclasses.dataclass(frozen=True)
class CaptionerConfig(WriterConfig):
    """The encoder and the decoder."""

    features: PositiveInt = 128
    """Width of each layer's state."""
    embedding: PositiveInt = 64
    """Width of the embedding of tokens."""
    convolutions: tuple[PositiveInt, ...] = (32, 64, 64)
    """Channels of the convolutions that read a picture, each of which halves it."""
    summary: PositiveInt = 128
    """Width of the vector that sums a picture up."""
    video: PositiveInt = 16
    """Channels of the convolutional GRU that reads a clip."""


@dataclasses.dataclass(frozen=True)
class CaptionFields:
    """What keys of .jsonl files and arrays of .npz files mean."""

    image: str = "image"
    """The picture: a path of a file, or numbers as rows of pixels of channels; or a clip, a
    list of pictures; or a vector, a list of numbers."""
    caption: str = "caption"
    """What it shows."""
    separator: str | None = None
    """What stands between several right captions; the first one is learned."""
    tokens: Literal["characters", "words", "bytes", "subwords"] = "words"
    """What captions are cut into."""
    vocabulary: PositiveInt = 8000
    """At most so many different tokens; the others are unknown."""

    @property
    def fields(self) -> Fields:
        """The same, for the readers of files."""
        return Fields(image=self.image, label=self.caption, label_separator=self.separator)


@dataclasses.dataclass(frozen=True)
class CaptionConfig(RunConfig):
    """Trains a captioner: from a picture, a clip or a vector to words."""

    source: Literal["scenes", "moving-shapes"] = "scenes"
    """Pictures and clips that are drawn; see --train for your own."""
    files: FilesConfig = FilesConfig()
    columns: CaptionFields = CaptionFields()
    sequences: SequenceConfig = SequenceConfig()
    model: CaptionerConfig = CaptionerConfig()
    teaching: TeachingConfig = TeachingConfig()
    decoding: DecodingConfig = DecodingConfig(criterion="exact_match")
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=2e-3, weight_decay=0.01)
    batch: PositiveInt = 64
    """Captions of a batch."""
    steps: PositiveInt = 2000
    """Updates of the parameters."""
    validate_every: PositiveInt = 250
    """Steps between validations and checkpoints."""


@dataclasses.dataclass(frozen=True)
class PictureReading:
    """Vectors `(width,)`, pictures `(height, width, channels)` or clips `(time, height, width,
    channels)`, all of one shape but for the time."""

    shape: tuple[int, ...]

    @property
    def sequences(self) -> tuple[str, ...]:
        """A clip has a time axis, a picture has none."""
        return ("inputs",) if len(self.shape) == 4 else ()

    def inputs(self, example: Example) -> np.ndarray:
        """The numbers."""
        if shape_of(example) != self.shape:
            raise InputError(
                f"{example.where}: expected numbers of the shape {self.shape} as in the first "
                f"example of the training data (0: any), got {shape_of(example)}."
            )
        return np.asarray(example.inputs, np.float32)

    def encoder(self, config: CaptionerConfig, rngs: nnx.Rngs) -> Any:
        """An encoder of vectors, pictures or clips."""
        if len(self.shape) == 1:
            return VectorEncoder(self.shape[0])
        if len(self.shape) == 3:
            height, width, channels = self.shape
            return ImageEncoder(
                (height, width, channels),
                config.convolutions,
                summary_features=config.summary,
                rngs=rngs,
            )
        cell = build_cell(config, both_ways=True)
        cell = build_video_cell(cell, config.video, self.shape[1:3])
        return RecurrentEncoder(cell, self.shape[-1], rngs=rngs)

    def settings(self) -> dict[str, Any]:
        """The shape."""
        return {"shape": list(self.shape)}


def shape_of(example: Example) -> tuple[int, ...]:
    """The shape of an example's numbers, with 0 for the time of a clip.

    Raises:
      InputError: if it holds no vector, picture or clip.
    """
    found = example.inputs
    if not isinstance(found, np.ndarray) or found.ndim not in (1, 3, 4):
        came = f"an array of shape {found.shape}" if isinstance(found, np.ndarray) else "a text"
        raise InputError(
            f"{example.where}: expected a vector, a picture (height, width, channels) or a clip "
            f"(time, height, width, channels), got {came}."
        )
    return (0, *found.shape[1:]) if found.ndim == 4 else found.shape


def from_source(name: str) -> Data:
    """Pictures or clips that are drawn."""
    if name == "scenes":
        return Data("drawn scenes", *scenes())
    return Data("moving shapes", *clips()["sentence"])


def of(config: CaptionConfig, examples: Sequence[Example], held: Sequence[Example] = ()) -> Writing:
    """The problem that these examples pose."""
    reading = PictureReading(shape_of(examples[0]))
    columns = config.columns
    return written_problem(config, reading, examples, columns.tokens, columns.vocabulary)


def restore(config: CaptionConfig, settings: dict[str, Any]) -> Writing:
    """The problem whose settings were saved."""
    reading = PictureReading(tuple(settings["reading"]["shape"]))
    return Writing.restored(config, reading, settings)
