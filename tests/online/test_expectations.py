"""What does not go with a learner gets one clear error, and a sequence may have no step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.online import eprop, learn, rtrl, sequence_gradient, snap, start, uoro

# Wrong arguments are the point here.
CELL: Any = sj.elman(2)
ADAM: Any = optax.adam(1e-2)
LEARNER: Any = rtrl(CELL)
WORDS: Any = "2GB"
PARAMS, XS = CELL.init(jax.random.key(0), 3), jnp.ones((2, 4, 3))
TARGETS, CARRY = jnp.zeros((2, 4, 2)), jnp.zeros((2, 2))


def loss(y, target):
    return jnp.square(y - target).sum(-1)


def gradient(learner: Any = LEARNER, loss: Any = loss, **options):
    return jax.eval_shape(
        lambda xs: sequence_gradient(learner, PARAMS, xs, TARGETS, loss, **options), XS
    )


def influence(learner, rows=2, **options):
    return learner.init(PARAMS, XS[:rows, 0], **options)


def from_piece(learner, given):
    return lambda: gradient(learner, carry=CARRY, influence=given())


def going_on(state, optimizer=ADAM, learner=LEARNER):
    return lambda: learn(learner, optimizer, state(), XS, TARGETS, loss)


def begun(learner: Any = LEARNER, optimizer: Any = ADAM):
    return lambda: start(learner, optimizer, PARAMS, XS[:, 0])


MISTAKES = {
    "a cell for a learner": (lambda: gradient(CELL), "expected a learner .* got elman"),
    "a cell to start": (begun(CELL), "start: expected a learner .* got elman"),
    "the future": (
        lambda: rtrl(sj.bidirectional(sj.gru(2), sj.gru(2))),
        "expected a causal cell.*bidirectional",
    ),
    "a limit below zero": (lambda: rtrl(CELL, limit=-1), "positive number of bytes, got -1"),
    "a limit in words": (lambda: eprop(CELL, limit=WORDS), "number of bytes, got '2GB'"),
    "no loss": (lambda: gradient(loss=None), "must be a function .* got None"),
    "a loss of whole numbers": (
        lambda: gradient(loss=lambda y, _: y.argmax(-1)),
        "real floating-point numbers.*returned int32",
    ),
    "an influence of another algorithm": (
        from_piece(LEARNER, lambda: influence(snap(CELL))),
        "of this learner for these inputs",
    ),
    "one of the same shape": (
        from_piece(snap(CELL), lambda: influence(snap(CELL, 1, layerwise=True))),
        "another algorithm or another cell",
    ),
    "one of random signs": (
        from_piece(LEARNER, lambda: influence(uoro(CELL), key=jax.random.key(0))),
        "with 'blocks.0'; got 'state', 'weights'",
    ),
    "one of another batch": (
        from_piece(LEARNER, lambda: influence(LEARNER, 1)),
        r"of shape \(2, 1, 2, 12\); got shape \(1, 1, 2, 12\)",
    ),
    "a whole number for a key": (
        lambda: gradient(uoro(CELL), key=0),
        r"expected a `key` .* got 0\. Pass jax.random.key",
    ),
    "keys of another batch": (
        lambda: gradient(uoro(CELL), key=jax.random.split(jax.random.key(0), 5)),
        r"keys of shape \(2,\).*got keys of shape \(5,\)",
    ),
    "no optimizer": (begun(optimizer=optax.adam), "such as optax.adam.*got"),
    "parameters for a state": (going_on(lambda: PARAMS), "expected the OnlineState of `start`"),
    "the state of another optimizer": (
        going_on(begun(), optax.sgd(0.1, momentum=0.9)),
        "expected a state of this optimizer, with '0.trace.bias'",
    ),
    "one that another would take": (going_on(begun(), optax.sgd(0.1)), "state of this optimizer"),
    "the state of another learner": (
        going_on(begun(snap(CELL))),
        "of this learner for these inputs",
    ),
    "a step with flags of one": (
        lambda: LEARNER.step(PARAMS, CARRY, influence(LEARNER), XS[:, 0], mask=True),
        r"`mask` must be bool and \(\*batch,\) = \(2,\) like x; got bool of shape \(\)",
    ),
    "a step with whole numbers for flags": (
        lambda: LEARNER.step(
            PARAMS, CARRY, influence(LEARNER), XS[:, 0], reset=jnp.ones(2, jnp.int32)
        ),
        "`reset` must be bool .* got int32",
    ),
    "a step of another algorithm": (
        lambda: LEARNER.step(PARAMS, CARRY, influence(snap(CELL)), XS[:, 0]),
        "of this learner for these inputs",
    ),
    "a step of another batch": (
        lambda: LEARNER.step(PARAMS, CARRY, influence(LEARNER, 1), XS[:, 0]),
        r"got shape \(1, 1, 2, 12\)",
    ),
    "a wide cotangent": (
        lambda: LEARNER.gradient(PARAMS, influence(LEARNER), jnp.ones((2, 3))),
        r"`cotangent` like the carry, with one array of shape \(2, 2\); got shape \(2, 3\)",
    ),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_an_influence_may_begin_in_another_precision():
    """It is in float32 at least, and what it keeps depends on no dtype."""
    narrow = LEARNER.init(PARAMS, XS[:, 0].astype(jnp.bfloat16))
    found = gradient(carry=CARRY, influence=narrow)
    assert jax.tree.structure(found.influence) == jax.tree.structure(narrow)


def test_a_piece_without_steps_changes_nothing():
    found = sequence_gradient(LEARNER, PARAMS, XS[:, :0], TARGETS[:, :0], loss)
    assert found.loss == 0 and not any(map(np.any, jax.tree.leaves(found.gradient)))
    state = begun()()
    after, losses = learn(LEARNER, ADAM, state, XS[:, :0], TARGETS[:, :0], loss, every=2)
    assert losses.shape == (0,)
    np.testing.assert_array_equal(after.params["bias"], PARAMS["bias"])


def test_the_optimizer_may_look_at_the_loss():
    """And a loss may be an object that has no hash."""

    @dataclasses.dataclass
    class Scaled:
        by: float

        def __call__(self, y, target):
            return self.by * loss(y, target)

    optimizer = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))
    state = start(LEARNER, optimizer, PARAMS, XS[:, 0])
    state, losses = learn(LEARNER, optimizer, state, XS, TARGETS, Scaled(2.0), every=2)
    kept: Any = state.optimizer[1]
    np.testing.assert_allclose(kept.best_value, losses.min(), rtol=1e-6)
    _, plain = learn(LEARNER, ADAM, begun()(), XS, TARGETS, loss, every=2)
    np.testing.assert_allclose(losses[0], 2 * plain[0], rtol=1e-6)
