"""What an algorithm is given, checked: every mistake gets one message here."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.keys import batchable
from seqjax.core.misfits import difference, spell_argument
from seqjax.core.stack import expect_cell
from seqjax.core.trees import is_float
from seqjax.core.types import BatchKeys, Carry, PyTree


class InfluenceSizeError(ValueError):
    """An influence would be larger than its limit.

    Args:
      owner: the learner.
      limit: bytes that it may take.
      weights, state: how many parameters and how many numbers of the state there are.
      size: bytes that it would take for one sequence.
      rows: sequences of the batch.
    """

    def __init__(
        self, owner: str, *, limit: int | float, weights: int, state: int, size: int, rows: int
    ):
        self.limit = limit
        self.need = (
            f"that of {weights:,} parameters on a state of {state:,} numbers takes "
            f"{size / 1e9:.2g} GB for a sequence and {size * rows / 1e9:.2g} GB for the batch of "
            f"{rows}"
        )
        super().__init__(
            f"{owner}: expected an influence of at most {limit / 1e9:.2g} GB; {self.need}. Use "
            "snap(cell, 1), eprop or uoro, a cell that is linear in its state, a smaller one or "
            f"fewer sequences; or raise `limit`, now {limit:,} bytes."
        )


def expect_causal(owner: str, cell: Any) -> None:
    """Raises unless `cell` is a `Cell` that goes from step to step."""
    expect_cell(owner, cell)
    if not cell.causal:
        raise ValueError(
            f"{owner}: expected a causal cell, as the influence goes forward with its state; got "
            f"{cell}, which sees the future. Use a forward cell, or jax.grad through sj.scan."
        )


def expect_limit(owner: str, limit: Any) -> None:
    """Raises unless `limit` is a number of bytes."""
    number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if not (number and limit > 0) or math.isnan(limit):
        raise ValueError(f"{owner}: `limit` must be a positive number of bytes, got {limit!r}.")


def expect_learner(owner: str, learner: Any) -> None:
    """Raises unless `learner` is one."""
    if not hasattr(learner, "advance"):
        hint = f" Make one by sj.online.rtrl({learner})." if isinstance(learner, Cell) else ""
        raise TypeError(
            f"{owner}: expected a learner from rtrl, snap, eprop or uoro, got "
            f"{spell_argument(learner)}.{hint}"
        )


def loss_function(owner: Any, loss: Any) -> Any:
    """The loss as a function that programs can be compiled for; raises unless it can be called."""
    if not callable(loss):
        raise TypeError(
            f"{owner}: `loss` must be a function (y, target) -> (*batch,) of one step, got "
            f"{spell_argument(loss)}."
        )
    try:
        hash(loss)
    except TypeError:  # Compiled anew in every call, as what it holds may have changed.
        return lambda y, target: loss(y, target)
    return loss


def expect_terms(owner: Any, terms: Any, batch: tuple[int, ...]) -> None:
    """Raises unless a loss is one real number for each sequence."""
    if jnp.shape(terms) != batch:
        raise ValueError(
            f"{owner}: `loss` must return one number for each sequence, {batch}; it returned "
            f"{jnp.shape(terms)}."
        )
    if not is_float(terms) or jnp.iscomplexobj(terms):
        raise TypeError(
            f"{owner}: `loss` must return real floating-point numbers, which have a gradient; it "
            f"returned {jnp.result_type(terms)}."
        )


def expect_flags(owner: Any, name: str, value: Any, batch: tuple[int, ...]) -> None:
    """Raises unless the flags of a step are one bool for each sequence, or None."""
    if value is not None and (jnp.shape(value), jnp.result_type(value)) != (batch, jnp.bool_):
        raise ValueError(
            f"{owner}: `{name}` must be bool and (*batch,) = {batch} like x; got "
            f"{jnp.result_type(value)} of shape {jnp.shape(value)}."
        )


def expect_cotangent(owner: Any, carry: Carry, cotangent: Any) -> None:
    """Raises unless a cotangent is like a carry, of which that of one sequence is given."""
    own, given = jax.tree.leaves(carry), jax.tree.leaves(cotangent)
    rank = jnp.ndim(given[0]) - jnp.ndim(own[0]) if own and given else 0
    batch = jnp.shape(given[0])[: max(0, rank)] if given else ()
    like = lambda leaf: jax.ShapeDtypeStruct((*batch, *leaf.shape), leaf.dtype)  # noqa: E731
    found = difference(jax.tree.map(like, carry), cotangent, more=False)
    if found is not None:
        raise ValueError(
            f"{owner}: expected a `cotangent` like the carry, {found}. Take the derivative of a "
            "loss with respect to the carry."
        )


def keys_of(owner: str, key: Any, batch: tuple[int, ...]) -> BatchKeys:
    """A key for each sequence, of one or of as many."""
    is_key = hasattr(key, "dtype") and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or (key.dtype == jnp.uint32 and key.ndim > 0)
    )
    advice = "Pass jax.random.key(0), or one key for each sequence."
    if not is_key:
        got = "None" if key is None else spell_argument(key)
        raise ValueError(f"{owner}: expected a `key` for its random signs, got {got}. {advice}")
    keys = batchable(key)
    if keys.shape not in ((), batch):
        raise ValueError(
            f"{owner}: expected one `key`, or keys of shape {batch}, one for each sequence; got "
            f"keys of shape {keys.shape}. {advice}"
        )
    return keys if keys.shape == batch else jax.random.split(keys, batch)


def expect_influence(learner: Any, params: PyTree, x: PyTree, influence: PyTree) -> None:
    """Raises unless an influence is of this learner, and of the batch of `x`, the inputs of one
    step."""
    key = jax.random.key(0) if learner.draws else None
    wanted = jax.eval_shape(lambda params, x: learner.init(params, x, key), params, x)
    found = difference(wanted, influence, more=False)
    if found is None and jax.tree.structure(wanted) != jax.tree.structure(influence):
        found = "got one that another algorithm or another cell keeps"
    if found is not None:
        raise ValueError(
            f"{learner}: expected an `influence` of this learner for these inputs, {found}. Take "
            "learner.init(params, x), or the influence after the piece before."
        )
