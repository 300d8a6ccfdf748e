"""Gradients forward in time are those of backpropagation, exactly or as far as each one says."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import seqjax as sj
from seqjax.core.trees import floats
from seqjax.engines.memory_report import temporary_bytes
from tests.online.backwards import backwards, example, forwards, loss
from tests.rows import thorough_but
from tests.table import CELLS

EVERY_KIND = [
    "gru_reset_before", "lstm_heads", "not_gated", "lru", "minimal_gru_logarithmic", "delta_net",
    "learned_initial_carry", "all_together",
]  # fmt: skip
"""Dense and in blocks; with a counter; linear, complex and with exponents; a matrix; a first state
that is learned; layers. The other cells of the table run with `pytest -m thorough`."""

CAUSAL = [name for name, cell in CELLS.items() if cell.causal]


@pytest.mark.parametrize("name", thorough_but(EVERY_KIND, CAUSAL))
def test_rtrl_is_backpropagation_through_all_steps(name, x64):
    cell = CELLS[name]
    params, xs, targets, mask, resets = example(cell)
    options = dict(mask=mask, resets=resets)
    masked = np.where(mask[..., None], xs, np.nan)
    got = forwards(sj.online.rtrl(cell), params, masked, targets, **options)
    wanted = backwards(cell, params, xs, targets, **options)
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_pieces_have_the_gradient_of_the_whole(x64):
    """Carry and influence go on from piece to piece; with a truncated gradient they would not."""
    cell = sj.gru(3)
    params, xs, targets, _, _ = example(cell)
    learner = sj.online.rtrl(cell)

    def in_pieces(params):
        total, carry, influence = jax.tree.map(jnp.zeros_like, params), None, None
        for part in (slice(0, 3), slice(3, 6)):
            found = sj.online.sequence_gradient(
                learner, params, xs[:, part], targets[:, part], loss, carry, influence
            )
            carry, influence = found.carry, found.influence
            total = jax.tree.map(jnp.add, total, found.gradient)
        return floats(total)

    _, wanted = backwards(cell, params, xs, targets)
    chex.assert_trees_all_close(jax.jit(in_pieces)(params), wanted, rtol=1e-10, atol=1e-10)
    _, cut = backwards(cell, params, xs, targets, truncate=3)
    assert not np.allclose(cut[0], wanted[0], atol=1e-3)


@pytest.mark.parametrize(
    ("cell", "steps"),
    [(sj.minimal_gru(3), 1), (sj.gru(3, blocks=3), 1), (sj.elman(3), 2), (sj.lstm(2), 3)],
    ids=["linear", "diagonal", "two steps reach all", "three steps reach all"],
)
def test_snap_is_exact_where_nothing_is_left_out(cell, steps, x64):
    params, xs, targets, mask, resets = example(cell)
    options = dict(mask=mask, resets=resets)
    got = forwards(sj.online.snap(cell, steps), params, xs, targets, **options)
    wanted = backwards(cell, params, xs, targets, **options)
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_snap_1_of_an_elman_cell_by_hand(x64):
    """P[i, w] = h_i' (U_ii P[i, w] + input of w) where w is of unit i, and no other entries."""
    cell = sj.elman(3)
    params, xs, _, _, _ = example(cell, batch=())
    learner = sj.online.snap(cell, 1)
    W, U, b = (np.asarray(params[name]).squeeze() for name in ("input", "recurrent", "bias"))
    h, traces = np.zeros(3), {"input": np.zeros((3, 3)), "recurrent": np.zeros((3, 3)), "bias": 0.0}
    for x in xs:
        new = np.tanh(x @ W + h @ U + b)
        direct = {"input": x[:, None], "recurrent": h[:, None], "bias": 1.0}
        slope = 1 - new**2
        traces = {k: slope * (np.diag(U) * traces[k] + direct[k]) for k in traces}
        h = new
    carry, influence = cell.initial_carry(params), learner.init(params, xs[0])

    def body(state, x):
        carry, influence = state
        return learner.step(params, carry, influence, x)[:2], None

    (carry, influence), _ = jax.lax.scan(body, (carry, influence), xs)
    got = learner.gradient(params, influence, jnp.ones(3))
    np.testing.assert_allclose(carry, h, rtol=1e-12)
    for name, trace in traces.items():
        np.testing.assert_allclose(got[name].squeeze(), trace, rtol=1e-10)


