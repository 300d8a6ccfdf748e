"""Cells and models taken apart into layers, each run by a hook."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.noise import restart, with_keys_of
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major
from seqjax.core.types import Array, Bool, Carry, Inputs, Params, PyTree
from seqjax.engines.dispatch import run_cell
from seqjax.engines.methods import Plain
from seqjax.engines.scan import checked
from seqjax.engines.tiles import before
from seqjax.nn.rnn import RNN


class Layer(NamedTuple):
    """One layer and the arguments of its run.

    Attributes:
      name: number, path in the model, and repr of the cell.
      cell: not a composite.
      params: of the cell.
      carry: `(*batch, ...)` leaves, before the first step.
      initial: the carry after a reset.
      xs: `(*batch, time, ...)` leaves.
      steps: masks, resets and the order of steps.
    """

    name: str
    cell: Cell
    params: Params
    carry: Carry
    initial: Carry
    xs: Inputs
    steps: Steps

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The batch dimensions of the inputs."""
        return batch_shape_of(self.cell, self.xs)

    @property
    def time(self) -> int:
        """The number of steps."""
        return jax.tree.leaves(self.xs)[0].shape[len(self.batch_shape)]

    @property
    def counts(self) -> Bool[Array, "*batch time"]:
        """The valid steps."""
        if self.steps.valid is not None:
            return self.steps.valid
        return jnp.ones((*self.batch_shape, self.time), bool)

    def run(self) -> Run:
        """Runs the layer step by step, as `sj.scan(..., method="plain")` does."""
        return run_cell(
            Plain(), self.cell, self.params, self.carry, self.initial, self.xs, self.steps
        )

    def run_recorded(self) -> tuple[Run, Carry]:
        """The run, and the carry that entered each step, `(*batch, time, ...)`."""
        layer = self._replace(steps=dataclasses.replace(self.steps, record=True))
        run, batch_ndim = layer.run(), len(self.batch_shape)
        after = time_major(run.carries, batch_ndim)
        numbers = jnp.arange(self.time)
        start = before(self.carry, after, numbers, reverse=self.steps.reverse)
        if self.steps.resets is not None:
            resets = time_major(self.steps.resets, batch_ndim)
            initial = with_keys_of(self.initial, self.carry)
            start = restart(resets, jax.tree.map(lambda leaf: leaf[None], initial), start)
        return run, batch_major(start, batch_ndim)


Hook = Callable[[Layer], Run]
"""Runs one layer, usually by `layer.run()`, and records what it needs."""


def run_layers(
    hook: Hook,
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    *,
    names: Iterator[str] | None = None,
    **options: Any,
) -> tuple[Carry, PyTree]:
    """Runs a cell as `sj.scan` does, each of its layers by a hook.

    Composites (a stack, both directions, dropout around a cell) are taken apart; every other cell
    is a layer.

    Args:
      hook: runs a layer. It is called once for each, in the order of execution.
      cell, params, xs, carry: as for `sj.scan`.
      names: prefixes of the names of the layers, by default their numbers.
      **options: of `sj.scan`. `method` and `checkpoint_every` have no effect: layers are run step
        by step.

    Returns:
      `(carry, ys)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import run_layers
      >>> cell = sj.stack(sj.gru(4), sj.lstm(2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> def hook(layer):
      ...     print(layer.name, layer.xs.shape)
      ...     return layer.run()
      >>> carry, ys = run_layers(hook, cell, params, jnp.ones((5, 3)))
      1 gru(4) (5, 3)
      2 lstm(2) (5, 4)
    """
    names = names or (f"{number} " for number in itertools.count(1))

    def scan(
        part: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
    ) -> Run:
        # Layers are run whole, however they are checkpointed in training.
        steps = dataclasses.replace(steps, checkpoint_every=None)
        if part.sequence is not None:
            return part.sequence(scan, params, carry, initial, xs, steps)
        layer = Layer(f"{next(names)}{part!r}", part, params, carry, initial, xs, steps)
        return hook(layer._replace(steps=steps.counted(layer.batch_shape, layer.time)))

    whole = whole_cell(cell, params, xs, carry, **options)
    run = scan(cell, params, whole.carry, whole.initial, whole.xs, whole.steps)
    return run.carry, run.ys


def whole_cell(
    cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any
) -> Layer:
    """A whole cell as one layer; arguments as for `run_layers`."""
    settings: dict[str, Any] = {name: None for name in ("lengths", "mask", "resets", "truncate")}
    settings |= {"reverse": False, **options, "checkpoint_every": None}
    settings.pop("method", None)
    xs, carry, steps, batch_shape, _ = checked(cell, params, xs, carry, record=False, **settings)
    initial = cell.initial_carry(params, batch_shape)
    return Layer(repr(cell), cell, params, initial if carry is None else carry, initial, xs, steps)


def with_hook(model: Any, hook: Hook) -> Any:
    """A copy of a model whose recurrent layers are run by a hook.

    Args:
      model: an `nnx.Module`; every `sj.nn.RNN` in it is taken apart.
      hook: see `run_layers`.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.gradients import with_hook
      >>> model = sj.nn.RNN(sj.gru(4), 3, rngs=nnx.Rngs(0))
      >>> names = []
      >>> copy = with_hook(model, lambda layer: names.append(layer.name) or layer.run())
      >>> carry, ys = copy(jnp.ones((2, 5, 3)))
      >>> names
      ['1 gru(4)']
    """
    model = nnx.clone(model)
    count = itertools.count(1)
    for path, module in nnx.iter_modules(model):
        if isinstance(module, RNN):
            where = ".".join(str(part) for part in path if part != "rnn")
            module.scan = _scan_with(hook, count, f"{where}: " if where else "")
    return model


def _scan_with(hook: Hook, count: Iterator[int], where: str) -> Callable[..., Any]:
    def scan(cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any):
        names = (f"{number} {where}" for number in count)
        return run_layers(hook, cell, params, xs, carry, names=names, **options)

    return scan
