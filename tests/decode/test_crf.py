"""The CRF against the enumeration of all sequences, finite differences and pytorch-crf."""

import itertools
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from seqjax.decode import crf
from seqjax.decode.crf import Transitions, forbid

# Compiled as a whole, which takes less time than one operation after the other.
crf_score, crf_log_partition, crf_log_likelihood, crf_marginals, viterbi = map(
    jax.jit,
    (crf.crf_score, crf.crf_log_partition, crf.crf_log_likelihood, crf.crf_marginals, crf.viterbi),
)

GOLDEN = Path(__file__).parent.parent / "golden" / "crf.npz"
TIME, TAGS = 5, 3
MASKS = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool
)


def draw(seed=0, batch=(len(MASKS),), time=TIME, tags=TAGS, dtype=np.float32):
    generator = np.random.default_rng(seed)

    def array(*shape):
        return jnp.asarray(2 * generator.normal(size=shape), dtype)

    transitions = Transitions(array(tags, tags), array(tags), array(tags))
    return array(*batch, time, tags), transitions


def paths(steps, tags):
    return list(itertools.product(range(tags), repeat=steps))


def path_score(emissions, transitions, path):
    """In NumPy and float64: one term after the other, as the definition has it."""
    between, start, end = (np.asarray(x, np.float64) for x in transitions)
    if not path:
        return 0.0
    total = start[path[0]] + end[path[-1]]
    total += sum(between[i, j] for i, j in itertools.pairwise(path))
    return total + sum(emissions[t, tag] for t, tag in enumerate(path))


def enumerate_row(emissions, transitions, mask):
    """`(log_partition, marginals, best path, its score)` of one row."""
    kept = np.asarray(emissions, np.float64)[mask]
    every = paths(len(kept), kept.shape[-1])
    scores = np.array([path_score(kept, transitions, path) for path in every])
    partition = np.logaddexp.reduce(scores)
    marginals = np.zeros(np.shape(emissions))
    for path, score in zip(every, scores, strict=True):
        if np.isfinite(score):
            marginals[np.flatnonzero(mask), list(path)] += np.exp(score - partition)
    best = np.zeros(len(mask), int)
    best[mask] = every[scores.argmax()]
    return partition, marginals, best, scores.max()


def poison(emissions, mask):
    return np.where(np.asarray(mask)[..., None], emissions, np.float32(np.nan))


