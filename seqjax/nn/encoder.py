"""Encoders of sequences, vectors and images: vectors at source positions, and a summary."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.exportable import exportable
from seqjax.core.masks import length_mask
from seqjax.core.types import Array, BatchKeys, Bool, Float, PRNGKeyArray
from seqjax.nn import pooling
from seqjax.nn.rnn import RNN


@exportable
class Encoded(NamedTuple):
    """The output of an encoder.

    Attributes:
      values: `(*batch, source, width)`, a vector at each source position, for attention.
      valid: `(*batch, source)` bool, False at padding.
      summary: `(*batch, summary)`, sets the initial carry of a decoder.
    """

    values: Float[Array, "*batch source width"]
    valid: Bool[Array, "*batch source"]
    summary: Float[Array, "*batch summary"]


class RecurrentEncoder(nnx.Module):
    """A recurrent encoder of sequences; source positions are steps.

        ys      = scan(cell, embedding(xs))
        summary = last y; for a bidirectional cell concatenated with the first

    Args:
      cell: any cell, usually bidirectional.
      in_features: width of the cell's inputs.
      embedding: a module that embeds the inputs, such as `nnx.Embed` for tokens; None if the cell
        reads them as they are.
      rngs: the source of the parameters' keys.

    Attributes:
      features: width of the values.
      summary_features: width of the summary.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> encoder = sj.nn.RecurrentEncoder(sj.bidirectional(sj.gru(4)), 3, rngs=nnx.Rngs(0))
      >>> found = encoder(jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
      >>> found.values.shape, found.summary.shape
      ((2, 5, 8), (2, 16))
    """

    def __init__(
        self,
        cell: Cell,
        in_features: int,
        *,
        embedding: nnx.Module | None = None,
        rngs: nnx.Rngs,
    ):
        self.embedding = embedding
        self.rnn = RNN(cell, in_features, rngs=rngs)
        self.features = cell.features
        self.summary_features = cell.features * (1 if cell.causal else 2)

    def __call__(
        self,
        xs: Any,
        *,
        lengths: Array | None = None,
        key: PRNGKeyArray | BatchKeys | None = None,
    ) -> Encoded:
        """Encodes `xs` `(*batch, time, ...)`.

        Args:
          xs: the inputs.
          lengths: `(*batch,)` ints, valid steps.
          key: switches dropout and zoneout on.
        """
        vectors = xs if self.embedding is None else self.embedding(xs)
        _, ys = self.rnn(vectors, lengths=lengths, key=key)
        *batch, time, _ = ys.shape
        valid = jnp.ones((*batch, time), bool) if lengths is None else length_mask(lengths, time)
        ends = [pooling.last(ys, valid)]
        if not self.rnn.cell.causal:
            ends.append(pooling.first(ys, valid))
        return Encoded(ys, valid, jnp.concatenate(ends, -1))


class VectorEncoder(nnx.Module):
    """The identity on a vector, which is both the only source position and the summary.

    Args:
      features: width of the vector.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> sj.nn.VectorEncoder(4)(jnp.ones((2, 4))).values.shape
      (2, 1, 4)
    """

    def __init__(self, features: int):
        self.features = self.summary_features = features

    def __call__(
        self,
        vectors: Array,
        *,
        lengths: Array | None = None,
        key: PRNGKeyArray | BatchKeys | None = None,
    ) -> Encoded:
        """Encodes `vectors` `(*batch, features)`."""
        return Encoded(vectors[..., None, :], jnp.ones((*vectors.shape[:-1], 1), bool), vectors)


class ImageEncoder(nnx.Module):
    """A small convolutional encoder; source positions are the cells of the last feature map.

        grid    = 3 x 3 convolutions, each with layer norm, relu and 2 x 2 max pooling
        values  = grid + learned position embeddings
        summary = relu(flattened values through a linear layer)

    Args:
      shape: of the images, `(height, width, channels)`.
      features: channels of each convolution; the last one is the width of the values.
      summary_features: width of the summary.
      rngs: the source of the parameters' keys.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> encoder = sj.nn.ImageEncoder((16, 16, 3), (8, 16), rngs=nnx.Rngs(0))
      >>> encoder(jnp.ones((2, 16, 16, 3))).values.shape
      (2, 16, 16)
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        features: Sequence[int] = (32, 64, 64),
        *,
        summary_features: int = 128,
        rngs: nnx.Rngs,
    ):
        *space, channels = shape
        convolutions, norms = [], []
        for width in features:
            convolutions.append(nnx.Conv(channels, width, (3, 3), rngs=rngs))
            norms.append(nnx.LayerNorm(width, rngs=rngs))
            channels = width
            space = [(size + 1) // 2 for size in space]
        self.convolutions, self.norms = nnx.List(convolutions), nnx.List(norms)
        count = space[0] * space[1]
        start = 0.02 * jax.random.normal(rngs.params(), (count, channels))
        self.positions = nnx.Param(start)
        self.head = nnx.Linear(count * channels, summary_features, rngs=rngs)
        self.features, self.summary_features = channels, summary_features

    def __call__(
        self,
        images: Array,
        *,
        lengths: Array | None = None,
        key: PRNGKeyArray | BatchKeys | None = None,
    ) -> Encoded:
        """Encodes `images` `(*batch, height, width, channels)`."""
        grid = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            grid = nnx.relu(norm(convolution(grid)))
            grid = nnx.max_pool(grid, (2, 2), (2, 2), "SAME")
        *batch, height, width, channels = grid.shape
        values = grid.reshape(*batch, height * width, channels)
        positions = self.positions.get_value()
        values = values + positions.reshape((1,) * len(batch) + positions.shape)
        summary = nnx.relu(self.head(values.reshape(*batch, -1)))
        return Encoded(values, jnp.ones(values.shape[:-1], bool), summary)
