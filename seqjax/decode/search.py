"""Beam search over the sequences of an autoregressive model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.types import Array, Bool, Carry, Float, Int, PyTree
from seqjax.decode.autoregressive import Constraint, NextToken, constrained, inactive
from seqjax.engines.placement import all_varying


class Trace(NamedTuple):
    """The whole tree of a beam search, `(*batch, max_length, beams)` each.

    Attributes:
      tokens: of each beam after each step.
      parents: index of the beam before the step that it extends.
      log_probability: of the tokens so far; -inf for a beam that does not exist.
    """

    tokens: Array
    parents: Array
    log_probability: Array


@exportable
class Beams(NamedTuple):
    """The sequences found by a beam search, the best first.

    Attributes:
      tokens: `(*batch, beams, max_length)` int32, padded with the end token.
      lengths: `(*batch, beams)` int32, without the end token.
      scores: `(*batch, beams)`, the log-probability divided by the length penalty; -inf for an
        empty beam (all end tokens), where there are fewer sequences than beams.
      log_probability: `(*batch, beams)` in nats.
      ended: `(*batch, beams)` bool, whether the end token came within `max_length`.
      trace: the tree of the search.
    """

    tokens: Int[Array, "*batch beams length"]
    lengths: Int[Array, "*batch beams"]
    scores: Float[Array, "*batch beams"]
    log_probability: Float[Array, "*batch beams"]
    ended: Bool[Array, "*batch beams"]
    trace: Trace


class _Complete(NamedTuple):
    """Completed hypotheses `(*batch, beams)`: the tokens that led to `beam` at step `lengths`."""

    scores: Array
    log_probability: Array
    lengths: Array
    beam: Array
    ended: Array


class _Search(NamedTuple):
    """The state of the loop."""

    t: Array
    carry: Carry
    state: PyTree
    tokens: Array
    log_probability: Array
    complete: _Complete
    done: Array
    trace: Trace


class _Options(NamedTuple):
    """What stays the same in all steps; `axis` is that of the beams."""

    end: int
    max_length: int
    beams: int
    length_penalty: float
    axis: int


def length_normalizer(lengths: Array, length_penalty: float) -> Array:
    """`((5 + length) / 6) ** length_penalty`, the divisor of log-probabilities.

    Source: Wu et al. 2016, arXiv:1609.08144.
    """
    return ((5.0 + lengths) / 6.0) ** length_penalty


def beam_search(
    step: NextToken,
    carry: Carry,
    begin: Array,
    *,
    end: int,
    max_length: int,
    beams: int,
    length_penalty: float = 0.0,
    allowed: Constraint | None = None,
    state: PyTree = (),
    active: Array | None = None,
) -> Beams:
    """Approximate search for the most probable sequences with `beams` hypotheses.

    At each step every beam is extended by every token. The best `beams` extensions that do not end
    go on; those that end are complete if they are among the best `beams` of all. The best `beams`
    complete hypotheses are kept. A search is done when no live beam can beat the worst of them:

        best live log-probability / length_normalizer(max_length) <= worst complete score

    because log-probabilities only fall and the normalizer only grows, so stopping early changes
    nothing. With a length penalty the bound is loose, and a search may go on to `max_length`.

    One beam is greedy decoding, which stops at its first end token; as many beams as sequences is
    exact search. In between, a prefix of the optimum may be pruned.

    Hypotheses are stored as a trellis of tokens and parents and read back at the end, so time and
    memory per token do not grow with the length.

    Args:
      step: of the model. It is called with `(*batch, beams)` tokens: what it closes over must
        be shared by the beams (`sj.attentive` cells: see `Memory.beside`).
      carry: before the first token, leaves `(*batch, ...)`.
      begin: `(*batch,)` int32, the begin token.
      end: the end token.
      max_length: maximum number of tokens.
      beams: number of hypotheses.
      length_penalty: exponent of the length penalty, 0 or more; see `length_normalizer`. At 0,
        short sequences are favoured.
      allowed: restricts what may be generated; see `Constraint`. Probabilities stay those of the
        model. A beam without an allowed token dies; where all do, nothing is found.
      state: initial state of the constraint.
      active: `(*batch,)` bool, the sequences to search for; the others, such as padding of the
        batch, are done at once and stay empty. None searches for all.

    Raises:
      ValueError: if `beams`, `max_length` or `length_penalty` is out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.search import beam_search
      >>> chances = jnp.log(jnp.array([[1, 0, 0], [0.25, 0.25, 0.5], [0.75, 0.25, 0]]))
      >>> found = beam_search(
      ...     lambda carry, token: (carry, chances[token]), (), jnp.int32(1), end=0, max_length=4,
      ...     beams=2,
      ... )
      >>> found.tokens[0], jnp.exp(found.log_probability)
      (Array([2, 0, 0, 0], dtype=int32), Array([0.375, 0.25 ], dtype=float32))

    Source: Graves 2012, arXiv:1211.3711.
    """
    if beams < 1 or max_length < 1 or not length_penalty >= 0:
        raise ValueError(
            "beam_search: beams and max_length must be at least 1 and length_penalty at least 0, "
            f"got beams={beams}, max_length={max_length}, length_penalty={length_penalty}."
        )
    begin = jnp.asarray(begin, jnp.int32)
    options = _Options(end, max_length, beams, length_penalty, begin.ndim)
    start = _start(begin, carry, state, inactive(active, begin), options)
    last = jax.lax.while_loop(
        lambda now: (now.t < max_length) & ~now.done.all(),
        lambda now: _extend(step, allowed, now, options),
        all_varying(start),
    )
    return _result(last, options)


def _start(begin: Array, carry: Carry, state: PyTree, done: Array, options: _Options) -> _Search:
    """One live beam, the empty prefix."""
    axis, wide = options.axis, (*begin.shape, options.beams)

    def repeat(leaf):
        return jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*wide, *leaf.shape[axis:]))

    nothing, zeros = jnp.full(wide, -jnp.inf), jnp.zeros(wide, jnp.int32)
    steps = jnp.zeros((options.max_length, *wide), jnp.int32)
    return _Search(
        t=jnp.int32(0),
        carry=jax.tree.map(repeat, carry),
        state=jax.tree.map(repeat, state),
        tokens=repeat(begin),
        log_probability=nothing.at[..., 0].set(0.0),
        complete=_Complete(nothing, nothing, zeros, zeros, jnp.zeros(wide, bool)),
        done=done,
        trace=Trace(steps, steps, jnp.full((options.max_length, *wide), -jnp.inf)),
    )


def _extend(
    step: NextToken, allowed: Constraint | None, now: _Search, options: _Options
) -> _Search:
    """All beams extended by one token."""
    end, max_length, beams, length_penalty, axis = options
    carry, logits = step(now.carry, now.tokens)
    known = jax.nn.log_softmax(logits.astype(jnp.float32), -1)
    state, known = constrained(allowed, now.state, now.tokens, known)
    count = known.shape[-1]
    extended = now.log_probability[..., None] + known
    value, which = jax.lax.top_k(
        extended.reshape(*now.done.shape, beams * count), min(2 * beams, beams * count)
    )
    parent, token = which // count, (which % count).astype(jnp.int32)
    ends = token == end

    rank = jax.lax.broadcasted_iota(jnp.int32, ends.shape, axis)
    completed = ends & (rank < beams) & ~now.done[..., None]
    score = jnp.where(completed, value / length_normalizer(now.t + 1.0, length_penalty), -jnp.inf)
    new = _Complete(score, value, jnp.full_like(parent, now.t), parent, completed)
    complete = _best(now.complete, new, options)

    # The live ones, in order; of each beam at most one candidate ends.
    order = jnp.argsort(ends, axis=-1, stable=True)[..., :beams]
    token, parent, value, ends = (_pick(x, order, axis) for x in (token, parent, value, ends))
    value = jnp.where(ends, -jnp.inf, value)
    bound = value[..., 0] / length_normalizer(jnp.float32(max_length), length_penalty)
    worst = complete.scores[..., -1]
    done = now.done | (bound <= worst)
    if beams == 1:
        # Greedy decoding stops at its first end, whatever the length penalty promises.
        done |= worst > -jnp.inf
    return _Search(
        t=now.t + 1,
        carry=jax.tree.map(lambda leaf: _pick(leaf, parent, axis), carry),
        state=jax.tree.map(lambda leaf: _pick(leaf, parent, axis), state),
        tokens=token,
        log_probability=value,
        complete=complete,
        done=done,
        trace=jax.tree.map(
            lambda steps, one: jax.lax.dynamic_update_index_in_dim(steps, one, now.t, 0),
            now.trace,
            Trace(token, parent, value),
        ),
    )


def _result(last: _Search, options: _Options) -> Beams:
    """The best of the complete hypotheses and of the live ones cut off at the maximum length."""
    length, wide = options.max_length, last.tokens.shape
    live = ~last.done[..., None] & (last.log_probability > -jnp.inf)
    normalizer = length_normalizer(jnp.float32(length), options.length_penalty)
    score = jnp.where(live, last.log_probability / normalizer, -jnp.inf)
    beam = jnp.broadcast_to(jnp.arange(options.beams), wide)
    cut_off = _Complete(
        score, last.log_probability, jnp.full(wide, length), beam, jnp.zeros(wide, bool)
    )
    found = _best(last.complete, cut_off, options)
    tokens = _backtrace(last.trace, found, options.end)
    trace = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), last.trace)
    return Beams(tokens, found.lengths, found.scores, found.log_probability, found.ended, trace)


def _pick(leaf: Array, which: Array, axis: int) -> Array:
    """Entries `(*batch, n, ...)` of a leaf `(*batch, m, ...)`."""
    index = which.reshape(which.shape + (1,) * (leaf.ndim - which.ndim))
    return jnp.take_along_axis(leaf, index, axis)


def _best(old: _Complete, new: _Complete, options: _Options) -> _Complete:
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b.astype(a.dtype)], -1), old, new)
    _, which = jax.lax.top_k(both.scores, options.beams)
    return jax.tree.map(lambda leaf: _pick(leaf, which, options.axis), both)


def _backtrace(trace: Trace, found: _Complete, end: int) -> Array:
    """The tokens `(*batch, beams, max_length)`, read from the last to the first."""

    def back(beam, now):
        t, tokens, parents = now
        inside = t < found.lengths
        token = jnp.where(inside, jnp.take_along_axis(tokens, beam, -1), end)
        return jnp.where(inside, jnp.take_along_axis(parents, beam, -1), beam), token

    times = jnp.arange(trace.tokens.shape[0])
    _, tokens = jax.lax.scan(
        back, all_varying(found.beam), (times, trace.tokens, trace.parents), reverse=True
    )
    return jnp.moveaxis(tokens, 0, -1)
