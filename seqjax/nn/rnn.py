"""A recurrent layer around any cell."""

from collections.abc import Callable
from typing import Any, Unpack

from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.noise import seed_carry
from seqjax.core.stack import expect_cell
from seqjax.core.trees import cast
from seqjax.core.types import BatchKeys, Carry, DTypeLike, Inputs, Params, PRNGKeyArray, PyTree
from seqjax.engines.request import ScanOptions, as_arrays, shape_of_batch
from seqjax.engines.scan import scan
from seqjax.nn.parameters import expect_like, to_arrays, to_variables


class RNN(nnx.Module):
    """A Flax module that holds a cell's parameters and runs it by `sj.scan`.

    Args:
      cell: any cell.
      in_features: width of the inputs.
      dtype: dtype of the parameters, by default JAX's own (float32).
      rngs: the source of the parameters' key, its `params` stream.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> rnn = sj.nn.RNN(sj.lstm(4), 3, rngs=nnx.Rngs(0))
      >>> carry, ys = rnn(jnp.ones((2, 5, 3)), lengths=jnp.array([5, 3]))
      >>> ys.shape
      (2, 5, 4)
    """

    _scan: Callable[..., Any] = staticmethod(scan)
    """The scan; `seqjax.gradients` replaces it by one that intercepts every layer."""

    def __init__(
        self, cell: Cell, in_features: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs
    ):
        expect_cell("RNN", cell)
        params = cell.init(rngs.params(), in_features)
        self.cell = cell
        self.in_features = in_features
        self.variables = to_variables(params if dtype is None else cast(params, dtype))

    @property
    def params(self) -> Params:
        """The cell's parameters, as `cell.init` returns them."""
        return to_arrays(self.variables)

    def set_params(self, params: Params) -> None:
        """Replaces the cell's parameters, by those of another run or another library, say.

        Args:
          params: like `self.params`; the dtypes may be others.

        Raises:
          ValueError: if the trees or their shapes differ.

        Example:
          >>> import jax
          >>> import seqjax as sj
          >>> from flax import nnx
          >>> rnn = sj.nn.RNN(sj.gru(4), 3, rngs=nnx.Rngs(0))
          >>> rnn.set_params(jax.tree.map(lambda leaf: leaf / 2, rnn.params))
        """
        expect_like(f"RNN({self.cell}).set_params", params, self.params)
        self.variables = to_variables(params)

    def __call__(
        self,
        xs: Inputs,
        carry: Carry | None = None,
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
        **options: Unpack[ScanOptions],
    ) -> tuple[Carry, PyTree]:
        """Runs the cell over `xs` `(*batch, time, in_features)`: see `sj.scan`.

        Args:
          xs, carry: as for `sj.scan`.
          key: switches dropout and zoneout on, with new random streams; one key, or `(*batch,)` of
            them. With a carry that has them on already, they stay on without a key.
          **options: of `sj.scan`: `lengths`, `mask`, `resets`, `reverse`, `truncate`,
            `checkpoint_every`, `method`.

        Returns:
          `(carry, ys)`.
        """
        if key is not None:
            if carry is None:
                xs = as_arrays(xs)
                carry = self.initial_carry(shape_of_batch(self.cell, xs)[0])
            carry = seed_carry(carry, key)
        return self._scan(self.cell, self.params, xs, carry, **options)

    def step(self, carry: Carry, x: PyTree) -> tuple[Carry, PyTree]:
        """One time step, `x` is `(*batch, in_features)`."""
        return self.cell.step(self.params, carry, x)

    def initial_carry(self, batch_shape: tuple[int, ...] = ()) -> Carry:
        """The carry before the first step."""
        return self.cell.initial_carry(self.params, batch_shape)
