"""Sequences generated token by token, greedily or by sampling."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.types import Array, Bool, Carry, Float, Int, PRNGKeyArray, PyTree
from seqjax.decode.sampling import sample
from seqjax.engines.placement import all_varying

__all__ = ["Constraint", "NextToken", "Written", "write"]


@runtime_checkable
class NextToken(Protocol):
    """`(carry, token) -> (carry, logits)`: one step of an autoregressive model.

    It must take any batch dimensions: tokens `(*batch,)`, logits `(*batch, tokens)`.
    """

    def __call__(self, carry: Carry, token: Array, /) -> tuple[Carry, Array]: ...


Constraint = Callable[[PyTree, Array], tuple[PyTree, Array]]
"""`(state, token) -> (state, allowed)`: which tokens may follow, `(*batch, tokens)` bool.

The state, leaves `(*batch, ...)`, is the automaton's own; the first token it sees is the begin
token.
"""


@exportable
class Written(NamedTuple):
    """Generated sequences.

    Attributes:
      tokens: `(*batch, max_length)` int32, padded with the end token.
      lengths: `(*batch,)` int32, without the end token.
      log_probability: `(*batch,)`, of the tokens and of the end token if there is one, in nats.
      ended: `(*batch,)` bool, whether the end token came within `max_length`.
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
    max_length: int,
    key: PRNGKeyArray | None = None,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = 1.0,
    allowed: Constraint | None = None,
    state: PyTree = (),
    active: Array | None = None,
) -> Written:
    """Generates one sequence per batch element, greedily or by sampling.

    It stops as soon as all sequences have ended. Call it inside `jax.jit`.

    Args:
      step: of the model.
      carry: before the first token, leaves `(*batch, ...)`.
      begin: `(*batch,)` int32, the begin token.
      end: the end token.
      max_length: maximum number of tokens.
      key: for sampling; None is greedy decoding.
      temperature, top_k, top_p: see `sample`.
      allowed: restricts what may be generated; see `Constraint`. Probabilities stay those of the
        model. Where nothing is allowed, the sequence ends.
      state: initial state of the constraint.
      active: `(*batch,)` bool, the sequences to generate; the others, such as padding of the
        batch, end at once, with no tokens and log-probability 0. None generates all.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.decode.autoregressive import write
      >>> next_is_less = jnp.eye(4, k=-1)                     # 3 is followed by 2, 2 by 1, ...
      >>> step = lambda carry, token: (carry, next_is_less[token])
      >>> write(step, (), jnp.array([3, 2]), end=0, max_length=5).tokens[:, :3]
      Array([[2, 1, 0],
             [1, 0, 0]], dtype=int32)
    """
    begin = jnp.asarray(begin, jnp.int32)

    def unfinished(now):
        t, *_, ended = now
        return (t < max_length) & ~ended.all()

    def body(now):
        t, carry, state, last, tokens, lengths, log_probability, ended = now
        carry, logits = step(carry, last)
        logits = logits.astype(jnp.float32)
        known = jax.nn.log_softmax(logits, -1)
        state, logits = constrained(allowed, state, last, logits)
        if key is None:
            token = jnp.argmax(logits, -1).astype(jnp.int32)
        else:
            most = logits.shape[-1] if top_k is None else top_k
            token = sample(jax.random.fold_in(key, t), logits, temperature, most, top_p)
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
        jnp.full((max_length, *begin.shape), end, jnp.int32),
        jnp.zeros(begin.shape, jnp.int32),
        jnp.zeros(begin.shape, jnp.float32),
        inactive(active, begin),
    )
    last = jax.lax.while_loop(unfinished, body, all_varying(start))
    *_, tokens, lengths, log_probability, ended = last
    return Written(jnp.moveaxis(tokens, 0, -1), lengths, log_probability, ended)


def inactive(active: Array | None, begin: Array) -> Array:
    """The sequences that are done before they begin."""
    if active is None:
        return jnp.zeros(begin.shape, bool)
    return jnp.broadcast_to(jnp.logical_not(active), begin.shape)


def constrained(
    allowed: Constraint | None, state: PyTree, token: Array, values: Array
) -> tuple[PyTree, Array]:
    """The constraint's next state, and the values with -inf for tokens that may not follow."""
    if allowed is None:
        return state, values
    state, may_follow = allowed(state, token)
    return state, jnp.where(may_follow, values, -jnp.inf)
