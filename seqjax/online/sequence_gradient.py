"""The loss of a sequence and its gradient in one pass forward in time."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.masks import length_mask, select
from seqjax.core.steps import time_major
from seqjax.core.trees import floats, put_floats, widen
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.placement import all_varying, place_rows
from seqjax.engines.request import checked
from seqjax.online.expectations import (
    expect_influence,
    expect_learner,
    expect_terms,
    loss_function,
)
from seqjax.online.learner import Influence, Learner, batch_of, without_masked
from seqjax.online.rows_on_devices import rows_apart

Loss = Callable[[PyTree, PyTree], Array]
"""`(y, target) -> (*batch,)`: the loss of one step of each sequence."""


class SequenceGradient(NamedTuple):
    """What one pass over a sequence gives.

    Attributes:
      loss: the sum over sequences and steps.
      gradient: of it, like the parameters.
      carry: after the last step.
      influence: of the parameters on this carry: the next piece of the sequence goes on from both.
    """

    loss: Array
    gradient: Params
    carry: Carry
    influence: Influence


def sequence_gradient(
    learner: Learner,
    params: Params,
    xs: Inputs,
    targets: PyTree,
    loss: Loss,
    carry: Carry | None = None,
    influence: Influence | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    key: Any = None,
) -> SequenceGradient:
    """The loss of a sequence and the gradient of the parameters, forward in time.

        L = sum over t of loss(y_t, target_t)
        gradient = sum over t of dL_t/dw at a fixed s_{t-1} + dL_t/ds_{t-1} P_{t-1}

    With `rtrl` it is the gradient of backpropagation through all steps. No step is kept but the
    present one, so memory does not depend on the number of steps. A sequence in pieces, each with
    the carry and the influence of the piece before, has the gradient of the whole.

    Args:
      learner: from `rtrl`, `snap`, `uoro` or `eprop`.
      params: of its cell.
      xs: `(*batch, time, inputs)`, as for `sj.scan`.
      targets: a tree of arrays `(*batch, time, ...)`.
      loss: `(y, target) -> (*batch,)` of one step. Calls with one and the same function are
        compiled once.
      carry, influence: before the first step, both or neither; by default the initial ones.
      lengths, mask, resets: as for `sj.scan`. Masked steps have no loss.
      key: for the influence of `uoro`, where there is none yet.

    Returns:
      A `SequenceGradient`.

    Raises:
      TypeError, ValueError: as `sj.scan`; if only one of carry and influence is given, or the
        influence is of another learner or batch; if the loss is not one floating-point number for
        each sequence.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> learner = sj.online.rtrl(sj.gru(4))
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> xs, targets = jnp.ones((2, 5, 3)), jnp.zeros((2, 5, 4))
      >>> squares = lambda y, target: jnp.square(y - target).sum(-1)
      >>> found = sj.online.sequence_gradient(learner, params, xs, targets, squares)
      >>> def backward(params):
      ...     return jnp.square(sj.scan(learner.cell, params, xs)[1] - targets).sum()
      >>> gradient = jax.grad(backward)(params)
      >>> bool(jnp.allclose(found.gradient["input"], gradient["input"], atol=1e-5))
      True

    Source: Williams and Zipser 1989 (Neural Computation 1).
    """
    expect_learner("sequence_gradient", learner)
    loss = loss_function(learner, loss)
    stream = opened_stream(
        learner, params, xs, targets, carry, influence, key,
        lengths=lengths, mask=mask, resets=resets,
    )  # fmt: skip
    return _compiled_steps(learner, params, loss, stream.carry, stream.influence, stream.steps)


class Stream(NamedTuple):
    """A sequence and where it goes on; `steps` are `(inputs, targets, valid, resets)`, each
    `(time, *batch, ...)` or None."""

    carry: Carry
    influence: Influence
    steps: tuple


def opened_stream(
    learner: Learner,
    params: Params,
    xs: Inputs,
    targets: PyTree,
    carry: Carry | None,
    influence: Influence | None,
    key: Any,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
) -> Stream:
    """The arguments of `sequence_gradient`, checked, with time in front."""
    if (carry is None) != (influence is None):
        raise ValueError(
            f"{learner}: expected `carry` and `influence`, which belong together, or neither; got "
            f"only the {'influence' if carry is None else 'carry'}."
        )
    cell = learner.cell
    request = checked(cell, params, xs, carry, lengths=lengths, mask=mask, resets=resets)
    batch, time = request.batch_shape, request.time
    valid, carry = request.mask, request.carry
    if request.lengths is not None:
        within = length_mask(request.lengths, time)
        valid = within if valid is None else within & valid
    steps = time_major((request.xs, targets, valid, request.resets), len(batch))
    if any(leaf.shape[: len(batch) + 1] != (time, *batch) for leaf in jax.tree.leaves(steps)):
        raise ValueError(
            f"{learner}: expected `targets` with the batch and time dimensions of xs, "
            f"{(*batch, time)}; got {jax.tree.map(jnp.shape, targets)}."
        )
    # Only the shape counts, and there may be no first step.
    first = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), steps[0])
    if influence is None:
        carry = jax.tree.map(jnp.asarray, cell.initial_carry(params, batch))
        influence = learner.init(params, first, key)
    else:
        expect_influence(learner, params, first, influence)
    carry, influence = place_rows((carry, influence), steps[0], len(batch))
    return Stream(carry, influence, steps)


def run_steps(
    learner: Learner,
    params: Params,
    loss: Loss,
    carry: Carry,
    influence: Influence,
    steps: tuple,
) -> SequenceGradient:
    """`sequence_gradient` of steps that are opened already."""
    run = rows_apart(partial(_run, learner, loss), learner.cell, SequenceGradient)
    return run(params, carry, influence, steps)


def _run(
    learner: Learner, loss: Loss, params: Params, carry: Carry, influence: Influence, steps: tuple
) -> tuple[Array, Params, Carry, Influence]:
    """What one device makes of the rows that it has."""
    wide = [jnp.zeros_like(widen(leaf)) for leaf in floats(params)]
    # Without parameters it is the inputs that say in which dtype the loss is.
    total = jnp.zeros((), jnp.result_type(jnp.float32, *wide, *floats(steps[0])))
    body = partial(_step, learner, params, loss)
    start = all_varying(((carry, influence, total, wide), steps))[0]
    (carry, influence, total, found), _ = jax.lax.scan(body, start, steps)
    found = [leaf.astype(own.dtype) for leaf, own in zip(found, floats(params), strict=True)]
    gradient = put_floats(jax.tree.map(jnp.zeros_like, params), found)
    return total, gradient, carry, influence


_compiled_steps = jax.jit(run_steps, static_argnames=("learner", "loss"))
"""It keeps the function `loss` alive."""


def _step(
    learner: Learner, params: Params, loss: Loss, state: tuple, now: tuple
) -> tuple[tuple, None]:
    """One step: the loss and its gradient, then carry and influence."""
    carry, influence, total, sums = state
    x, target, valid, resets = now
    flags, x = Boundaries(valid, resets), without_masked(x, valid)
    start, before = learner.begun(params, carry, influence, flags)

    def observe(weights: list[Array], numbers: list[Array]) -> tuple[Array, Carry]:
        own, at = put_floats(params, weights), put_floats(start, numbers)
        new, y = learner.observed(own, at, x)
        terms = loss(y, target)
        expect_terms(learner, terms, batch_of(learner.cell, x))
        terms = terms if valid is None else select(valid, terms, jnp.zeros_like(terms))
        return terms.sum().astype(total.dtype), new

    run = jax.value_and_grad(observe, argnums=(0, 1), has_aux=True)
    (value, new), (direct, d) = run(floats(params), floats(start))
    through = learner.pull(params, before, learner.cotangents(params, put_floats(start, d)))
    sums = [
        a + b.astype(a.dtype) + c.astype(a.dtype)
        for a, b, c in zip(sums, direct, through, strict=True)
    ]
    after = learner.advance(params, start, before, x)
    carry, influence = flags.hold(new, carry), flags.hold(after, influence)
    return (carry, influence, total + value, sums), None
