"""RTRL and SnAp: the influence itself, as far as it is not zero or not left out."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, StepFn, positive_int
from seqjax.core.stack import expect_cell
from seqjax.core.trees import floats
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.online.cut_step import cut_step
from seqjax.online.learner import Learner, batch_of, over_rows
from seqjax.online.sparsity import Sparsity, sparsity_of
from seqjax.online.transition import (
    chosen,
    initial_state,
    leaves_of,
    pulled,
    state_after,
    wide_dtype,
)

LIMIT = 2 << 30
"""Bytes of an influence above which an algorithm asks before it makes one."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseInfluence:
    """The entries of `P_t` that are kept, group by group.

    Attributes:
      blocks: `(*batch, groups, k, m)` for each bundle of groups: how m parameters move k numbers of
        the state. In float32 at least.
      sparsity: which parameters and which numbers.
    """

    blocks: tuple[Array, ...]
    sparsity: Sparsity = dataclasses.field(metadata={"static": True})


def rtrl(cell: Cell, *, layerwise: bool = False, limit: int = LIMIT) -> Learner:
    """Real-time recurrent learning: the exact gradient, forward in time.

        P_t = J_t P_{t-1} + I_t

    No step before the present one is kept, so memory does not grow with time, and a gradient is
    there at every step. All of `P_t` that can differ from zero is kept: for a dense cell n numbers
    for each parameter, with n those of the state; for a cell whose `J_t` is diagonal or falls
    into blocks, one number, or those of a block, as each parameter moves only its own. Which these
    are follows from a trace of the step (`seqjax.online.dependence`), so it holds for any cell.

    For a stack all this is said of the states of all layers together: parameters of a lower layer
    move the states of all layers above it.

    Args:
      cell: any causal cell.
      layerwise: let parameters move the state of their own layer only. A loss still reaches lower
        layers through the upper ones at the same step; what is neglected is that the output of a
        lower layer stays in the state of an upper one. With one recurrent layer, the layers
        below it are those without a state, which then learn from the present step alone.
      limit: bytes of the influence of a whole batch above which `init` raises an error.

    Returns:
      A `Learner`.

    Raises:
      ValueError: from `init`, if the influence would be larger than `limit`, or the state is
        complex.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> learner = sj.online.rtrl(sj.gru(4))
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> carry, x = learner.cell.initial_carry(params, (2,)), jnp.ones((2, 3))
      >>> influence = learner.init(params, x)
      >>> carry, influence, y = learner.step(params, carry, influence, x)
      >>> learner.gradient(params, influence, jnp.ones_like(carry))["bias"].shape
      (3, 4)

    Source: Williams and Zipser 1989 (Neural Computation 1); diagonal cells: Mozer 1989 (Complex
    Systems 3), Zucchet et al. 2023, arXiv:2305.15947.
    """
    expect_cell("rtrl", cell)
    call = f"rtrl({cell}{', layerwise=True' * layerwise})"
    step = cut_step(cell, inputs=True) if layerwise else cell.step
    return sparse_learner(cell, step, cell.step, None, limit, call)


def snap(cell: Cell, steps: int = 1, *, layerwise: bool = False, limit: int = LIMIT) -> Learner:
    """Sparse n-step approximation of RTRL: parameters move what they reach in n steps.

        P_t = M * (J_t P_{t-1} + I_t)

    M is 1 where a parameter reaches a number of the state within n steps, else 0. SnAp-1 keeps what
    a parameter moves directly, for most cells the numbers of its own unit: as much as there are
    parameters. It is exact where `J_t` is diagonal. With n so large that M is full it is RTRL.

    Entries of `J_t` outside of the pattern take a pass over the state for each of its numbers,
    though no memory.

    Args:
      cell: any causal cell.
      steps: n.
      layerwise, limit: as for `rtrl`.

    Returns:
      A `Learner`. The loss of a step is differentiated through the whole of that step, which in the
      paper goes by the mask too.

    Raises:
      ValueError: as for `rtrl`, and if `steps` is not a positive whole number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> learner = sj.online.snap(sj.gru(4), 1)
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> influence = learner.init(params, jnp.ones((2, 3)))
      >>> [block.shape for block in influence.blocks]        # 4 units, 1 number, 27 parameters
      [(2, 4, 1, 27)]

    Source: Menick et al. 2020, arXiv:2006.07232.
    """
    expect_cell("snap", cell)
    steps = positive_int("snap", "steps", steps)
    call = f"snap({cell}, {steps}{', layerwise=True' * layerwise})"
    step = cut_step(cell, inputs=True) if layerwise else cell.step
    return sparse_learner(cell, step, cell.step, steps, limit, call)


