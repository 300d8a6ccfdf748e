"""Writing token by token: against enumeration, and greedy against a beam of one."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.decode.autoregressive import write
from seqjax.decode.search import beam_search, length_normalizer

END, TOKENS, LENGTH = 0, 4, 3


@pytest.fixture(scope="module")
def model():
    """A recurrent model of sequences whose logits depend on all that was written."""
    cell = sj.gru(6)
    params = cell.init(jax.random.key(0), TOKENS)
    head = 3 * jax.random.normal(jax.random.key(1), (6, TOKENS))

    def step(carry, token):
        carry, y = cell.step(params, carry, jax.nn.one_hot(token, TOKENS))
        return carry, y @ head

    start = jax.random.normal(jax.random.key(2), (5, 6))
    return step, start


def sequences():
    """All that can be written: what ends, and what has no room for an end."""
    for length in range(LENGTH + 1):
        for tokens in itertools.product(range(1, TOKENS), repeat=length):
            yield (*tokens, END) if length < LENGTH else tokens


def log_probability(step, carry, tokens):
    last, total = jnp.int32(1), 0.0
    for token in tokens:
        carry, logits = step(carry, last)
        total += jax.nn.log_softmax(logits)[token]
        last = jnp.int32(token)
    return total


@pytest.mark.parametrize("penalty", [0.0, 1.3])
def test_a_beam_as_wide_as_the_space_finds_the_optimum(model, penalty):
    step, start = model
    everything = list(sequences())
    search = functools.partial(
        beam_search, step, end=END, max_length=LENGTH, beams=len(everything), length_penalty=penalty
    )
    found = jax.jit(search)(carry=start, begin=jnp.ones(5, jnp.int32))
    score = jax.jit(lambda carry: [log_probability(step, carry, s) for s in everything])
    for row in range(5):
        known = np.array(score(start[row]))
        lengths = jnp.array([len(s) for s in everything])
        wanted = known / np.asarray(length_normalizer(lengths, penalty))
        order = np.argsort(-wanted)
        for place in range(len(everything)):
            got = found.tokens[row, place].tolist()
            expected = list(everything[order[place]])
            assert got == expected + [END] * (LENGTH - len(expected))
        np.testing.assert_allclose(found.scores[row], wanted[order], rtol=1e-5)
        np.testing.assert_allclose(found.log_probability[row], known[order], rtol=1e-5)
        ended = [END in everything[place] for place in order]
        assert found.ended[row].tolist() == ended
        assert found.lengths[row].tolist() == [
            len(everything[p]) - e for p, e in zip(order, ended, strict=True)
        ]


def test_a_short_end_does_not_stop_what_is_better():
    """After A (.6) comes B (.8), and then the end; ending at once has .4, after A .12."""
    chances = jnp.log(jnp.array([[1, 0, 0, 0], [0.4, 0, 0.6, 0], [0.2, 0, 0, 0.8], [1, 0, 0, 0]]))
    step = lambda carry, token: (carry, chances[token])  # noqa: E731
    found = beam_search(step, (), jnp.int32(1), end=0, max_length=5, beams=2)
    assert found.tokens.tolist() == [[2, 3, 0, 0, 0], [0] * 5]
    np.testing.assert_allclose(jnp.exp(found.scores), [0.48, 0.4], rtol=1e-6)


def beams_without_a_stop(step, carry, length, beams, penalty):
    """`(score, tokens)` of the best, by a search that always goes on to the full length."""
    live, complete = [(0.0, (), carry)], []
    worth = lambda total, steps: total / ((5 + steps) / 6) ** penalty  # noqa: E731
    for t in range(1, length + 1):
        candidates = []
        for total, tokens, before in live:
            after, logits = step(before, jnp.int32(tokens[-1] if tokens else 1))
            known = np.asarray(jax.nn.log_softmax(logits))
            candidates += [(total + known[n], (*tokens, n), after) for n in range(TOKENS)]
        candidates.sort(key=lambda candidate: -candidate[0])
        ended = [one for one in candidates[:beams] if one[1][-1] == END]
        complete += [(worth(total, t), tokens) for total, tokens, _ in ended]
        live = [one for one in candidates if one[1][-1] != END][:beams]
    complete += [(worth(total, length), tokens) for total, tokens, _ in live]
    return sorted(complete, key=lambda one: -one[0])[:beams]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.3])
@pytest.mark.parametrize("beams", [2, 3])
def test_stopping_early_changes_nothing(model, beams, penalty):
    step, start = model
    options = {"end": END, "max_length": 10, "beams": beams, "length_penalty": penalty}
    found = jax.jit(functools.partial(beam_search, step, **options))(
        carry=start, begin=jnp.ones(5, jnp.int32)
    )
    for row in range(5):
        wanted = beams_without_a_stop(jax.jit(step), start[row], 10, beams, penalty)
        np.testing.assert_allclose(found.scores[row], [score for score, _ in wanted], rtol=1e-5)
        for tokens, (_, expected) in zip(found.tokens[row].tolist(), wanted, strict=True):
            assert tokens == [*expected, *[END] * (10 - len(expected))]


def test_it_stops_when_nothing_can_become_better():
    """Every step ends with .5: after two, .5 and .15 are complete and .09 is the best left."""
    step = lambda carry, token: (carry, jnp.log(jnp.array([[0.5, 0.3, 0.2]] * len(token))))  # noqa: E731
    found = beam_search(step, (), jnp.int32(1), end=0, max_length=50, beams=2)
    np.testing.assert_allclose(jnp.exp(found.scores), [0.5, 0.15], rtol=1e-6)
    assert (found.trace.log_probability > -np.inf).any(-1).sum() == 2


@pytest.mark.parametrize("penalty", [0.0, 5.0])
@pytest.mark.parametrize("length", [2, 9])
def test_a_beam_of_one_is_greedy(model, length, penalty):
    step, start = model
    begin = jnp.array([1, 2, 3, 1, 2], jnp.int32)
    options = {"end": END, "max_length": length, "beams": 1, "length_penalty": penalty}
    one = jax.jit(functools.partial(beam_search, step, **options))
    greedy = jax.jit(functools.partial(write, step, end=END, max_length=length))
    found, written = one(carry=start, begin=begin), greedy(carry=start, begin=begin)
    np.testing.assert_array_equal(found.tokens[:, 0], written.tokens)
    np.testing.assert_array_equal(found.lengths[:, 0], written.lengths)
    np.testing.assert_array_equal(found.ended[:, 0], written.ended)
    np.testing.assert_allclose(found.log_probability[:, 0], written.log_probability, rtol=1e-5)
    assert written.ended.any()


def test_more_beams_are_never_worse_here_and_rows_do_not_depend_on_each_other(model):
    step, start = model
    best = []
    for beams in (1, 3):
        search = jax.jit(functools.partial(beam_search, step, end=END, max_length=8, beams=beams))
        together = search(carry=start, begin=jnp.ones(5, jnp.int32))
        alone = search(carry=start[2], begin=jnp.int32(1))
        np.testing.assert_array_equal(together.tokens[2], alone.tokens)
        best.append(together.scores[:, 0])
    assert (best[1] >= best[0] - 1e-6).all() and (best[1] > best[0] + 1e-3).any()


def test_a_constraint_holds_for_beams_and_for_draws(model):
    step, start = model
    begin = jnp.ones(5, jnp.int32)

    def alternate(count, token):
        """2 at even places, anything but 2 at odd ones; no end before the fourth token."""
        two = jnp.arange(TOKENS) == 2
        may = jnp.where((count % 2 == 0)[..., None], two, ~two)
        return count + 1, may & ((jnp.arange(TOKENS) != END) | (count >= 4)[..., None])

    options = {"end": END, "max_length": 6, "allowed": alternate, "state": jnp.zeros(5, jnp.int32)}
    with jax.numpy_rank_promotion("allow"):
        search = jax.jit(lambda start: beam_search(step, start, begin, beams=3, **options).tokens)
        found = np.asarray(search(start)).reshape(-1, 6)
        draw = jax.jit(lambda start, key: write(step, start, begin, key=key, **options).tokens)
        drawn = draw(start, jax.random.key(0))
    for row in (*found.tolist(), *drawn.tolist()):
        row = row[: row.index(END)] if END in row else row
        assert len(row) >= 4
        assert all((token == 2) == (place % 2 == 0) for place, token in enumerate(row))


def test_nothing_allowed_is_an_empty_beam():
    step = lambda carry, token: (carry, jnp.zeros((*token.shape, 3)))  # noqa: E731
    only_end = lambda state, token: (state, jnp.arange(3) == 0)  # noqa: E731
    with jax.numpy_rank_promotion("allow"):
        found = beam_search(step, (), jnp.int32(1), end=0, max_length=4, beams=3, allowed=only_end)
    assert found.scores.tolist()[1:] == [-np.inf, -np.inf] and found.lengths[0] == 0


def no_way_out(state, token):
    """After 1 only 2 may come, after 2 nothing; 0 is followed by 0 or by 3, the end."""
    follow = jnp.zeros((4, 4), bool).at[1, 2].set(True).at[0, 0].set(True).at[0, 3].set(True)
    return state, follow[token]


def always_alike(carry, token):
    return carry, jnp.broadcast_to(jnp.log(jnp.array([0.4, 0.2, 0.3, 0.1])), (*token.shape, 4))


@pytest.mark.parametrize("drawn", [False, True])
def test_a_sequence_that_may_not_go_on_ends(drawn):
    begin, key = jnp.array([1, 2, 0]), jax.random.key(0) if drawn else None
    with jax.numpy_rank_promotion("allow"):
        options = {"end": 3, "max_length": 5, "key": key, "allowed": no_way_out}
        found = jax.jit(lambda begin: write(always_alike, (), begin, **options))(begin)
    found = jax.tree.map(np.asarray, found)
    assert found.tokens[:2].tolist() == [[2, 3, 3, 3, 3], [3] * 5]
    assert found.lengths[:2].tolist() == [1, 0] and found.ended[:2].all()
    np.testing.assert_allclose(np.exp(found.log_probability[:2]), [0.3 * 0.1, 0.1], rtol=1e-5)
    assert (found.tokens[2, : found.lengths[2]] == 0).all()


@pytest.mark.parametrize("beams", [1, 3])
def test_a_beam_that_may_not_go_on_is_lost(beams):
    begin = jnp.array([1, 2, 0])
    options = {"end": 3, "max_length": 4, "length_penalty": 0.5, "allowed": no_way_out}
    with jax.numpy_rank_promotion("allow"):
        search = jax.jit(lambda begin: beam_search(always_alike, (), begin, beams=beams, **options))
        found = jax.tree.map(np.asarray, search(begin))
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(found))
    assert (found.scores[:2] == -np.inf).all() and (found.log_probability[:2] == -np.inf).all()
    assert (found.tokens[:2] == 3).all() and not found.lengths[:2].any()
    assert not found.ended[:2].any()
    assert np.isfinite(found.scores[2]).all() and (found.tokens[2] % 3 == 0).all()


@pytest.mark.parametrize("beams", [None, 1, 3])
def test_rows_that_are_not_wanted_keep_nobody_waiting(beams):
    """The second row does not end by itself."""
    ends = np.array([True, False, True])
    search = write if beams is None else functools.partial(beam_search, beams=beams)

    def step(ends, token):
        jax.debug.callback(lambda: steps.append(1))
        end = jnp.where(ends, 0.99, 0.01)[..., None]
        return ends, jnp.log(jnp.concatenate([end, 1 - end], -1))

    @jax.jit
    def run(rows):
        begin = jnp.zeros(3, jnp.int32)
        return search(step, jnp.asarray(ends), begin, end=0, max_length=30, active=rows)

    few = 1 if beams in (None, 1) else 3
    for rows, count in ((None, 30), (ends, few), (np.zeros(3, bool), 0)):
        steps = []
        found = jax.tree.map(np.asarray, run(rows))
        jax.effects_barrier()
        assert len(steps) == count
        wanted = ends | True if rows is None else rows
        best = jax.tree.map(lambda leaf: leaf.reshape(3, -1)[:, 0], found)
        np.testing.assert_allclose(np.exp(best.log_probability[ends & wanted]), 0.99, rtol=1e-6)
        assert not found.tokens[~wanted].any() and not found.lengths[~wanted].any()
        if beams is not None:
            assert (found.scores[~wanted] == -np.inf).all() and not found.ended[~wanted].any()


def test_draws_follow_the_model():
    chances = jnp.log(jnp.array([[1.0, 0, 0], [0.2, 0.3, 0.5], [1.0, 0, 0]]))
    step = lambda carry, token: (carry, chances[token])  # noqa: E731
    many = jnp.ones(4000, jnp.int32)
    run = jax.jit(
        lambda many, **options: write(
            step, (), many, end=0, max_length=3, key=jax.random.key(0), **options
        )
    )
    drawn = jax.tree.map(np.asarray, run(many))
    first = np.bincount(drawn.tokens[:, 0], minlength=3) / 4000
    np.testing.assert_allclose(first, [0.2, 0.3, 0.5], atol=0.03)
    assert set(drawn.lengths.tolist()) == {0, 1, 2, 3}
    cold = run(many[:2], temperature=0.0)
    assert cold.tokens.tolist() == [[2, 0, 0]] * 2


def test_numbers_that_make_no_sense():
    step = lambda carry, token: (carry, jnp.zeros(3))  # noqa: E731
    with pytest.raises(ValueError, match="beams=0"):
        beam_search(step, (), jnp.int32(1), end=0, max_length=4, beams=0)
    with pytest.raises(ValueError, match="length_penalty=-1"):
        beam_search(step, (), jnp.int32(1), end=0, max_length=4, beams=1, length_penalty=-1.0)


def test_a_step_costs_the_same_however_much_was_written():
    """Nothing in the loop but the trace grows with the length, and of that one row is written."""
    step = lambda carry, token: (carry + 1, jnp.zeros((*token.shape, 5)))  # noqa: E731

    jaxpr = jax.make_jaxpr(functools.partial(beam_search, step, end=0, max_length=77, beams=4))(
        jnp.zeros(2), jnp.ones(2, jnp.int32)
    )
    loop = next(eqn for eqn in jaxpr.jaxpr.eqns if eqn.primitive.name == "while")
    for eqn in loop.params["body_jaxpr"].jaxpr.eqns:
        if any(77 in getattr(var.aval, "shape", ()) for var in eqn.invars):
            assert eqn.params["name"] == "dynamic_update_index_in_dim", eqn
