"""Cells and models taken apart into layers, each run by a hook."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_of, zero_masked
from seqjax.core.types import Array, Bool, Carry, Inputs, Params, PyTree
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.dispatch import run_cell
from seqjax.engines.methods import Plain
from seqjax.engines.request import ScanOptions, checked
from seqjax.engines.scan import opened
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
      xs: `(time, *batch, ...)` leaves: inside a scan, time is the first axis.
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
        return time_of(self.xs)

    @property
    def counts(self) -> Bool[Array, "time *batch"]:
        """The valid steps."""
        if self.steps.valid is not None:
            return self.steps.valid
        return jnp.ones((self.time, *self.batch_shape), bool)

    def run(self) -> Run:
        """Runs the layer step by step, as `sj.scan(..., method="plain")` does."""
        return run_cell(
            Plain(), self.cell, self.params, self.carry, self.initial, self.xs, self.steps
        )

    def run_recorded(self) -> tuple[Run, Carry]:
        """The run, and the carry that entered each step, `(time, *batch, ...)`."""
        run = self._replace(steps=dataclasses.replace(self.steps, record=True)).run()
        numbers = jnp.arange(self.time)
        start = before(self.carry, run.carries, numbers, reverse=self.steps.reverse)
        initial = jax.tree.map(lambda leaf: leaf[None], with_keys_of(self.initial, self.carry))
        return run, Boundaries(*self.steps.flags).reset(initial, start)


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
    **options: Unpack[ScanOptions],
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
            run = part.sequence(scan, params, carry, initial, xs, steps)
        else:
            layer = Layer(f"{next(names)}{part!r}", part, params, carry, initial, xs, steps)
            run = hook(layer._replace(steps=steps.counted(layer.time, layer.batch_shape)))
        return run._replace(ys=zero_masked(run.ys, steps.valid))

    whole = whole_cell(cell, params, xs, carry, **options)
    run = scan(cell, params, whole.carry, whole.initial, whole.xs, whole.steps)
    return run.carry, batch_major(run.ys, len(whole.batch_shape))


def whole_cell(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    **options: Unpack[ScanOptions],
) -> Layer:
    """A whole cell as one layer; arguments as for `run_layers`."""
    request = checked(cell, params, xs, carry, **{**options, "checkpoint_every": None})
    return Layer(repr(cell), cell, *opened(request))


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
            module._scan = _scan_with(hook, count, f"{where}: " if where else "")
    return model


def _scan_with(hook: Hook, count: Iterator[int], where: str) -> Callable[..., Any]:
    def scan(cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any):
        names = (f"{number} {where}" for number in count)
        return run_layers(hook, cell, params, xs, carry, names=names, **options)

    return scan
