"""A cell taken apart into the layers that have a state, each run with a look at what it does."""

from collections.abc import Callable
from typing import Any

from seqjax.core.cell import Cell
from seqjax.core.run import Run, Steps, batch_shape_of
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.scan import checked

Look = Callable[..., Run]
"""`(number, cell, params, carry, initial, xs, steps) -> Run`: runs one layer, the n-th met."""


def run_layers(
    look: Look,
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None,
    **options: Any,
) -> tuple[Carry, PyTree]:
    """Runs a cell as `sj.scan` does, each of its layers by `look`.

    A composite (a stack, both directions, dropout around a cell) says how it runs in terms of its
    parts; what has no parts is a layer.

    Args:
      look: runs a layer. It is called once for each, in the order in which they run.
      cell, params, xs, carry: as for `sj.scan`.
      **options: `lengths`, `mask`, `resets`, `reverse` and `truncate` of `sj.scan`.

    Returns:
      `(carry, ys)`.
    """
    settings: dict[str, Any] = {
        "lengths": None,
        "mask": None,
        "resets": None,
        "reverse": False,
        "truncate": None,
        "checkpoint_every": None,
        "method": "plain",
    }
    unknown = sorted(options.keys() - settings.keys())
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}; there are {', '.join(settings)}.")
    xs, carry, steps, batch_shape, _ = checked(
        cell, params, xs, carry, record=False, **{**settings, **options}
    )
    initial = cell.initial_carry(params, batch_shape)
    count = iter(range(10**6))

    def scan(
        part: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
    ) -> Run:
        if part.sequence is not None:
            return part.sequence(scan, params, carry, initial, xs, steps)
        shape = batch_shape_of(part, xs)
        time = _time_of(xs, len(shape))
        return look(next(count), part, params, carry, initial, xs, steps.counted(shape, time))

    run = scan(cell, params, initial if carry is None else carry, initial, xs, steps)
    return run.carry, run.ys


def _time_of(xs: Inputs, batch_ndim: int) -> int:
    import jax

    return jax.tree.leaves(xs)[0].shape[batch_ndim]
