"""Time split over the devices of a mesh axis: what came before the stretch that lies here."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, PyTree


def is_bound(axis: str) -> bool:
    """Whether the code that runs is that of one device of a mesh axis, as inside `shard_map`."""
    try:
        jax.lax.axis_size(axis)
    except NameError:
        return False
    return True


def place_of(axis: str, *, reverse: bool) -> Array:
    """How many devices come before this one in the order of processing."""
    index = jax.lax.axis_index(axis)
    return jax.lax.axis_size(axis) - 1 - index if reverse else index


def before_here(
    axis: str,
    join: Callable[[Any, Any], Any],
    own: PyTree,
    *,
    batch_ndim: int,
    reverse: bool,
    reach: int | None = None,
) -> PyTree:
    """All that came before, joined: an exclusive prefix over the devices of a mesh axis.

        before_d = join(...join(join(own_0, own_1), own_2)..., own_{d-1})

    In each round a device joins what it has found to what the device 1, 2, 4, ... places before it
    has found, so `ceil(log2(devices))` rounds suffice for any number of devices. A round is one
    `ppermute` for all leaves of a dtype.

    Args:
      axis: of the mesh.
      join: `(earlier, later) -> both`, associative.
      own: what belongs to this device, leaves `(*batch, ...)`.
      batch_ndim: number of batch dimensions.
      reverse: the last device comes first.
      reach: how many devices before this one may matter; None for all.

    Returns:
      A tree like `own`, of zeros on the first device.

    Source: Hillis and Steele 1986, "Data parallel algorithms"; Blelloch 1990, "Prefix sums and
    their applications".
    """
    others = jax.lax.axis_size(axis) - 1
    reach = others if reach is None else min(reach, others)
    place = place_of(axis, reverse=reverse)
    found, seen = jax.tree.map(jnp.zeros_like, own), 0
    while seen < reach:
        distance = seen + 1
        here = join(found, own) if seen else own
        if seen:
            here = _where(place > 0, here, own)
        there = shifted(here, axis, distance, batch_ndim=batch_ndim, reverse=reverse)
        found = _where(place >= distance, join(there, found), found) if seen else there
        seen += distance
    return found


def shifted(tree: PyTree, axis: str, by: int, *, batch_ndim: int, reverse: bool) -> PyTree:
    """The tree of the device some places before this one, zeros where there is none.

    Args:
      tree: leaves `(*batch, ...)`; flags travel as numbers beside the others.
      axis: of the mesh.
      by: number of places.
      batch_ndim: number of batch dimensions.
      reverse: the last device comes first.
    """
    devices = jax.lax.axis_size(axis)
    pairs = [(i, i + by) for i in range(devices - by)]
    if reverse:
        pairs = [(b, a) for a, b in pairs]
    leaves, structure = jax.tree.flatten(tree)
    kinds = {leaf.dtype for leaf in leaves if leaf.dtype != jnp.bool_}
    # The order of a set differs between processes, which must run one program.
    first, *_ = *sorted(kinds, key=str), jnp.dtype(jnp.int32)
    moved: dict[int, Array] = {}
    for kind in sorted(kinds | {first}, key=str):
        alike = [
            index
            for index, leaf in enumerate(leaves)
            if (first if leaf.dtype == jnp.bool_ else leaf.dtype) == kind
        ]
        rows = [_rows(leaves[index].astype(kind), batch_ndim) for index in alike]
        if not rows:
            continue
        there = jax.lax.ppermute(jnp.concatenate(rows, axis=-1), axis, pairs)
        ends = [sum(row.shape[-1] for row in rows[: n + 1]) for n in range(len(rows) - 1)]
        for index, part in zip(alike, jnp.split(there, ends, axis=-1), strict=True):
            like = leaves[index]
            moved[index] = part.reshape(like.shape).astype(like.dtype)
    return jax.tree.unflatten(structure, [moved[index] for index in range(len(leaves))])


def of_last(tree: PyTree, axis: str, *, reverse: bool) -> PyTree:
    """What the last device in the order of processing has, on all of them."""
    last = place_of(axis, reverse=reverse) == jax.lax.axis_size(axis) - 1
    only = lambda leaf: jnp.where(last, leaf, jnp.zeros_like(leaf))  # noqa: E731
    return jax.lax.psum(jax.tree.map(only, tree), axis)


def _rows(leaf: Array, batch_ndim: int) -> Array:
    """The leaf as one row for each sequence, so that a batch that is split stays so."""
    return leaf.reshape(*leaf.shape[:batch_ndim], math.prod(leaf.shape[batch_ndim:]))


def _where(flag: Array, new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)
