"""The steps and sequences of a tile as the rows of one matrix, in the order the devices need.

A product over several dimensions of rows has a gradient with several contracted ones, which XLA
copies into one before every product; so the rows come in one dimension. On one device they come
time first, as they lie in memory. A compiler that splits the batch over devices cannot split rows
in that order, and gathers them all on every device; so there the sequences come first. How many
devices a program is for is known when it is lowered, and that is where the order is chosen.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from seqjax.core.types import Array, PyTree


def by_rows(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`function` with the rows of its second argument in one dimension, and back in its result.

    The rows are `(time, *batch)`.
    """

    def call(first: Any, x: Array, *others: Any) -> PyTree:
        rows = x.shape[:-1]
        if len(rows) <= 1:
            return function(first, x, *others)
        merge, split = _at_lowering if _is_for_unknown_devices(x) else _time_first
        made = function(first, merge(x, rows=rows, vmapped=0), *others)
        return jax.tree.map(partial(split, rows=rows, vmapped=0), made)

    return call


def _is_for_unknown_devices(x: Array) -> bool:
    """Whether nothing but the lowering tells how many devices the program is for.

    On a mesh that is known, every device has its own rows already: `seqjax.engines.placement`.
    """
    mesh = jax.typeof(x).sharding.mesh
    return mesh.empty and jax.sharding.get_abstract_mesh().empty and jax.device_count() > 1


def _merge(x: Array, *, rows: tuple[int, ...], vmapped: int, devices: int = 1) -> Array:
    """`(*vmapped, *rows, ...)` to `(*vmapped, product of rows, ...)`."""
    if devices > 1:
        x = jnp.moveaxis(x, vmapped, vmapped + len(rows) - 1)
    return x.reshape(*x.shape[:vmapped], math.prod(rows), *x.shape[vmapped + len(rows) :])


def _split(x: Array, *, rows: tuple[int, ...], vmapped: int, devices: int = 1) -> Array:
    """What `_merge` does, undone."""
    before, after = x.shape[:vmapped], x.shape[vmapped + 1 :]
    if devices == 1:
        return x.reshape(*before, *rows, *after)
    time, *batch = rows
    return jnp.moveaxis(x.reshape(*before, *batch, time, *after), vmapped + len(batch), vmapped)


def _primitive(name: str, function: Callable[..., Array]) -> Primitive:
    """A linear operation that is `function` for as many devices as it is lowered for."""
    primitive = Primitive(name)

    def lower(context: mlir.LoweringRuleContext, x: Any, **options: Any) -> Any:
        devices = getattr(context.module_context.axis_context, "num_devices", 1)
        chosen = partial(function, devices=devices, **options)
        return mlir.lower_fun(chosen, multiple_results=False)(context, x)

    def batch(arguments: tuple, dimensions: tuple, *, vmapped: int, **options: Any) -> tuple:
        x = jnp.moveaxis(arguments[0], dimensions[0], 0)
        return primitive.bind(x, vmapped=vmapped + 1, **options), 0

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("rows", "vmapped")))
    primitive.def_abstract_eval(
        lambda x, **options: x.update(shape=jax.eval_shape(partial(function, **options), x).shape)
    )
    mlir.register_lowering(primitive, lower)
    batching.primitive_batchers[primitive] = batch
    return primitive


_merge_rows, _split_rows = _primitive("merge_rows", _merge), _primitive("split_rows", _split)
ad.deflinear2(_merge_rows, lambda d, _, **options: [_split_rows.bind(d, **options)])
ad.deflinear2(_split_rows, lambda d, _, **options: [_merge_rows.bind(d, **options)])
_at_lowering, _time_first = (_merge_rows.bind, _split_rows.bind), (_merge, _split)
