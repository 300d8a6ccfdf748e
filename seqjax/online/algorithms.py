"""RTRL, SnAp and e-prop: which derivatives of a step make the influence, and how much is kept."""

from seqjax.core.cell import Cell, positive_int
from seqjax.online.cut_step import cut_step
from seqjax.online.expectations import expect_causal, expect_limit
from seqjax.online.learner import Learner
from seqjax.online.sparse_influence import LIMIT, sparse_learner


def rtrl(cell: Cell, *, layerwise: bool = False, limit: float = LIMIT) -> Learner:
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
      ValueError: if the cell is not causal, or `limit` no positive number; from `init`, if the
        influence would be larger than `limit`, or the state is complex.

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
    expect_causal("rtrl", cell)
    expect_limit("rtrl", limit)
    call = f"rtrl({cell}{', layerwise=True' * layerwise})"
    step = cut_step(cell, inputs=True) if layerwise else cell.step
    return sparse_learner(cell, step, cell.step, None, limit, call)


def snap(cell: Cell, steps: int = 1, *, layerwise: bool = False, limit: float = LIMIT) -> Learner:
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
    expect_causal("snap", cell)
    expect_limit("snap", limit)
    steps = positive_int("snap", "steps", steps)
    call = f"snap({cell}, {steps}{', layerwise=True' * layerwise})"
    step = cut_step(cell, inputs=True) if layerwise else cell.step
    return sparse_learner(cell, step, cell.step, steps, limit, call)


def eprop(cell: Cell, *, layerwise: bool = True, limit: float = LIMIT) -> Learner:
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
    expect_causal("eprop", cell)
    expect_limit("eprop", limit)
    call = f"eprop({cell}{', layerwise=False' * (not layerwise)})"
    step = cut_step(cell, inputs=layerwise, products=True)
    return sparse_learner(cell, step, cut_step(cell, products=True), None, limit, call)
