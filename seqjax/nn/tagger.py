"""Sequence tagging: a tag per step, independently or by a conditional random field."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell, positive_int
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.decode.crf import (
    Transitions,
    crf_log_likelihood,
    crf_marginals,
    forbid,
    viterbi,
)
from seqjax.decode.tag_schemes import Scheme, allowed_transitions
from seqjax.losses import cross_entropy
from seqjax.nn.rnn import RNN


class Tagger(nnx.Module):
    """A recurrent tagger.

        emissions = scan(cell, embedding(xs)) W + b

    Emissions are the logits of independent tags; `CRFTagger` models their dependence.

    Args:
      cell: any cell, usually bidirectional.
      in_features: width of the cell's inputs.
      tags: number of tags.
      embedding: a module that embeds the inputs, such as `nnx.Embed` or `WordEmbedding`; None for
        vectors.
      rngs: the source of the parameters' keys.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> model = sj.nn.Tagger(sj.bidirectional(sj.gru(8)), 3, 4, rngs=nnx.Rngs(0))
      >>> emissions = model(jnp.ones((2, 5, 3)))
      >>> mask = sj.length_mask(jnp.array([5, 2]), 5)
      >>> tags = model.predict(emissions, mask)["prediction"]
      >>> tags.shape
      (2, 5)
    """

    def __init__(
        self,
        cell: Cell,
        in_features: int,
        tags: int,
        *,
        embedding: nnx.Module | None = None,
        rngs: nnx.Rngs,
    ):
        self.tags = positive_int("Tagger", "tags", tags)
        self.embedding = embedding
        self.rnn = RNN(cell, in_features, rngs=rngs)
        self.head = nnx.Linear(cell.features, tags, rngs=rngs)

    def __call__(
        self, xs: Any, *, key: PRNGKeyArray | BatchKeys | None = None, **options: Any
    ) -> Array:
        """Emissions `(*batch, time, tags)` of `xs` `(*batch, time, ...)`.

        Args:
          xs: inputs, a pytree if the embedding takes one.
          key: switches dropout and zoneout on.
          **options: `lengths`, `mask`, `resets` and the other options of `sj.scan`.
        """
        vectors = xs if self.embedding is None else self.embedding(xs)
        return self.head(self.rnn(vectors, key=key, **options)[1])

    def loss(self, emissions: Array, tags: Array, mask: Array) -> Array:
        """The negative log-likelihood of the tags, in nats, summed over valid steps.

        Args:
          emissions: `(*batch, time, tags)`.
          tags: `(*batch, time)` ints.
          mask: `(*batch, time)` bool, the valid steps.
        """
        return cross_entropy(emissions, tags, mask)

    def predict(self, emissions: Array, mask: Array) -> dict[str, Array]:
        """`prediction` `(*batch, time)`, the tags, and `probability` `(*batch, time, tags)`."""
        return {
            "prediction": jnp.argmax(emissions, -1).astype(jnp.int32),
            "probability": jax.nn.softmax(emissions.astype(jnp.float32), -1),
        }


class CRFTagger(Tagger):
    """A tagger with a linear-chain conditional random field (CRF) on the emissions.

        score(tags) = sum over t of emissions[t, tags[t]] + between[tags[t - 1], tags[t]]
                      + start[tags[0]] + end[tags[-1]]
        p(tags)     = exp(score(tags)) / sum over all tags' of exp(score(tags'))

    Args:
      cell, in_features, embedding, rngs: as for `Tagger`.
      tags: the names of the tags, in the order of their numbers.
      scheme: `"BIO"` or `"BIOES"`: invalid sequences have probability 0 and are never predicted.
        None allows all.

    Raises:
      InputError: if a tag does not fit the scheme.
      TypeError: if there is a number of tags instead of their names.

    Source: Lafferty, McCallum and Pereira 2001; on a recurrent network Huang, Xu and Yu
    2015, arXiv:1508.01991.
    """

    def __init__(
        self,
        cell: Cell,
        in_features: int,
        tags: Sequence[str],
        *,
        scheme: Scheme | None = None,
        embedding: nnx.Module | None = None,
        rngs: nnx.Rngs,
    ):
        if not isinstance(tags, Sequence):
            raise TypeError(
                "CRFTagger: expected the names of the tags, such as ('O', 'B-PER', 'I-PER'); got "
                f"{tags!r}. Without names and a CRF, sj.nn.Tagger takes their number."
            )
        super().__init__(cell, in_features, len(tags), embedding=embedding, rngs=rngs)
        self.names = tuple(tags)
        self.scheme: Scheme | None = scheme
        count = len(tags)
        self.between = nnx.Param(jnp.zeros((count, count)))
        self.start = nnx.Param(jnp.zeros(count))
        self.end = nnx.Param(jnp.zeros(count))

    @property
    def transitions(self) -> Transitions:
        """The transition scores, with those of invalid transitions at -inf in effect."""
        learned = Transitions(
            self.between.get_value(), self.start.get_value(), self.end.get_value()
        )
        return forbid(learned, allowed_transitions(self.names, self.scheme))

    def loss(self, emissions: Array, tags: Array, mask: Array) -> Array:
        return -crf_log_likelihood(emissions, self.transitions, tags, mask).sum()

    def predict(self, emissions: Array, mask: Array) -> dict[str, Array]:
        return {
            "prediction": viterbi(emissions, self.transitions, mask)[0],
            "probability": crf_marginals(emissions, self.transitions, mask),
        }
