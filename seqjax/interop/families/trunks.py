"""What families have in common: language models of blocks, and the names of their ends."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.stack import stack
from seqjax.interop.operations import SplitAxis, Squeeze, T
from seqjax.interop.table import Rule, under
from seqjax.nn.language_model import LanguageModel

LAYERS = "rnn.blocks.block_{layer}."
"""Where the blocks of `language_model` are."""

VECTOR = (Squeeze(0), Squeeze(0))
"""A vector that is stored as `(1, 1, features)`."""

FEED_FORWARD = under(
    "",
    "channel.cell.",
    *(Rule(f"{name}_proj.weight", name, T) for name in ("gate", "up", "down")),
    *(Rule(f"{name}_proj.bias", f"{name}_bias") for name in ("gate", "up", "down")),
)

NORMS = (
    Rule("input_layernorm.weight", "time.norm.gain"),
    Rule("post_attention_layernorm.weight", "channel.norm.gain"),
)
"""In front of the two parts of a block."""


def language_model(
    config: Mapping[str, Any],
    blocks: Sequence[Cell] | Cell,
    last_norm: Cell,
    rngs: nnx.Rngs,
    *,
    first_norm: Cell | None = None,
    **options: Any,
) -> LanguageModel:
    """A language model of `vocab_size`, `hidden_size` and `tie_word_embeddings`.

    Args:
      config: of the model.
      blocks: one after the other, or the cell that `in_a_row` makes of them.
      last_norm: behind the last block.
      rngs: the source of the parameters' keys.
      first_norm: behind the embedding; None for none.
      **options: further ones of the language model.
    """
    cell = stack(
        **({} if first_norm is None else {"first_norm": first_norm}),
        blocks=blocks if isinstance(blocks, Cell) else in_a_row(blocks),
        last_norm=last_norm,
    )
    return LanguageModel(
        config["vocab_size"],
        cell,
        embedding_size=config["hidden_size"],
        tied=config["tie_word_embeddings"],
        head_bias=False,
        rngs=rngs,
        **options,
    )


def in_a_row(blocks: Sequence[Cell]) -> Cell:
    """Blocks one after the other, as `LAYERS` has their paths."""
    return stack(**{f"block_{layer}": block for layer, block in enumerate(blocks)})


def linear(theirs: str, ours: str) -> tuple[Rule, Rule]:
    """The rules of a linear layer that may have a bias."""
    return Rule(f"{theirs}.weight", f"{ours}.weights", T), Rule(f"{theirs}.bias", f"{ours}.bias")


def projections(suffix: str, **heads: int) -> tuple[Rule, ...]:
    """The rules of products by their first letter, `q_proj` for `query=heads`, cut in heads."""
    return tuple(
        Rule(f"{name[0]}{suffix}", name, (T, SplitAxis(1, (count, -1))))
        for name, count in heads.items()
    )


def norm_rules(theirs: str, ours: str) -> tuple[Rule, Rule]:
    """The rules of a norm that may have a bias."""
    return Rule(f"{theirs}.weight", f"{ours}.gain"), Rule(f"{theirs}.bias", f"{ours}.bias")


def ends(embedding: str, last_norm: str, head: str = "lm_head") -> tuple[Rule, ...]:
    """The rules of what stands around the blocks."""
    return (
        Rule(f"{embedding}.weight", "embedding.embedding"),
        *norm_rules(last_norm, "rnn.last_norm"),
        Rule(f"{head}.weight", "head.kernel", T),
    )
