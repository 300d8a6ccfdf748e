"""The options of `seqjax train classify`."""

import dataclasses
from typing import Literal

from seqjax.data.formats import Fields
from seqjax.train.audio_options import AudioFields
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.example_files import FilesConfig, SequenceConfig
from seqjax.train.paired_files import ParallelConfig
from seqjax.train.tokens import TokenKind


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(CellConfig):
    """The classifier."""

    features: PositiveInt = 64
    """Width of each layer's state, in each direction."""
    dropout: ProbabilityBelowOne = 0.2
    """Dropout probability of each layer's outputs."""
    bidirectional: bool = True
    """Read sequences forwards and backwards."""
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    """How the outputs of all steps are pooled to one vector."""
    embedding: PositiveInt = 64
    """Width of the embedding of tokens, for texts."""
    video: PositiveInt = 16
    """Channels of the convolutional GRU over clips."""


@dataclasses.dataclass(frozen=True)
class ClassifyFields(AudioFields):
    """The columns of .csv files, keys of .jsonl files and arrays of .npz files."""

    target: Literal["class", "labels", "number"] = "class"
    """The target: one class, several labels (a set), or a number."""
    label: str = "label"
    """Column of the target."""
    separator: str = "|"
    """Separates the labels of an example, for --target labels."""
    text: str | None = None
    """Column of the text; by default examples are series of numbers."""
    tokens: TokenKind = "words"
    """The tokens of a text."""
    vocabulary: PositiveInt = 8000
    """Largest size of the vocabulary; other tokens are unknown."""
    series: str | None = None
    """Column with the name of the series, for files with one row per time step."""
    time: str | None = None
    """Column of the time, for files with one row per time step; it is not an input. Rows are sorted
    by it, and steps without a row are filled in as missing values."""
    time_zone: str | None = None
    """Time zone of local times, such as Europe/Berlin, where an hour of autumn comes twice."""
    missing: tuple[str, ...] = ()
    """Signs of a missing value, such as -999, besides empty cells, NA, NaN, null, none, ? and -."""
    decimal: Literal["auto", "point", "comma"] = "auto"
    """Decimal separator of the numbers in tables; auto finds it in the file, and says where points
    or commas may separate thousands as well."""
    frames: str | None = None
    """Key of a clip: numbers nested as frames, rows, pixels and channels,
    or the path of a folder of pictures or of an .npy file, relative to the file. A single picture
    is read row by row."""
    image_size: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width to which pictures from files are resized."""
    values: tuple[str, ...] = ()
    """Columns of the series; by default all other columns of numbers."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table whose first line does not name them."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        number = self.target == "number"
        return Fields(
            text=self.text,
            label=None if number else self.label,
            number=self.label if number else None,
            label_separator=self.separator if self.target == "labels" else None,
            series=self.series,
            image=self.frames,
            image_size=self.image_size,
            audio=self.sounds,
            time=self.time,
            time_zone=self.time_zone,
            missing_names=self.missing,
            decimal=None if self.decimal == "auto" else self.decimal,
            values=self.values or None,
            columns=self.columns,
            missing=True,
        )


@dataclasses.dataclass(frozen=True)
class ClassifyConfig(RunConfig):
    """Trains a classifier of sequences: series of numbers or texts."""

    source: Literal[
        "japanese-vowels",
        "italy-power-demand",
        "gun-point",
        "basic-motions",
        "digits-rows",
        "digits-pixels",
        "moving-shapes",
    ] = "japanese-vowels"
    """A data set that a package carries; --train names files of your own."""
    files: FilesConfig = FilesConfig()
    parallel: ParallelConfig = ParallelConfig()
    columns: ClassifyFields = ClassifyFields()
    sequences: SequenceConfig = SequenceConfig()
    model: ClassifierConfig = ClassifierConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    batch: PositiveInt = 32
    """Sequences of a batch."""
    steps: PositiveInt = 1000
    """Training steps: updates of the parameters."""
    validate_every: PositiveInt = 100
    """Steps between validations and checkpoints."""
