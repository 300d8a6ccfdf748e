"""Cells of a size that people train, compiled as their programs are.

Elsewhere cells are tiny and the compiler does little: what it gets wrong then stays unseen.
"""

import chex
import jax
import jaxlib
import pytest

import seqjax as sj

FEATURES = 64

AS_USERS_DO = {"xla_backend_optimization_level": 3}
if jaxlib.__version__.startswith("0.10."):
    AS_USERS_DO["xla_cpu_use_fusion_emitters"] = True

CELLS = (
    sj.minimal_gru,
    sj.linear_recurrent_unit,
    sj.mamba,
    sj.linear_attention,
    sj.retention,
    sj.gated_linear_attention,
    sj.mamba2,
    sj.mlstm,
    sj.delta_net,
    sj.kimi_delta_attention,
    sj.rwkv4_time_mix,
    sj.rwkv6_time_mix,
    sj.rwkv7_time_mix,
)
"""One of each engine, decay, update and way to read."""


@pytest.mark.parametrize("make", CELLS, ids=lambda make: make.__name__)
def test_parallel_is_step_by_step(make, monkeypatch):
    """From nothing, in one chunk: where a compiler knows most."""
    monkeypatch.undo()  # `auto` as it is for these sizes.
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
    for method in ("chunked", "auto"):
        chex.assert_trees_all_close(run(params, xs, method), wanted, rtol=1e-3, atol=1e-4)
