"""Recurrent language models: embedding, cell, output layer."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.gates import like_features
from seqjax.core.types import Array, BatchKeys, Carry, PRNGKeyArray
from seqjax.nn.embedding import token_embedding
from seqjax.nn.rnn import RNN


class LanguageModel(nnx.Module):
    """A recurrent language model.

        x = embedding_scale embedding[token]
        carry, y = cell.step(params, carry, x)
        logits = y W + b                           W = embedding' if tied
        logits = soft_cap tanh(logits / soft_cap)  if there is one

    Args:
      vocabulary_size: number of tokens.
      cell: any cell with a `step`.
      embedding_size: width of the embedding.
      tied: use the embedding as the weights of the output layer; needs `embedding_size ==
        cell.features`.
      head_bias: whether there is a b; published models have none.
      embedding_scale: on embeddings that go into the cell, such as the root of their width; those
        of a tied output layer are not scaled.
      soft_cap: bound of the logits; None for none.
      rngs: the source of the parameters' keys.

    Raises:
      ValueError: if the output layer is tied and the widths differ, the cell sees the future, or
        the soft cap is not above 0.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> model = sj.nn.LanguageModel(50, sj.lstm(16), embedding_size=8, rngs=nnx.Rngs(0))
      >>> carry, logits = model(jnp.zeros((2, 5), int))
      >>> logits.shape
      (2, 5, 50)

    Source: Mikolov et al. 2010 (Interspeech); tied head: Press and Wolf 2016,
    arXiv:1608.05859; scaled embeddings and the soft cap: the released code of Gemma 2,
    arXiv:2408.00118.
    """

    def __init__(
        self,
        vocabulary_size: int,
        cell: Cell,
        *,
        embedding_size: int,
        tied: bool = False,
        head_bias: bool = True,
        embedding_scale: float = 1.0,
        soft_cap: float | None = None,
        rngs: nnx.Rngs,
    ):
        if not cell.causal:
            raise ValueError(
                f"LanguageModel: {cell} sees the future, so it cannot predict it; use a "
                "forward cell."
            )
        if tied and embedding_size != cell.features:
            raise ValueError(
                "LanguageModel: a tied head needs embedding_size equal to the cell's features; "
                f"got {embedding_size} and {cell.features}."
            )
        if soft_cap is not None and not soft_cap > 0:
            raise ValueError(
                f"LanguageModel: `soft_cap` must be above 0, or None for none; got {soft_cap}."
            )
        self.vocabulary_size = vocabulary_size
        self.embedding_scale, self.soft_cap = embedding_scale, soft_cap
        self.embedding = token_embedding(vocabulary_size, embedding_size, rngs=rngs)
        self.rnn = RNN(cell, embedding_size, rngs=rngs)
        self.tied = tied
        if tied:
            self.bias = nnx.Param(jnp.zeros((vocabulary_size,))) if head_bias else None
        else:
            self.head = nnx.Linear(cell.features, vocabulary_size, use_bias=head_bias, rngs=rngs)

    def __call__(
        self,
        tokens: Array,
        carry: Carry | None = None,
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
        **options: Any,
    ) -> tuple[Carry, Array]:
        """Logits of the next token after each of `tokens` `(*batch, time)`.

        Args:
          tokens: ints.
          carry: before the first token; by default the initial carry.
          key: switches dropout and zoneout on.
          **options: `lengths`, `mask`, `resets` and the other options of `sj.scan`.

        Returns:
          `(carry, logits)`, logits `(*batch, time, vocabulary_size)`.
        """
        carry, ys = self.rnn(self.embed(tokens), carry, key=key, **options)
        return carry, self.logits(ys)

    def step(self, carry: Carry, token: Array) -> tuple[Carry, Array]:
        """One token `(*batch,)` in, the logits of the next `(*batch, vocabulary_size)` out."""
        carry, y = self.rnn.step(carry, self.embed(token))
        return carry, self.logits(y)

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """The carry before the first token."""
        return self.rnn.initial_carry(batch_shape)

    def embed(self, tokens: Array) -> Array:
        """What goes into the cell, `(*tokens.shape, embedding_size)`."""
        return self.embedding(tokens) * self.embedding_scale

    def logits(self, ys: Array) -> Array:
        """The logits of what the cell puts out."""
        if not self.tied:
            logits = self.head(ys)
        else:
            logits = self.embedding.attend(ys)
            if self.bias is not None:
                logits = logits + like_features(self.bias.get_value(), ys)
        if self.soft_cap is None:
            return logits
        return self.soft_cap * jnp.tanh(logits / self.soft_cap)
