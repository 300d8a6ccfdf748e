"""What a language model needs to write down a text, in nats."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from seqjax.core.types import Array, Carry, DTypeLike
from seqjax.data.streams import scoring_windows
from seqjax.data.tokenizer import Tokenizer
from seqjax.losses import cross_entropy
from seqjax.nn.language_model import LanguageModel
from seqjax.train.devices import AXIS, put_whole, replicated
from seqjax.train.recipe import Recipe

BATCH, TIME, CONTEXT = 64, 128, 256

LOGITS = 2**26
"""At most this many logits at once: where there are many tokens, fewer sequences side by side."""


class Score(NamedTuple):
    """The cost of a text in nats, and over how many tokens."""

    nats: float
    tokens: int


def is_scored(tokens: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Which tokens are text: not those between documents."""
    text = tokens != tokenizer.boundary
    return text if tokenizer.stop is None else text & (tokens != tokenizer.stop)


class Evaluator:
    """Scores one text with changing parameters, compiled once.

    The text is cut into sequences of one batch. A sequence begins with `CONTEXT`
    tokens that are not scored, so that the state has warmed up; each token is
    scored once, those between documents are not.

    Args:
      corpus: `(length,)` tokens with a boundary before each document, in memory or mapped.
      mesh: the devices that share the batch.
      recipe: of the model, with its tokenizer.
      dtype: what the model computes in.
    """

    def __init__(
        self, corpus: np.ndarray, mesh: Mesh, recipe: Recipe, dtype: DTypeLike = jnp.float32
    ):
        tokenizer = recipe.tokenizer
        rows = min(BATCH, LOGITS // (TIME * len(tokenizer)))
        self.batch_size = mesh.size * max(1, rows // mesh.size)
        self.by_row = NamedSharding(mesh, jax.P(AXIS))
        self.corpus, self.recipe, self.dtype = corpus, recipe, dtype

        def score(model: LanguageModel, carry: Carry, total: Array, tokens, scored):
            model = recipe.cast(model, dtype)
            inputs, targets = tokens[:, :-1].astype(jnp.int32), tokens[:, 1:].astype(jnp.int32)
            carry, logits = model(inputs, carry, resets=inputs == tokenizer.boundary)
            nats = jax.vmap(cross_entropy)(logits, targets, scored)
            return carry, total + nats

        rows, copy = jax.P(AXIS), jax.P()
        split = jax.shard_map(
            score, mesh=mesh, in_specs=(copy, rows, rows, rows, rows), out_specs=(rows, rows)
        )
        self._score = jax.jit(split)

    def __call__(self, model: LanguageModel) -> Score:
        """The score of the model, whose parameters are on the mesh."""
        carry = self.recipe.cast(model, self.dtype).initial_carry((self.batch_size,))
        carry, total = put_whole((carry, np.zeros(self.batch_size, np.float32)), self.by_row)
        count = 0
        for tokens, scored in scoring_windows(self.corpus, self.batch_size, CONTEXT, TIME):
            scored &= is_scored(tokens[:, 1:], self.recipe.tokenizer)
            count += int(scored.sum())
            part = put_whole((tokens, scored), self.by_row)
            carry, total = self._score(model, carry, total, *part)
        nats = float(np.asarray(replicated(total), np.float64).sum())
        return Score(nats, count)
