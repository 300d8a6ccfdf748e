"""What a gradient through time takes, before it is computed."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Inputs, Params
from seqjax.engines.request import ScanOptions
from seqjax.engines.scan import scan


class MemoryReport(NamedTuple):
    """Bytes that one layer takes in training.

    `saved` is what the forward pass keeps for the backward pass beyond parameters, inputs
    and outputs. `temporaries` is the most that the compiled gradient holds at any time beyond
    its arguments and results; it includes what is saved. It is None where the backend does not
    tell.
    """

    saved: int
    temporaries: int | None

    def __str__(self) -> str:
        temporaries = self.temporaries
        known = "unknown" if temporaries is None else f"{temporaries / 1e6:,.1f} MB"
        return f"saved for the backward pass {self.saved / 1e6:,.1f} MB, temporaries {known}"


def memory_report(
    cell: Cell, params: Params, xs: Inputs, **options: Unpack[ScanOptions]
) -> MemoryReport:
    """The memory of the gradient of `sj.scan`, for some cell, shape and setting.

    Nothing is run and no array is made: the gradient of `sum(ys ** 2)` with respect to
    parameters and inputs is traced and compiled for the devices at hand.

    Args:
      cell: any cell.
      params: arrays, or their shapes from `jax.eval_shape(cell.init, key, in_features)`
        with `in_features` bound by `functools.partial`.
      xs: arrays `(*batch, time, in_features)`, or `jax.ShapeDtypeStruct` in their place.
      **options: of `sj.scan`: `method`, `checkpoint_every` and the others.

    Returns:
      A `MemoryReport`, in bytes; printed, it reads in megabytes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lstm(8)
      >>> params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 4))
      >>> xs = jax.ShapeDtypeStruct((2, 1000, 4), jnp.float32)
      >>> plain = sj.memory_report(cell, params, xs, method="plain")
      >>> lean = sj.memory_report(cell, params, xs, method="recompute")
      >>> lean.saved < plain.saved / 3
      True
    """
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (params, xs))

    def outputs(leaves, trees):
        params, xs = (put_floats(tree, part) for tree, part in zip(trees, leaves, strict=True))
        carry, ys = scan(cell, params, xs, **options)
        return floats((carry, ys))

    def residuals(leaves, trees):
        results, backward = jax.vjp(lambda leaves: outputs(leaves, trees), leaves)
        return results, jax.tree.leaves(backward)

    def loss(leaves, trees):
        ys = outputs(leaves, trees)[-1]
        return jnp.square(ys.astype(jnp.float32)).sum()

    leaves = tuple(map(floats, shapes))
    jaxpr = jax.make_jaxpr(residuals)(leaves, shapes).jaxpr
    results = len(jax.eval_shape(outputs, leaves, shapes))
    kept = {id(var): var.aval for var in jaxpr.outvars[results:]}
    for var in (*jaxpr.invars, *jaxpr.outvars[:results]):
        kept.pop(id(var), None)
    saved = sum(aval.size * aval.dtype.itemsize for aval in kept.values())
    compiled = jax.jit(jax.grad(loss)).lower(leaves, shapes).compile()
    return MemoryReport(saved, temporary_bytes(compiled))


def temporary_bytes(compiled: jax.stages.Compiled) -> int | None:
    """The most that a compiled program holds at any time beyond arguments and results.

    None where the backend does not tell.
    """
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes
