"""A head that shares its weights with the embedding still has a bias of its own."""

import jax.numpy as jnp
import numpy as np
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
