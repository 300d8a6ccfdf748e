"""`seqjax train caption`: a text about a picture, a clip or a vector."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.data.drawn import clips, scenes
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.data.formats.images import in_channels
from seqjax.nn.encoder import ImageEncoder, RecurrentEncoder, VectorEncoder
from seqjax.train.bounds import PositiveInt
from seqjax.train.config import OptimizerConfig, RunConfig
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell, build_video_cell
from seqjax.train.pictures import to_range
from seqjax.train.tokens import TokenKind
from seqjax.train.writing import DecodingConfig, TeachingConfig, WriterConfig, Writing


@dataclasses.dataclass(frozen=True)
class CaptionerConfig(WriterConfig):
    """The encoder and the decoder."""

    features: PositiveInt = 128
    """Width of each layer's state."""
    embedding: PositiveInt = 64
    """Width of the embedding of tokens."""
    convolutions: tuple[PositiveInt, ...] = (32, 64, 64)
    """Channels of the convolutions over a picture, each with stride 2."""
    summary: PositiveInt = 128
    """Width of the vector that summarises a picture."""
    video: PositiveInt = 16
    """Channels of the convolutional GRU over a clip."""


@dataclasses.dataclass(frozen=True)
class CaptionFields:
    """The keys of .jsonl files and arrays of .npz files."""

    image: str = "image"
    """Key of the input: a picture, as the path of a file (relative to this one) or as numbers
    nested as rows, pixels and channels; a clip, as a list of pictures or the path of a folder; or
    a vector, a list of numbers."""
    image_size: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width to which pictures from files are resized."""
    caption: str = "caption"
    """Key of the caption."""
    separator: str | None = None
    """Separates several references for an input; the first one is learned."""
    tokens: TokenKind = "words"
    """The tokens of a caption."""
    vocabulary: PositiveInt = 8000
    """Largest size of the vocabulary; other tokens are unknown."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        return Fields(
            image=self.image,
            image_size=self.image_size,
            label=self.caption,
            label_is_text=True,
            label_separator=self.separator,
        )


@dataclasses.dataclass(frozen=True)
class CaptionConfig(RunConfig):
    """Trains a captioner from a picture, a clip or a vector to words."""

    source: Literal["scenes", "moving-shapes"] = "scenes"
    """Pictures or clips that are drawn; --train names files of your own."""
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
    """Training steps: updates of the parameters."""
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
        """The numbers, float32."""
        images = example.inputs
        if isinstance(images, np.ndarray) and images.ndim > 1:
            images = in_channels(images, self.shape[-1])
        shape = shape_of(example._replace(inputs=images))
        if shape != self.shape:
            advice = " (--image-size resizes pictures)" if len(shape) == len(self.shape) > 1 else ""
            raise InputError(
                f"{example.where}: expected numbers of the shape {_words(self.shape)} as in the "
                f"first example of the training data, got {_words(shape)}{advice}."
            )
        return np.asarray(images, np.float32)

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

    def preprocessing(self) -> dict[str, Any]:
        """The shape."""
        return {"shape": list(self.shape)}

    def token_names(self, inputs: np.ndarray) -> None:
        """None: numbers are no tokens."""

    def pictures(self, inputs: np.ndarray, title: str) -> dict[str, Any]:
        """The picture or the frames of the clip, with the caption; nothing for a vector."""
        from seqjax import plots

        if len(self.shape) == 4:
            return {"frames": plots.frames_with_labels(to_range(inputs), title=title)}
        if len(self.shape) == 3:
            return {"picture": plots.frames_with_labels(to_range(inputs[None]), title=title)}
        return {}


def _words(shape: tuple[int, ...]) -> str:
    """A shape for messages, in which any time does."""
    return str(shape).replace("(0,", "(time,", 1)


def shape_of(example: Example) -> tuple[int, ...]:
    """The shape of an example's numbers, with 0 for the time of a clip.

    Raises:
      InputError: if it holds no vector, picture or clip.
    """
    shape = example.shape
    if shape is None or len(shape) not in (1, 3, 4):
        came = "a text" if shape is None else f"an array of shape {shape}"
        raise InputError(
            f"{example.where}: expected a vector, a picture (height, width, channels) or a clip "
            f"(time, height, width, channels), got {came}."
        )
    return (0, *shape[1:]) if len(shape) == 4 else shape


@dataclasses.dataclass(frozen=True)
class Captioning(Writing):
    """A text for each picture, clip or vector."""

    config: CaptionConfig

    name = "caption"
    config_type = CaptionConfig

    @classmethod
    def source(cls, name: str) -> Data:
        if name == "scenes":
            return Data("drawn scenes", *scenes())
        return Data("moving shapes", *clips()["sentence"])

    @classmethod
    def fit(
        cls, config: CaptionConfig, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "Captioning":
        shape, columns = shape_of(examples[0]), config.columns
        if len(shape) > 1:
            # Where some pictures are grey, all have the channels of those in colours.
            same = [other for other in map(shape_of, examples) if len(other) == len(shape)]
            shape = (*shape[:-1], max(other[-1] for other in same))
        reading = PictureReading(shape)
        return cls.reading_with(reading, config, examples, columns.tokens, columns.vocabulary)

    @classmethod
    def restore(cls, config: CaptionConfig, preprocessing: dict[str, Any]) -> "Captioning":
        reading = PictureReading(tuple(preprocessing["reading"]["shape"]))
        return cls.restored(reading, config, preprocessing)


CAPTION = example_commands(Captioning)
