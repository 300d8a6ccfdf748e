"""Cells that read a memory at every step: decoders with attention."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.attention import SCORES, Memory, Score, attend, attend_in_tiles
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.layers import draw
from seqjax.core.masks import processing_order
from seqjax.core.recurrence import AnyStep
from seqjax.core.stack import expect_cell, no_step
from seqjax.core.steps import Run, batch_major, batch_shape_of, time_major
from seqjax.core.types import Array, Carry, Params, PyTree


class AttentiveParameters(NamedTuple):
    """The parameters of `attentive`: the cell's, the attention's, and the memory it reads.

    `weights` is a dict: `query` `(cell.features, attention)`, `key` `(memory_features,
    attention)`, `output` `(cell.features + memory_features, features)`, `bias` `(features,)`,
    and `score` `(attention,)` if the score is additive. `memory` is None until `attend_to`.
    """

    cell: Params
    weights: dict[str, Array]
    memory: Memory | None


class AttentiveState(NamedTuple):
    """The carry of the cell inside, what it put out last, and its last attention weights.

    `attended` `(*batch, features)` is `()` unless it is fed to the next step. `weights`
    `(*batch, positions)` are the attention weights of the last reading.
    """

    cell: Carry
    attended: Any
    weights: Array

    settable = ("cell",)


@factory
def attentive(
    cell: Cell,
    memory_features: int,
    *,
    features: int | None = None,
    attention: int | None = None,
    score: Score = "additive",
    feeding: bool = False,
) -> Cell:
    """A cell that reads a memory by attention after each step.

        h_t      = cell.step(x_t)                                or, with feeding,
        h_t      = cell.step([x_t, y_{t-1}])
        e_ts     = score . tanh(h_t query + value_s key)         additive, or
        e_ts     = (h_t query) . (value_s key)                   multiplicative
        weights  = softmax over the valid source positions s of e_t
        c_t      = sum over s of weights_s value_s
        y_t      = tanh([h_t, c_t] output + bias)

    The memory is given to the parameters: `sj.attend_to(params, values, valid)`. It is not part
    of the carry, so a beam search does not copy it, and its keys are computed once.

    Without feeding, nothing that is read goes back into the cell: a whole sequence is one scan
    of the cell by the fastest engine, and then one reading for all steps. With feeding, steps
    depend on readings. The gradients of the memory and of all weights are still computed
    outside of the loop over time.

    Args:
      cell: any cell that has a step.
      memory_features: width of the values of the memory.
      features: width of the output, by default that of the cell.
      attention: width of queries and keys, by default that of the cell.
      score: `"additive"` (Bahdanau) or `"multiplicative"` (Luong's "general").
      feeding: whether the cell also sees the last output (Luong's input feeding).

    Returns:
      A cell with parameters `AttentiveParameters` and the carry `AttentiveState`. Take
      `sj.trajectory(...).weights` `(*batch, time, positions)` for an alignment.

    Raises:
      TypeError: if the cell has no step.
      ValueError: if there is no such score; from a scan or a step, if there is no memory.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.attentive(sj.gru(8), memory_features=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params = sj.attend_to(params, jnp.ones((2, 6, 4)))
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape, carry.weights.shape
      ((2, 5, 8), (2, 6))

    Source: Bahdanau, Cho and Bengio 2014, arXiv:1409.0473, whose attention comes before the
    step and looks with the state before it; here it comes after, as in Luong, Pham and Manning
    2015, arXiv:1508.04025.
    """
    expect_cell("attentive", cell)
    if not cell.causal:
        no_step("attentive", (cell,))(None, None, None)
    if score not in SCORES:
        raise ValueError(
            f"attentive: `score` must be one of {', '.join(map(repr, SCORES))}; got {score!r}."
        )
    read_width = positive_int("attentive", "memory_features", memory_features)
    width = cell.features if features is None else positive_int("attentive", "features", features)
    compared = (
        cell.features if attention is None else positive_int("attentive", "attention", attention)
    )

    def init(key, in_features):
        glorot = initializers.Glorot()
        recipes = {
            "query": (glorot, (cell.features, compared)),
            "key": (glorot, (read_width, compared)),
            "output": (glorot, (cell.features + read_width, width)),
            "bias": (initializers.Constant(0.0), (width,)),
        }
        if score == "additive":
            recipes["score"] = (initializers.FanIn(), (compared,))
        seen = in_features + width if feeding else in_features
        own, inner = jax.random.split(key)
        return AttentiveParameters(cell.init(inner, seen), draw(own, recipes), None)

    def initial_carry(params, batch_shape=()):
        valid = _memory_of(params).valid
        dtype = params.weights["output"].dtype
        return AttentiveState(
            cell.initial_carry(params.cell, batch_shape),
            jnp.zeros((*batch_shape, width), dtype) if feeding else (),
            jnp.zeros((*batch_shape, valid.shape[-1]), jnp.promote_types(dtype, jnp.float32)),
        )

    def look(params, hidden, read):
        """The output of each hidden state and where it looked, by one way of reading or another."""
        weights = params.weights
        queries = (hidden @ weights["query"]).astype(hidden.dtype)
        found, where = read(_memory_of(params), queries, weights.get("score"))
        y = jnp.concatenate([hidden, found.astype(hidden.dtype)], -1) @ weights["output"]
        return jnp.tanh(y + like_features(weights["bias"], y)), where

    def read_one(memory, query, vector):
        found, where = attend(memory, query[..., None, :], vector)
        return found[..., 0, :], where[..., 0, :]

    def step(params, carry, x):
        if feeding:
            x = jnp.concatenate([x, carry.attended.astype(x.dtype)], -1)
        inner, hidden = cell.step(params.cell, carry.cell, x)
        y, where = look(params, hidden, read_one)
        fed = y.astype(carry.attended.dtype) if feeding else ()
        return AttentiveState(inner, fed, where.astype(carry.weights.dtype)), y

    def sequence(scan, params, carry, initial, xs, steps):
        run = scan(cell, params.cell, carry.cell, initial.cell, xs, steps)
        # A memory is read with all queries of a sequence at once.
        batch_ndim = len(batch_shape_of(cell, xs))
        found = look(params, batch_major(run.ys, batch_ndim), attend_in_tiles)
        ys, where = time_major(found, batch_ndim)
        where = where.astype(carry.weights.dtype)
        order = processing_order(steps.valid, reverse=steps.reverse)
        taken = order.take(where)
        carries = None
        if steps.record:
            carries = AttentiveState(run.carries, (), order.held(taken, carry.weights))
        last = order.last(taken, carry.weights)
        return Run(AttentiveState(run.carry, (), last), ys, carries)

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step,
        features=width,
        sequence=None if feeding else sequence,
        structure=AnyStep() if feeding else None,
    )


def attend_to(params: PyTree, values: Array, valid: Array | None = None) -> PyTree:
    """The parameters of an `attentive` cell with a memory to read.

    Its keys are computed here, once for all steps.

    Args:
      params: of `attentive`, or of a cell that has such cells inside; all of them get it.
      values: `(*batch, positions, width)`, such as the outputs of an encoder; `(positions, width)`
        for one memory that all sequences share.
      valid: `(*batch, positions)` bool, the source positions that may be read, by default all.
        Values at the others, NaN included, change nothing.

    Returns:
      Parameters of the same form. They hold data of the batch: use them for a scan
      or for a search, and keep those without a memory.

    Raises:
      ValueError: if the shapes do not fit, or no attentive cell is there.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.attentive(sj.gru(4), memory_features=2)
      >>> values, lengths = jnp.ones((2, 3, 2)), jnp.array([3, 1])
      >>> params = cell.init(jax.random.key(0), 5)
      >>> params = sj.attend_to(params, values, sj.length_mask(lengths, 3))
      >>> carry, y = cell.step(params, cell.initial_carry(params, (2,)), jnp.ones((2, 5)))
      >>> carry.weights[1]
      Array([1., 0., 0.], dtype=float32)
    """
    if values.ndim < 2:
        raise ValueError(
            f"attend_to: values must be (*batch, positions, width), got {values.shape}."
        )
    if valid is None:
        valid = jnp.ones(values.shape[:-1], bool)
    if valid.shape != values.shape[:-1] or valid.dtype != jnp.bool_:
        raise ValueError(
            f"attend_to: valid must be bool of the shape {values.shape[:-1]}, got {valid.dtype} "
            f"of {valid.shape}."
        )

    def give(node: Any) -> Any:
        if not _is_parameters(node):
            return node
        weights = node.weights["key"]
        if values.shape[-1] != weights.shape[0]:
            raise ValueError(
                f"attend_to: the cell reads values that are {weights.shape[0]} wide, its "
                f"memory_features; got {values.shape[-1]}."
            )
        # By selection, so that a NaN in padding goes nowhere.
        kept = jnp.where(valid[..., None], values, jnp.zeros_like(values)).astype(weights.dtype)
        return node._replace(memory=Memory(kept, kept @ weights, valid.astype(kept.dtype)))

    if not is_attentive(params):
        raise ValueError("attend_to: these are not the parameters of an attentive cell.")
    return jax.tree.map(give, params, is_leaf=_is_parameters)


def is_attentive(params: PyTree) -> bool:
    """Whether parameters are those of an attentive cell, or have some inside."""
    return any(map(_is_parameters, jax.tree.leaves(params, is_leaf=_is_parameters)))


def memory_features(params: PyTree) -> int:
    """How wide the values are that attentive cells inside read."""
    nodes = jax.tree.leaves(params, is_leaf=_is_parameters)
    return next(node.weights["key"].shape[0] for node in nodes if _is_parameters(node))


def _is_parameters(node: Any) -> bool:
    return isinstance(node, AttentiveParameters)


def _memory_of(params: AttentiveParameters) -> Memory:
    if params.memory is None:
        raise ValueError(
            "attentive: there is no memory to read. Pass sj.attend_to(params, values, valid) "
            "instead of params."
        )
    return params.memory
