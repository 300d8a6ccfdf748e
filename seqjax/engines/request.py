"""What a user asks of a scan, checked: every mistake gets one message here."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, TypedDict

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.misfits import difference
from seqjax.core.noise import Randomness
from seqjax.core.stack import expect_cell
from seqjax.core.trees import is_float
from seqjax.core.types import Array, Carry, Inputs, Params
from seqjax.engines.methods import Method, PipelineParallel, SequenceParallel, as_method


class SumOptions(TypedDict, total=False):
    """The options of `seqjax.scan` that `seqjax.scan_sum` hands on to it."""

    lengths: Any
    mask: Any
    resets: Any
    reverse: bool
    truncate: int | None
    method: Method | str


class ScanOptions(SumOptions, total=False):
    """The options of `seqjax.scan`, for all that hands them on to it."""

    checkpoint_every: int | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Request:
    """A run as it was asked for; arrays are `(*batch, time, ...)`, options those of `scan`.

    `record` asks for the carry after every step, `snapshots` for some of them, see `Steps`.
    """

    params: Any
    carry: Any
    xs: Any
    lengths: Any
    mask: Any
    resets: Any
    cell: Cell = dataclasses.field(metadata={"static": True})
    method: Method = dataclasses.field(metadata={"static": True})
    batch_shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    time: int = dataclasses.field(metadata={"static": True})
    reverse: bool = dataclasses.field(metadata={"static": True})
    truncate: int | None = dataclasses.field(metadata={"static": True})
    checkpoint_every: int | None = dataclasses.field(metadata={"static": True})
    record: bool = dataclasses.field(metadata={"static": True})
    snapshots: int | tuple[int, ...] | None = dataclasses.field(metadata={"static": True})


def checked(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    truncate: int | None = None,
    checkpoint_every: int | None = None,
    method: Method | str = "auto",
    record: bool = False,
    every: int | None = None,
    after: Sequence[int] | None = None,
) -> Request:
    """The request, or an error that says what to change."""
    expect_cell("scan", cell)
    method = as_method(method)
    if not isinstance(reverse, (bool, np.bool_)):
        raise TypeError(f"scan: `reverse` must be True or False, got {reverse!r}.")
    truncate = _every("truncate", truncate)
    checkpoint_every = _every("checkpoint_every", checkpoint_every)
    xs = as_arrays(xs)
    batch_shape, time = shape_of_batch(cell, xs)
    if carry is not None:
        carry = jax.tree.map(jnp.asarray, carry)
        _check_carry(cell, params, carry, batch_shape)
    if isinstance(method, SequenceParallel | PipelineParallel) and method.mesh is None:
        method = dataclasses.replace(method, mesh=_mesh_of(xs, method.axis))
    return Request(
        params=params,
        carry=carry,
        xs=xs,
        lengths=None if lengths is None else _lengths(lengths, batch_shape, time),
        mask=_flags("mask", mask, batch_shape, time),
        resets=_flags("resets", resets, batch_shape, time),
        cell=cell,
        method=method,
        batch_shape=batch_shape,
        time=time,
        reverse=bool(reverse),
        truncate=truncate,
        checkpoint_every=checkpoint_every,
        record=record,
        snapshots=_every("every", every) if after is None else _after(after, every, time),
    )


def _mesh_of(xs: Inputs, axis: str) -> Any:
    """The mesh with this axis on which inputs lie, where that is known."""
    for leaf in jax.tree.leaves(xs):
        known = not isinstance(leaf, jax.core.Tracer)
        mesh = getattr(leaf.sharding if known else jax.typeof(leaf).sharding, "mesh", None)
        if mesh is not None and axis in mesh.axis_names:
            return mesh
    return None


def as_arrays(xs: Inputs) -> Inputs:
    """The inputs as arrays: numbers in lists as one, as NumPy takes them."""
    leaves = jax.tree.leaves(xs)
    if isinstance(xs, list | tuple) and leaves and all(map(np.isscalar, leaves)):
        try:
            return jnp.asarray(np.asarray(xs))
        except ValueError:
            raise ValueError(
                "scan: expected `xs` of one length and one width, got lists of several lengths. "
                "Pad the sequences and pass how long they were as `lengths`."
            ) from None
    return jax.tree.map(jnp.asarray, xs)


def _after(after: Sequence[int], every: Any, time: Any) -> tuple[int, ...]:
    """The numbers of steps after which the carry is wanted."""
    counts = tuple(after) if np.iterable(after) else ()
    whole = all(hasattr(count, "__index__") and not isinstance(count, bool) for count in counts)
    ordered = whole and all(a < b for a, b in itertools.pairwise((-1, *counts)))
    if every is not None or not counts or not ordered or counts[-1] > time:
        raise ValueError(
            f"snapshots: expected `every`, or `after` with growing numbers of steps between 0 and "
            f"{time}, not both; got every={every} and after={after}."
        )
    return tuple(count.__index__() for count in counts)


def _every(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(
            f"scan: `{name}` must be a positive whole number of steps, or None; got {value!r}."
        )
    return value.__index__()


def shape_of_batch(cell: Cell, xs: Inputs) -> tuple[tuple[int, ...], int]:
    """The batch shape and the number of steps, on which all inputs must agree."""
    if not jax.tree.leaves(xs):
        raise ValueError("scan: `xs` holds no arrays.")
    try:
        ranks = jax.tree.map(
            lambda rank, part: jax.tree.map(lambda _: rank, part), cell.input_ndim, xs
        )
    except (ValueError, TypeError):
        raise ValueError(
            f"scan: {cell} takes inputs of structure {cell.input_ndim}, got "
            f"{jax.tree.map(jnp.shape, xs)}."
        ) from None
    found = set()
    for rank, leaf in zip(jax.tree.leaves(ranks), jax.tree.leaves(xs), strict=True):
        if leaf.ndim < rank + 1:
            raise ValueError(
                f"scan: {cell} takes xs of shape (*batch, time, *step) with a step of rank "
                f"{rank}, so at least {rank + 1} dimensions; got shape {leaf.shape}. For one "
                "step use cell.step."
            )
        found.add(leaf.shape[: leaf.ndim - rank])
    if len(found) > 1:
        raise ValueError(
            "scan: all arrays in `xs` must share their batch and time dimensions; got "
            f"{sorted(found)}."
        )
    *batch_shape, time = found.pop()
    return tuple(batch_shape), time


def _flags(name: str, value: Any, batch_shape: tuple[int, ...], time: int) -> Array | None:
    if value is None:
        return None
    value = jnp.asarray(value)
    if value.dtype != jnp.bool_:
        raise TypeError(
            f"scan: `{name}` must be bool, got dtype {value.dtype}. Write `{name} != 0` for "
            "numbers, and for lengths use `lengths=`."
        )
    expected = (*batch_shape, time)
    if value.shape != expected:
        raise ValueError(
            f"scan: `{name}` must be (*batch, time) = {expected} like xs; got {value.shape}."
        )
    return value


def _lengths(value: Any, batch_shape: tuple[int, ...], time: int) -> Any:
    lengths = value if isinstance(value, jax.Array) else np.asarray(value)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            f"scan: `lengths` must be whole numbers, got dtype {lengths.dtype}. A bool "
            "array of steps goes to `mask=`."
        )
    if lengths.shape != batch_shape:
        raise ValueError(
            f"scan: `lengths` must be one number for each row, shape {batch_shape}; got shape "
            f"{lengths.shape}."
        )
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        # In NumPy, because inside `jit` even known numbers become tracers in jax.numpy.
        known = np.asarray(lengths)
        low, high = known.min(), known.max()
        if low < 0 or high > time:
            raise ValueError(
                f"scan: `lengths` must lie between 0 and the {time} steps of xs; got values "
                f"from {low} to {high}."
            )
    return lengths


def _check_carry(cell: Cell, params: Params, carry: Carry, batch_shape: tuple) -> None:
    expected = jax.eval_shape(lambda p: cell.initial_carry(p, batch_shape), params)
    found = difference(expected, carry, more=False)
    if found is not None:
        raise ValueError(
            f"scan: expected a `carry` of {cell} for the batch shape {batch_shape} of xs, {found}. "
            f"Start from cell.initial_carry(params, {batch_shape}) or from the carry of an earlier "
            "scan."
        )
    # Keys are there only when noise is on, so only the counts of draws are compared.
    is_noise = lambda node: isinstance(node, Randomness)  # noqa: E731
    counts = lambda node: node.draws if is_noise(node) else node  # noqa: E731
    wanted, got = (
        jax.tree_util.tree_flatten_with_path(jax.tree.map(counts, tree, is_leaf=is_noise))
        for tree in (expected, carry)
    )
    if wanted[1] != got[1]:
        raise ValueError(
            f"scan: `carry` does not have the structure of this cell's state. {cell} carries "
            f"{wanted[1]}; got {got[1]}. Start from cell.initial_carry(params, {batch_shape}) "
            "or from the carry of an earlier scan."
        )
    for (path, want), (_, have) in zip(wanted[0], got[0], strict=True):
        if (is_float(want), jnp.iscomplexobj(want)) != (is_float(have), jnp.iscomplexobj(have)):
            raise TypeError(
                f"scan: `carry{jax.tree_util.keystr(path)}` must have a dtype like {want.dtype}, "
                f"got {have.dtype}."
            )
