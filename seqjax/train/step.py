"""One update of a language model by truncated backpropagation through time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from seqjax.core.noise import seed_carry
from seqjax.core.trees import cast
from seqjax.core.types import Array, DTypeLike
from seqjax.data.streams import start_positions, window
from seqjax.data.vocabulary import BOUNDARY
from seqjax.losses import cross_entropy
from seqjax.train.devices import AXIS


class TrainState(NamedTuple):
    """All that a run is, at one moment: with it, a run goes on as if never stopped.

    Randomness lives in the carry. `step` counts updates; `broken_at` is the first step
    whose loss or gradient was NaN or inf, -1 while there is none.
    """

    model: Any  # a LanguageModel; trees of the same form hold shardings, hence the Any
    optimizer: Any
    carry: Any
    positions: Any
    step: Any
    broken_at: Any


class StepMetrics(NamedTuple):
    """Scalars of one step: mean loss in nats per character, norm before clipping."""

    loss: Array
    gradient_norm: Array


def shardings(mesh: Mesh) -> TrainState:
    """Where the parts of the state live: rows are split over the mesh, the rest copied."""
    everywhere = NamedSharding(mesh, jax.P())
    rows = NamedSharding(mesh, jax.P(AXIS))
    return TrainState(everywhere, everywhere, rows, rows, everywhere, everywhere)


def start(
    model: Any,
    optimizer: optax.GradientTransformation,
    corpus_length: int,
    streams: int,
    *,
    seed: int,
    dtype: DTypeLike,
    mesh: Mesh,
) -> TrainState:
    """The state before the first step, on its devices."""
    carry = cast(model, dtype).initial_carry((streams,))
    state = TrainState(
        model=model,
        optimizer=optimizer.init(model),
        carry=seed_carry(carry, jax.random.fold_in(jax.random.key(seed), 1)),
        positions=jnp.asarray(start_positions(corpus_length, streams)),
        step=jnp.int32(0),
        broken_at=jnp.int32(-1),
    )
    return place(state, mesh)


def place(state: TrainState, mesh: Mesh) -> TrainState:
    """Moves a state to the devices of a mesh."""
    return TrainState(*map(jax.device_put, state, shardings(mesh)))


def make_train_step(
    optimizer: optax.GradientTransformation, mesh: Mesh, *, time: int, dtype: DTypeLike
) -> Callable[[TrainState, Array], tuple[TrainState, StepMetrics]]:
    """The compiled update `(state, corpus) -> (state, metrics)`.

    Each stream takes its next `time` characters. The carry flows on from the step before,
    gradients stop there, and the state is reset where a document begins. Every device
    takes its share of the streams; gradients are averaged once, after the backward pass.
    The state passed in is given up to the one returned.

    Args:
      optimizer: from optax.
      mesh: from `make_mesh`.
      time: characters of each stream.
      dtype: what the model computes in.
    """

    def loss_of(model, carry, inputs, targets):
        carry, logits = cast(model, dtype)(inputs, carry, resets=inputs == BOUNDARY)
        return cross_entropy(logits, targets) / targets.size, carry

    def update(state: TrainState, corpus: Array) -> tuple[TrainState, StepMetrics]:
        inputs, targets = window(corpus, state.positions, time)
        # Each device differentiates a copy of its own: otherwise the gradients would be
        # summed over the devices inside the time loop, once for every step.
        model = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, AXIS, to="varying"), state.model)
        (loss, carry), gradient = jax.value_and_grad(loss_of, has_aux=True)(
            model, state.carry, inputs, targets
        )
        loss, gradient = jax.lax.pmean((loss, gradient), AXIS)
        norm = optax.tree.norm(gradient)
        change, optimizer_state = optimizer.update(gradient, state.optimizer, state.model)
        broken = (state.broken_at < 0) & ~(jnp.isfinite(loss) & jnp.isfinite(norm))
        state = TrainState(
            model=optax.apply_updates(state.model, change),
            optimizer=optimizer_state,
            carry=carry,
            positions=(state.positions + time) % corpus.shape[0],
            step=state.step + 1,
            broken_at=jnp.where(broken, state.step + 1, state.broken_at),
        )
        return state, StepMetrics(loss, norm)

    parts = TrainState(jax.P(), jax.P(), jax.P(AXIS), jax.P(AXIS), jax.P(), jax.P())
    split = jax.shard_map(update, mesh=mesh, in_specs=(parts, jax.P()), out_specs=(parts, jax.P()))
    return jax.jit(split, donate_argnums=0)
