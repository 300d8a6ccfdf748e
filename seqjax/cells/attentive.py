"""Cells that read a memory at every step: decoders with attention."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.attention import SCORES, Memory, Score, attend, attend_in_tiles
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.gates import like_features
from seqjax.core.layers import draw
from seqjax.core.masks import processing_order
from seqjax.core.recurrence import AnyStep
from seqjax.core.stack import expect_cell, no_step
from seqjax.core.steps import Run, batch_major, batch_shape_of, time_major
from seqjax.core.types import Array, Carry, Params, PRNGKeyArray, PyTree


@exportable
class AttentiveParameters(NamedTuple):
    """The parameters of `attentive`: the cell's, the attention's, and the memory it reads.

    `weights` is a dict: `query` `(cell.features, attention)`, `key` `(memory_features,
    attention)`, `output` `(cell.features + memory_features, features)`, `bias` `(features,)`,
    and `score` `(attention,)` if the score is additive. `memory` is None until `attend_to`.
    """

    cell: Params
    weights: dict[str, Array]
    memory: Memory | None


@exportable
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
    input_feeding: bool = False,
) -> Cell:
    """A cell that reads a memory by attention after each step.

        h_t      = cell.step(x_t)                                or, with input feeding,
        h_t      = cell.step([x_t, y_{t-1}])
        e_ts     = score . tanh(h_t query + value_s key)         additive, or
        e_ts     = (h_t query) . (value_s key)                   multiplicative
        weights  = softmax over the valid source positions s of e_t
        c_t      = sum over s of weights_s value_s
        y_t      = tanh([h_t, c_t] output + bias)

    The memory is given to the parameters: `sj.attend_to(params, values, valid)`. It is not part
    of the carry, so a beam search does not copy it, and its keys are computed once.

    Without input feeding, no reading goes back into the cell: a whole sequence is one scan of the
    cell by the fastest engine, and then one reading for all steps. With it, steps depend on
    readings. The gradients of the memory and of all weights are still computed outside of the
    loop over time.

    Args:
      cell: any cell that has a step.
      memory_features: width of the values of the memory.
      features: width of the output, by default that of the cell.
      attention: width of queries and keys, by default that of the cell.
      score: `"additive"` (Bahdanau) or `"multiplicative"` (Luong's "general").
      input_feeding: whether the cell also sees the last output (Luong's input feeding).

    Returns:
      A cell with parameters `AttentiveParameters` and the carry `AttentiveState`. Take
      `sj.trajectory(...).weights` `(*batch, time, positions)` for an alignment.

    Raises:
      TypeError: if the cell has no step.
      ValueError: if there is no such score, or the cell puts out images; from a scan or a step, if
        there is no memory.

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
    if cell.output_ndim != 1 or (input_feeding and cell.input_ndim != 1):
        raise ValueError(
            f"attentive: expected a cell that puts out vectors, and takes them with "
            f"input_feeding=True; {cell} takes rank {cell.input_ndim} and puts out rank "
            f"{cell.output_ndim}. Put sj.space_mean behind cells for images."
        )
    if score not in SCORES:
        raise ValueError(
            f"attentive: `score` must be one of {', '.join(map(repr, SCORES))}; got {score!r}."
        )
    own = _Attentive(
        cell,
        positive_int("attentive", "memory_features", memory_features),
        cell.features if features is None else positive_int("attentive", "features", features),
        cell.features if attention is None else positive_int("attentive", "attention", attention),
        score,
        input_feeding,
    )
    return Cell(
        init=own.init,
        initial_carry=own.initial_carry,
        step=own.step,
        features=own.features,
        input_ndim=cell.input_ndim,
        output_ndim=1,
        sequence=None if input_feeding else own.sequence,
        structure=AnyStep() if input_feeding else None,
    )


@dataclasses.dataclass(frozen=True)
class _Attentive:
    """The equations of `attentive`; fields are its arguments."""

    cell: Cell
    memory_features: int
    features: int
    attention: int
    score: Score
    input_feeding: bool

    def init(self, key: PRNGKeyArray, in_features: int) -> AttentiveParameters:
        glorot, hidden = initializers.Glorot(), self.cell.features
        recipes = {
            "query": (glorot, (hidden, self.attention)),
            "key": (glorot, (self.memory_features, self.attention)),
            "output": (glorot, (hidden + self.memory_features, self.features)),
            "bias": (initializers.Constant(0.0), (self.features,)),
        }
        if self.score == "additive":
            recipes["score"] = (initializers.FanIn(), (self.attention,))
        seen = in_features + self.features if self.input_feeding else in_features
        own, inner = jax.random.split(key)
        return AttentiveParameters(self.cell.init(inner, seen), draw(own, recipes), None)

    def initial_carry(
        self, params: AttentiveParameters, batch_shape: tuple[int, ...] = ()
    ) -> AttentiveState:
        positions = _memory_of(params).valid.shape[-1]
        dtype = params.weights["output"].dtype
        return AttentiveState(
            self.cell.initial_carry(params.cell, batch_shape),
            jnp.zeros((*batch_shape, self.features), dtype) if self.input_feeding else (),
            jnp.zeros((*batch_shape, positions), jnp.promote_types(dtype, jnp.float32)),
        )

    def attend(
        self, params: AttentiveParameters, hidden: Array, read: Callable[..., Any]
    ) -> tuple[Array, Array]:
        """The outputs for hidden states, and the attention weights; `read` reads the memory."""
        weights = params.weights
        queries = (hidden @ weights["query"]).astype(hidden.dtype)
        found, shares = read(_memory_of(params), queries, weights.get("score"))
        y = jnp.concatenate([hidden, found.astype(hidden.dtype)], -1) @ weights["output"]
        return jnp.tanh(y + like_features(weights["bias"], y)), shares

    def step(
        self, params: AttentiveParameters, carry: AttentiveState, x: Array
    ) -> tuple[AttentiveState, Array]:
        if self.input_feeding:
            x = jnp.concatenate([x, carry.attended.astype(x.dtype)], -1)
        inner, hidden = self.cell.step(params.cell, carry.cell, x)
        y, shares = self.attend(params, hidden, _read_one)
        fed = y.astype(carry.attended.dtype) if self.input_feeding else ()
        return AttentiveState(inner, fed, shares.astype(carry.weights.dtype)), y

    def sequence(self, scan, params, carry, initial, xs, steps):
        run = scan(self.cell, params.cell, carry.cell, initial.cell, xs, steps)
        # A memory is read with all queries of a sequence at once.
        batch_ndim = len(batch_shape_of(self.cell, xs))
        found = self.attend(params, batch_major(run.ys, batch_ndim), attend_in_tiles)
        ys, shares = time_major(found, batch_ndim)
        shares = shares.astype(carry.weights.dtype)
        order = processing_order(steps.valid, reverse=steps.reverse)
        taken = order.take(shares)
        carries = None
        if steps.record:
            carries = AttentiveState(run.carries, (), order.held(taken, carry.weights))
        last = order.last(taken, carry.weights)
        return Run(AttentiveState(run.carry, (), last), ys, carries)


def _read_one(memory: Memory, query: Array, vector: Array | None) -> tuple[Array, Array]:
    """Reads a memory with one query for each sequence."""
    found, shares = attend(memory, query[..., None, :], vector)
    return found[..., 0, :], shares[..., 0, :]


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
