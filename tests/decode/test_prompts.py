"""A prompt read from a cache is the prompt read alone, to the bit, and less is read."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.core.trees import tree_bytes
from seqjax.decode.autoregressive import write
from seqjax.decode.prompts import PIECE, PrefixCache, forked, read_prompt
from seqjax.decode.sampling import generate

TOKENS = 1 + np.random.default_rng(0).integers(0, 8, 4 * PIECE)


@pytest.fixture(scope="module")
def model():
    """With all there is to forget: a state, and a window that is shorter than a piece."""
    cell = sj.stack(sj.minimal_gru(8), sj.sliding_window_attention(8, window=5, heads=2))
    return sj.nn.LanguageModel(9, cell, embedding_size=4, rngs=nnx.Rngs(0))


def same(got, wanted):
    """To the bit."""
    chex.assert_trees_all_equal(got, wanted)


def test_what_is_common_is_read_once(model):
    cache = PrefixCache(model)
    other = np.append(TOKENS[: PIECE + 8], [8, 8, 8])
    for prompt, read, reused in (
        (TOKENS[: 2 * PIECE + 5], 2 * PIECE + 5, 0),
        (TOKENS[: 2 * PIECE + 5], 0, 2 * PIECE + 5),  # Its end is known.
        (TOKENS[: 3 * PIECE], PIECE, 2 * PIECE),  # Pieces begin where they would without it.
        (other, 11, PIECE),
        (TOKENS[: PIECE - 1], PIECE - 1, 0),  # Rolled back before the first state.
        (TOKENS[PIECE : 2 * PIECE], PIECE, 0),  # The same tokens in other places are no prefix.
        (TOKENS[:0], 0, 0),
    ):
        before = cache.tokens_read, cache.tokens_reused
        same(cache.read(prompt), read_prompt(model, prompt))
        assert (cache.tokens_read - before[0], cache.tokens_reused - before[1]) == (read, reused)


def test_the_text_is_the_same(model):
    """Also sampled, and from one prompt several times."""
    cache = PrefixCache(model)
    for prompt in (TOKENS[:50], TOKENS[:50], TOKENS[:45], np.append(TOKENS[:45], 3)):
        texts = [
            np.concatenate(
                list(
                    generate(model, prompt, jax.random.key(1), length=40, boundary=0, cache=chosen)
                )
            )
            for chosen in (None, cache)
        ]
        np.testing.assert_array_equal(texts[0], texts[1])
    assert cache.tokens_reused == 50 + 2 * PIECE


def test_a_fork_goes_its_own_way(model):
    """From one state several sequences, whose tokens are those of the state alone."""
    carry = PrefixCache(model).read(TOKENS[:40])
    begin = jnp.array([1, 2])
    run = jax.jit(
        lambda model, carry, begin: write(model.step, carry, begin, end=0, max_length=6).tokens
    )
    both = run(model, forked(carry, 2), begin)
    for row, token in zip(both, begin, strict=True):
        np.testing.assert_array_equal(row, run(model, forked(carry, 2), jnp.full(2, token))[1])


def test_it_is_bounded_and_keeps_what_most_prompts_share(model):
    one = tree_bytes(model.initial_carry())
    cache = PrefixCache(model, max_bytes=3 * one)
    same(cache.read(TOKENS), read_prompt(model, TOKENS))
    assert cache.held_bytes == 3 * one
    cache.read(TOKENS[: PIECE + 3])
    assert cache.tokens_reused == PIECE  # The first states of a long prompt are those that stay.
    other = np.full(PIECE, 8)
    cache.read(other)
    cache.read(other)
    assert (
        cache.tokens_reused == 2 * PIECE
    )  # A new one takes the place of one not used for longest.
    cache.read(TOKENS[:PIECE])
    assert cache.tokens_reused == 3 * PIECE and cache.held_bytes == 3 * one
    none = PrefixCache(model, max_bytes=0)
    same(none.read(TOKENS[:40]), read_prompt(model, TOKENS[:40]))
    assert none.held_bytes == 0


def test_mistakes(model):
    other = sj.nn.LanguageModel(9, sj.gru(2), embedding_size=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="the cache is of another model"):
        next(
            generate(
                model, TOKENS, jax.random.key(0), length=1, boundary=0, cache=PrefixCache(other)
            )
        )
    with pytest.raises(ValueError, match="`max_bytes` must be 0 or more, got -1"):
        PrefixCache(model, max_bytes=-1)
    for tokens in ([99], [-1], [1.5], [[1, 2]]):
        with pytest.raises(ValueError, match=r"expected `\(n,\)` tokens, whole numbers from 0 to"):
            PrefixCache(model).read(tokens)
