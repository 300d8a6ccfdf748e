"""What a language model needs to write down a text, in bits per character."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from seqjax.core.trees import cast
from seqjax.core.types import Array, Carry, DTypeLike
from seqjax.data.streams import scoring_sequences
from seqjax.data.vocabulary import BOUNDARY
from seqjax.losses import cross_entropy
from seqjax.metrics import bits_per_character
from seqjax.nn.language_model import LanguageModel
from seqjax.train.devices import AXIS

BATCH, TIME, CONTEXT = 64, 128, 256


class Score(NamedTuple):
    """The cost of a text: bits per character, and over how many characters."""

    bits_per_character: float
    characters: int


class Evaluator:
    """Scores one text with changing parameters, compiled once.

    The text is cut into sequences of one batch. A sequence begins with `CONTEXT`
    characters that are not scored, so that the state has warmed up; each character is
    scored once, the boundaries between documents are not.

    Args:
      corpus: `(length,)` tokens with a boundary before each document.
      mesh: the devices that share the batch.
      dtype: what the model computes in.
    """

    def __init__(self, corpus: np.ndarray, mesh: Mesh, dtype: DTypeLike = jnp.float32):
        batch_size = mesh.size * max(1, BATCH // mesh.size)
        tokens, scored = scoring_sequences(corpus, batch_size, CONTEXT, TIME)
        scored &= tokens[:, 1:] != BOUNDARY
        self.characters = int(scored.sum())
        self.windows = scored.shape[1] // TIME
        by_row = NamedSharding(mesh, jax.P(AXIS))
        self.tokens, self.scored = jax.device_put((tokens, scored), by_row)
        self.batch_size, self.by_row, self.dtype = batch_size, by_row, dtype

        def score(model: LanguageModel, carry: Carry, total: Array, at: Array, tokens, scored):
            model = cast(model, dtype)
            part = jax.lax.dynamic_slice_in_dim(tokens, at * TIME, TIME + 1, axis=1)
            mask = jax.lax.dynamic_slice_in_dim(scored, at * TIME, TIME, axis=1)
            inputs, targets = part[:, :-1].astype(jnp.int32), part[:, 1:].astype(jnp.int32)
            carry, logits = model(inputs, carry, resets=inputs == BOUNDARY)
            nats = jax.vmap(cross_entropy)(logits, targets, mask)
            return carry, total + nats, at + 1

        parts = (jax.P(), jax.P(AXIS), jax.P(AXIS), jax.P(), jax.P(AXIS), jax.P(AXIS))
        split = jax.shard_map(
            score, mesh=mesh, in_specs=parts, out_specs=(jax.P(AXIS), jax.P(AXIS), jax.P())
        )
        self._score = jax.jit(split)

    def __call__(self, model: LanguageModel) -> Score:
        """The score of the model, whose parameters are on the mesh."""
        carry = cast(model, self.dtype).initial_carry((self.batch_size,))
        carry, total = jax.device_put((carry, np.zeros(self.batch_size, np.float32)), self.by_row)
        at = jnp.int32(0)
        for _ in range(self.windows):
            carry, total, at = self._score(model, carry, total, at, self.tokens, self.scored)
        nats = float(np.asarray(total, np.float64).sum())
        return Score(bits_per_character(nats, self.characters), self.characters)
