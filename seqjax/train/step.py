"""One update of a model: gradients, clipping, optimizer, the same for every task."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from seqjax.core.parameter_shardings import parameter_specs
from seqjax.core.precision import Precision
from seqjax.core.types import Array, DTypeLike, PyTree
from seqjax.train.devices import AXIS, MODEL_AXIS, TIME_AXIS, put_whole
from seqjax.train.task import Task


class TrainState(NamedTuple):
    """All that a run is, at one moment: with it, a run goes on as if never stopped.

    `memory` is what the task carries from step to step (a language model: where its streams
    stand, and their states). `step` counts updates; `broken_at` is the first step whose
    loss or gradient was NaN or inf, -1 while there is none.
    """

    model: Any  # an nnx.Module; trees of the same form hold shardings, hence the Any
    optimizer: Any
    memory: Any
    step: Any
    broken_at: Any


class StepMetrics(NamedTuple):
    """Scalars of one step: mean loss, norm of the gradient before clipping."""

    loss: Array
    gradient_norm: Array


def start(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    dtype: DTypeLike,
    mesh: Mesh,
    sharded: bool = False,
) -> TrainState:
    """The state before the first step, on its devices."""

    # One program, rather than one for every draw.
    @jax.jit
    def build(model: Any) -> TrainState:
        model = task.model(seed) if model is None else Precision().to_parameters(model)
        return TrainState(
            model=model,
            optimizer=optimizer.init(model),
            memory=task.start(task.cast(model, dtype), seed),
            step=jnp.int32(0),
            broken_at=jnp.int32(-1),
        )

    return place(build(task.begin_with), mesh, sharded=sharded)


def place(state: TrainState, mesh: Mesh, *, sharded: bool = False) -> TrainState:
    """Moves a state to the devices of a mesh, split as `state_specs` says."""
    put = lambda spec, part: put_whole(part, NamedSharding(mesh, spec))  # noqa: E731
    return jax.tree.map(put, state_specs(state, mesh, sharded=sharded), state)


def state_specs(state: TrainState, mesh: Mesh, *, sharded: bool) -> TrainState:
    """How the parts of a state are split over the mesh: the batch over the devices that share it,
    the model and its optimizer over those that share the parameters (`sj.parameter_specs`).

    Args:
      state: arrays or their shapes.
      mesh: from `make_mesh`.
      sharded: whether the devices that share the batch share the parameters as well.
    """
    data = AXIS if sharded else None
    model, optimizer = (
        parameter_specs(part, mesh, data=data, model=MODEL_AXIS)
        for part in (state.model, state.optimizer)
    )
    memory = jax.tree.map(lambda _: jax.P(AXIS), state.memory)
    return TrainState(model, optimizer, memory, jax.P(), jax.P())


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    dtype: DTypeLike,
    accumulate: int = 1,
    sharded: bool = False,
) -> Callable[[TrainState, PyTree], tuple[TrainState, StepMetrics]]:
    """The compiled update `(state, batch) -> (state, metrics)`.

    Every device takes its share of the batch, in one or several micro-batches; gradients are summed
    over devices once, after all backward passes, and divided by the weight of the whole batch. So a
    step is the same for any number of devices and micro-batches, but for the order of its sums.
    The state passed in is given up to the one returned.

    Args:
      task: whose loss to lower.
      optimizer: from optax.
      mesh: from `make_mesh`.
      seed: of the noise.
      dtype: what the model computes in.
      accumulate: micro-batches of a step, which divide the sequences of a device.
      sharded: whether each device keeps a share of the parameters and of the optimizer's state,
        rather than all of them. It gathers the parameters once a step, in `dtype` and outside of
        all loops, and gets its share of the gradient.
    """

    # Devices that take their own share of sequences or of time.
    shared = tuple(axis for axis in mesh.axis_names if axis != MODEL_AXIS)

    def gradients(dims: list, model: Any, memory: PyTree, batch: PyTree, keys: Array) -> tuple:
        """Sums over all devices: `(total, weight, gradient)`, and the memory after the step."""
        leaves, structure = jax.tree.flatten(task.cast(model, dtype))
        masters = jax.tree.leaves(model)
        # Each device differentiates a copy of its own: otherwise the gradients would be
        # summed over the devices inside the time loop, once for every step.
        own = structure.unflatten(map(partial(_whole, shared), leaves, dims))

        def run(memory: PyTree, batch: PyTree, keys: Array) -> tuple[PyTree, PyTree]:
            def loss_of(model):
                total, weight, after = task.loss(model, memory, batch, keys)
                return total, (weight, after)

            (total, (weight, after)), gradient = jax.value_and_grad(loss_of, has_aux=True)(own)
            found = jax.tree.leaves(gradient)
            wide = [leaf.astype(p.dtype) for leaf, p in zip(found, masters, strict=True)]
            return (total, weight, wide), after

        (total, weight, found), memory = _in_parts(run, accumulate, shared, (memory, batch, keys))
        copied = [leaf for leaf, dim in zip(found, dims, strict=True) if dim is None]
        total, weight, copied = jax.lax.psum((total, weight, copied), shared)
        summed = iter(copied)
        found = [
            next(summed) if dim is None else _share_of_sum(leaf, dim, shared)
            for leaf, dim in zip(found, dims, strict=True)
        ]
        return total, weight, jax.tree.unflatten(jax.tree.structure(model), found), memory

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepMetrics]:
        specs = state_specs(state, mesh, sharded=sharded)
        # Of an axis that shares the model only the compiler knows.
        dims = [spec.index(AXIS) if AXIS in spec else None for spec in jax.tree.leaves(specs.model)]
        by_row = jax.tree.map(
            lambda spec: jax.P(*(entry if entry == AXIS else None for entry in spec)), specs.model
        )
        split = jax.shard_map(
            partial(gradients, dims),
            mesh=mesh,
            in_specs=(by_row, jax.P(AXIS), jax.P(AXIS), jax.P(AXIS)),
            out_specs=(jax.P(), jax.P(), by_row, jax.P(AXIS)),
            axis_names=set(shared),
            # Kernels are not typed by the axes that they vary over. Where time is split, sums over
            # devices are differentiated, and these types tell how.
            check_vma=TIME_AXIS in shared,
        )
        # Drawn for the whole batch: noise does not depend on the number of devices.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), state.step)
        keys = jax.random.split(key, task.batch_size)
        total, weight, gradient, memory = split(state.model, state.memory, batch, keys)
        # Padded sequences of a batch weigh nothing, and there may be no others.
        share = 1 / jnp.maximum(weight, jnp.finfo(jnp.float32).tiny)
        loss, gradient = total * share, jax.tree.map(lambda leaf: leaf * share, gradient)
        norm = optax.tree.norm(gradient)
        change, optimizer_state = optimizer.update(gradient, state.optimizer, state.model)
        broken = (state.broken_at < 0) & ~(jnp.isfinite(loss) & jnp.isfinite(norm))
        state = TrainState(
            model=optax.apply_updates(state.model, change),
            optimizer=optimizer_state,
            memory=memory,
            step=state.step + 1,
            broken_at=jnp.where(broken, state.step + 1, state.broken_at),
        )
        stay = lambda spec, part: jax.lax.with_sharding_constraint(part, NamedSharding(mesh, spec))  # noqa: E731
        return jax.tree.map(stay, specs, state), StepMetrics(loss, norm)

    return jax.jit(step, donate_argnums=0)


def _whole(axes: tuple[str, ...], leaf: Array, dim: int | None) -> Array:
    """A parameter on every device, each of which has a copy or the part along `dim`."""
    if dim is not None:
        leaf = jax.lax.all_gather(leaf, AXIS, axis=dim, tiled=True)
        axes = tuple(axis for axis in axes if axis != AXIS)
    return jax.lax.pcast(leaf, axes, to="varying") if axes else leaf


def _share_of_sum(leaf: Array, dim: int, axes: tuple[str, ...]) -> Array:
    """The part along `dim` of a sum over devices that a device keeps."""
    part = jax.lax.psum_scatter(leaf, AXIS, scatter_dimension=dim, tiled=True)
    others = tuple(axis for axis in axes if axis != AXIS)
    return jax.lax.psum(part, others) if others else part


def _in_parts(
    run: Callable, parts: int, axes: tuple[str, ...], rows: PyTree
) -> tuple[PyTree, PyTree]:
    """What `run` sums and what it returns by row, for rows that are taken in several parts; sums
    vary over some axes of the mesh."""
    if parts == 1:
        return run(*rows)

    def split(leaf):
        return leaf.reshape(parts, leaf.shape[0] // parts, *leaf.shape[1:])

    def body(sums, part):
        more, after = run(*part)
        return jax.tree.map(jnp.add, sums, more), after

    split_rows = jax.tree.map(split, rows)
    shapes = jax.eval_shape(run, *jax.tree.map(lambda leaf: leaf[0], split_rows))[0]
    nothing = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
    start = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, axes, to="varying"), nothing)
    sums, after = jax.lax.scan(body, start, split_rows)
    return sums, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), after)
