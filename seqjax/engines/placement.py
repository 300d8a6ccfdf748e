"""Carries that live where the data lives: Explicit meshes and `shard_map`."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.sharding import AxisType, NamedSharding

from seqjax.core.attention import is_memory
from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.steps import Run, ScanFn, Steps, batch_shape_of
from seqjax.core.trees import floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.tangents import settled, tangent_tree


def place_rows(carries: PyTree, xs: PyTree, batch_ndim: int) -> PyTree:
    """Splits the rows of carries over a mesh as the rows of the inputs are split.

    Args:
      carries: leaves `(*batch, ...)`.
      xs: leaves `(time, *batch, ...)`.
      batch_ndim: number of batch dimensions.
    """
    _, spec = _placement(jax.tree.leaves(xs)[0])
    rows = spec[1 : 1 + batch_ndim]
    if not any(rows):
        return carries

    def place(leaf: Array) -> Array:
        _, now = _placement(leaf)
        return _reshard(leaf, (*rows, *now[batch_ndim:]), like=xs)

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
        value = _reshard(value, target, like)
    return value


def split_by_rows(params: Params, xs: Inputs, batch_ndim: int) -> bool:
    """Whether an Explicit mesh splits rows and nothing else."""
    specs = [(spec[0], *spec[1 + batch_ndim :]) for _, spec in map(_placement, jax.tree.leaves(xs))]
    by_row = _memories(params, batch_ndim, True, False)
    specs += [
        _placement(leaf)[1][batch_ndim if rows else 0 :]
        for leaf, rows in zip(jax.tree.leaves(params), jax.tree.leaves(by_row), strict=True)
    ]
    return not any(axis for spec in specs for axis in spec)


def apart(
    run: ScanFn,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs the rows of each device apart, so that gradients are summed over devices once.

    A weight that all rows share gets its gradient from all of them. Left to the compiler,
    rows on several devices are summed up wherever a product over rows is made, and that is
    inside the loop over time. Here every share of the rows gets a copy of the parameters,
    outside of all loops; the sum over the copies is the only one over devices.

    On an Explicit mesh the shares are those of the sharding, and `shard_map` runs them. On an
    Auto mesh nobody knows them yet: there are as many as devices, as one more batch dimension,
    which the compiler splits as it splits the rows. Without a gradient there is nothing to sum,
    and the compiler splits the batch as it is. Inside `shard_map` the copies are there,
    one on each device, as soon as the parameters are said to vary. A memory among the
    parameters, that has entries of its own for every row, is split like the rows.
    """
    first = jax.tree.leaves(xs)[0]
    batch_ndim = len(batch_shape_of(cell, xs))
    call = partial(run, cell)
    varying, _ = _placement(first)
    rows, axes = rows_of(first, batch_ndim)
    mesh = jax.typeof(first).sharding.mesh
    shares = _shares(first, batch_ndim)
    split_over = math.prod(mesh.shape[axis] for axis in (*axes, *varying))
    steps = dataclasses.replace(steps, devices=shares * split_over)
    parts = (params, carry, with_keys_of(initial, carry), xs, steps)
    if axes:
        return on_mesh(lambda *parts: call(*all_varying(parts)), mesh, axes, rows, parts)
    parts = all_varying(parts)
    if shares == 1:
        return call(*parts)
    leaves, structure = jax.tree.flatten(parts)
    whole = lambda leaves: call(*structure.unflatten(leaves))  # noqa: E731
    shared = lambda leaves: _in_shares(call, shares, batch_ndim, structure.unflatten(leaves))  # noqa: E731
    return _without_shares(whole, shared, leaves)


def rows_of(first: Array, batch_ndim: int) -> tuple[tuple, set[str]]:
    """How an Explicit mesh splits the rows of inputs `(time, *batch, ...)`, and over which axes."""
    _, spec = _placement(first)
    rows = spec[1 : 1 + batch_ndim]
    return rows, {axis for entry in rows for axis in _axes(entry)}


def on_mesh(
    call: Callable[..., Run],
    mesh: Any,
    axes: set[str],
    rows: tuple,
    parts: tuple,
    *,
    time: str | None = None,
) -> Run:
    """The shares of the devices along some axes of a mesh.

    Args:
      call: `(params, carry, initial, xs, steps) -> Run` on one device.
      mesh: of arrays, or None for that of the context.
      axes: of the mesh, by which devices have a share of their own.
      rows: how an Explicit mesh splits the batch.
      parts: what `call` is given.
      time: the axis over which time is split, if it is.
    """
    own, timed = jax.P(*rows), jax.P(time, *rows)
    specs = (_memories(parts[0], len(rows), own, jax.P()), own, own, timed, timed)
    run = jax.shard_map(
        call,
        mesh=mesh,
        in_specs=specs,
        out_specs=Run(own, timed, timed),
        axis_names=axes,
    )
    return run(*with_specs(parts, specs, axes, mesh))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _without_shares(whole: Callable[..., Run], shared: Callable[..., Run], parts: list) -> Run:
    """The whole batch at once, unless there is a derivative to take: then in shares.

    Args:
      whole, shared: both ways, given the leaves of what `apart` is given.
      parts: these leaves.
    """
    return jax.tree.map(settled, whole(parts))