def test_e_prop_of_an_lstm_by_hand(x64):
    """e = f e + dc/dw at a constant hidden state; the signal is dL/dc by the output gate of now."""
    cell = sj.lstm(2)
    params, xs, targets, _, _ = example(cell, batch=())
    W, U, b = (np.asarray(params[name]) for name in ("input", "recurrent", "bias"))
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    h, c, trace, gradient = np.zeros(2), np.zeros(2), np.zeros((4, 2)), np.zeros((4, 2))
    for x, target in zip(xs, targets, strict=True):
        i, f, g, o = (z_in + z_re for z_in, z_re in zip(
            np.einsum("i,igf->gf", x, W) + b, np.einsum("i,igf->gf", h, U), strict=True
        ))  # fmt: skip
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        direct = np.stack([g * i * (1 - i), c * f * (1 - f), i * (1 - g**2), 0 * o])
        trace, c = f * trace + direct, f * c + i * g
        h = o * np.tanh(c)
        signal = np.cos(h * target) * target
        gradient += signal * o * (1 - np.tanh(c) ** 2) * trace
        gradient[3] += signal * np.tanh(c) * o * (1 - o)
    _, got = forwards(sj.online.eprop(cell), params, xs, targets)
    names = sorted(params)
    np.testing.assert_allclose(got[names.index("bias")], gradient, rtol=1e-10)


def test_uoro_is_right_on_average(x64):
    """Within four standard errors of the mean over keys, for every parameter."""
    cell, count = sj.elman(2), 4096
    params, xs, targets, mask, _ = example(cell, batch=(), time=5, in_features=1)
    resets = np.arange(5) == 1
    learner = sj.online.uoro(cell)

    def one(key):
        found = sj.online.sequence_gradient(
            learner, params, xs, targets, loss, mask=mask, resets=resets, key=key
        )
        return jnp.concatenate([leaf.reshape(-1) for leaf in floats(found.gradient)])

    drawn = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count)))
    _, exact = backwards(cell, params, xs, targets, mask=mask, resets=resets)
    wanted = np.concatenate([np.ravel(leaf) for leaf in exact])
    error = drawn.std(0) / np.sqrt(count)
    assert (np.abs(drawn.mean(0) - wanted) <= 4 * error + 1e-12).all()
    assert (error < 0.1).all() and drawn.std(0).max() > 0.1


def test_layers_learn_from_their_own_state_and_the_present_step(x64):
    """The upper layer has its exact gradient, the lower one neglects what the upper one keeps."""
    cell = sj.stack(below=sj.minimal_gru(3), above=sj.minimal_gru(2))
    params, xs, targets, _, _ = example(cell)
    _, got = forwards(sj.online.rtrl(cell, layerwise=True), params, xs, targets)
    _, wanted = backwards(cell, params, xs, targets)
    above = len(floats(params["above"]))
    chex.assert_trees_all_close(got[:above], wanted[:above], rtol=1e-10, atol=1e-10)
    assert not np.allclose(got[above], wanted[above], atol=1e-3)


def test_what_is_kept_is_no_larger_than_it_must_be():
    """Per parameter: the state for a dense cell, a block of it, or one number."""

    def kept(learner):
        params = jax.eval_shape(lambda: learner.cell.init(jax.random.key(0), 3))
        influence = jax.eval_shape(lambda p: learner.init(p, jnp.ones((2, 3))), params)
        return sum(leaf.size for leaf in jax.tree.leaves(influence)) // 2, sum(
            leaf.size for leaf in jax.tree.leaves(params)
        )

    for learner, each in (
        (sj.online.rtrl(sj.gru(6)), 6),
        (sj.online.rtrl(sj.gru(6, blocks=2)), 3),
        (sj.online.rtrl(sj.minimal_gru(6)), 1),
        (sj.online.snap(sj.gru(6)), 1),
        (sj.online.eprop(sj.gru(6)), 1),
        # The output gate has no trace in the cell state: it moves the hidden one alone.
        (sj.online.eprop(sj.lstm(6)), 7 / 4),
    ):
        size, weights = kept(learner)
        assert size == each * weights


def test_equal_calls_make_one_learner():
    for make in (sj.online.rtrl, sj.online.snap, sj.online.eprop, sj.online.uoro):
        assert make(sj.gru(3)) is make(sj.gru(3))
    assert sj.online.rtrl(sj.gru(3)) != sj.online.rtrl(sj.gru(3), layerwise=True)


def test_memory_does_not_grow_with_time():
    learner = sj.online.rtrl(sj.gru(3))
    params = learner.cell.init(jax.random.key(0), 2)

    def taken(time):
        run = lambda xs, targets: sj.online.sequence_gradient(  # noqa: E731
            learner, params, xs, targets, loss
        )
        shapes = (jax.ShapeDtypeStruct((time, width), jnp.float32) for width in (2, 3))
        return temporary_bytes(jax.jit(run).lower(*shapes).compile()) or 0

    assert 0 < taken(2000) <= taken(20) + 2000


