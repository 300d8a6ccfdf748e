"""The options of `seqjax train tag`."""

import dataclasses
from typing import Literal

from seqjax.data.formats import Fields
from seqjax.data.formats.fields import FIND
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.example_files import FilesConfig, SequenceConfig
from seqjax.train.paired_files import ParallelConfig


@dataclasses.dataclass(frozen=True)
class TaggerConfig(CellConfig):
    """The tagger."""

    features: PositiveInt = 128
    """Width of each layer's state, in each direction."""
    dropout: ProbabilityBelowOne = 0.3
    """Dropout probability of each layer's outputs."""
    bidirectional: bool = True
    """Read sequences forwards and backwards."""
    crf: bool = True
    """A conditional random field over the tags; without it each tag is predicted by itself."""
    embedding: PositiveInt = 96
    """Width of the embedding of words."""
    spelling: PositiveInt = 48
    """Width of the state that reads the characters of a word, in each direction."""
    word_dropout: ProbabilityBelowOne = 0.15
    """Probability that a word is replaced by the unknown token in training; its characters stay."""
    video: PositiveInt = 16
    """Channels of the convolutional GRU over clips."""


@dataclasses.dataclass(frozen=True)
class TagFields:
    """The columns of .conllu files and keys of .jsonl files."""

    tokens: str = "tokens"
    """Key or column of the tokens; if there is none of this name, it is found: words, word, ..."""
    tag: str | None = None
    """Key or column of the tags, or a key in the last column of .conllu files; by default found:
    upos in .conllu files, the last column of other tables of words, or by names as tags and ner."""
    tag_names: tuple[str, ...] = ()
    """Names of the tags, if the files give them as numbers, from 0 on."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table of words that does not name them, such as word pos ner."""
    scheme: Literal["auto", "none", "BIO", "BIOES", "IOB1", "BILOU"] = "auto"
    """Scheme by which tags mark spans; auto infers it from the tags. IOB1 is learned as BIO, and
    BILOU as BIOES; predictions are written as the files are."""
    frames: str | None = None
    """Key of a clip: numbers nested as frames, rows, pixels and channels,
    or the path of a folder of pictures or of an .npy file, relative to the file."""
    image_size: tuple[PositiveInt, PositiveInt] | None = None
    """Height and width to which pictures from files are resized."""
    values: tuple[str, ...] = ()
    """Columns of numbers, if steps of a series are tagged."""
    series: str | None = None
    """Column with the name of the series, for files with one row per time step."""
    decimal: Literal["auto", "point", "comma"] = "auto"
    """Decimal separator of the numbers in tables; auto finds it in the file, and says where points
    or commas may separate thousands as well."""
    vocabulary: PositiveInt = 30_000
    """Largest size of the vocabulary of words; others are unknown."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        named = None if self.values or self.frames is not None else self.tokens
        return Fields(
            tokens=FIND if named == TagFields.tokens else named,
            tag=self.tag or FIND,
            tag_names=self.tag_names,
            columns=self.columns,
            series=self.series,
            decimal=None if self.decimal == "auto" else self.decimal,
            image=self.frames,
            image_size=self.image_size,
            values=self.values or None,
        )


@dataclasses.dataclass(frozen=True)
class TagConfig(RunConfig):
    """Trains a tagger: parts of speech, entities, or any tag for every step."""

    source: Literal["hebrew-pos", "hebrew-entities", "moving-shapes"] = "hebrew-pos"
    """A corpus that a package carries, or clips that are drawn; --train names files of your
    own."""
    files: FilesConfig = FilesConfig()
    parallel: ParallelConfig = ParallelConfig()
    columns: TagFields = TagFields()
    sequences: SequenceConfig = SequenceConfig()
    model: TaggerConfig = TaggerConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=4e-3, weight_decay=0.01)
    batch: PositiveInt = 32
    """Sentences of a batch."""
    steps: PositiveInt = 1500
    """Training steps: updates of the parameters."""
    validate_every: PositiveInt = 250
    """Steps between validations and checkpoints."""
