"""Sequences written token by token: drawn, or found by beam search."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, Bool, Carry, Float, Int, PRNGKeyArray, PyTree
from seqjax.decode.sampling import sample
from seqjax.engines.placement import all_varying


@runtime_checkable
class NextToken(Protocol):
    """`(carry, token) -> (carry, logits)`: one step of a model that writes.

    It must take any batch dimensions: tokens `(*batch,)`, logits `(*batch, tokens)`.
    """

    def __call__(self, carry: Carry, token: Array, /) -> tuple[Carry, Array]: ...


Constraint = Callable[[PyTree, Array], tuple[PyTree, Array]]
"""`(state, token) -> (state, allowed)`: what may follow a token, `(*batch, tokens)` bool.

The state, leaves `(*batch, ...)`, is whatever it has to remember; the first token that it sees
is the one before all others.
"""


class Written(NamedTuple):
    """Sequences that were drawn.

    Attributes:
      tokens: `(*batch, length)` int32; behind the end of a sequence all are the end token.
      lengths: `(*batch,)` int32, without the end token.
      log_probability: `(*batch,)`, of the tokens and of the end if there is one, in nats.
      ended: `(*batch,)` bool, whether the end token was written before there was no room left.
    """

    tokens: Int[Array, "*batch length"]
    lengths: Int[Array, "*batch"]
    log_probability: Float[Array, "*batch"]
    ended: Bool[Array, "*batch"]


def write(
    step: NextToken,
    carry: Carry,
    begin: Array,
    *,
    end: int,
    length: int,
    key: PRNGKeyArray | None = None,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = 1.0,
    allowed: Constraint | None = None,
    state: PyTree = (),
    rows: Array | None = None,
) -> Written:
    """Writes one sequence for each row, the likeliest token each time or tokens drawn.

    It stops as soon as all rows have ended. Call it inside `jax.jit`.

    Args:
      step: of the model.
      carry: before the first token, leaves `(*batch, ...)`.
      begin: `(*batch,)` int32, the token before the first.
      end: the token that ends a sequence.
      length: tokens of a sequence, at most.
      key: for drawing; None takes the likeliest token each time (greedy decoding).
      temperature, top_k, top_p: see `sample`.
      allowed: restricts what may be written; see `Constraint`. Probabilities stay those of the
        model. Where nothing is allowed, the end token is written.
      state: of the constraint before the first token.
      rows: `(*batch,)` bool, the rows that are wanted; the others, such as padding of a batch,
        end at once, with no tokens and log-probability 0. None wants all.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.search import write
      >>> next_is_less = jnp.eye(4, k=-1)                     # 3 is followed by 2, 2 by 1, ...
      >>> step = lambda carry, token: (carry, next_is_less[token])
      >>> write(step, (), jnp.array([3, 2]), end=0, length=5).tokens[:, :3]
      Array([[2, 1, 0],
             [1, 0, 0]], dtype=int32)
    """
    begin = jnp.asarray(begin, jnp.int32)

    def going_on(now):
        t, *_, ended = now
        return (t < length) & ~ended.all()

    def body(now):
        t, carry, state, last, tokens, lengths, log_probability, ended = now
        carry, logits = step(carry, last)
        logits = logits.astype(jnp.float32)
        known = jax.nn.log_softmax(logits, -1)
        state, logits = _constrained(allowed, state, last, logits)
        if key is None:
            token = jnp.argmax(logits, -1).astype(jnp.int32)
        else:
            most = logits.shape[-1] if top_k is None else top_k
            token = sample(jax.random.fold_in(key, t), logits, temperature, most, top_p)
        # Where nothing is allowed, only the end is left.
        stuck = (logits == -jnp.inf).all(-1)
        token = jnp.where(ended | stuck, end, token)
        gained = jnp.take_along_axis(known, token[..., None], -1)[..., 0]
        log_probability = log_probability + jnp.where(ended, 0.0, gained)
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, t, 0)
        ended = ended | (token == end)
        return t + 1, carry, state, token, tokens, lengths + ~ended, log_probability, ended

    start = (
        jnp.int32(0),
        carry,
        state,
        begin,
        jnp.full((length, *begin.shape), end, jnp.int32),
        jnp.zeros(begin.shape, jnp.int32),
        jnp.zeros(begin.shape, jnp.float32),
        _unwanted(rows, begin),
    )
    last = jax.lax.while_loop(going_on, body, all_varying(start))
    *_, tokens, lengths, log_probability, ended = last
    return Written(jnp.moveaxis(tokens, 0, -1), lengths, log_probability, ended)


class Trace(NamedTuple):
    """All that a beam search looked at, for a picture of the tree: `(*batch, length, beams)`.

    Attributes:
      tokens: of each beam after each step.
      parents: the beam before the step that it goes on from.
      log_probability: of the tokens so far; -inf where there is no such beam.
    """

    tokens: Array
    parents: Array
    log_probability: Array


class Beams(NamedTuple):
    """The sequences that a beam search found, the best first.

    Attributes:
      tokens: `(*batch, beams, length)` int32; behind the end all are the end token.
      lengths: `(*batch, beams)` int32, without the end token.
      scores: `(*batch, beams)`, the log-probability by the length penalty; -inf for a beam that
        holds nothing (all end tokens), because there are not so many sequences.
      log_probability: `(*batch, beams)` in nats.
      ended: `(*batch, beams)` bool, whether the end token was found before there was no room.
      trace: what was looked at on the way.
    """

    tokens: Int[Array, "*batch beams length"]
    lengths: Int[Array, "*batch beams"]
    scores: Float[Array, "*batch beams"]
    log_probability: Float[Array, "*batch beams"]
    ended: Bool[Array, "*batch beams"]
    trace: Trace


class _Ended(NamedTuple):
    """Sequences that are complete, `(*batch, beams)`: their tokens are those that led to the
    beam `place` at step `length`."""

    scores: Array
    log_probability: Array
    lengths: Array
    places: Array
    ended: Array


class _Search(NamedTuple):
    t: Array
    carry: Carry
    state: PyTree
    tokens: Array
    log_probability: Array
    complete: _Ended
    done: Array
    trace: Trace


def length_penalty(lengths: Array, strength: float) -> Array:
    """`((5 + length) / 6) ** strength`, by which log-probabilities are divided.

    Source: Wu et al. 2016, arXiv:1609.08144.
    """
    return ((5.0 + lengths) / 6.0) ** strength


def beam_search(
    step: NextToken,
    carry: Carry,
    begin: Array,
    *,
    end: int,
    length: int,
    beams: int,
    penalty: float = 0.0,
    allowed: Constraint | None = None,
    state: PyTree = (),
    rows: Array | None = None,
) -> Beams:
    """The likeliest sequences that a search with so many beams finds.

    At each step every beam is continued by every token. Of all these, the best `beams` that do
    not end go on; those that end are set aside if they are among the best `beams` of all. Of
    what is set aside, the best `beams` are kept. A row is done when no beam that goes on can
    still be better than the worst of them:

        best log-probability that goes on / length_penalty(length) <= worst score set aside

    because log-probabilities only fall, and nothing divides them by more than the full length
    does. So stopping early changes nothing. With a penalty the bound is loose, and rows may well
    go on up to `length`.

    With one beam this is greedy decoding, which stops at its first end. With as many beams as
    there are sequences it finds the best there is. In between nothing is certain: what would
    have become the best may have been left out early.

    What is written is kept as tokens and parents, step by step, and put together at the end:
    time and memory for a token do not grow with what was written before.

    Args:
      step: of the model. It is called with `(*batch, beams)` tokens: what it closes over must
        be shared by the beams (`sj.attentive` cells: see `Memory.beside`).
      carry: before the first token, leaves `(*batch, ...)`.
      begin: `(*batch,)` int32, the token before the first.
      end: the token that ends a sequence.
      length: tokens of a sequence, at most.
      beams: how many.
      penalty: strength of the length penalty, 0 or more; see `length_penalty`. Without any,
        short sequences are favoured.
      allowed: restricts what may be written; see `Constraint`. Probabilities stay those of the
        model. A beam that may not go on is lost; where all are, the row holds nothing.
      state: of the constraint before the first token.
      rows: `(*batch,)` bool, the rows that are wanted; the others, such as padding of a batch,
        are done at once and hold nothing. None wants all.

    Raises:
      ValueError: if a number makes no sense.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.search import beam_search
      >>> chances = jnp.log(jnp.array([[1, 0, 0], [0.25, 0.25, 0.5], [0.75, 0.25, 0]]))
      >>> found = beam_search(
      ...     lambda carry, token: (carry, chances[token]), (), jnp.int32(1), end=0, length=4,
      ...     beams=2,
      ... )
      >>> found.tokens[0], jnp.exp(found.log_probability)
      (Array([2, 0, 0, 0], dtype=int32), Array([0.375, 0.25 ], dtype=float32))

    Source: Graves 2012, arXiv:1211.3711.
    """
    if beams < 1 or length < 1 or not penalty >= 0:
        raise ValueError(
            f"beam_search: beams and length must be at least 1 and penalty at least 0, got "
            f"beams={beams}, length={length}, penalty={penalty}."
        )
    begin = jnp.asarray(begin, jnp.int32)
    axis = begin.ndim
    wide = (*begin.shape, beams)

    def spread(leaf):
        return jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*wide, *leaf.shape[axis:]))

    nothing = jnp.full(wide, -jnp.inf)
    zeros = jnp.zeros(wide, jnp.int32)
    steps = jnp.zeros((length, *wide), jnp.int32)
    start = _Search(
        t=jnp.int32(0),
        carry=jax.tree.map(spread, carry),
        state=jax.tree.map(spread, state),
        tokens=spread(begin),
        log_probability=nothing.at[..., 0].set(0.0),
        complete=_Ended(nothing, nothing, zeros, zeros, jnp.zeros(wide, bool)),
        done=_unwanted(rows, begin),
        trace=Trace(steps, steps, jnp.full((length, *wide), -jnp.inf)),
    )

    def going_on(now: _Search):
        return (now.t < length) & ~now.done.all()

    def body(now: _Search) -> _Search:
        carry, logits = step(now.carry, now.tokens)
        known = jax.nn.log_softmax(logits.astype(jnp.float32), -1)
        state, known = _constrained(allowed, now.state, now.tokens, known)
        count = known.shape[-1]
        together = (now.log_probability[..., None] + known).reshape(*begin.shape, beams * count)
        value, which = jax.lax.top_k(together, min(2 * beams, beams * count))
        parent, token = which // count, (which % count).astype(jnp.int32)
        ends = token == end

        rank = jax.lax.broadcasted_iota(jnp.int32, ends.shape, axis)
        taken = ends & (rank < beams) & ~now.done[..., None]
        score = jnp.where(taken, value / length_penalty(now.t + 1.0, penalty), -jnp.inf)
        new = _Ended(score, value, jnp.full_like(parent, now.t), parent, taken)
        complete = _best(now.complete, new, beams, axis)

        # Those that do not end, in order; of each beam at most one candidate ends.
        order = jnp.argsort(ends, axis=-1, stable=True)[..., :beams]
        token, parent, value, ends = (_pick(x, order, axis) for x in (token, parent, value, ends))
        value = jnp.where(ends, -jnp.inf, value)
        hope = value[..., 0] / length_penalty(jnp.float32(length), penalty)
        worst = complete.scores[..., -1]
        done = now.done | (hope <= worst)
        if beams == 1:
            # Greedy decoding stops at its first end, whatever a penalty promises for going on.
            done |= worst > -jnp.inf
        made = Trace(token, parent, value)
        return _Search(
            t=now.t + 1,
            carry=jax.tree.map(lambda leaf: _pick(leaf, parent, axis), carry),
            state=jax.tree.map(lambda leaf: _pick(leaf, parent, axis), state),
            tokens=token,
            log_probability=value,
            complete=complete,
            done=done,
            trace=jax.tree.map(
                lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, now.t, 0),
                now.trace,
                made,
            ),
        )

    last = jax.lax.while_loop(going_on, body, all_varying(start))
    # Beams for which there was no room left, in rows that are not done.
    open_ = ~last.done[..., None] & (last.log_probability > -jnp.inf)
    score = jnp.where(
        open_, last.log_probability / length_penalty(jnp.float32(length), penalty), -jnp.inf
    )
    place = jnp.broadcast_to(jnp.arange(beams), wide)
    left = _Ended(score, last.log_probability, jnp.full(wide, length), place, jnp.zeros(wide, bool))
    found = _best(last.complete, left, beams, axis)
    tokens = _follow(last.trace, found, end)
    here = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), last.trace)
    return Beams(tokens, found.lengths, found.scores, found.log_probability, found.ended, here)


def _unwanted(rows: Array | None, begin: Array) -> Array:
    """The rows that are over before they begin."""
    if rows is None:
        return jnp.zeros(begin.shape, bool)
    return jnp.broadcast_to(jnp.logical_not(rows), begin.shape)


def _constrained(
    allowed: Constraint | None, state: PyTree, token: Array, values: Array
) -> tuple[PyTree, Array]:
    if allowed is None:
        return state, values
    state, may = allowed(state, token)
    return state, jnp.where(may, values, -jnp.inf)


def _pick(leaf: Array, which: Array, axis: int) -> Array:
    """Entries `(*batch, n, ...)` of a leaf `(*batch, m, ...)`."""
    index = which.reshape(which.shape + (1,) * (leaf.ndim - which.ndim))
    return jnp.take_along_axis(leaf, index, axis)


def _best(old: _Ended, new: _Ended, beams: int, axis: int) -> _Ended:
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b.astype(a.dtype)], -1), old, new)
    _, which = jax.lax.top_k(both.scores, beams)
    return jax.tree.map(lambda leaf: _pick(leaf, which, axis), both)


def _follow(trace: Trace, found: _Ended, end: int) -> Array:
    """The tokens `(*batch, beams, length)` of sequences, from the last to the first."""

    def back(place, now):
        t, tokens, parents = now
        inside = t < found.lengths
        token = jnp.where(inside, jnp.take_along_axis(tokens, place, -1), end)
        return jnp.where(inside, jnp.take_along_axis(parents, place, -1), place), token

    times = jnp.arange(trace.tokens.shape[0])
    _, tokens = jax.lax.scan(
        back, all_varying(found.places), (times, trace.tokens, trace.parents), reverse=True
    )
    return jnp.moveaxis(tokens, 0, -1)
