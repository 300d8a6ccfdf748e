"""Carries that live where the data lives: Explicit meshes and `shard_map`."""

from collections.abc import Callable

import jax

from seqjax.core.run import Run, ScanFn
from seqjax.core.types import Array, Carry, PyTree


def place_rows(carries: PyTree, xs: PyTree, batch_ndim: int) -> PyTree:
    """Splits the rows of carries over a mesh as the rows of the inputs are split.

    Args:
      carries: leaves `(*batch, ...)`.
      xs: leaves `(*batch, time, ...)`.
      batch_ndim: number of batch dimensions.
    """
    _, spec = _placement(jax.tree.leaves(xs)[0])
    rows = spec[:batch_ndim]
    if not any(rows):
        return carries

    def place(leaf: Array) -> Array:
        _, now = _placement(leaf)
        return jax.reshard(leaf, jax.P(*rows, *now[batch_ndim:]))

    return jax.tree.map(place, carries)


def place_like_result(
    body: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
    carries: tuple[Carry, Carry],
    inputs: PyTree,
    params: PyTree,
) -> tuple[Carry, Carry]:
    """Gives carries the sharding that a scan's body gives its result.

    A scan needs its carry to have the same type before and after a step. On an Explicit
    mesh the type includes the sharding, inside `shard_map` the axes over which a value
    varies; a carry made of zeros has neither, while the body's result takes both from the
    data. This finds what the body returns and moves the carries there.

    Args:
      body: the body of the scan; it may close over the data.
      carries: the carry to start from, and the one that resets go back to.
      inputs: the scan's inputs, time axis first.
      params: what the body closes over.

    Returns:
      The two carries, unchanged where nothing is sharded.
    """
    carry, initial = carries
    if not any(map(_is_placed, jax.tree.leaves((carry, inputs, params)))):
        return carries
    x = jax.tree.map(lambda leaf: jax.eval_shape(lambda a: a[0], leaf), inputs)
    while True:
        result = jax.eval_shape(lambda c, x: body(c, x)[0], carry, x)
        placed = jax.tree.map(_place_like, carry, result)
        settled = all(
            map(
                lambda a, b: _placement(a) == _placement(b),
                jax.tree.leaves(placed),
                jax.tree.leaves(carry),
            )
        )
        carry = placed
        if settled:
            return carry, jax.tree.map(_place_like, initial, carry)


def _placement(value: Array | jax.ShapeDtypeStruct):
    kind = value if isinstance(value, jax.ShapeDtypeStruct) else jax.typeof(value)
    spec = tuple(kind.sharding.spec) if kind.sharding is not None else ()
    manual = kind.manual_axis_type
    varying = frozenset() if manual is None else manual.varying
    return varying, spec + (None,) * (len(kind.shape) - len(spec))


def _is_placed(value: Array) -> bool:
    varying, spec = _placement(value)
    return bool(varying) or any(axis is not None for axis in spec)


def _place_like(value: Array, like: Array | jax.ShapeDtypeStruct) -> Array:
    varying, spec = _placement(like)
    now_varying, now_spec = _placement(value)
    # What already varies or is sharded stays so: the body's result can only add to it.
    axes = tuple(varying - now_varying)
    if axes:
        value = jax.lax.pcast(value, axes, to="varying")
    target = tuple(now or wanted for now, wanted in zip(now_spec, spec, strict=True))
    if target != now_spec:
        value = jax.reshard(value, jax.P(*target))
    return value


def apart(run: ScanFn, cell, params, carry, initial, xs, steps) -> Run:
    return run(cell, params, carry, initial, xs, steps)
