"""One update of a model: gradients, clipping, optimizer, the same for every task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from seqjax.core.precision import Precision
from seqjax.core.types import Array, DTypeLike, PyTree
from seqjax.train.devices import AXIS, put_whole
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

    return place(build(task.begin_with), mesh)


def place(state: TrainState, mesh: Mesh) -> TrainState:
    """Moves a state to the devices of a mesh: the batch is split over it, the rest is copied."""
    shardings = (NamedSharding(mesh, spec) for spec in SPECS)
    return TrainState(*map(put_whole, state, shardings))


SPECS = TrainState(jax.P(), jax.P(), jax.P(AXIS), jax.P(), jax.P())
"""How the parts of a state are split over the mesh."""


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    dtype: DTypeLike,
    accumulate: int = 1,
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
    """

    def update(state: TrainState, batch: PyTree, keys: Array) -> tuple[TrainState, StepMetrics]:
        # Each device differentiates a copy of its own: otherwise the gradients would be
        # summed over the devices inside the time loop, once for every step.
        model = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), state.model)

        def run(memory: PyTree, batch: PyTree, keys: Array) -> tuple[PyTree, PyTree]:
            def loss_of(model):
                total, weight, after = task.loss(task.cast(model, dtype), memory, batch, keys)
                return total, (weight, after)

            (total, (weight, after)), gradient = jax.value_and_grad(loss_of, has_aux=True)(model)
            return (total, weight, gradient), after

        sums, memory = _in_parts(run, accumulate, (state.memory, batch, keys))
        total, weight, gradient = jax.lax.psum(sums, AXIS)
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
        return state, StepMetrics(loss, norm)

    split = jax.shard_map(
        update,
        mesh=mesh,
        in_specs=(SPECS, jax.P(AXIS), jax.P(AXIS)),
        out_specs=(SPECS, jax.P()),
    )

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, StepMetrics]:
        # Drawn for the whole batch: noise does not depend on the number of devices.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), state.step)
        return split(state, batch, jax.random.split(key, task.batch_size))

    return jax.jit(step, donate_argnums=0)


def _in_parts(run: Callable, parts: int, rows: PyTree) -> tuple[PyTree, PyTree]:
    """What `run` sums and what it returns by row, for rows that are taken in several parts."""
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
    start = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), nothing)
    sums, after = jax.lax.scan(body, start, split_rows)
    return sums, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), after)
