"""Weights, embeddings and the rest, in the parameters of every cell and model."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import seqjax as sj
from tests.table import CELLS, IN_FEATURES

NO_WEIGHTS = {
    "bias", "recurrent_bias", "decay_bias", "input_gain", "recurrent_gain", "mu", "peephole",
    "query_bias", "key_bias", "value_bias", "gate_bias", "query_gain", "key_gain",
    "a", "a_real", "a_imaginary", "values", "keys",
}  # fmt: skip
"""Of two dimensions or more in some cell, and no weights; the last two are of a memory."""


def names(params):
    """`(path, last name, array or kind)` of every parameter."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        key = path[-1] if path else ""
        yield path, str(getattr(key, "key", getattr(key, "name", key))), leaf


def test_every_cell():
    """What has one dimension is no weight; what has more is one, but for these."""

    def build():
        cells = {name: cell for name, cell in CELLS.items() if name != "flax_gru"}
        return {n: cell.init(jax.random.key(0), IN_FEATURES) for n, cell in cells.items()}

    params = jax.eval_shape(build)
    kinds = jax.tree.leaves(sj.parameter_kinds(params))
    seen = set()
    for (path, name, leaf), kind in zip(names(params), kinds, strict=True):
        matrix = leaf.ndim > 1 and name not in NO_WEIGHTS
        learned = any(getattr(key, "name", "") == "initial_carry" for key in path)
        assert (kind == "weight") == (matrix and not learned), (path, kind)
        seen |= {name} & NO_WEIGHTS if leaf.ndim > 1 else set()
    assert seen == NO_WEIGHTS


def test_a_learned_carry_is_no_weight():
    cell = sj.learned_initial_carry(sj.linear_attention(4, heads=2))
    params = cell.init(jax.random.key(0), 3)
    kinds = sj.parameter_kinds(params)
    assert set(jax.tree.leaves(kinds.initial_carry)) == {"other"}
    assert kinds.cell["value"] == "weight"


def test_a_flax_model():
    model = sj.nn.LanguageModel(9, sj.gru(4), embedding_size=4, rngs=nnx.Rngs(0))
    kinds = sj.parameter_kinds(model)
    assert jax.tree.structure(kinds) == jax.tree.structure(model)
    found = {jax.tree_util.keystr(path): kind for path, _, kind in names(kinds)}
    assert {kind for path, kind in found.items() if "bias" in path} == {"other"}
    assert found[".embedding.embedding.value"] == "embedding"
    assert found[".head.kernel.value"] == "weight"


def test_decay_leaves_biases_alone():
    params = sj.lstm(2).init(jax.random.key(0), 3)
    rule = optax.adamw(1.0, weight_decay=0.5, mask=sj.weight_mask)
    nothing = jax.tree.map(jnp.zeros_like, params)
    change, _ = rule.update(nothing, rule.init(params), params)
    np.testing.assert_array_equal(change["bias"], 0.0)
    np.testing.assert_allclose(change["recurrent"], -0.5 * params["recurrent"])
