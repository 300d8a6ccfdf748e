"""Backpropagation through time that is fast and small: a derivative rule of our own.

The carries before all steps are known when the backward pass begins. So what a change of weights
and inputs adds at each step, while the states stay as they are, is found a tile of time at a time:

    d_new[t] = (d step / d carry)[t] d_carry[t] + (d step / d (params, x))[t] (d_params, d_x[t])

* Forward: the carries are stored, and nothing else (or the gates too: `store`).
* Tangents: per tile, the second term for all steps at once, and a loop that holds the first one.
* JAX transposes this into the backward pass: per tile one loop that carries the cotangent of the
  state and nothing else, and then one product over time for each gradient of a weight.
  Forward-mode and higher derivatives come from the same rule.

What the steps are, and what is known of them, says a `TiledSteps`: `gated_steps.py` for cells that
show their products, `any_steps.py` for any step.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.noise import with_keys_of
from seqjax.core.steps import Run, Steps, time_of
from seqjax.core.trees import floats, widened
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.loops import Loop
from seqjax.engines.tangents import settled, tangent_leaves, tangent_tree
from seqjax.engines.tiles import before, over_tiles

Keep = Literal["outputs", "carries", "gates"]
"""What is kept of every step: outputs always, the carry too, or the carry and the gates."""


class Kept(NamedTuple):
    """What is known of every step, leaves `(time, *batch, ...)`; None is not kept."""

    ys: PyTree
    carries: Carry | None = None
    gates: Any = None

    def only(self, keep: Keep) -> "Kept":
        """What `keep` names."""
        carries = None if keep == "outputs" else self.carries
        return Kept(self.ys, carries, self.gates if keep == "gates" else None)


@runtime_checkable
class TiledSteps(Protocol):
    """The steps of a cell, a tile of time at a time. A record like this is hashable."""

    @property
    def tile(self) -> int:
        """How many steps are linearised at once."""
        ...

    @property
    def loop(self) -> Loop:
        """How the steps of a tile follow each other."""
        ...

    def forward(
        self,
        keep: Keep,
        reverse: bool,
        params: Params,
        carry: Carry,
        initial: Carry,
        xs: Inputs,
        flags: Boundaries,
    ) -> tuple[Carry, Kept]:
        """All steps: the carry after the last, and what `keep` names."""
        ...

    def prepare(self, params: Params) -> Params:
        """The parameters as the loop over tangents uses them, made once for all tiles."""
        ...

    def linearize(
        self,
        params: Params,
        prepared: Params,
        start: Carry,
        x: Inputs,
        gates: Any,
        d_params: list[Array] | None,
        d_x: list[Array] | None,
    ) -> tuple[PyTree, PyTree, Callable[..., tuple[list[Array], Kept]]]:
        """The steps of a tile as linear functions of the tangents of their carries.

        Args:
          params, prepared: of the cell.
          start: what the steps start from, leaves `(steps, *batch, ...)`.
          x: their inputs.
          gates: what was stored of them, or None.
          d_params, d_x: tangents of floating-point leaves, None if all are zero.

        Returns:
          `(known, d_added, push)`: what is known of each step and tangents that it adds, leaves
          `(steps, ...)`, and `push(known, d_added, d_start) -> (d_new, d_kept)` for one step, with
          lists of tangents, linear in both.
        """
        ...


def bptt(
    kind: TiledSteps,
    store: bool,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs steps of some kind.

    Args:
      kind: the steps.
      store: keep the gates for the backward pass, instead of computing them again.
      params, carry, initial, xs, steps: as for every engine.
    """
    plan = Plan(kind, steps.reverse, store, "carries" if steps.record else "outputs")
    flags = Boundaries(*steps.flags)
    initial = widened(with_keys_of(initial, carry))
    carry, kept = run(plan, params, carry, initial, xs, flags)
    return Run(carry, kept.ys, kept.carries)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when a run is compiled; see `bptt` and `Keep`."""

    kind: TiledSteps
    reverse: bool
    store: bool
    keep: Keep


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def run(
    plan: Plan, params: Params, carry: Carry, initial: Carry, xs: Inputs, flags: Boundaries
) -> tuple[Carry, Kept]:
    """The carry after the last step, and what `plan.keep` names of every step.

    Args:
      plan: see `Plan`.
      params: of the cell.
      carry: leaves `(*batch, ...)`.
      initial: the carry after a reset.
      xs: leaves `(time, *batch, ...)`.
      flags: of every step.
    """
    carry, kept = plan.kind.forward(plan.keep, plan.reverse, params, carry, initial, xs, flags)
    return carry, jax.tree.map(settled, kept)


@partial(run.defjvp, symbolic_zeros=True)
def _run_jvp(plan: Plan, primals: tuple, tangents: tuple) -> tuple:
    params, carry, initial, xs, flags = primals
    d_params, d_carry, d_initial, d_xs = map(tangent_leaves, primals[:4], tangents[:4])
    if d_params is not None:
        # Gradients of weights add up over many tiles: in float32 at least.
        d_params = [d.astype(jnp.promote_types(d.dtype, jnp.float32)) for d in d_params]
    if d_carry is None:
        d_carry = [jnp.zeros_like(leaf) for leaf in floats(carry)]
    gates = plan.store or plan.keep == "gates"
    end, known = run(dataclasses.replace(plan, keep="gates" if gates else "carries"), *primals)
    prepared = plan.kind.prepare(params)

    def tile(d_carry, here):
        numbers, x, flags, gates, d_x = here
        previous = before(carry, known.carries, numbers, reverse=plan.reverse)
        # For higher derivatives: those of the start are cut where the tangents are.
        start = flags.reset(jax.tree.map(lambda leaf: leaf[None], initial), flags.cut(previous))
        steps, d_added, push = plan.kind.linearize(params, prepared, start, x, gates, d_params, d_x)

        def body(d_carry, d_initial, now, d_added):
            step, flags = now
            d_new, d_kept = flags.push(partial(push, step, d_added), d_initial, d_carry)
            return d_new, d_kept._replace(carries=d_new).only(plan.keep)

        return plan.kind.loop.linear(
            body, d_carry, d_initial, (steps, flags), d_added, reverse=plan.reverse
        )

    d_end, d_kept = over_tiles(
        # Nothing is lost if a result of the forward pass is found again: no barrier.
        jax.checkpoint(tile, prevent_cse=False),
        d_carry,
        (jnp.arange(time_of(xs)), xs, flags, known.gates if plan.store else None, d_xs),
        size=plan.kind.tile,
        reverse=plan.reverse,
    )
    kept = known.only(plan.keep)
    tangents_kept = Kept(*map(tangent_tree, kept, d_kept))
    return (end, kept), (tangent_tree(end, d_end), tangents_kept)