def test_nothing_is_traced_twice():
    """Outside of jit, in a loop over pieces of a stream, from NumPy as it is."""
    learner, optimizer, traces = sj.online.rtrl(sj.elman(2)), optax.sgd(0.1), []

    def counted(y, target):
        traces.append(0)
        return loss(y, target)

    params, xs, targets, _, _ = example(learner.cell, time=2)
    state = sj.online.start(learner, optimizer, params, xs[:, 0])
    for call in (
        lambda state: sj.online.learn(learner, optimizer, state, xs, targets, counted)[0],
        lambda state: state._replace(
            params=sj.online.sequence_gradient(learner, state.params, xs, targets, counted).gradient
        ),
    ):
        state, before = call(state), len(traces)
        assert before
        call(state)
        assert len(traces) == before


def test_a_loss_may_have_numbers_that_are_differentiated(x64):
    """Of a program that is being traced around it."""
    learner = sj.online.rtrl(sj.elman(2))
    params, xs, targets, _, _ = example(learner.cell, time=2)

    def total(scale):
        part = lambda y, target: scale * loss(y, target)  # noqa: E731
        return sj.online.sequence_gradient(learner, params, xs, targets, part).loss

    np.testing.assert_allclose(jax.jit(jax.grad(total))(2.0), total(1.0), rtol=1e-12)


def test_updates_along_a_stream_are_those_of_a_loop():
    learner, optimizer = sj.online.rtrl(sj.elman(2)), optax.adam(1e-2)
    params, xs, targets, _, resets = example(learner.cell, time=4)
    xs, targets = xs.astype(np.float32), targets.astype(np.float32)
    state = sj.online.start(learner, optimizer, params, xs[:, 0])
    got, losses = jax.jit(
        lambda state: sj.online.learn(
            learner, optimizer, state, xs, targets, loss, every=2, resets=resets
        )
    )(state)
    params, memory, carry, influence = state
    for part in (slice(0, 2), slice(2, 4)):
        found = sj.online.sequence_gradient(
            learner, params, xs[:, part], targets[:, part], loss, carry, influence,
            resets=resets[:, part],
        )  # fmt: skip
        carry, influence = found.carry, found.influence
        mean = jax.tree.map(lambda leaf: leaf / 4, found.gradient)
        change, memory = optimizer.update(mean, memory, params)
        params = optax.apply_updates(params, change)
    chex.assert_trees_all_close(got.params, params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses[1], found.loss / 4, rtol=1e-5)


def _complex_cell():
    zeros = lambda params, batch_shape=(): jnp.zeros((*batch_shape, 2), complex)  # noqa: E731
    step = lambda params, carry, x: (carry * params, carry.real)  # noqa: E731
    return sj.Cell(lambda key, in_features: jnp.float32(1.0), zeros, step, 2)


GRU = sj.online.rtrl(sj.gru(4))
MISTAKES = {
    "too large": (
        sj.online.rtrl(sj.gru(4), limit=10),
        {},
        "108 parameters on a state of 4 numbers.*raise `limit`",
    ),
    "a key": (GRU, {"key": 0}, "expected no `key`"),
    "no key": (sj.online.uoro(sj.gru(4)), {}, "expected a `key`"),
    "a carry alone": (GRU, {"carry": jnp.zeros((2, 4))}, "only the carry"),
    "targets": (GRU, {"targets": jnp.zeros((2, 6))}, r"\(2, 5\); got \(2, 6\)"),
    "loss": (GRU, {"loss": lambda y, _: y}, r"each sequence, \(2,\); it returned"),
    "complex": (sj.online.rtrl(_complex_cell()), {}, "a state of real numbers"),
    "no products": (sj.online.eprop(sj.cornn(4)), {}, "show which products they make"),
}


@pytest.mark.parametrize(("learner", "options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(learner, options, message):
    in_features = 3
    params = learner.cell.init(jax.random.key(0), in_features)
    given = {"targets": jnp.zeros((2, 5, 4)), "loss": loss} | options
    with pytest.raises(ValueError, match=message):
        sj.online.sequence_gradient(
            learner, params, jnp.ones((2, 5, in_features)), given.pop("targets"),
            given.pop("loss"), **given,
        )  # fmt: skip


def test_updates_need_whole_windows():
    learner, optimizer = sj.online.rtrl(sj.elman(2)), optax.sgd(0.1)
    params, xs = learner.cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3))
    state = sj.online.start(learner, optimizer, params, xs[:, 0])
    with pytest.raises(ValueError, match="divide the steps of xs, 5; got 2"):
        sj.online.learn(learner, optimizer, state, xs, xs, loss, every=2)
