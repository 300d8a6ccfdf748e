"""Weights that are updated while a stream goes on: at every step, or after every few."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from seqjax.core.cell import positive_int
from seqjax.core.misfits import difference, spell_argument
from seqjax.core.steps import batch_shape_of, time_of
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.online.expectations import expect_learner, loss_function
from seqjax.online.learner import Influence, Learner, batch_of
from seqjax.online.sequence_gradient import Loss, opened_stream, run_steps


class OnlineState(NamedTuple):
    """All that learning from a stream is, at one moment.

    Attributes:
      params: of the cell.
      optimizer: the state of the optimizer.
      carry: of the stream.
      influence: of the parameters on this carry. After an update it is that of the parameters as
        they were at each step: exact for a small learning rate.
    """

    params: Params
    optimizer: Any
    carry: Carry
    influence: Influence


def start(
    learner: Learner,
    optimizer: optax.GradientTransformation,
    params: Params,
    x: PyTree,
    key: Any = None,
) -> OnlineState:
    """The state before the first step of a stream.

    Args:
      learner: from `rtrl`, `snap`, `uoro` or `eprop`.
      optimizer: from optax.
      params: of the learner's cell.
      x: the input of one step `(*batch, inputs)`; only its shape counts.
      key: for `uoro`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> import seqjax as sj
      >>> learner = sj.online.rtrl(sj.gru(4))
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> sj.online.start(learner, optax.sgd(0.1), params, jnp.ones((2, 3))).carry.shape
      (2, 4)
    """
    expect_learner("start", learner)
    _expect_optimizer("start", optimizer)
    carry = jax.tree.map(jnp.asarray, learner.cell.initial_carry(params, batch_of(learner.cell, x)))
    return OnlineState(params, optimizer.init(params), carry, learner.init(params, x, key))


def learn(
    learner: Learner,
    optimizer: optax.GradientTransformation,
    state: OnlineState,
    xs: Inputs,
    targets: PyTree,
    loss: Loss,
    *,
    every: int = 1,
    mask: Any = None,
    resets: Any = None,
) -> tuple[OnlineState, Array]:
    """Learns from a piece of a stream, with an update of the weights every k steps.

    For every k steps: their gradient, by the influence of all steps before them; an update by the
    optimizer; and on with the new weights, the carry and the influence.

    Args:
      learner, optimizer: as for `start`. The optimizer is told the mean loss, `value`.
      state: from `start`, or from the piece before.
      xs: `(*batch, time, inputs)`.
      targets: a tree of arrays `(*batch, time, ...)`.
      loss: `(y, target) -> (*batch,)` of one step. What is lowered is its mean over the steps of an
        update that count. Calls with one and the same function are compiled once.
      every: k, which divides the number of steps.
      mask, resets: as for `sj.scan`. Masked steps have no loss.

    Returns:
      `(state, losses)`: the mean loss of each update, `(time / every,)`.

    Raises:
      TypeError, ValueError: as `sequence_gradient`; if the state is of another optimizer; if
        `every` does not divide the steps.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> import seqjax as sj
      >>> learner, optimizer = sj.online.snap(sj.gru(4)), optax.adam(1e-2)
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> xs, targets = jnp.ones((2, 60, 3)), jnp.zeros((2, 60, 4))
      >>> squares = lambda y, target: jnp.square(y - target).sum(-1)
      >>> state = sj.online.start(learner, optimizer, params, xs[:, 0])
      >>> state, losses = sj.online.learn(learner, optimizer, state, xs, targets, squares, every=2)
      >>> losses.shape, bool(losses[-1] < losses[3])
      ((30,), True)
    """
    expect_learner("learn", learner)
    loss = loss_function(learner, loss)
    _expect_optimizer("learn", optimizer)
    _expect_state(optimizer, state)
    every = positive_int("learn", "every", every)
    stream = opened_stream(
        learner, state.params, xs, targets, state.carry, state.influence, None,
        mask=mask, resets=resets,
    )  # fmt: skip
    time = time_of(stream.steps[0])
    if time % every:
        raise ValueError(
            f"learn: `every` must divide the steps of xs, {time}; got {every}. Cut the stream into "
            "pieces of such lengths; carry and influence go on from one to the next."
        )
    state = state._replace(carry=stream.carry, influence=stream.influence)
    return _updated(learner, optimizer, loss, every, state, stream.steps)


@partial(jax.jit, static_argnames=("learner", "optimizer", "loss", "every"))
def _updated(
    learner: Learner,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    every: int,
    state: OnlineState,
    steps: tuple,
) -> tuple[OnlineState, Array]:
    """`learn` from steps that are opened already."""
    cut = lambda leaf: leaf.reshape(len(leaf) // every, every, *leaf.shape[1:])  # noqa: E731
    return jax.lax.scan(partial(_update, learner, optimizer, loss), state, jax.tree.map(cut, steps))


def _update(
    learner: Learner,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    state: OnlineState,
    steps: tuple,
) -> tuple[OnlineState, Array]:
    """One update from the steps of one window."""
    params, memory, carry, influence = state
    found = run_steps(learner, params, loss, carry, influence, steps)
    xs, _, valid, _ = steps
    # With time in front, and then the batch.
    sizes = time_of(xs), *batch_shape_of(learner.cell, xs)
    count = math.prod(sizes) if valid is None else valid.sum()
    share = 1 / jnp.maximum(count, 1).astype(found.loss.dtype)
    gradient = jax.tree.map(lambda leaf: (leaf * share).astype(leaf.dtype), found.gradient)
    mean = found.loss * share
    # Some optimizers look at the loss.
    update = optax.with_extra_args_support(optimizer).update
    change, memory = update(gradient, memory, params, value=mean)
    params = optax.apply_updates(params, change)
    return OnlineState(params, memory, found.carry, found.influence), mean


def _expect_optimizer(owner: str, optimizer: Any) -> None:
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"{owner}: expected an optimizer from optax, such as optax.adam(1e-3), got "
            f"{spell_argument(optimizer)}."
        )


def _expect_state(optimizer: optax.GradientTransformation, state: Any) -> None:
    """Raises unless a state is one, of this optimizer."""
    if not isinstance(state, OnlineState):
        raise TypeError(
            "learn: expected the OnlineState of `start`, or of the piece before, got "
            f"{spell_argument(state)}."
        )
    wanted = jax.eval_shape(optimizer.init, state.params)
    found = difference(wanted, state.optimizer, more=False)
    if found is None and jax.tree.structure(wanted) != jax.tree.structure(state.optimizer):
        found = (
            f"of structure {jax.tree.structure(wanted)}; got {jax.tree.structure(state.optimizer)}"
        )
    if found is not None:
        raise ValueError(
            f"learn: expected a state of this optimizer, {found}. Begin with `start` and the same "
            "optimizer, or put optimizer.init(state.params) in its place."
        )
