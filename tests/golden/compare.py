"""Holds a cell with the weights of a golden file to what a package computed with them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from seqjax.core.cell import Cell
from seqjax.core.types import Array, Params
from tests.golden.make_cells import FOLDER


def fast_method(cell: Cell, params: Params, xs: Array) -> str:
    """Chunks where a cell has them: by "auto", memories as small as here go step by step."""
    try:
        jax.eval_shape(lambda xs: sj.scan(cell, params, xs, method="chunked"), xs)
    except ValueError:
        return "auto"
    return "chunked"


def agree(case: str, build: Callable) -> None:
    """Outputs on the fast path and step by step, the carry, the gradient by the inputs."""
    with np.load(FOLDER / f"cells_{case}.npz") as file:
        found = dict(file)
    cell, params, *read = build(found)
    params, xs = jax.tree.map(jnp.asarray, (params, found["xs"]))
    wanted = jax.eval_shape(lambda key: cell.init(key, xs.shape[-1]), jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)

    method = fast_method(cell, params, xs)

    def loss(xs):
        carry, ys = sj.scan(cell, params, xs, method=method)
        return (found.get("direction", 1.0) * ys).sum(), (carry, ys)

    @jax.jit
    def run(xs):
        d_xs, fast = jax.grad(loss, has_aux=True)(xs)
        return d_xs, fast, sj.scan(cell, params, xs, method="plain")

    d_xs, *both = jax.device_get(run(xs))
    for carry, ys in both:
        np.testing.assert_allclose(ys, found["ys"], rtol=1e-9, atol=1e-9)
        for name, value in (read[0](carry) if read else {}).items():
            np.testing.assert_allclose(value, found[name], rtol=1e-9, atol=1e-9)
    if "d_xs" in found:
        np.testing.assert_allclose(d_xs, found["d_xs"], rtol=1e-9, atol=1e-9)
