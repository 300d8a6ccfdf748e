"""What the gates of a cell do: how open they are, how many are stuck, where numbers break."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from seqjax.core.cell import Cell
from seqjax.core.masks import expand
from seqjax.core.noise import restart, with_keys_of
from seqjax.core.run import Run, batch_shape_of
from seqjax.core.types import Array, Carry, Inputs, Params
from seqjax.engines.sequential import sequential
from seqjax.gradients.layers import run_layers

RANGES = {"logistic": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""What is looked at, and what it is when it is stuck."""

STUCK = 0.05
"""A value that is nearer to an end of its range than this share of it is saturated."""


class Activation(NamedTuple):
    """One squashing function of one layer, over all steps that count.

    Attributes:
      layer: how the layer's cell prints.
      name: what it is called in the cell (by `jax.named_scope`), or its kind and number.
      mean: of its values.
      low, high: the shares of values stuck at either end of the range.
    """

    layer: str
    name: str
    mean: float
    low: float
    high: float


def activations(
    cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any
) -> tuple[Activation, ...]:
    """The mean and the saturation of every sigmoid and tanh in every layer of a cell.

    The step of each layer is traced, and what its sigmoids and tanhs put out is collected over
    the whole sequence, whatever cell it is.

    Args:
      cell, params, xs, carry: as for `sj.scan`.
      **options: `lengths`, `mask`, `resets` and `reverse` of `sj.scan`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import activations
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> found = activations(cell, params, jnp.ones((2, 5, 3)))
      >>> [gate.name for gate in found]
      ['reset', 'update', 'candidate']
    """
    found: list[Activation] = []
    for layer, names, values, counts in _observed(cell, params, xs, carry, options):
        for name, (kind, value) in zip(names, values, strict=True):
            low, high = RANGES[kind]
            keep = np.broadcast_to(expand(counts, value.ndim), value.shape)
            kept = np.asarray(value)[np.asarray(keep)].astype(np.float64)
            margin = STUCK * (high - low)
            if kept.size:
                found.append(
                    Activation(
                        layer,
                        name,
                        float(kept.mean()),
                        float((kept < low + margin).mean()),
                        float((kept > high - margin).mean()),
                    )
                )
    return tuple(found)


class Broken(NamedTuple):
    """Where a number first was NaN or infinite.

    Attributes:
      step: of the sequence.
      layer: how the layer's cell prints.
      name: of the gate, or what was computed.
    """

    step: int
    layer: str
    name: str


def first_not_finite(
    cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any
) -> Broken | None:
    """The first step, and there the first layer and gate, at which a number breaks.

    Args:
      cell, params, xs, carry, **options: as for `activations`.

    Returns:
      None if all numbers are finite.
    """
    found: list[tuple[int, int, Broken]] = []
    for place, (layer, names, values, counts) in enumerate(
        _observed(cell, params, xs, carry, options, everything=True)
    ):
        for name, (_, value) in zip(names, values, strict=True):
            bad = ~np.isfinite(np.asarray(value)) & np.asarray(expand(counts, value.ndim))
            axes = tuple(i for i in range(bad.ndim) if i != counts.ndim - 1)
            steps = np.flatnonzero(bad.any(axes))
            if steps.size:
                found.append((int(steps[0]), place, Broken(int(steps[0]), layer, name)))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _observed(
    cell: Cell, params: Params, xs: Inputs, carry: Carry | None, options: Any, everything=False
) -> Iterator[tuple[str, list[str], list[tuple[str, Array]], Array]]:
    """For each layer its name, the names and values of what it squashes, and which steps count."""
    seen: list[tuple[str, list[str], list[tuple[str, Array]], Array]] = []

    def look(number, part, params, carry, initial, xs, steps) -> Run:
        import dataclasses

        run = sequential(part, params, carry, initial, xs, dataclasses.replace(steps, record=True))
        batch = batch_shape_of(part, xs)
        axis = len(batch)

        # The state before each step: that after the one before, or the initial one at a reset.
        def before(first, after):
            edge = jnp.expand_dims(first, axis)
            parts = [after, edge] if steps.reverse else [edge, after]
            joined = jnp.concatenate([part.astype(first.dtype) for part in parts], axis)
            size = after.shape[axis]
            start = 1 if steps.reverse else 0
            return jax.lax.slice_in_dim(joined, start, start + size, axis=axis)

        start = jax.tree.map(before, carry, run.carries)
        if steps.resets is not None:
            wide = jax.tree.map(
                lambda leaf: jnp.broadcast_to(
                    jnp.expand_dims(leaf, axis),
                    (*batch, steps.resets.shape[-1], *leaf.shape[axis:]),
                ),
                with_keys_of(initial, carry),
            )
            start = restart(steps.resets, wide, start)
        names, values = squashed(part, params, start, xs, everything=everything)
        time = jax.tree.leaves(xs)[0].shape[axis]
        counts = jnp.ones((*batch, time), bool) if steps.valid is None else steps.valid
        seen.append((repr(part), names, values, counts))
        return run

    run_layers(look, cell, params, xs, carry, **options)
    yield from seen


def squashed(
    cell: Cell, params: Params, carry: Carry, x: Any, *, everything: bool = False
) -> tuple[list[str], list[tuple[str, Array]]]:
    """The names and the values of all sigmoids and tanhs in one step of a cell.

    Args:
      cell: with a step.
      params, carry, x: of the step, with any batch dimensions.
      everything: all that is computed, not only what squashes.
    """
    closed = jax.make_jaxpr(cell.step)(params, carry, x)
    values: list[tuple[str, Array]] = []
    names: list[str] = []
    counts: dict[str, int] = {}

    def record(kind: str, scope: str, value: Array) -> None:
        label = {"logistic": "sigmoid"}.get(kind, kind)
        counts[label] = counts.get(label, 0) + 1
        names.append(scope or f"{label} {counts[label]}")
        values.append((kind, value))

    def run(jaxpr: Any, consts: Any, args: Any, scope: str) -> list[Any]:
        known: dict[Any, Any] = {}
        read = lambda atom: atom.val if isinstance(atom, core.Literal) else known[atom]  # noqa: E731
        known.update(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, args, strict=True))
        for eqn in jaxpr.eqns:
            here = str(eqn.source_info.name_stack).rpartition("/")[2] or scope
            inputs = [read(atom) for atom in eqn.invars]
            inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
            if eqn.primitive.name in ("jit", "pjit", "custom_jvp_call", "closed_call") and inner:
                body = getattr(inner, "jaxpr", inner)
                outputs = run(body, getattr(inner, "consts", ()), inputs, here)
            else:
                subfuns, params_ = eqn.primitive.get_bind_params(eqn.params)
                outputs = eqn.primitive.bind(*subfuns, *inputs, **params_)
                outputs = outputs if eqn.primitive.multiple_results else [outputs]
            for var, output in zip(eqn.outvars, outputs, strict=True):
                known[var] = output
            if eqn.primitive.name in RANGES or (everything and outputs):
                value = outputs[0]
                if jnp.issubdtype(jnp.result_type(value), jnp.inexact):
                    record(eqn.primitive.name, here, value)
        return [read(atom) for atom in jaxpr.outvars]

    run(closed.jaxpr, closed.consts, jax.tree.leaves((params, carry, x)), "")
    return names, values
