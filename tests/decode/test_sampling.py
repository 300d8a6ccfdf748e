"""Sampling follows the distribution it is asked for; generation is the model's own."""

import jax
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.core.errors import InputError
from seqjax.decode.prompts import PIECE
from seqjax.decode.sampling import _ascending, _kept, check_sampling, generate, sample

LOGITS = np.tile(np.log(np.array([0.5, 0.1, 0.3, 0.1], np.float32)), (20_000, 1))
compiled = jax.jit(sample)


def frequencies(temperature=1.0, top_k=4, top_p=1.0):
    tokens = compiled(jax.random.key(0), LOGITS, temperature, top_k, top_p)
    return np.bincount(np.asarray(tokens), minlength=4) / 20_000


def test_temperature():
    np.testing.assert_allclose(frequencies(), [0.5, 0.1, 0.3, 0.1], atol=0.02)
    squared = np.array([0.25, 0.01, 0.09, 0.01])
    np.testing.assert_allclose(frequencies(0.5), squared / squared.sum(), atol=0.02)
    np.testing.assert_array_equal(frequencies(0.0), [1, 0, 0, 0])


def test_top_k():
    np.testing.assert_allclose(frequencies(top_k=2), [0.625, 0, 0.375, 0], atol=0.02)
    np.testing.assert_array_equal(frequencies(top_k=1), [1, 0, 0, 0])


def test_top_p():
    np.testing.assert_allclose(frequencies(top_p=0.7), [0.625, 0, 0.375, 0], atol=0.02)
    np.testing.assert_array_equal(frequencies(top_p=0.01), [1, 0, 0, 0])


def test_what_is_kept_beside_a_sort_of_all():
    """Of equal logits the first; negative ones and those that are not allowed come last."""
    logits = np.random.default_rng(0).integers(-3, 3, (40, 7)).astype(np.float32)
    logits[:, 2] = -np.inf
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    run = jax.jit(lambda *options: _kept(_ascending(logits), *options))
    for top_k, top_p in ((1, 1.0), (3, 1.0), (7, 0.6), (4, 0.6), (7, 1e-6)):
        wanted = np.zeros(logits.shape, bool)
        for row, p in enumerate(share):
            order = np.argsort(-p, kind="stable")[:top_k]
            # At the edge float32 may round to either side.
            below = (p[order].cumsum() - p[order]) / p[order].sum() < top_p - 1e-6
            wanted[row, order[below | (np.arange(len(order)) == 0)]] = True
        np.testing.assert_array_equal(run(top_k, top_p), wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((-1.0, None, None), "temperature"),
        ((1.0, 0, None), "top-k"),
        ((1.0, None, 1.5), "top-p"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(InputError, match=message):
        check_sampling(*settings)


@pytest.fixture(scope="module")
def model():
    return sj.nn.LanguageModel(9, sj.gru(8), embedding_size=4, rngs=nnx.Rngs(0))


@jax.jit
def logits_of(model, tokens):
    """Of all tokens, with zeros behind them, which reach no logits before them."""
    return model(tokens, resets=tokens == 0)[1]


def greedy(model, prompt, length, **options):
    pieces = generate(
        model, np.array(prompt, np.int32), jax.random.key(0),
        length=length, boundary=0, temperature=0.0, **options,
    )  # fmt: skip
    return np.concatenate(list(pieces))


@pytest.mark.parametrize("prompt_length", [0, 1, PIECE - 1, PIECE, 2 * PIECE + 3])
def test_generation_is_step_by_step(model, prompt_length):
    """Greedy generation equals the model called on everything so far, each time anew."""
    prompt = [1 + i % 8 for i in range(prompt_length)]
    got = greedy(model, prompt, 5)
    tokens = [0, *prompt]
    for token in got:
        padded = np.pad(np.array(tokens, np.int32), (0, 2 * PIECE + 9 - len(tokens)))
        logits = np.asarray(logits_of(model, padded))[len(tokens) - 1]
        assert int(logits.argmax()) == int(token)
        tokens.append(int(token))


def test_where_a_document_begins_and_ends(model):
    """By itself a boundary comes first; a boundary stands where the model writes a stop."""
    wanted = greedy(model, [3, 1, 4], 9).tolist()
    assert greedy(model, [0, 3, 1, 4], 9, begin=False).tolist() == wanted
    (alone,) = greedy(model, [5], 1, begin=False)
    assert alone == logits_of(model, np.array([5], np.int32))[0].argmax()
    first, second = greedy(model, [], 2).tolist()
    assert 0 not in (first, second) and first != second
    assert greedy(model, [], 6, stop=second).tolist() == [first, 0] * 3
    with pytest.raises(ValueError, match="the prompt must have a token"):
        greedy(model, [], 1, begin=False)


def test_a_suppressed_token_gives_way_to_the_next(model):
    logits = logits_of(model, np.array([5], np.int32))[0]
    best, second, third = (-logits).argsort()[:3].tolist()
    assert greedy(model, [5], 1, begin=False, suppressed=(best,)).tolist() == [second]
    assert greedy(model, [5], 1, begin=False, suppressed=(best, second)).tolist() == [third]


def test_any_length_comes_out(model):
    for length in (1, PIECE, PIECE + 1):
        assert len(greedy(model, [1], length)) == length


def test_the_same_seed_writes_the_same_text(model):
    def text(seed):
        pieces = generate(
            model,
            np.array([1]),
            jax.random.key(seed),
            length=40,
            boundary=0,
            top_k=5,
            top_p=0.9,
        )
        return np.concatenate(list(pieces)).tolist()

    assert text(0) == text(0) != text(1)
