"""Sampling of the next token, and generation with a language model."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.types import Array, Carry, PRNGKeyArray


@runtime_checkable
class TokenModel(Protocol):
    """A language model: logits of the next token, for a sequence or step by step.

    `sj.nn.LanguageModel` is one. It must be a pytree.
    """

    vocabulary_size: int

    def __call__(self, tokens: Array, carry: Carry, **options: Any) -> tuple[Carry, Array]:
        """`(carry, logits)` for `(*batch, time)` tokens; takes the options of `sj.scan`."""
        ...

    def step(self, carry: Carry, token: Array) -> tuple[Carry, Array]:
        """`(carry, logits)` for one token per sequence."""
        ...

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """The carry before the first token."""
        ...


def sample(key: PRNGKeyArray, logits: Array, temperature: Any, top_k: Any, top_p: Any) -> Array:
    """Samples one token from each vector of logits.

        p = softmax(logits / temperature), restricted to the `top_k` most probable tokens, and of
        these to the fewest whose probability adds up to `top_p`

    All options may be traced, so changing them does not recompile.

    Args:
      key: a key.
      logits: `(*batch, tokens)`.
      temperature: 0 takes the most probable token, 1 samples from the model.
      top_k: at least 1; the number of tokens or more is no restriction. Exactly so many are left:
        of tokens that are equally probable those with lower numbers come first.
      top_p: in (0, 1]; 1 is no restriction.

    Returns:
      `(*batch,)` int32.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from seqjax.decode.sampling import sample
      >>> int(sample(jax.random.key(0), jnp.array([0.0, 3.0, 1.0]), 1.0, top_k=1, top_p=1.0))
      1

    Source: top-p is nucleus sampling, Holtzman et al. 2019, arXiv:1904.09751.
    """
    logits = logits.astype(jnp.float32)
    cold = jnp.asarray(temperature) <= 0
    scaled = logits / jnp.where(cold, 1.0, temperature)
    order = jnp.argsort(scaled, axis=-1, descending=True)
    ranked = jnp.take_along_axis(scaled, order, axis=-1)
    rank = jax.lax.broadcasted_iota(jnp.int32, ranked.shape, ranked.ndim - 1)
    ranked = jnp.where(rank < top_k, ranked, -jnp.inf)
    probability = jax.nn.softmax(ranked, axis=-1)
    before = jnp.cumsum(probability, axis=-1) - probability
    ranked = jnp.where((before < top_p) | (rank == 0), ranked, -jnp.inf)
    drawn = jnp.where(cold, 0, jax.random.categorical(key, ranked, axis=-1))
    return jnp.take_along_axis(order, drawn[..., None], axis=-1)[..., 0].astype(jnp.int32)


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises `InputError` if an option of `sample` is out of range."""
    if not 0 <= temperature < float("inf"):
        raise InputError(f"The temperature must be 0 or more, got {temperature}.")
    if top_k is not None and top_k < 1:
        raise InputError(f"top-k must be at least 1, got {top_k}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top-p must be above 0 and at most 1, got {top_p}.")


PIECE = 32
"""Number of tokens that are sampled, or read from the prompt, per compiled call."""


def generate(
    model: TokenModel,
    prompt: np.ndarray,
    key: PRNGKeyArray,
    *,
    length: int,
    boundary: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[np.ndarray]:
    """Continues a prompt, in constant memory and constant time per token.

    Args:
      model: the language model.
      prompt: `(n,)` tokens, possibly none; the boundary token is put before them.
      key: a key.
      length: number of tokens to sample.
      boundary: the token at which a document begins; the state is reset at it.
      temperature: see `sample`.
      top_k: see `sample`; None is no restriction.
      top_p: see `sample`; None is no restriction.

    Yields:
      The new tokens, up to `PIECE` at a time.
    """
    check_sampling(temperature, top_k, top_p)
    options = (
        jnp.float32(temperature),
        jnp.int32(model.vocabulary_size if top_k is None else top_k),
        jnp.float32(1.0 if top_p is None else top_p),
    )
    tokens = np.concatenate([[boundary], prompt]).astype(np.int32)
    carry = model.initial_carry()
    # All tokens but the last are read; the last one starts the sampling.
    for start in range(0, len(tokens) - 1, PIECE):
        part = tokens[start : min(start + PIECE, len(tokens) - 1)]
        padded = np.pad(part, (0, PIECE - len(part)))
        carry = _read(model, carry, padded, np.int32(len(part)))
    token = jnp.int32(tokens[-1])
    for start in range(0, length, PIECE):
        key, piece_key = jax.random.split(key)
        carry, token, drawn = _draw(model, carry, token, piece_key, options, boundary)
        yield np.asarray(drawn)[: length - start]


@jax.jit
def _read(model: Any, carry: Carry, tokens: Array, length: Array) -> Carry:
    return model(tokens, carry, lengths=length)[0]


@partial(jax.jit, static_argnames="boundary")
def _draw(model, carry, token, key, options, boundary):
    initial = model.initial_carry()

    def step(state, step_key):
        carry, token = state
        carry = jax.tree.map(
            lambda start, now: jnp.where(token == boundary, start, now), initial, carry
        )
        carry, logits = model.step(carry, token)
        token = sample(step_key, logits, *options)
        return (carry, token), token

    (carry, token), drawn = jax.lax.scan(step, (carry, token), jax.random.split(key, PIECE))
    return carry, token, drawn
