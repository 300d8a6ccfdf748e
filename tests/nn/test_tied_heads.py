"""A head that shares its weights with the embedding still has a bias of its own, if it has one."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj

VOCABULARY = 5


def test_the_bias_of_a_tied_head_moves_the_logits():
    model = sj.nn.LanguageModel(
        VOCABULARY, sj.gru(3), embedding_size=3, tied=True, rngs=nnx.Rngs(0)
    )
    tokens = jnp.array([[1, 4, 2]])
    _, before = model(tokens)
    bias = jnp.arange(VOCABULARY, dtype=jnp.float32)
    model.bias.set_value(bias)
    _, after = model(tokens)
    np.testing.assert_allclose(after - before, np.broadcast_to(bias, before.shape), rtol=1e-5)


def test_scaled_embeddings_and_bounded_logits():
    """As in RecurrentGemma: the head sees embeddings as they are, and has no bias."""
    cell = sj.dense(3, bias=False)
    model = sj.nn.LanguageModel(
        VOCABULARY, cell, embedding_size=3, tied=True, head_bias=False, embedding_scale=4.0,
        soft_cap=2.0, rngs=nnx.Rngs(0),
    )  # fmt: skip
    table = np.asarray(model.embedding.embedding.get_value())
    _, logits = model(jnp.array([1, 4]))
    plain = 4 * table[[1, 4]] @ model.rnn.params["weights"] @ table.T
    np.testing.assert_allclose(logits, 2 * np.tanh(plain / 2), rtol=1e-5)
    apart = sj.nn.LanguageModel(
        VOCABULARY, cell, embedding_size=3, head_bias=False, rngs=nnx.Rngs(0)
    )
    assert apart.head.bias is None
    with pytest.raises(ValueError, match="`soft_cap` must be above 0"):
        sj.nn.LanguageModel(2, cell, embedding_size=3, soft_cap=0.0, rngs=nnx.Rngs(0))