def eprop(cell: Cell, *, layerwise: bool = True, limit: int = LIMIT) -> Learner:
    """Eligibility propagation: RTRL along the paths by which a unit remembers itself.

        P_t = D_t P_{t-1} + I_t

    `D_t` is `J_t` without what goes through the recurrent weights. Every product of a gated cell
    with its recurrent weights sees a state that counts as constant, so what is cut is each path
    from the hidden state of one step through a matrix into the gates of the next, a unit's own
    weight on itself included. What stays: the cell state c of an LSTM and its peepholes; h of a
    GRU, by `(1 - z) h`; nothing of an Elman cell, which forgets everything between two steps. `D_t`
    then is diagonal, or has a small block for each unit, and an eligibility trace is as large as
    the parameters. With `reset="before"`, the reset gate of a GRU acts only through such a product
    and learns nothing.

    Of cells that are linear in their state or have a matrix for a state nothing is cut: they feed
    no output back through weights, and e-prop is RTRL.

    Args:
      cell: gated, linear or matrix-valued cells, layers without a state, and stacks of these.
      layerwise: as for `rtrl`.
      limit: as for `rtrl`.

    Returns:
      A `Learner`. The learning signal is the derivative of the loss of a step with respect to
      the state after it, by the true weights, not random ones.

    Raises:
      ValueError: as for `rtrl`; for a cell that does not show its recurrent products.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> learner = sj.online.eprop(sj.lstm(4))
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> influence = learner.init(params, jnp.ones(3))
      >>> [block.shape for block in influence.blocks]     # of 4 units: h alone, or h and c
      [(4, 1, 8), (4, 2, 24)]

    Source: Bellec et al. 2020 (Nature Communications 11), doi:10.1038/s41467-020-17236-y.
    """
    expect_cell("eprop", cell)
    call = f"eprop({cell}{', layerwise=False' * (not layerwise)})"
    step = cut_step(cell, inputs=layerwise, products=True)
    return sparse_learner(cell, step, cut_step(cell, products=True), None, limit, call)


def sparse_learner(
    cell: Cell, step: StepFn, observed: StepFn, steps: int | None, limit: int, call: str
) -> Learner:
    """The learner of a step, whose Jacobians make the influence, and of a pattern."""
    own = _Sparse(cell, step, steps, limit, call)
    return Learner(cell, own.make, own.fresh, own.advance, own.pull, observed, call)


