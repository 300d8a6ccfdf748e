"""Layers over devices: stretches of time flow through them, one device behind the other.

    tick        0        1        2        3
    device 0    x[0]     x[1]     x[2]     x[3]
    device 1             x[0]     x[1]     x[2]
    device 2                      x[0]     x[1]

Each device has layers of its own and keeps their states; what a stretch makes goes on to the next
device at the end of the tick. JAX differentiates the loop over ticks, so gradients flow back
through the same pipeline.

Source: Huang et al. 2018, arXiv:1811.06965; Appleyard et al. 2016, arXiv:1604.01946.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.device_axis import is_bound, of_last, shifted
from seqjax.core.noise import with_keys_of, without_keys
from seqjax.core.stack import Layers
from seqjax.core.steps import Run, ScanFn, Steps, batch_shape_of, time_of
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.methods import PipelineParallel, spell_method
from seqjax.engines.placement import all_varying, rows_of, with_specs
from seqjax.engines.sequence_parallel import mesh_of

STRETCHES = 8
"""For each device, unless told: one tick in nine passes idle."""


def over_layer_axis(
    method: PipelineParallel,
    apart: Callable[..., Run],
    inside: ScanFn,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a stack whose layers are split over a mesh axis.

    Args:
      method: names the axis.
      apart: runs the sequences of each device apart, given how one runs.
      inside: runs a layer over a stretch.
      cell, params, carry, initial, xs, steps: as for every engine.

    Raises:
      ValueError: if the cell is no stack of equal layers, there is no such axis, or its devices do
        not divide the layers.
    """
    axis, initial = method.axis, with_keys_of(initial, carry)
    layers = _expect_equal(method, cell, params)
    steps = steps.counted(time_of(xs), batch_shape_of(cell, xs))
    if steps.record or steps.snapshots is not None:
        raise ValueError(
            f"trajectory: method={spell_method(method)} keeps no carries but the last. Use another "
            "method."
        )
    stack = partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    stacked = [stack(*(tree[name] for name in layers)) for tree in (params, carry, initial)]

    def local(params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps) -> Run:
        own = [_unstacked(tree) for tree in (params, carry, initial)]
        run = partial(_pipeline, method, inside)
        made = apart(run, cell, *own, xs, steps)
        return made._replace(carry=stack(*made.carry))

    if is_bound(axis):
        devices = jax.lax.axis_size(axis)
        _expect_divisible(method, len(layers), devices)
        index = jax.lax.axis_index(axis)
        share = len(layers) // devices
        params, carry_here, initial = jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * share, share), stacked
        )
        run = local(params, carry_here, initial, xs, steps)
        run = run._replace(carry=_gathered(without_keys(run.carry), axis))
    else:
        mesh = mesh_of(method)
        _expect_divisible(method, len(layers), mesh.shape[axis])
        rows, axes = rows_of(jax.tree.leaves(xs)[0], len(batch_shape_of(cell, xs)))
        layer, own, timed = jax.P(axis), jax.P(axis, *rows), jax.P(None, *rows)
        specs = (layer, own, own, timed, timed)
        run = jax.shard_map(
            local,
            mesh=method.mesh,
            in_specs=specs,
            out_specs=Run(own, timed, timed),
            axis_names={axis, *axes},
        )(*with_specs((*stacked, xs, steps), specs, {axis, *axes}, mesh))
        (carry_of_all,) = with_specs((run.carry,), (jax.P(None, *rows),), {axis, *axes}, mesh)
        run = run._replace(carry=carry_of_all)
    end = dict(zip(layers, _unstacked(run.carry), strict=True))
    return run._replace(carry=with_keys_of(without_keys(end), carry))


