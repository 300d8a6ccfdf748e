"""Transcription of unsegmented sequences by connectionist temporal classification (CTC)."""

from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from seqjax.core.cell import Cell, positive_int
from seqjax.core.masks import length_mask
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.decode.ctc import Labelling, ctc_beam_search, ctc_greedy, frames_needed
from seqjax.engines.placement import all_varying
from seqjax.nn.rnn import RNN

BLANK = 0
"""The blank token."""


class Transcriber(nnx.Module):
    """A recurrent transcriber.

        logits = scan(cell, embedding(xs)) W + b           of the blank and all labels, each step
        p(labels) = sum of the probabilities of all paths that collapse to the labels

    Args:
      cell: any cell, usually bidirectional.
      in_features: width of the cell's inputs.
      symbols: number of labels plus one for the blank token, which is 0.
      embedding: a module that embeds the inputs; None for vectors.
      rngs: the source of the parameters' keys.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> model = sj.nn.Transcriber(sj.bidirectional(sj.gru(8)), 3, 5, rngs=nnx.Rngs(0))
      >>> lengths = jnp.array([6, 4])
      >>> logits = model(jnp.ones((2, 6, 3)), lengths=lengths)
      >>> labels, count = jnp.array([[1, 2, 0], [4, 4, 4]]), jnp.array([2, 3])
      >>> nats, used = model.loss(logits, lengths, labels, count)
      >>> used                       # four steps are too few for 4, 4, 4: two blanks between
      Array([ True, False], dtype=bool)

    Source: Graves et al. 2006, "Connectionist temporal classification" (ICML).
    """

    def __init__(
        self,
        cell: Cell,
        in_features: int,
        symbols: int,
        *,
        embedding: nnx.Module | None = None,
        rngs: nnx.Rngs,
    ):
        self.symbols = positive_int("Transcriber", "symbols", symbols)
        self.embedding = embedding
        self.rnn = RNN(cell, in_features, rngs=rngs)
        self.head = nnx.Linear(cell.features, symbols, rngs=rngs)

    def __call__(
        self, xs: Any, *, key: PRNGKeyArray | BatchKeys | None = None, **options: Any
    ) -> Array:
        """Logits `(*batch, time, symbols)` of `xs` `(*batch, time, ...)`.

        Args:
          xs: inputs, a pytree if the embedding takes one.
          key: switches dropout and zoneout on.
          **options: `lengths`, `mask`, `resets` and the other options of `sj.scan`.
        """
        vectors = xs if self.embedding is None else self.embedding(xs)
        return self.head(self.rnn(vectors, key=key, **options)[1])

    def loss(
        self, logits: Array, lengths: Array, labels: Array, label_lengths: Array
    ) -> tuple[Array, Array]:
        """The negative log-likelihood of the labels of each sequence, in nats.

        A sequence with fewer steps than its labels need has no path: its loss is 0.

        Args:
          logits: `(batch, time, symbols)`.
          lengths: `(batch,)`, valid steps.
          labels: `(batch, labels)` ints above 0.
          label_lengths: `(batch,)`, valid labels.

        Returns:
          `(nats, used)`, both `(batch,)`; `used` is False for sequences without a path.
        """
        used = frames_needed(labels, label_lengths) <= lengths
        # The empty labelling has a path at any length: it replaces impossible ones.
        counts = jnp.where(used, label_lengths, 0)
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        # Optax initializes its loop from this number, which must be varying inside `shard_map`.
        log_epsilon: Any = all_varying((logits, jnp.float32(-1e5)))[1]
        nats = optax.ctc_loss(
            logits,
            1.0 - length_mask(lengths, logits.shape[-2]),
            labels,
            1.0 - length_mask(counts, labels.shape[-1]),
            blank_id=BLANK,
            log_epsilon=log_epsilon,
        )
        return jnp.where(used, nats, 0.0), used

    def transcribe(self, logits: Array, lengths: Array, *, beams: int = 1) -> Labelling:
        """The labels of each sequence, by best-path decoding or by prefix beam search.

        Args:
          logits: `(*batch, time, symbols)`.
          lengths: `(*batch,)`.
          beams: 1 for the most probable path, more for a prefix beam search, whose best labelling
            is returned.
        """
        if beams == 1:
            return ctc_greedy(logits, lengths, blank=BLANK)
        found = ctc_beam_search(logits, lengths, beams=beams, blank=BLANK)
        axis = lengths.ndim
        return Labelling(*(jnp.take(leaf, 0, axis=axis) for leaf in found))