@dataclasses.dataclass(frozen=True)
class _Sparse:
    """The functions of a learner that keeps a part of the influence, at their arguments' names."""

    cell: Cell
    step: StepFn
    steps: int | None
    limit: int
    call: str

    def make(self, params: Params, x: PyTree, key: Any) -> SparseInfluence:
        if key is not None:
            raise ValueError(f"{self.call}: expected no `key`, as it draws no numbers.")
        batch = batch_of(self.cell, x)
        carry = jax.eval_shape(lambda params: self.cell.initial_carry(params, ()), params)
        row = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf)[len(batch) :], leaf.dtype), x
        )
        pattern = sparsity_of(self.cell, self.step, params, carry, row, self.steps)
        dtype = wide_dtype(carry)
        self._expect_small(params, carry, pattern, batch, jnp.dtype(dtype).itemsize)
        shapes = [(*batch, *bundle.shape) for bundle in pattern.bundles]
        blocks = tuple(jnp.zeros(shape, dtype) for shape in shapes)
        return self.fresh(params, SparseInfluence(blocks, pattern))

    def _expect_small(
        self, params: Params, carry: Carry, pattern: Sparsity, batch: tuple[int, ...], item: int
    ) -> None:
        rows = 1
        for size in batch:
            rows *= size
        size = pattern.size * item
        if size * rows <= self.limit:
            return
        weights = sum(leaf.size for leaf in floats(params))
        state = sum(leaf.size for leaf in floats(carry))
        raise ValueError(
            f"{self.call}: expected an influence of at most {self.limit / 1e9:.2g} GB; that of "
            f"{weights:,} parameters on a state of {state:,} numbers has {pattern.size:,} "
            f"numbers, {size / 1e9:.2g} GB for a sequence and {size * rows / 1e9:.2g} GB for the "
            f"batch of {rows}. Use snap(cell, 1), eprop or uoro, a cell that is linear in its "
            "state, a smaller one or fewer sequences; or raise `limit`, now "
            f"{self.limit:,} bytes."
        )

    def fresh(self, params: Params, influence: SparseInfluence) -> SparseInfluence:
        pattern, blocks = influence.sparsity, influence.blocks
        if not pattern.starts:
            return dataclasses.replace(influence, blocks=tuple(map(jnp.zeros_like, blocks)))
        begin = initial_state(self.cell.initial_carry, params, pattern.which)
        weights = chosen(params, pattern.which)
        (direct,) = pulled(begin, (weights,), pattern.seeds(blocks[0].dtype))
        parts = _direct(pattern, direct)
        spread = (jnp.broadcast_to(p, b.shape) for p, b in zip(parts, blocks, strict=True))
        return dataclasses.replace(influence, blocks=tuple(spread))

    def advance(
        self, params: Params, carry: Carry, influence: SparseInfluence, x: PyTree
    ) -> SparseInfluence:
        pattern = influence.sparsity
        if not pattern.bundles:
            return influence
        row = partial(self._advance_row, pattern)
        run = over_rows(row, len(batch_of(self.cell, x)))
        return dataclasses.replace(influence, blocks=run(params, carry, influence.blocks, x))

    def _advance_row(
        self, pattern: Sparsity, params: Params, carry: Carry, blocks: tuple, x: PyTree
    ) -> tuple[Array, ...]:
        dtype = blocks[0].dtype
        move = state_after(self.step, params, pattern.which, carry, x)
        weights, numbers = chosen(params, pattern.which), floats(carry)
        seeds = pattern.seeds(dtype)
        if pattern.closed:
            # Of the numbers with one colour at most one depends on those of a group.
            direct, slopes = pulled(move, (weights, numbers), seeds)
            colours = pattern.colours
        else:
            (direct,) = pulled(lambda weights: move(weights, numbers), (weights,), seeds)
            units = jnp.eye(seeds.shape[1], dtype=dtype)
            (slopes,) = pulled(lambda numbers: move(weights, numbers), (numbers,), units)
            colours = jnp.arange(seeds.shape[1])
        after = []
        for bundle, block, own in zip(
            pattern.bundles, blocks, _direct(pattern, direct), strict=True
        ):
            rows = colours[bundle.states]
            slope = slopes[rows[:, :, None], bundle.states[:, None, :]]
            after.append(jnp.einsum("gab,gbm->gam", slope, block) + own)
        return tuple(after)

    def pull(self, params: Params, influence: SparseInfluence, cotangent: Array) -> list[Array]:
        pattern, leaves = influence.sparsity, floats(params)
        dtype = cotangent.dtype
        found = [jnp.zeros(leaf.shape, dtype) for leaf in leaves]
        if not pattern.bundles:
            return found
        parts = []
        for bundle, block in zip(pattern.bundles, influence.blocks, strict=True):
            d = cotangent[..., bundle.states]
            pulled = jnp.einsum("...gk,...gkm->...gm", d, block)
            parts.append(pulled.reshape(-1, *pulled.shape[-2:]).sum(0).reshape(-1))
        flat = jnp.concatenate([*parts, jnp.zeros((1,), dtype)])[pattern.place]
        wide = [jax.ShapeDtypeStruct(leaf.shape, dtype) for leaf in chosen(params, pattern.which)]
        for index, leaf in zip(pattern.which, leaves_of(flat, wide), strict=True):
            found[index] = leaf
        return found


def _direct(pattern: Sparsity, rows: Array) -> list[Array]:
    """From rows `(colours, parameters)` of a Jacobian its blocks, `(groups, k, m)` each."""
    return [
        rows[pattern.colours[bundle.states][:, :, None], bundle.members[:, None, :]]
        for bundle in pattern.bundles
    ]
