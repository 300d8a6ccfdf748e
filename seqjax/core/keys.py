"""Keys that draw the same numbers one by one and under `vmap`."""

import jax
import jax.numpy as jnp

from seqjax.core.types import BatchKeys, PRNGKeyArray


def batchable(key: PRNGKeyArray | BatchKeys) -> PRNGKeyArray | BatchKeys:
    """Keys that draw the same numbers one by one and under `vmap`.

    With keys of `rbg` and `unsafe_rbg` (`jax_default_prng_impl`), `vmap` draws for the whole batch
    from the first key; so Threefry keys are made of them. Other keys are returned unchanged.

    Args:
      key: typed keys, or the raw numbers of keys of the default implementation.

    Returns:
      As many typed keys.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if "rbg" not in str(jax.random.key_impl(key)):
        return key

    def absorb(words):
        # All words count: the halves of an `rbg` key are equal, those of an `unsafe_rbg` key not.
        made = jax.random.wrap_key_data(words[:2], impl="threefry2x32")
        for word in words[2:]:
            made = jax.random.fold_in(made, word)
        return made

    words = jax.random.key_data(key)
    for _ in range(key.ndim):
        absorb = jax.vmap(absorb)
    return absorb(words)