def _pipeline(
    method: PipelineParallel,
    inside: ScanFn,
    cell: Cell,
    params: list[Params],
    carry: list[Carry],
    initial: list[Carry],
    xs: Array,
    steps: Steps,
) -> Run:
    """The layers of one device, over all stretches of time."""
    assert isinstance(cell.structure, Layers)
    (_, layer), *_ = cell.structure.cells
    axis, time, batch_ndim = method.axis, time_of(xs), len(batch_shape_of(cell, xs))
    devices, place = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    size = method.stretch or -(-time // (STRETCHES * devices))
    xs, steps = _filled(xs, steps, (time, *batch_shape_of(cell, xs)), -time % size)
    stretches = jax.tree.map(
        lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), (xs, steps.flags)
    )
    count = jax.tree.leaves(stretches)[0].shape[0]

    def stretch(carry: list[Carry], x: Array, flags: tuple) -> tuple[list[Carry], Array]:
        here, after = dataclasses.replace(steps.part(flags), reverse=False), []
        here = dataclasses.replace(here, checkpoint_every=steps.checkpoint_every)
        for own, start, anew in zip(params, carry, initial, strict=True):
            run = inside(layer, own, start, anew, x, here)
            after.append(run.carry)
            x = run.ys
        return after, x

    def tick(state: tuple, number: Array) -> tuple[tuple, Array]:
        carry, received = state
        turn = number - place
        at = jnp.clip(turn, 0, count - 1)
        x, flags = jax.tree.map(
            lambda leaf: jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False), stretches
        )
        new, y = stretch(carry, jnp.where(place == 0, x.astype(received.dtype), received), flags)
        works = (turn >= 0) & (turn < count)
        keep = lambda new, old: jnp.where(works, new, old)  # noqa: E731
        y = keep(y, jnp.zeros_like(y))
        sent = shifted(y, axis, 1, batch_ndim=1 + batch_ndim, reverse=False)
        return (jax.tree.map(keep, new, carry), sent), y

    first = jax.tree.map(lambda leaf: leaf[0], stretches)
    _, like = jax.eval_shape(stretch, carry, *first)
    nothing = jnp.zeros(like.shape, like.dtype)
    state = all_varying(((carry, nothing), params, stretches, place))[0]
    (carry, _), ys = jax.lax.scan(tick, state, jnp.arange(count + devices - 1))
    ys = ys[devices - 1 :].reshape(count * size, *ys.shape[2:])[:time]
    ys = of_last(jnp.flip(ys, 0) if steps.reverse else ys, axis, reverse=False)
    return Run(carry, ys, None)


def _filled(xs: Array, steps: Steps, shape: tuple[int, ...], missing: int) -> tuple[Array, Steps]:
    """In the order of processing, with masked steps behind the last one."""
    valid = steps.valid
    if missing and valid is None:
        valid = jnp.ones(shape, bool)

    def fill(leaf: Array) -> Array:
        leaf = jnp.flip(leaf, 0) if steps.reverse else leaf
        rest = jnp.zeros((missing, *leaf.shape[1:]), leaf.dtype)
        return jnp.concatenate([leaf, rest]) if missing else leaf

    xs, flags = jax.tree.map(fill, (xs, (valid, steps.resets, steps.cuts)))
    valid, resets, cuts = flags
    return xs, dataclasses.replace(steps, valid=valid, resets=resets, cuts=cuts)


def _unstacked(tree: PyTree) -> list[PyTree]:
    count = jax.tree.leaves(tree)[0].shape[0]
    return [jax.tree.map(lambda leaf, n=n: leaf[n], tree) for n in range(count)]


def _gathered(tree: PyTree, axis: str) -> PyTree:
    """The rows of all devices, on all."""

    def gather(leaf: Array) -> Array:
        place, share = jax.lax.axis_index(axis), leaf.shape[0]
        whole = jnp.zeros((share * jax.lax.axis_size(axis), *leaf.shape[1:]), leaf.dtype)
        put = jax.lax.dynamic_update_slice_in_dim(whole, leaf, place * share, 0)
        return jax.lax.psum(put, axis)

    return jax.tree.map(gather, tree)


def _expect_equal(method: PipelineParallel, cell: Cell, params: Params) -> list[str]:
    """The names of the layers, if they are all alike."""
    structure = cell.structure
    if not isinstance(structure, Layers):
        raise ValueError(
            f"scan: method={spell_method(method)} runs the layers of an sj.stack on devices of "
            f"their own; {cell} is none."
        )
    names, cells = zip(*structure.cells, strict=True)
    shapes = [jax.tree.map(jnp.shape, params[name]) for name in names]
    if any(other != cells[0] for other in cells) or any(s != shapes[0] for s in shapes):
        raise ValueError(
            f"scan: method={spell_method(method)} needs layers that are all the same, as wide as "
            f"their input; got {', '.join(map(str, cells))} with parameters of shapes "
            f"{'; '.join(map(str, shapes))}. Scan layers of other kinds or widths by themselves, "
            "before or after these."
        )
    return list(names)


def _expect_divisible(method: Any, layers: int, devices: int) -> None:
    if layers % devices:
        raise ValueError(
            f"scan: method={spell_method(method)} gives every one of {devices} devices as many "
            f"layers, got {layers} layers. Use a number of layers that the devices divide."
        )