@partial(_without_shares.defjvp, symbolic_zeros=True)
def _shared_jvp(
    whole: Callable[..., Run], shared: Callable[..., Run], primals: tuple, tangents: tuple
) -> tuple[Run, Run]:
    (parts,), (changes,) = primals, tangents
    moving = [i for i, change in enumerate(changes) if not isinstance(change, SymbolicZero)]

    def run(leaves: list[Array]) -> tuple[list[Array], Run]:
        new = dict(zip(moving, leaves, strict=True))
        made = shared([new.get(i, part) for i, part in enumerate(parts)])
        made = jax.tree.map(settled, made)
        return floats(made), made

    start, change = [parts[i] for i in moving], [changes[i] for i in moving]
    _, d_made, made = jax.jvp(run, (start,), (change,), has_aux=True)
    return made, tangent_tree(made, d_made)


def _in_shares(call: Callable[..., Run], shares: int, batch_ndim: int, parts: tuple) -> Run:
    """The batch in equal shares, one more batch dimension, which the compiler splits."""

    def split(leaf: Array, axis: int = 0) -> Array:
        before, rows, after = leaf.shape[:axis], leaf.shape[axis], leaf.shape[axis + 1 :]
        return leaf.reshape(*before, shares, rows // shares, *after)

    copy = lambda leaf: jnp.broadcast_to(leaf, (shares, *leaf.shape))  # noqa: E731
    params, carry, initial, *timed = parts
    by_row = _memories(params, batch_ndim, True, False)
    copies = jax.tree.map(lambda leaf, rows: (split if rows else copy)(leaf), params, by_row)
    run = jax.vmap(call, in_axes=(0, 0, 0, 1, 1), out_axes=Run(0, 1, 1))
    made = run(
        copies,
        *jax.tree.map(split, (carry, initial)),
        *jax.tree.map(partial(split, axis=1), timed),
    )
    join = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])  # noqa: E731
    join_timed = lambda leaf: leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])  # noqa: E731
    return Run(jax.tree.map(join, made.carry), *jax.tree.map(join_timed, (made.ys, made.carries)))


def _memories(params: Params, batch_ndim: int, own: Any, shared: Any) -> PyTree:
    """A tree like the parameters: `own` for what each row has of its own, else `shared`."""

    def mark(node: Any) -> Any:
        apart = is_memory(node) and node.batch_ndim == batch_ndim > 0
        return jax.tree.map(lambda _: own if apart else shared, node)

    return jax.tree.map(mark, params, is_leaf=is_memory)


def _shares(first: Array, batch_ndim: int) -> int:
    """How many devices an Auto mesh may split the first batch dimension over."""
    mesh = jax.typeof(first).sharding.mesh
    if mesh.empty:
        mesh = jax.sharding.get_abstract_mesh()
    if not batch_ndim or mesh.empty or not first.shape[1]:
        return 1
    kinds = zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    devices = math.prod(size for size, kind in kinds if kind is AxisType.Auto)
    return math.gcd(devices, first.shape[1])


def all_varying(tree: PyTree) -> PyTree:
    """Inside `shard_map`: every leaf varies over all the axes that any leaf varies over.

    A loop needs that of its state, where zeros stand beside data.
    """
    leaves = jax.tree.leaves(tree)
    axes = frozenset().union(*(_placement(leaf)[0] for leaf in leaves))

    def vary(leaf: Array) -> Array:
        missing = tuple(axes - _placement(leaf)[0])
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(vary, tree) if axes else tree


def with_specs(parts: tuple, specs: tuple, axes: set[str], mesh: Any) -> tuple:
    """Arrays on an Explicit mesh split over `axes` as a tree of specs says, as `shard_map` wants
    them, and over other axes as they were; on an Auto mesh they stay, as it moves them itself."""
    mesh = mesh or jax.sharding.get_abstract_mesh()
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if any(kinds[axis] is not AxisType.Explicit for axis in axes):
        return parts
    move = partial(_with_spec, axes=axes, mesh=mesh)
    return tuple(
        jax.tree.map(lambda spec, part: jax.tree.map(partial(move, spec=spec), part), spec, part)
        for part, spec in zip(parts, specs, strict=True)
    )


def _with_spec(leaf: Array, spec: jax.P, axes: set[str], mesh: Any) -> Array:
    """The leaf split over `axes` as `spec` says, over other axes as it was."""
    _, now = _placement(leaf)
    kept = [tuple(axis for axis in _axes(entry) if axis not in axes) or None for entry in now]
    wanted = [entry or had for entry, had in zip((*spec, *[None] * len(now)), kept, strict=False)]
    return leaf if wanted == list(now) else jax.reshard(leaf, NamedSharding(mesh, jax.P(*wanted)))


def _reshard(leaf: Array, spec: Sequence[Any], like: Any) -> Array:
    """The leaf on the mesh of `like`, which need not be the mesh of any context."""
    mesh = jax.typeof(jax.tree.leaves(like)[0]).sharding.mesh
    return jax.reshard(leaf, NamedSharding(mesh, jax.P(*spec)))


def _axes(entry: Any) -> tuple[str, ...]:
    """The mesh axes in one entry of a partition spec."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)
