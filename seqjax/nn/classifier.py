"""Sequence classification and regression: one prediction per sequence."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.masks import length_mask
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.nn import pooling
from seqjax.nn.outputs import Outputs
from seqjax.nn.pooling import POOLINGS, AttentionPooling, PoolingName
from seqjax.nn.rnn import RNN


class Classifier(nnx.Module):
    """A recurrent classifier or regressor of sequences.

        ys     = scan(cell, embedding(xs))
        pooled = last, mean, max or attention over the valid steps of ys
        raw    = pooled W + b

    Args:
      cell: any cell, bidirectional ones too.
      in_features: width of the cell's inputs: of `xs`, or of their embedding.
      outputs: the kind of prediction: `Softmax`, `Sigmoid`, `Regression`, `Quantiles` or
        `Gaussian`.
      pooling: over time. `"last"` is the output of the last valid step; for a bidirectional cell
        concatenated with that of the first, where its backward pass ends.
      embedding: a module that embeds the inputs, such as `nnx.Embed` for tokens; None for vectors.
      rngs: the source of the parameters' keys.

    Raises:
      ValueError: if the pooling is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> cell = sj.bidirectional(sj.gru(8))
      >>> model = sj.nn.Classifier(cell, 3, sj.nn.Softmax(5), pooling="mean", rngs=nnx.Rngs(0))
      >>> raw = model(jnp.ones((2, 7, 3)), lengths=jnp.array([7, 4]))
      >>> raw.shape
      (2, 5)
      >>> loss = model.outputs.loss(raw, jnp.array([0, 4])) / 2
    """

    def __init__(
        self,
        cell: Cell,
        in_features: int,
        outputs: Outputs,
        *,
        pooling: PoolingName = "last",
        embedding: nnx.Module | None = None,
        rngs: nnx.Rngs,
    ):
        if pooling not in POOLINGS:
            raise ValueError(
                f"Classifier: `pooling` must be one of {', '.join(map(repr, POOLINGS))}; got "
                f"{pooling!r}."
            )
        self.embedding = embedding
        self.rnn = RNN(cell, in_features, rngs=rngs)
        self.pooling = pooling
        attention = pooling == "attention"
        self.attention = AttentionPooling(cell.features, rngs=rngs) if attention else None
        ends = 2 if pooling == "last" and not cell.causal else 1
        self.head = nnx.Linear(ends * cell.features, outputs.size, rngs=rngs)
        self.outputs = outputs

    def __call__(
        self,
        xs: Any,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        key: PRNGKeyArray | BatchKeys | None = None,
        **options: Any,
    ) -> Array:
        """The raw outputs `(*batch, outputs.size)` of `xs` `(*batch, time, ...)`.

        Args:
          xs: inputs, a pytree if the embedding takes one.
          lengths, mask: which steps are valid, as for `sj.scan`; the others reach neither
            the state nor the pooled vector.
          key: switches dropout and zoneout on.
          **options: the other options of `sj.scan`.
        """
        return self.head(self._pooled(xs, lengths, mask, key, options)[0])

    def weights(self, xs: Any, *, lengths: Array | None = None, mask: Array | None = None) -> Array:
        """The attention weight of every step in the pooled vector, `(*batch, time)`.

        Raises:
          ValueError: if the pooling is not by attention.
        """
        weights = self._pooled(xs, lengths, mask, None, {})[1]
        if weights is None:
            raise ValueError(
                f"Classifier: pooling={self.pooling!r} has no weights; use pooling='attention'."
            )
        return weights

    def _pooled(self, xs, lengths, mask, key, options) -> tuple[Array, Array | None]:
        vectors = xs if self.embedding is None else self.embedding(xs)
        _, ys = self.rnn(vectors, lengths=lengths, mask=mask, key=key, **options)
        valid = jnp.ones(ys.shape[:-1], bool)
        if lengths is not None:
            valid &= length_mask(lengths, ys.shape[-2])
        if mask is not None:
            valid &= mask
        if self.attention is not None:
            return self.attention(ys, valid)
        if self.pooling == "last":
            ends = [pooling.last(ys, valid)]
            if not self.rnn.cell.causal:
                ends.append(pooling.first(ys, valid))
            return jnp.concatenate(ends, -1), None
        join = {"mean": pooling.mean, "max": pooling.maximum}[self.pooling]
        return join(ys, valid), None
