"""Sampling of the next token, and generation with a language model."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.types import Array, PRNGKeyArray
from seqjax.decode.prompts import PIECE, PrefixCache, TokenModel, read_prompt


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
    restricted = ~cold & ((top_k < logits.shape[-1]) | (top_p < 1))
    keys = _ascending(scaled)
    # What is not restricted need not be sorted, which takes longer than all else.
    kept = jax.lax.cond(
        restricted, lambda keys: _kept(keys, top_k, top_p), lambda keys: keys >= 0, keys
    )
    drawn = jax.random.categorical(key, jnp.where(kept, scaled, -jnp.inf), axis=-1)
    return jnp.where(cold, jnp.argmax(logits, axis=-1), drawn).astype(jnp.int32)


def _ascending(values: Array) -> Array:
    """Whole numbers in the order of the values; XLA sorts them four times as fast on a CPU."""
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    return jnp.where(bits >> 31, ~bits, bits | jnp.uint32(2**31))


def _values(keys: Array) -> Array:
    """The values that `_ascending` had."""
    bits = jnp.where(keys >> 31, keys ^ jnp.uint32(2**31), ~keys)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _kept(keys: Array, top_k: Any, top_p: Any) -> Array:
    """Which tokens are among the `top_k` and in the nucleus, from `_ascending` of their logits."""
    ranked = jnp.flip(jnp.sort(keys, axis=-1), axis=-1)
    rank = jax.lax.broadcasted_iota(jnp.int32, ranked.shape, ranked.ndim - 1)
    most = rank < top_k
    probability = jax.nn.softmax(jnp.where(most, _values(ranked), -jnp.inf), axis=-1)
    before = jnp.cumsum(probability, axis=-1) - probability
    within = most & ((before < top_p) | (rank == 0))
    count = within.sum(-1, keepdims=True)
    least = jnp.take_along_axis(ranked, count - 1, axis=-1)
    above, equal = keys > least, keys == least
    return above | (equal & (jnp.cumsum(equal, -1) <= count - above.sum(-1, keepdims=True)))


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises `InputError` if an option of `sample` is out of range."""
    if not 0 <= temperature < float("inf"):
        raise InputError(f"The temperature must be 0 or more, got {temperature}.")
    if top_k is not None and top_k < 1:
        raise InputError(f"top-k must be at least 1, got {top_k}.")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top-p must be above 0 and at most 1, got {top_p}.")


def generate(
    model: TokenModel,
    prompt: np.ndarray,
    key: PRNGKeyArray,
    *,
    length: int,
    boundary: int,
    stop: int | None = None,
    suppressed: tuple[int, ...] = (),
    begin: bool = True,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    cache: PrefixCache | None = None,
) -> Iterator[np.ndarray]:
    """Continues a prompt, in constant memory and constant time per token.

    Args:
      model: the language model.
      prompt: `(n,)` tokens, possibly none.
      key: a key.
      length: number of tokens to sample.
      boundary: the token at which a document begins; the state is reset at it.
      stop: the token that ends a document, if that is another; a boundary comes in its place.
      suppressed: tokens that are not written, see `seqjax.data.tokenizer.Tokenizer`.
      begin: whether to put a boundary before the prompt.
      temperature: see `sample`.
      top_k: see `sample`; None is no restriction.
      top_p: see `sample`; None is no restriction.
      cache: what the model has read before, for prompts that begin alike; it learns this prompt.
        The tokens are the same with it and without.

    Yields:
      The new tokens, up to `PIECE` at a time.

    Raises:
      InputError: if an option is out of range.
      ValueError: if the cache is of another model, or there is no token to begin with.
    """
    check_sampling(temperature, top_k, top_p)
    options = (
        jnp.float32(temperature),
        jnp.int32(model.vocabulary_size if top_k is None else top_k),
        jnp.float32(1.0 if top_p is None else top_p),
    )
    tokens = np.concatenate([[boundary] * begin, prompt]).astype(np.int32)
    if not len(tokens):
        raise ValueError("generate: with begin=False, the prompt must have a token.")
    if cache is not None and cache.model is not model:
        raise ValueError("generate: the cache is of another model; make one by PrefixCache(model).")
    # All tokens but the last are read; the last one starts the sampling.
    read = tokens[:-1]
    carry = read_prompt(model, read) if cache is None else cache.read(read)
    token = jnp.int32(tokens[-1])
    for start in range(0, length, PIECE):
        key, piece_key = jax.random.split(key)
        carry, token, drawn = _draw(
            model, carry, token, piece_key, options, boundary, stop, suppressed
        )
        yield np.asarray(drawn)[: length - start]


@partial(jax.jit, static_argnames=("boundary", "stop", "suppressed"))
def _draw(model, carry, token, key, options, boundary, stop, suppressed):
    initial = model.initial_carry()
    never = np.array(suppressed, np.int32)

    def step(state, step_key):
        carry, token = state
        carry = jax.tree.map(
            lambda start, now: jnp.where(token == boundary, start, now), initial, carry
        )
        carry, logits = model.step(carry, token)
        token = sample(step_key, logits.at[..., never].set(-jnp.inf), *options)
        token = token if stop is None else jnp.where(token == stop, boundary, token)
        return (carry, token), token

    (carry, token), drawn = jax.lax.scan(step, (carry, token), jax.random.split(key, PIECE))
    return carry, token, drawn
