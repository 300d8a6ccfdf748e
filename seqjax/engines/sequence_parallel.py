"""Time over devices: each has a stretch of it, and they agree on where each starts.

Every device makes the summary of what its stretch does to a state (`seqjax.core.composition`); the
summaries of all before it are joined in `ceil(log2(devices))` rounds of one `ppermute`; then the
stretch runs from its right start, by any engine. In the backward pass JAX transposes the rounds
into as many. None of them is inside a loop over time.
"""

import dataclasses
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.composition import Composition, Summary, applied, joined
from seqjax.core.device_axis import before_here, is_bound, of_last, place_of
from seqjax.core.linear import Diagonal
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.noise import with_keys_of, without_keys
from seqjax.core.ring_stretch import RingStretch
from seqjax.core.steps import Run, ScanFn, Steps, batch_shape_of, time_of
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.diagonal_stretch import diagonal_stretch
from seqjax.engines.matrix_stretch import matrix_stretch
from seqjax.engines.methods import PipelineParallel, SequenceParallel, spell_method
from seqjax.engines.placement import on_mesh, rows_of


def over_time_axis(
    method: SequenceParallel,
    run: Callable[..., Run],
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell whose time is split over a mesh axis.

    Inside `shard_map` over the axis, these are the steps of one device; else `shard_map` deals all
    steps out.

    Args:
      method: names the axis.
      run: `(cell, params, carry, initial, xs, steps) -> Run` on one device.
      cell, params, carry, initial, xs, steps: as for every engine.

    Raises:
      ValueError: if there is no such axis, or it does not divide the steps.
    """
    axis = method.axis
    steps = dataclasses.replace(steps, time_axis=axis)
    parts = (params, carry, with_keys_of(initial, carry), xs, steps)

    def call(params: Params, carry: Carry, *others: Any) -> Run:
        made = run(cell, params, carry, *others)
        # Keys are no numbers to add up over devices, and the same on all.
        return made._replace(carry=with_keys_of(made.carry, carry))

    if is_bound(axis):
        return call(*parts)
    devices = mesh_of(method).shape[axis]
    if time_of(xs) % devices:
        raise ValueError(
            f"scan: method={spell_method(method)} gives every one of {devices} devices as many "
            f"steps, got {time_of(xs)} steps. Pad xs to a multiple and pass `lengths`."
        )
    rows, axes = rows_of(jax.tree.leaves(xs)[0], len(batch_shape_of(cell, xs)))
    return on_mesh(call, method.mesh, {axis, *axes}, rows, parts, time=axis)


def mesh_of(method: SequenceParallel | PipelineParallel) -> Any:
    """The mesh over which a method for several devices runs, if it has the axis."""
    mesh, axis = method.mesh or jax.sharding.get_abstract_mesh(), method.axis
    if axis not in mesh.axis_names:
        raise ValueError(
            f"scan: method={spell_method(method)} needs a mesh with an axis {axis!r}, got one with "
            f"the axes {mesh.axis_names}. Use jax.set_mesh(jax.make_mesh((devices,), "
            f"({axis!r},))), put xs on such a mesh, or call scan inside of jax.shard_map."
        )
    return mesh


def sequence_parallel(
    method: SequenceParallel,
    again: ScanFn,
    inside: ScanFn,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs the stretch of one device.

    Args:
      method: names the axis.
      again: runs parts of a composite over the same devices.
      inside: runs a cell over a stretch that is all there is.
      cell, params, carry, initial, xs, steps: as for every engine; the carry is the one before the
        first step on any device, the one returned that after the last, on all.
    """
    if steps.snapshots is not None:
        raise ValueError(
            f"snapshots: method={spell_method(method)} keeps no carries on the way, as devices "
            "work at the same time. Use another method, or sj.trajectory."
        )
    local = dataclasses.replace(steps, time_axis=None)
    if not sum(leaf.size for leaf in jax.tree.leaves(without_keys(carry))) or not time_of(xs):
        return inside(cell, params, carry, initial, xs, local)
    composition = _composition_of(method.axis, cell, params, carry, xs, local)
    if composition is None:
        return _in_parts(method, again, cell, params, carry, initial, xs, steps)
    start = _start(method.axis, composition, inside, cell, params, carry, initial, xs, local)
    run = inside(cell, params, start, initial, xs, local)
    end = of_last(without_keys(run.carry), method.axis, reverse=steps.reverse)
    return run._replace(carry=with_keys_of(end, carry))


def _composition_of(
    axis: str, cell: Cell, params: Params, carry: Any, xs: Any, steps: Steps
) -> Composition | None:
    """How stretches of the cell compose, None if that is not known."""
    structure = cell.structure
    if isinstance(structure, Diagonal):
        return diagonal_stretch(structure, carry)
    if isinstance(structure, MatrixRecurrence):
        return matrix_stretch(structure, params, xs)
    if isinstance(structure, RingStretch):
        return structure.placed(axis, carry, xs, steps)
    return structure if isinstance(structure, Composition) else None


def _start(
    axis: str,
    composition: Composition,
    inside: ScanFn,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Carry:
    """The carry before the first step of this device."""
    empty = with_keys_of(composition.empty(without_keys(carry)), carry)
    quick = dataclasses.replace(steps, record=False)
    transition, end = composition.summarize(inside, cell, params, empty, initial, xs, quick)

    def anywhere(flags: Any) -> Any:
        if flags is None:
            return None
        return (flags if steps.valid is None else flags & steps.valid).any(0)

    forgets = anywhere(steps.resets) if composition.forgets else None
    own = Summary(forgets, anywhere(steps.cuts), transition, without_keys(end))
    before = before_here(
        axis,
        partial(joined, composition),
        own,
        batch_ndim=len(batch_shape_of(cell, xs)),
        reverse=steps.reverse,
        reach=composition.reach(carry, xs, steps),
    )
    numbers = without_keys(carry)
    moved = applied(composition, before, numbers)
    first = place_of(axis, reverse=steps.reverse) == 0
    start = jax.tree.map(lambda old, new: jnp.where(first, old, new), numbers, moved)
    return with_keys_of(start, carry)


def _in_parts(
    method: SequenceParallel,
    again: ScanFn,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """A composite, whose parts must take over all of its carry."""
    handed: set[int] = set()

    @functools.wraps(again)
    def scan(cell: Cell, params: Params, carry: Carry, *rest: Any) -> Run:
        handed.update(map(id, jax.tree.leaves(carry)))
        return again(cell, params, carry, *rest)

    run = None
    if cell.sequence is not None:
        run = cell.sequence(scan, params, carry, initial, xs, steps)
    if run is None or any(id(leaf) not in handed for leaf in jax.tree.leaves(carry)):
        raise ValueError(
            f"scan: method={spell_method(method)} needs cells whose stretches of time compose: "
            "those that are linear in their state, as from sj.linear and sj.matrix_state, windows "
            f"and layers without a state, and what is made of them; {cell} is none of them. A "
            "stack of other cells runs on several devices by sj.PipelineParallel."
        )
    return run
