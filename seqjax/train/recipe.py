"""How the language model of a run is made, besides the options of its cell."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import nnx

from seqjax.core.errors import InputError
from seqjax.core.precision import Precision
from seqjax.core.types import DTypeLike
from seqjax.data.tokenizer import Tokenizer
from seqjax.interop.blueprint import Published
from seqjax.nn.language_model import LanguageModel
from seqjax.train.bounds import PositiveInt
from seqjax.train.config import CellConfig
from seqjax.train.model import build_cell
from seqjax.train.tokens import restore_vocabulary, save_vocabulary

MARK = "published:"
"""Before the family of a published model, where the options of others have the name of a cell."""


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig(CellConfig):
    """The language model."""

    embedding: PositiveInt = 64
    """Width of the embedding of characters, or of tokens."""
    tied: bool = False
    """Tie the output weights to the embedding; needs --embedding equal to --features."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a run keeps, besides its options, to make its model again.

    Args:
      tokenizer: of its texts.
      published: the model, if it was imported, or came from an imported one; its options describe
        it then, and do not make it.
    """

    tokenizer: Tokenizer
    published: Published | None = None

    @classmethod
    def restore(cls, preprocessing: Mapping[str, Any]) -> "Recipe":
        """From what `preprocessing` gave."""
        tokenizer = restore_vocabulary(preprocessing["vocabulary"])
        saved = preprocessing.get("published")
        return cls(tokenizer, None if saved is None else Published.from_json(saved))

    def preprocessing(self) -> dict[str, Any]:
        """As JSON."""
        saved = {"vocabulary": save_vocabulary(self.tokenizer)}
        if self.published is None:
            return saved
        return saved | {"published": self.published.to_json()}

    def build(self, config: LanguageModelConfig, seed: int) -> LanguageModel:
        """A new model, in float32."""
        if self.published is not None:
            return self.published.build(nnx.Rngs(seed))
        return build_model(config, len(self.tokenizer), seed)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        """The model in another dtype, but for what must stay in float32."""
        if self.published is not None:
            return self.published.cast(model, dtype)
        return Precision(compute=dtype).to_compute(model)


def build_model(config: LanguageModelConfig, vocabulary_size: int, seed: int) -> LanguageModel:
    """A new language model."""
    cell = build_cell(config)
    if not cell.causal:
        raise InputError(f"--cell {config.cell}: {cell} sees the future, so it cannot predict it.")
    if config.tied and config.embedding != cell.features:
        raise InputError(
            f"--tied needs --embedding equal to the cell's width {cell.features}, got "
            f"{config.embedding}."
        )
    return LanguageModel(
        vocabulary_size,
        cell,
        embedding_size=config.embedding,
        tied=config.tied,
        rngs=nnx.Rngs(seed),
    )


def options_of(family: str, model: LanguageModel) -> LanguageModelConfig:
    """What the options of a run say of a published model."""
    blocks = model.rnn.params.get("blocks", {})
    return LanguageModelConfig(
        cell=MARK + family,
        features=model.rnn.cell.features,
        layers=max(1, len(blocks)),
        dropout=0.0,
        embedding=model.rnn.in_features,
        tied=model.tied,
    )
