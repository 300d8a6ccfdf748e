"""Programs of cells for every platform: exported on this host, whatever it is.

    python -m tests.exports [NAME ...]

exports every cell of the table, forward, gradient and step in one program, for a CPU, an NVIDIA GPU
and a TPU, and fails if one of them cannot be lowered.
"""

import sys

import jax
import jax.numpy as jnp
from jax import export

import seqjax as sj
from seqjax.core.cell import Cell
from tests.table import CELLS, IN_FEATURES

PLATFORMS = ("cpu", "cuda", "tpu")


def program(cell: Cell, method: sj.Auto):
    """`(params, carry, xs) -> (outputs, gradients), step` of a cell."""

    def run(params, carry, xs):
        def loss(params, xs):
            ys = sj.scan(cell, params, xs, carry, method=method)[1]
            return sum(jnp.square(jnp.abs(leaf)).sum() for leaf in jax.tree.leaves(ys)), ys

        ys, gradients = jax.value_and_grad(loss, (0, 1), has_aux=True, allow_int=True)(params, xs)
        step = cell.step(params, carry, xs[:, 0]) if cell.causal else None
        return ys, gradients, step

    return jax.jit(run)


def exported(cell: Cell, method: sj.Auto) -> export.Exported:
    """The program of a cell for all platforms of a method, for two sequences of seven steps."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), IN_FEATURES))
    carry = jax.eval_shape(lambda params: cell.initial_carry(params, (2,)), params)
    xs = jax.ShapeDtypeStruct((2, 7, IN_FEATURES), jnp.float32)
    return export.export(program(cell, method), platforms=method.platforms)(params, carry, xs)


def main(names: list[str]) -> int:
    failed = []
    for name in names or CELLS:
        try:
            exported(CELLS[name], sj.Auto(platforms=PLATFORMS))
        except Exception as reason:
            failed.append(name)
            print(f"{name}: {type(reason).__name__}: {reason}")
    print(f"exported for {', '.join(PLATFORMS)}: all but {failed}" if failed else "exported: all")
    return len(failed)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
