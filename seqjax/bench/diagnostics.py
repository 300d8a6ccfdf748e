"""`seqjax bench --diagnostics`: what it costs to look at a train step."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.bench.measure import quartiles, race
from seqjax.bench.timed import CELLS
from seqjax.core.cell import Cell
from seqjax.engines.scan import scan
from seqjax.gradients.activations import activations
from seqjax.gradients.flow import gradient_flow

SHAPE = (256, 16)
"""Time and batch size."""


def programs(cell: Cell, features: int, time: int, batch: int) -> dict[str, Callable[[], Any]]:
    """The gradient of a loss, and what looks at the same loss; by name."""
    params = cell.init(jax.random.key(0), features)
    xs = jax.random.normal(jax.random.key(1), (batch, time, features))

    def loss(_, ys):
        return jnp.square(ys).mean()

    def step(params):
        return jax.value_and_grad(lambda params: loss(*scan(cell, params, xs)))(params)

    def flow(params):
        return [(layer.carry, layer.inputs) for layer in gradient_flow(cell, params, xs, loss)]

    def gates(params):
        return [(gate.mean, gate.low, gate.high) for gate in activations(cell, params, xs)]

    def both(params):
        return flow(params), gates(params)

    looks = {"step": step, "gradient flow": flow, "gates": gates, "both": both}
    return {
        name: lambda run=jax.jit(run): run(params)  # Compiled at its first call.
        for name, run in looks.items()
    }


def diagnostics(
    names: Sequence[str],
    *,
    features: int,
    time: int = SHAPE[0],
    batch: int = SHAPE[1],
    seconds: float,
) -> None:
    """Prints for each cell what the diagnostics of `--diagnose` cost, in units of a train step.

    Args:
      names: of the catalogue.
      features: width of inputs and outputs.
      time, batch: of the inputs.
      seconds: about how long each race lasts.
    """
    print(
        f"\n{time} steps, batch of {batch}, {features} features; times a train step, with quartiles"
    )
    print("| cell | step, ms | gradient flow | gates | both |\n|---|---|---|---|---|")
    for name in names:
        took = race(programs(CELLS[name](features), features, time, batch), seconds=seconds)
        step = took.pop("step")
        columns = [
            f"{middle:.2f} ({low:.2f} to {high:.2f})"
            for middle, low, high in (quartiles(step, other) for other in took.values())
        ]
        cells = " | ".join([name, f"{1000 * statistics.median(step):.1f}", *columns])
        print(f"| {cells} |", flush=True)
        jax.clear_caches()
