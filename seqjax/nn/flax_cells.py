"""Flax cells as seqjax cells, and seqjax cells as Flax cells."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from flax.errors import TraceContextError

from seqjax.core.cell import Cell, expect_outputs, expect_real, factory
from seqjax.core.stack import expect_cell
from seqjax.core.types import Carry, PyTree
from seqjax.nn.parameters import to_arrays, to_variables


@factory
def from_flax(build: Callable[..., nnx.RNNCellBase], features: int) -> Cell:
    """A Flax NNX cell as a `Cell`, with masks, resets, combinators and training.

    The parameters are the Flax module itself, which is a pytree.

    Args:
      build: `(in_features, *, rngs) -> nnx.RNNCellBase`.
      features: width of the cell's output.

    Returns:
      A `Cell`. Its initial carry is that of the Flax cell with key 0; all Flax cells start from
      zeros by default.

    Raises:
      ValueError: from a scan, if a step changes the module, as that of an nnx.Dropout does, or the
        outputs have another width than `features`.

    Example:
      >>> import functools, jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> build = functools.partial(nnx.LSTMCell, hidden_features=4)
      >>> cell = sj.nn.from_flax(build, features=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 4)
    """

    def init(key, in_features):
        module = build(in_features, rngs=nnx.Rngs(key))
        if not isinstance(module, nnx.RNNCellBase):
            raise TypeError(
                f"from_flax: `build` must return an nnx.RNNCellBase, got {type(module)}. Wrap a "
                "Linen cell with nnx.bridge first."
            )
        return module

    def initial_carry(params, batch_shape=()):
        if params.num_feature_axes != 1:
            raise ValueError("from_flax: only cells over feature vectors can be wrapped.")
        # Flax needs the width of the input although no cell's carry depends on it.
        return params.initialize_carry((*batch_shape, 1), nnx.Rngs(0))

    def step(params, carry, x):
        expect_real("from_flax", x, carry)
        before = jax.tree.leaves(params)
        try:
            new, y = params(carry, x)
        except TraceContextError as error:
            raise ValueError(_CHANGES) from error
        if any(old is not new for old, new in zip(before, jax.tree.leaves(params), strict=True)):
            # A module made anew in a loop is fine for Flax, and every step would draw alike.
            raise ValueError(_CHANGES)
        expect_outputs("from_flax", features, y.shape)
        # Some Flax cells widen their carry; ours keep its dtype.
        return jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), new, carry), y

    return Cell(init=init, initial_carry=initial_carry, step=step, features=features)


_CHANGES = (
    "from_flax: a step of the Flax cell changes the module, as the counter of an nnx.Dropout does; "
    "the module is the parameters here, which a step leaves as they are. Build the cell with "
    "`deterministic=True` or without dropout, and put sj.dropout around it."
)


class FlaxCell(nnx.RNNCellBase):
    """A `Cell` as a Flax cell, for `nnx.RNN`, `nnx.Bidirectional` and the like.

    Args:
      cell: any cell over vectors or images that has a `step`.
      in_features: width of the inputs.
      rngs: the source of the parameters' key, its `params` stream.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> rnn = nnx.RNN(sj.nn.FlaxCell(sj.gru(4), 3, rngs=nnx.Rngs(0)))
      >>> rnn(jnp.ones((2, 5, 3))).shape
      (2, 5, 4)
    """

    def __init__(self, cell: Cell, in_features: int, *, rngs: nnx.Rngs):
        expect_cell("FlaxCell", cell)
        self.cell = cell
        self.in_features = in_features
        self.variables = to_variables(cell.init(rngs.params(), in_features))

    def __call__(self, carry: Carry, inputs: PyTree) -> tuple[Carry, PyTree]:
        return self.cell.step(to_arrays(self.variables), carry, inputs)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> Carry:
        """The initial carry for inputs of shape `(*batch, in_features)`, or `(*batch, *space,
        in_features)` for cells over images.

        The cell decides how it starts, so `carry_init` must be None.
        """
        if carry_init is not None:
            raise ValueError(
                f"FlaxCell({self.cell}): the cell has its own initial carry; use "
                "sj.learned_initial_carry, or pass the carry itself, instead of carry_init."
            )
        batch = input_shape[: len(input_shape) - self.num_feature_axes]
        return self.cell.initial_carry(to_arrays(self.variables), tuple(batch))

    @property
    def num_feature_axes(self) -> int:
        return self.cell.input_ndim