def test_everything_equals_the_enumeration():
    emissions, transitions = draw()
    given = poison(emissions, MASKS)
    mask = jnp.asarray(MASKS)
    partition = crf_log_partition(given, transitions, mask)
    marginals = crf_marginals(given, transitions, mask)
    tags, score = viterbi(given, transitions, mask)
    for row, valid in enumerate(MASKS):
        wanted = enumerate_row(emissions[row], transitions, valid)
        np.testing.assert_allclose(partition[row], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(marginals[row], wanted[1], atol=1e-5)
        np.testing.assert_array_equal(tags[row], wanted[2])
        np.testing.assert_allclose(score[row], wanted[3], rtol=1e-5)
    assert not marginals[~mask].any() and partition[-1] == 0 and score[-1] == 0


@pytest.mark.parametrize("row", range(len(MASKS)))
def test_the_probabilities_of_all_sequences_are_those_of_their_scores(row):
    emissions, transitions = draw()
    valid = np.flatnonzero(MASKS[row])
    every = paths(len(valid), TAGS)
    # As many for every row, so that all share a program: the last one again and again.
    tags = np.full((TAGS**TIME, TIME), 99)
    tags[: len(every), valid] = np.reshape(every, (len(every), len(valid)))
    tags[len(every) :] = tags[len(every) - 1]
    given = np.tile(poison(emissions[row], MASKS[row]), (len(tags), 1, 1))
    mask = np.tile(MASKS[row], (len(tags), 1))
    score = np.asarray(crf_score(given, transitions, tags, mask))[: len(every)]
    kept = np.asarray(emissions[row])[valid]
    wanted = [path_score(kept, transitions, path) for path in every]
    np.testing.assert_allclose(score, wanted, rtol=1e-5, atol=1e-5)
    likelihood = np.asarray(crf_log_likelihood(given, transitions, tags, mask))[: len(every)]
    np.testing.assert_allclose(np.exp(likelihood).sum(), 1.0, rtol=1e-5)


def test_no_mask_is_a_full_mask():
    emissions, transitions = draw()
    full = jnp.ones(emissions.shape[:-1], bool)
    tags = jnp.zeros(emissions.shape[:-1], int)
    for with_mask, without in (
        (
            crf_log_partition(emissions, transitions, full),
            crf_log_partition(emissions, transitions),
        ),
        (viterbi(emissions, transitions, full), viterbi(emissions, transitions)),
        (
            crf_log_likelihood(emissions, transitions, tags, full),
            crf_log_likelihood(emissions, transitions, tags),
        ),
    ):
        chex.assert_trees_all_equal(with_mask, without)


@pytest.mark.usefixtures("x64")
def test_gradients_are_finite_differences():
    emissions, transitions = draw(1, dtype=np.float64)
    tags = jnp.asarray(np.random.default_rng(1).integers(0, TAGS, MASKS.shape))
    mask = jnp.asarray(MASKS)

    @jax.jit
    def likelihood(emissions, transitions):
        return crf.crf_log_likelihood(emissions, Transitions(*transitions), tags, mask)

    @jax.jit
    def marginals(emissions, transitions):
        return crf.crf_marginals(emissions, Transitions(*transitions), mask)

    check_grads(likelihood, (emissions, tuple(transitions)), order=2, rtol=1e-5)
    check_grads(marginals, (emissions, tuple(transitions)), order=1, rtol=1e-5)


def test_what_is_masked_gets_no_gradient():
    emissions, transitions = draw()
    tags = jnp.full(MASKS.shape, 99)
    tags = jnp.where(jnp.asarray(MASKS), 1, tags)

    @jax.jit
    def gradient(emissions, transitions):
        return jax.grad(
            lambda *given: crf_log_likelihood(*given, tags, jnp.asarray(MASKS)).sum(),
            argnums=(0, 1),
        )(emissions, transitions)

    for fill in (jnp.nan, jnp.inf, -jnp.inf):
        given = jnp.where(jnp.asarray(MASKS)[..., None], emissions, fill)
        gradients = gradient(given, transitions)
        chex.assert_tree_all_finite(gradients)
        assert not gradients[0][~MASKS].any() and gradients[0][MASKS].any()


def test_a_nan_that_counts_is_seen():
    emissions, transitions = draw(batch=())
    emissions = emissions.at[2, 1].set(jnp.nan)
    tags = jnp.ones(TIME, int)
    assert jnp.isnan(crf_log_likelihood(emissions, transitions, tags))
    assert jnp.isnan(crf_log_partition(emissions, transitions))


def test_a_tag_out_of_range_is_seen():
    emissions, transitions = draw(batch=())
    assert jnp.isnan(crf_score(emissions, transitions, jnp.full(TIME, TAGS)))


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_short_sequences_and_any_batch(batch, time):
    emissions, transitions = draw(3, batch, time)
    tags = jnp.zeros((*batch, time), int)
    partition = crf_log_partition(emissions, transitions)
    best, score = viterbi(emissions, transitions)
    assert partition.shape == score.shape == batch and best.shape == tags.shape
    assert crf_marginals(emissions, transitions).shape == emissions.shape
    if time == 0:
        assert not partition.any() and not score.any()
        assert not crf_log_likelihood(emissions, transitions, tags).any()
        return
    sums = np.asarray(emissions[..., 0, :]) + np.asarray(transitions.start + transitions.end)
    np.testing.assert_allclose(partition, np.logaddexp.reduce(sums, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(best[..., 0], sums.argmax(axis=-1))
    np.testing.assert_allclose(
        crf_score(emissions, transitions, tags), sums[..., 0], rtol=1e-5, atol=1e-6
    )


def test_a_single_tag():
    emissions, transitions = draw(4, (2,), 3, tags=1)
    tags = jnp.zeros((2, 3), int)
    np.testing.assert_allclose(crf_log_likelihood(emissions, transitions, tags), 0, atol=1e-5)
    np.testing.assert_allclose(crf_marginals(emissions, transitions), 1)


def test_jit_and_vmap_change_nothing():
    emissions, transitions = draw()
    mask = jnp.asarray(MASKS)
    for function in (crf_log_partition, crf_marginals, viterbi):
        compiled = function(emissions, transitions, mask)
        rows = jax.jit(jax.vmap(function, in_axes=(0, None, 0)))(emissions, transitions, mask)
        chex.assert_trees_all_close(rows, compiled, rtol=1e-5, atol=1e-6)
    tags = jnp.asarray(np.where(MASKS, 2, 0))
    compiled = crf_log_likelihood(emissions, transitions, tags, mask)
    plain = crf.crf_log_likelihood(emissions, transitions, tags, mask)
    rows = jax.jit(jax.vmap(crf_log_likelihood, (0, None, 0, 0)))(
        emissions, transitions, tags, mask
    )
    chex.assert_trees_all_close(compiled, plain, rows, rtol=1e-5, atol=1e-6)


def test_low_precision_is_added_up_in_float32():
    emissions, transitions = draw(5, (2,), 200)
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (emissions, transitions))
    high = jax.tree.map(lambda x: x.astype(jnp.float32), low)
    for function in (crf_log_partition, crf_marginals, viterbi):
        chex.assert_trees_all_equal(function(*low), function(*high))
    tags = jnp.zeros((2, 200), int)
    assert crf_log_likelihood(*low, tags).dtype == jnp.float32
    gradient = jax.grad(lambda x: crf_log_partition(x, low[1]).sum())(low[0])
    assert gradient.dtype == jnp.bfloat16


def test_long_sequences_keep_their_digits():
    """Scores of 1e5 leave float32 two digits after the point; the marginals keep theirs."""
    emissions, transitions = draw(6, (), 2000)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: np.asarray(x, np.float64), (emissions + 50, transitions))
        wide = jax.tree.map(jnp.asarray, wide)
        wanted = np.asarray(crf_marginals(*wide))
        best = np.asarray(viterbi(*wide)[0])
    np.testing.assert_allclose(crf_marginals(emissions + 50, transitions), wanted, atol=1e-4)
    np.testing.assert_array_equal(viterbi(emissions + 50, transitions)[0], best)


def allow(between, start, end):
    return Transitions(*(jnp.asarray(np.array(x, bool)) for x in (between, start, end)))


# A ring: 0 -> 0 or 1, 1 -> 2, 2 -> 0; starts at 0 or 1, ends anywhere but at 1.
RING = allow([[1, 1, 0], [0, 0, 1], [1, 0, 0]], [1, 1, 0], [1, 0, 1])


def test_what_is_forbidden_never_happens():
    emissions, transitions = draw(7)
    # The model insists on what is forbidden.
    emissions = emissions.at[..., 2].add(20.0)
    mask = jnp.asarray(MASKS)
    barred = forbid(transitions, RING)
    partition = crf_log_partition(emissions, barred, mask)
    marginals = crf_marginals(emissions, barred, mask)
    tags, score = viterbi(emissions, barred, mask)
    infinite = jax.tree.map(lambda t, a: jnp.where(a, t, -jnp.inf), transitions, RING)
    for row, valid in enumerate(MASKS):
        wanted = enumerate_row(emissions[row], infinite, valid)
        np.testing.assert_allclose(partition[row], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(marginals[row], wanted[1], atol=1e-5)
        np.testing.assert_array_equal(tags[row], wanted[2])
        np.testing.assert_allclose(score[row], wanted[3], rtol=1e-5)
        if valid.any():
            assert not np.asarray(marginals[row])[np.flatnonzero(valid)[0], 2]
            assert not np.asarray(marginals[row])[np.flatnonzero(valid)[-1], 1]
    # -inf itself may be passed too, and means the same.
    chex.assert_trees_all_equal(crf_marginals(emissions, infinite, mask), marginals)
    chex.assert_trees_all_equal(viterbi(emissions, infinite, mask)[0], tags)


def test_gradients_through_what_is_forbidden_are_finite():
    emissions, transitions = draw(8)
    mask = jnp.asarray(MASKS)
    legal = jnp.broadcast_to(jnp.array([0, 1, 2, 0, 0]), mask.shape)

    def loss(emissions, transitions):
        barred = forbid(transitions, RING)
        tags, _ = viterbi(emissions, barred, mask)
        marginals = crf_marginals(emissions, barred, mask)
        likelihood = crf_log_likelihood(emissions, barred, jnp.where(mask, tags, 0), mask)
        return (
            likelihood.sum()
            + crf_log_likelihood(emissions[:1], barred, legal[:1]).sum()
            + (marginals**2).sum()
        )

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(emissions, transitions)
    assert jnp.isfinite(value)
    chex.assert_tree_all_finite(gradients)
    for gradient, allowed in zip(gradients[1], RING, strict=True):
        assert not gradient[~allowed].any() and gradient[allowed].any()


def test_a_forbidden_sequence_has_no_likelihood_and_no_gradient():
    emissions, transitions = draw(9, (2,))
    tags = jnp.array([[0, 1, 1, 2, 0], [0, 1, 2, 0, 0]])
    barred = forbid(transitions, RING)
    likelihood = crf_log_likelihood(emissions, barred, tags)
    assert likelihood[0] == -jnp.inf and jnp.isfinite(likelihood[1])
    assert crf_score(emissions, barred, tags)[0] == -jnp.inf
    gradient = jax.grad(lambda e: crf_log_likelihood(e, barred, tags).sum())(emissions)
    assert not gradient[0].any() and gradient[1].any() and jnp.isfinite(gradient).all()


def test_where_no_sequence_is_left():
    """One row whose emissions allow nothing that the transitions allow, one with nothing."""
    emissions, transitions = draw(10, (3,), 2)
    emissions = emissions.at[0, 0].set(jnp.array([-jnp.inf, -jnp.inf, 0.0]))
    emissions = emissions.at[2, 1].set(-jnp.inf)
    barred = forbid(transitions, RING)
    infinite = jax.tree.map(lambda t, a: jnp.where(a, t, -jnp.inf), transitions, RING)
    partition = crf_log_partition(emissions, barred)
    np.testing.assert_array_equal(jnp.isfinite(partition), [False, True, False])
    assert not jnp.isnan(partition).any()
    marginals = crf_marginals(emissions, barred)
    assert not marginals[0].any() and not marginals[2].any()
    np.testing.assert_allclose(marginals[1].sum(-1), 1, rtol=1e-5)
    tags, score = viterbi(emissions, barred)
    np.testing.assert_array_equal(score == -jnp.inf, [True, False, True])
    # The one forbidden score that a path needs here: it starts at 2, and goes on lawfully.
    np.testing.assert_array_equal(tags[0], [2, 0])
    given = jnp.array([[2, 0], [0, 0], [0, 0]])
    likelihood = crf_log_likelihood(emissions, barred, given)
    np.testing.assert_array_equal(likelihood == -jnp.inf, [True, False, True])

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def gradients_of(emissions, scores):
        likelihood = crf_log_likelihood(emissions, scores, given)
        return crf_log_partition(emissions, scores).sum() + likelihood.sum()

    for scores in (barred, infinite):
        gradients = gradients_of(emissions, scores)
        chex.assert_tree_all_finite(gradients)
        assert not gradients[0][0].any() and gradients[0][1].any() and not gradients[0][2].any()


@pytest.mark.usefixtures("x64")
def test_pytorch_crf_agrees():
    """Values and gradients of an implementation of others (tests/golden/make_crf.py)."""
    with np.load(GOLDEN) as file:
        golden = {name: jnp.asarray(file[name]) for name in file.files}
    transitions = Transitions(*(golden[name] for name in Transitions._fields))
    tags, mask = golden["tags"], golden["mask"]

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def total(emissions, transitions):
        rows = crf_log_likelihood(emissions, transitions, tags, mask)
        return rows.sum(), rows

    (_, rows), (gradient, moves) = total(golden["emissions"], transitions)
    np.testing.assert_allclose(rows, golden["likelihood"], rtol=1e-12)
    np.testing.assert_allclose(gradient, golden["emissions_gradient"], atol=1e-12)
    for name, ours in zip(Transitions._fields, moves, strict=True):
        np.testing.assert_allclose(ours, golden[f"{name}_gradient"], atol=1e-12)
    best, _ = viterbi(golden["emissions"], transitions, mask)
    np.testing.assert_array_equal(best, golden["decoded"])


@pytest.mark.parametrize("axis_type", [jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit])
def test_rows_on_several_devices(axis_type):
    emissions, transitions = draw(12, (4,), 3)
    tags = jnp.zeros((4, 3), int)
    plain = (crf_log_likelihood(emissions, transitions, tags), viterbi(emissions, transitions))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(axis_type,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        spread, spread_tags = jax.device_put((emissions, tags), jax.P("data"))
        got = jax.jit(
            lambda e, g: (crf_log_likelihood(e, transitions, g), viterbi(e, transitions))
        )(spread, spread_tags)
    chex.assert_trees_all_close(jax.device_get(got), jax.device_get(plain), rtol=1e-5)
