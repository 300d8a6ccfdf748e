"""Newton's method: the states of nonlinear cells, all at once."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.engines.block_affine import solve_blocks
from seqjax.engines.sizes import chosen_for
from seqjax.testing import check_cell, check_state_blocks
from tests.parameters import drawn
from tests.table import IN_FEATURES, ROWS


@pytest.mark.parametrize("name", ["gru", "lstm_heads", "not_gated"])
def test_laws(name):
    """A full Jacobian, blocks, and a cell that says nothing of itself; in windows and not."""
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES, dtype=np.float64)
    method = sj.Newton(window=3 if name == "gru" else None)
    check_cell(cell, IN_FEATURES, params=params, methods=(method,), thorough=False)


@pytest.mark.parametrize("name", ["indrnn", "slstm", "lstm_heads"])
def test_cells_say_their_blocks(name):
    check_state_blocks(ROWS[name].cell, IN_FEATURES)


def test_blocks_that_are_not_there_are_found():
    with pytest.raises(ValueError, match=r"`blocks` must divide .* \[4\]; got 3"):
        check_state_blocks(sj.gru(4), IN_FEATURES, blocks=3)
    with pytest.raises(AssertionError, match=r"blocks=2, number 0 of block 0 depends on"):
        check_state_blocks(sj.gru(4), IN_FEATURES, blocks=2)


def recurrence(gain):
    """Elman with 24 units: contracting, at the edge or chaotic, by the gain."""
    cell = sj.elman(24)
    params = cell.init(jax.random.key(0), 3)
    params["recurrent"] = gain * params["recurrent"]
    return cell, params, 0.1 * jax.random.normal(jax.random.key(1), (1, 128, 3))


@pytest.mark.parametrize(("gain", "rounds"), [(0.5, (2, 5)), (1.0, (3, 12)), (4.0, (24, 24))])
def test_rounds_grow_with_the_exponent_and_the_result_is_right(gain, rounds, x64):
    cell, params, xs = recurrence(gain)
    report = sj.newton_report(cell, params, xs)
    least, most = rounds
    assert least <= report.iterations[0] <= most
    assert bool(report.converged[0]) == (gain < 4) == (report.sequential[0] == 0)
    got, wanted = (sj.scan(cell, params, xs, method=method)[1] for method in ("newton", "plain"))
    scale = 1e-9 if gain < 4 else 1.0  # Chaos makes of a rounding what it will.
    steps = slice(None) if gain < 4 else slice(0, 16)
    np.testing.assert_allclose(got[:, steps], wanted[:, steps], atol=min(scale, 1e-9))
    assert np.isfinite(got).all()


@pytest.mark.parametrize("make", [sj.para_gru, sj.para_lstm])
def test_diagonal_recurrences_take_few_rounds(make):
    """Even with all recurrent weights at their bound, and in blocks of one unit."""
    cell = make(16)
    params = drawn(cell, 3, scale=10.0)
    params["input"], params["bias"] = 0.1 * params["input"], 0.1 * params["bias"]
    xs = jax.random.normal(jax.random.key(0), (1, 512, 3))
    report = sj.newton_report(cell, params, xs)
    assert report.iterations[0] <= 6 and bool(report.converged[0])
    check_state_blocks(cell, IN_FEATURES)
    assert cell.structure.state_blocks == 16


def test_every_state_follows_from_the_one_before():
    """Also where the rounds did not suffice: of each step, what the cell makes of its carry."""
    cell, params, xs = recurrence(4.0)
    method = sj.Newton(iterations=3, window=50)
    states = sj.trajectory(cell, params, xs, method=method)
    before = jnp.concatenate([jnp.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    np.testing.assert_allclose(states, cell.step(params, before, xs)[0], atol=1e-5)
    report = sj.newton_report(cell, params, xs, method=method)
    assert report.iterations.shape == (4,) and report.sequential.sum() > 20


def test_damping_needs_more_rounds_and_gives_the_same(x64):
    cell, params, xs = recurrence(0.9)
    found = [sj.newton_report(cell, params, xs, method=sj.Newton(damping=d)) for d in (0.0, 0.5)]
    assert found[0].iterations[0] < found[1].iterations[0]
    got = sj.scan(cell, params, xs, method=sj.Newton(damping=0.5))
    chex.assert_trees_all_close(got, sj.scan(cell, params, xs), rtol=1e-10, atol=1e-10)


def test_inside_a_stack_affine_cells_go_their_own_way():
    cell = sj.stack(sj.minimal_gru(3), sj.residual(sj.gru(3)), sj.dense(2))
    params = drawn(cell, IN_FEATURES)
    xs = np.random.default_rng(1).standard_normal((2, 9, IN_FEATURES)).astype(np.float32)
    got, wanted = (sj.scan(cell, params, xs, method=method) for method in ("newton", "auto"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_in_bfloat16():
    cell = sj.gru(4)
    params = sj.cast(drawn(cell, 3), jnp.bfloat16)
    xs = jax.random.normal(jax.random.key(1), (2, 20, 3), jnp.bfloat16)
    (carry, got), (_, wanted) = (sj.scan(cell, params, xs, method=m) for m in ("newton", "plain"))
    assert carry.dtype == got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(got), np.float32(wanted), atol=0.05)


@pytest.mark.parametrize(("width", "platform"), [(1, "cpu"), (3, "cpu"), (3, "tpu")])
def test_the_solution_of_an_affine_recurrence_and_its_transpose(width, platform, x64):
    """Of numbers, of matrices, and of matrices entry by entry."""
    random = np.random.default_rng(0)
    with chosen_for(platform):
        slopes, added = (
            random.standard_normal((5, 2, width, width)),
            random.standard_normal((5, 2, width)),
        )
        d, wanted = np.zeros((2, width)), []
        for j, r in zip(slopes, added, strict=True):
            d = np.einsum("bij,bj->bi", j, d) + r
            wanted.append(d)
        got, back = jax.vjp(lambda r, s=slopes: solve_blocks(s, r), added)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
        g, push = random.standard_normal(added.shape), random.standard_normal(added.shape)
        tangent = solve_blocks(slopes, push)
        np.testing.assert_allclose(jnp.vdot(g, tangent), jnp.vdot(back(g)[0], push), rtol=1e-12)


def test_second_derivatives(x64):
    cell = sj.gru(2)
    params = drawn(cell, 2)
    xs = np.random.default_rng(1).standard_normal((5, 2))
    slope = lambda xs, method: jax.grad(  # noqa: E731
        lambda xs: jnp.sin(sj.scan(cell, params, xs, method=method)[1]).sum()
    )(xs)
    run = jax.jit(
        lambda xs, method: jax.jvp(lambda x: slope(x, method), (xs,), (jnp.ones_like(xs),))[1],
        static_argnums=1,
    )
    np.testing.assert_allclose(run(xs, "newton"), run(xs, "plain"), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sj.Newton(damping=1.0), r"`damping` must be in \[0, 1\), got 1.0"),
        (lambda: sj.Newton(damping="a"), r"`damping` must be in \[0, 1\), got 'a'"),
        (lambda: sj.Newton(tolerance=0.0), "`tolerance` must be above 0 and finite, got 0.0"),
        (lambda: sj.Newton(tolerance="a"), "`tolerance` must be above 0 and finite, got 'a'"),
        (lambda: sj.Newton(tolerance=float("inf")), "`tolerance` must be above 0 and finite"),
        (lambda: sj.Newton(window=0), "`window` must be a positive whole number"),
    ],
)
def test_mistakes_in_the_method(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_report_of_no_steps_and_of_no_sequences():
    cell = sj.gru(4)
    params = drawn(cell, 3)
    assert sj.newton_report(cell, params, jnp.ones((2, 0, 3))).iterations.shape == (0,)
    assert bool(sj.newton_report(cell, params, jnp.ones((0, 5, 3))).converged.all())


def test_mistakes():
    cell, xs = sj.gru(4), jnp.ones((5, 3))
    params = drawn(cell, 3)
    with pytest.raises(ValueError, match=r"`blocks` must divide .* are \[4\]; got 3"):
        sj.scan(cell, params, xs, method=sj.Newton(blocks=3))
    with pytest.raises(ValueError, match=r"state of gru\(4\) falls into 1 blocks .* not into 2"):
        sj.scan(cell, params, xs, method=sj.Newton(blocks=2))  # Or the gradient would be wrong.
    with pytest.raises(ValueError, match="expected one cell that is nonlinear"):
        sj.newton_report(sj.stack(cell), drawn(sj.stack(cell), 3), xs)
    with pytest.raises(ValueError, match="`method` must be 'newton'"):
        sj.newton_report(cell, params, xs, method="plain")

    def step(params, carry, x):
        total, count = carry
        total = jnp.tanh(total + x.sum())
        return (total, count + (total > 0)), total[..., None]

    counts = sj.Cell(
        lambda key, width: (), lambda p, b=(): (jnp.zeros(b), jnp.zeros(b, int)), step, 1
    )
    with pytest.raises(ValueError, match="counters and keys that go their own way"):
        sj.scan(counts, (), xs, method="newton")
