"""The linear-chain conditional random field (CRF).

A sequence of tags over the unmasked steps, t = 1 ... n, has the score

    score = start[tag_1] + sum over t of emissions[t, tag_t]
            + sum over t > 1 of between[tag_{t-1}, tag_t] + end[tag_n]

and the probability exp(score) / sum over all sequences of exp(their score). All functions take
`emissions` `(*batch, time, tags)`, from a model, `transitions`, which are parameters, and `mask`
`(*batch, time)`. A masked step, at any position, is removed: its neighbours become adjacent. Its
emissions, NaN included, reach neither values nor gradients. A sequence without steps has one
tagging, the empty one, with score 0.

Scores of -inf, or `FORBIDDEN`, their finite stand-in from `forbid`, exclude tags and transitions. A
sequence that uses one has score and log-likelihood -inf, and no gradient. Where no valid sequence
exists, the log-partition and the score of `viterbi` are -inf, the marginals are zeros, and the tags
of `viterbi` are those of a path with the fewest forbidden scores.

All computations are in float32 at least.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.types import Array, Float, Int, Shaped, StepFlags

FORBIDDEN = -1e30
"""A stand-in for -inf: so low that it absorbs any score, while sums of it stay finite.

With -inf itself, gradients would be NaN wherever a tag is unreachable.
"""

Emissions = Float[Array, "*batch time tags"]
Tags = Int[Array, "*batch time"]
Scores = Float[Array, "*batch"]


@exportable
class Transitions(NamedTuple):
    """Transition scores: `between[i, j]` is that of tag j right after tag i."""

    between: Shaped[Array, "tags tags"]
    start: Shaped[Array, " tags"]
    end: Shaped[Array, " tags"]


def crf_score(
    emissions: Emissions, transitions: Transitions, tags: Tags, mask: StepFlags | None = None
) -> Scores:
    """The score of given tags.

    Args:
      emissions: `(*batch, time, tags)`, the score of each tag at each step.
      transitions: the transition scores.
      tags: `(*batch, time)` ints below the number of tags (else the result is NaN); at
        masked steps they may be anything.
      mask: `(*batch, time)` bool, the valid steps; all of them if None.

    Returns:
      `(*batch,)`, unnormalized log-probabilities in nats; 0 for no steps, -inf for invalid tags.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.crf import Transitions, crf_score
      >>> change = Transitions(jnp.array([[0.0, -1.0], [-1.0, 0.0]]), jnp.zeros(2), jnp.zeros(2))
      >>> crf_score(jnp.array([[2.0, 0.0], [0.0, 3.0]]), change, jnp.array([0, 1]))
      Array(4., dtype=float32)
    """
    emissions, transitions, mask = _prepare(emissions, transitions, mask)
    between, start, end = transitions
    numbers = jnp.arange(len(start))

    def remember(last, step):
        tag, counts = step
        return (jnp.where(counts, tag, last[0]), last[1] | counts), last

    def one(emissions, tags, mask):
        nothing = (jnp.zeros_like(tags.sum().astype(tags.dtype)), jnp.zeros_like(mask.any()))
        # Only the previous tag, which has no gradient, is found step by step.
        (last, started), (before, after_start) = jax.lax.scan(remember, nothing, (tags, mask))
        # Selections and a product, because a gather has no definite sharding on a mesh.
        came_before = (before[:, None] == numbers[None]).astype(emissions.dtype)
        onward = jnp.dot(came_before, between, precision=jax.lax.Precision.HIGHEST)
        scores = emissions + jnp.where(after_start[:, None], onward, start[None])
        chosen = tags[:, None] == numbers[None]
        scores = jnp.where(chosen, scores, 0.0).sum(axis=-1)
        scores = jnp.where(chosen.any(axis=-1), scores, jnp.nan)
        final = jnp.where((last == numbers) & started, end, 0.0).sum()
        return _infinite(jnp.where(mask, scores, 0.0).sum() + final)

    return _over_batch(one, mask)(emissions, tags, mask)


def crf_log_partition(
    emissions: Emissions, transitions: Transitions, mask: StepFlags | None = None
) -> Scores:
    """The log-partition: log of the sum, over all sequences of tags, of exp(score).

        alpha[j] = start[j] + emissions[1, j]
        alpha[j] = logsumexp over i of (alpha[i] + between[i, j]) + emissions[t, j],   t > 1
        log Z = logsumexp over j of (alpha[j] + end[j])

    Args:
      emissions: `(*batch, time, tags)`.
      transitions: the transition scores.
      mask: `(*batch, time)` bool, the valid steps; all of them if None.

    Returns:
      `(*batch,)`, in nats; 0 for no steps, -inf where no sequence is valid.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.crf import Transitions, crf_log_partition
      >>> free = Transitions(jnp.zeros((3, 3)), jnp.zeros(3), jnp.zeros(3))
      >>> float(jnp.exp(crf_log_partition(jnp.zeros((2, 3)), free)))       # 3 * 3 sequences
      9.0

    Source: the forward algorithm, Rabiner 1989 (Proceedings of the IEEE); Lafferty, McCallum
    and Pereira 2001 (ICML).
    """
    emissions, transitions, mask = _prepare(emissions, transitions, mask)

    def advance(state, step):
        alpha, total, started = state
        emission, counts = step
        onward = jax.nn.logsumexp(alpha[:, None] + transitions.between, axis=0)
        new = jnp.where(started, onward, transitions.start) + emission
        # The maximum goes into the total, so that the differences, of which the marginals are
        # made, keep their precision however long the sequence is.
        common = jax.lax.stop_gradient(new.max())
        alpha = jnp.where(counts, new - common, alpha)
        return (alpha, total + jnp.where(counts, common, 0.0), started | counts), None

    def one(emissions, mask):
        nothing = jnp.zeros_like(emissions.sum(axis=0))
        state = (nothing, nothing.sum(), jnp.zeros_like(mask.any()))
        # The backward pass recomputes the (tags, tags) terms of a step instead of storing them.
        body = jax.checkpoint(advance, prevent_cse=False)
        (alpha, total, started), _ = jax.lax.scan(body, state, (emissions, mask))
        final = jax.nn.logsumexp(alpha + transitions.end)
        return _infinite(jnp.where(started, total + final, 0.0))

    return _over_batch(one, mask)(emissions, mask)


def crf_log_likelihood(
    emissions: Emissions, transitions: Transitions, tags: Tags, mask: StepFlags | None = None
) -> Scores:
    """The log-probability of given tags: their score minus the log-partition.

    The negative sum over a batch is the loss of a CRF.

    Args:
      emissions: `(*batch, time, tags)`.
      transitions: the transition scores.
      tags: `(*batch, time)` ints below the number of tags (else the result is NaN); at
        masked steps they may be anything.
      mask: `(*batch, time)` bool, the valid steps; all of them if None.

    Returns:
      `(*batch,)`, in nats, at most 0; 0 for no steps. Invalid tags have -inf and no gradient, so
      that a corpus that violates its own scheme shows at once.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.crf import Transitions, crf_log_likelihood
      >>> free = Transitions(jnp.zeros((4, 4)), jnp.zeros(4), jnp.zeros(4))
      >>> float(crf_log_likelihood(jnp.zeros((1, 4)), free, jnp.array([2])))
      -1.3862943649291992
    """
    score = crf_score(emissions, transitions, tags, mask)
    partition = crf_log_partition(emissions, transitions, mask)
    forbidden = score == -jnp.inf
    # Both are -inf where no sequence is valid, and their difference would be NaN.
    return jnp.where(forbidden, -jnp.inf, score - jnp.where(forbidden, 0.0, partition))


def crf_marginals(
    emissions: Emissions, transitions: Transitions, mask: StepFlags | None = None
) -> Float[Array, "*batch time tags"]:
    """The marginal probability of each tag at each step.

        marginals[t, j] = d log Z / d emissions[t, j]

    The derivative of the forward algorithm is the backward algorithm, so JAX runs it.

    Args:
      emissions: `(*batch, time, tags)`.
      transitions: the transition scores.
      mask: `(*batch, time)` bool, the valid steps; all of them if None.

    Returns:
      `(*batch, time, tags)`; each step adds up to 1. Zeros at masked steps, and where no sequence
      is valid. An unreachable tag has exactly 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.crf import Transitions, crf_marginals
      >>> free = Transitions(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(2))
      >>> crf_marginals(jnp.log(jnp.array([[3.0, 1.0], [1.0, 1.0]])), free).round(2)
      Array([[0.75, 0.25],
             [0.5 , 0.5 ]], dtype=float32)
    """
    emissions, transitions, mask = _prepare(emissions, transitions, mask)
    return jax.grad(lambda emissions: crf_log_partition(emissions, transitions, mask).sum())(
        emissions
    )


def viterbi(
    emissions: Emissions, transitions: Transitions, mask: StepFlags | None = None
) -> tuple[Int[Array, "*batch time"], Scores]:
    """The sequence of tags with the highest score.

        best[j] = max over i of (best[i] + between[i, j]) + emissions[t, j]
        from[t, j] = the i of that maximum, the lowest if there are several
        tag_n = argmax over j of (best[j] + end[j]);   tag_{t-1} = from[t, tag_t]

    Args:
      emissions: `(*batch, time, tags)`.
      transitions: the transition scores.
      mask: `(*batch, time)` bool, the valid steps; all of them if None.

    Returns:
      `(tags, score)`: `(*batch, time)` int32, 0 at masked steps, and `(*batch,)`, the
      `crf_score` of these tags, -inf if and only if no sequence is valid.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.crf import Transitions, viterbi
      >>> change = Transitions(jnp.array([[0.0, -5.0], [-5.0, 0.0]]), jnp.zeros(2), jnp.zeros(2))
      >>> viterbi(jnp.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), change)
      (Array([0, 0, 0], dtype=int32), Array(4., dtype=float32))

    Source: Viterbi 1967 (IEEE Transactions on Information Theory).
    """
    emissions, transitions, mask = _prepare(emissions, transitions, mask)

    def advance(state, step):
        best, started = state
        emission, counts = step
        ways = best[:, None] + transitions.between
        new = jnp.where(started, ways.max(axis=0), transitions.start) + emission
        stay = jax.lax.iota(jnp.int32, len(best))
        origin = jnp.where(counts & started, ways.argmax(axis=0).astype(jnp.int32), stay)
        return (jnp.where(counts, new - new.max(), best), started | counts), origin

    def one(emissions, mask):
        state = (jnp.zeros_like(emissions.sum(axis=0)), jnp.zeros_like(mask.any()))
        (best, _), origins = jax.lax.scan(advance, state, (emissions, mask))
        last = (best + transitions.end).argmax().astype(jnp.int32)
        _, tags = jax.lax.scan(lambda tag, origin: (origin[tag], tag), last, origins, reverse=True)
        return jnp.where(mask, tags, 0)

    tags = _over_batch(one, mask)(emissions, mask)
    return tags, crf_score(emissions, transitions, tags, mask)


def forbid(transitions: Transitions, allowed: Transitions) -> Transitions:
    """The transition scores with those of invalid transitions set to `FORBIDDEN`.

    Gradients stay finite, `viterbi` never takes an invalid transition, and its probability is
    exactly 0. Scores of invalid transitions get no gradient.

    Args:
      transitions: scores.
      allowed: the same shapes in bool, such as `allowed_transitions` makes.

    Returns:
      The scores, in float32 at least, with `FORBIDDEN` where `allowed` is False.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.crf import Transitions, forbid
      >>> scores = Transitions(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(2))
      >>> yes = jnp.array([True, True])
      >>> forbid(scores, Transitions(jnp.eye(2) == 1, yes, yes)).between[0]
      Array([ 0.e+00, -1.e+30], dtype=float32)
    """
    return jax.tree.map(
        lambda score, allow: jnp.where(allow, _at_least_float32(score), FORBIDDEN),
        transitions,
        allowed,
    )


def _prepare(emissions, transitions, mask):
    """All scores in one dtype, float32 at least, and finite."""
    if mask is None:
        mask = jnp.ones_like(emissions[..., 0], dtype=bool)
    emissions = jnp.where(mask[..., None], emissions, 0.0)
    everything = (emissions, *transitions)
    dtype = jnp.result_type(jnp.float32, *everything)
    emissions, *scores = (jnp.maximum(x.astype(dtype), FORBIDDEN) for x in everything)
    return emissions, Transitions(*scores), mask


def _at_least_float32(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _infinite(score):
    """-inf, without a gradient, where the score has absorbed a forbidden one."""
    return jnp.where(score <= FORBIDDEN / 2, -jnp.inf, score)


def _over_batch(function, mask):
    """A function of one sequence as a function of arrays with the batch dims of `mask`."""
    for _ in mask.shape[:-1]:
        function = jax.vmap(function)
    return function
