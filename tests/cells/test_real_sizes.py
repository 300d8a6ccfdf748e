"""Cells of a size that people train, compiled as their programs are.

Elsewhere cells are tiny and the compiler does little: what it gets wrong then stays unseen.
"""

import chex
import jax
import jax.numpy as jnp
import jaxlib
import pytest

import seqjax as sj

pytestmark = pytest.mark.thorough

FEATURES = 64

AS_USERS_DO = {"xla_backend_optimization_level": 3}
if jaxlib.__version__.startswith("0.10."):
    AS_USERS_DO["xla_cpu_use_fusion_emitters"] = True

DIAGONAL = (sj.minimal_gru, sj.lru, sj.linoss, sj.mamba, sj.rwkv4_time_mix)
CELLS = (
    *DIAGONAL,
    sj.m2rnn,
    sj.linear_attention,
    sj.retention,
    sj.gated_linear_attention,
    sj.mamba2,
    sj.mamba3,
    sj.mlstm,
    sj.delta_net,
    sj.kimi_delta_attention,
    sj.gated_delta_net2,
    sj.gated_delta_product,
    sj.rwkv6_time_mix,
    sj.rwkv7_time_mix,
)
"""One of each engine, decay, update and way to read."""


@pytest.mark.parametrize("make", CELLS, ids=lambda make: make.__name__)
def test_parallel_is_step_by_step(make):
    """From nothing, in one chunk: where a compiler knows most."""
    cell = make(FEATURES)
    keys = jax.random.split(jax.random.key(0))
    params = jax.tree.map(
        # What starts at zero would hide what follows.
        lambda leaf: leaf + 0.1 * jax.random.normal(keys[0], leaf.shape, leaf.dtype),
        cell.init(keys[1], FEATURES),
    )
    xs = jax.random.normal(jax.random.key(1), (4, 64, FEATURES))

    def outputs(params, xs, method):
        return sj.scan(cell, params, xs, method=method)[1]

    wanted = outputs(params, xs, "plain")
    run = jax.jit(outputs, static_argnums=2, compiler_options=AS_USERS_DO)
    # A matrix goes in chunks by either.
    for method in ("chunked", "auto") if make in DIAGONAL else ("auto",):
        chex.assert_trees_all_close(run(params, xs, method), wanted, rtol=1e-3, atol=1e-4)


def _one_head_of_kimi(features):
    return sj.kimi_delta_attention(features, heads=1)


@pytest.mark.parametrize("make", [sj.rwkv6_time_mix, _one_head_of_kimi])
def test_strong_decays_in_several_chunks_and_two_batch_dims(make):
    """Gradients: programs of many axes, of which one runs for strong decays only."""
    cell = make(FEATURES)
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf + 4 if path[-1] == jax.tree_util.DictKey("decay") else leaf,
        cell.init(jax.random.key(0), FEATURES),
    )
    xs = 30 * jax.random.normal(jax.random.key(1), (2, 3, 70, FEATURES))

    def loss(params, xs, method):
        return jnp.square(sj.scan(cell, params, xs, method=method)[1]).sum()

    gradient = jax.value_and_grad(loss, (0, 1))
    run = jax.jit(gradient, static_argnums=2, compiler_options=AS_USERS_DO)
    got = jax.tree.leaves(run(params, xs, "chunked"))
    wanted = jax.tree.leaves(jax.jit(gradient, static_argnums=2)(params, xs, "plain"))
    for ours, plain in zip(got, wanted, strict=True):
        # Beside the largest number of the array: the smallest are sums of large ones.
        assert jnp.abs(ours - plain).max() <= 1e-3 * jnp.abs(plain).max()
