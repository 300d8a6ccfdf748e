"""Activations of the gates of a cell: means, saturation, and the first NaN or inf."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from seqjax.core.cell import Cell
from seqjax.core.masks import expand
from seqjax.core.steps import Run
from seqjax.core.types import Array, Carry, Inputs, Params
from seqjax.gradients.layerwise import Hook, Layer, run_layers, with_hook

RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""The recorded activation functions, and their ranges."""

STUCK = 0.05
"""A value within this fraction of the range from either end is saturated."""


class Activation(NamedTuple):
    """One activation function of one layer, over all valid steps.

    Attributes:
      layer: number, path in the model, and repr of the cell.
      name: the name of its `jax.named_scope` in the cell, or its kind and number.
      kind: `"sigmoid"`, between 0 and 1, or `"tanh"`, between -1 and 1.
      mean: of its values.
      low, high: the shares of values saturated at either end of the range.
    """

    layer: str
    name: str
    kind: str
    mean: Array
    low: Array
    high: Array


class NotFinite(NamedTuple):
    """The first NaN or inf.

    Attributes:
      step: of the sequence, the first in the order of processing.
      layer: number, path in the model, and repr of the cell.
      name: of the gate, or of the operation.
    """

    step: int
    layer: str
    name: str


def activations(
    cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any
) -> tuple[Activation, ...]:
    """The mean and the saturation of every sigmoid and tanh in every layer of a cell.

    The step of each layer is traced, and the outputs of its sigmoids and tanhs are collected over
    the whole sequence; this works for any cell. A custom cell names its gates by
    `jax.named_scope`.

    Args:
      cell, params, xs, carry: as for `sj.scan`.
      **options: of `sj.scan`.

    Returns:
      An `Activation` for each, in the order of computation. A value within 5 percent of an end of
      its range is saturated: below 0.05 or above 0.95 for a sigmoid.

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
    return _activations(lambda hook: run_layers(hook, cell, params, xs, carry, **options))


def model_activations(model: Any, run: Callable[[Any], Any]) -> tuple[Activation, ...]:
    """`activations` for all recurrent layers of a Flax model.

    Args:
      model: an `nnx.Module` with `sj.nn.RNN` in it.
      run: `model -> anything`, which runs each layer once.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.gradients import model_activations
      >>> model = sj.nn.RNN(sj.gru(4), 3, rngs=nnx.Rngs(0))
      >>> len(model_activations(model, lambda model: model(jnp.ones((2, 5, 3)))))
      3
    """
    return _activations(lambda hook: run(with_hook(model, hook)))


def _activations(run: Callable[[Hook], Any]) -> tuple[Activation, ...]:
    found: list[Activation] = []

    def hook(layer: Layer) -> Run:
        result, start = layer.run_recorded()
        for name, kind, value in squashed(layer.cell, layer.params, start, layer.xs):
            low, high = RANGES[kind]
            margin = STUCK * (high - low)
            counts = jnp.broadcast_to(expand(layer.counts, value.ndim), value.shape)
            share = lambda flags, counts=counts: (flags & counts).sum() / counts.sum()  # noqa: E731
            mean = jnp.where(counts, value, 0).sum() / counts.sum()
            saturated = share(value < low + margin), share(value > high - margin)
            found.append(Activation(layer.name, name, kind, mean, *saturated))
        return result

    run(hook)
    return tuple(found)


def first_not_finite(
    cell: Cell, params: Params, xs: Inputs, carry: Carry | None = None, **options: Any
) -> NotFinite | None:
    """The first step, and in it the first layer and gate, with a NaN or inf.

    Args:
      cell, params, xs, carry: as for `activations`.
      **options: of `sj.scan`.

    Returns:
      None if all numbers are finite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import first_not_finite
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> first_not_finite(cell, params, jnp.ones((5, 3)).at[2, 0].set(jnp.nan))
      NotFinite(step=2, layer='1 gru(4)', name='input')
    """
    return _first_not_finite(lambda hook: run_layers(hook, cell, params, xs, carry, **options))


def model_first_not_finite(model: Any, run: Callable[[Any], Any]) -> NotFinite | None:
    """`first_not_finite` for all recurrent layers of a Flax model.

    Args:
      model, run: as for `model_activations`.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.gradients import model_first_not_finite
      >>> model = sj.nn.RNN(sj.gru(4), 3, rngs=nnx.Rngs(0))
      >>> model_first_not_finite(model, lambda model: model(jnp.ones((2, 5, 3)))) is None
      True
    """
    return _first_not_finite(lambda hook: run(with_hook(model, hook)))


def _first_not_finite(run: Callable[[Hook], Any]) -> NotFinite | None:
    found: list[tuple[int, int, NotFinite]] = []

    def hook(layer: Layer) -> Run:
        result, start = layer.run_recorded()
        inputs = [("input", "input", leaf) for leaf in jax.tree.leaves(layer.xs)]
        computed = squashed(layer.cell, layer.params, start, layer.xs, everything=True)
        for name, _, value in [*inputs, *computed]:
            counts = layer.counts
            of_steps = value.shape[: counts.ndim] == counts.shape
            if not (of_steps and jnp.issubdtype(value.dtype, jnp.inexact)):
                continue
            bad = np.asarray(~jnp.isfinite(value) & expand(counts, value.ndim))
            steps = np.flatnonzero(bad.any(tuple(range(1, bad.ndim))))
            if steps.size:
                step = int(steps[-1] if layer.steps.reverse else steps[0])
                order = layer.time - 1 - step if layer.steps.reverse else step
                found.append((order, len(found), NotFinite(step, layer.name, name)))
        return result

    run(hook)
    return min(found)[2] if found else None


PRIMITIVES = {"logistic": "sigmoid"}
"""Names of primitives that differ from the names of the functions."""

INLINED = frozenset(
    ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat2")
)
"""Primitives that call a function, which is interpreted too."""


def squashed(
    cell: Cell, params: Params, carry: Carry, x: Any, *, everything: bool = False
) -> list[tuple[str, str, Array]]:
    """Name, kind and value of all sigmoids and tanhs in one step of a cell.

    Args:
      cell: with a step.
      params, carry, x: of the step, with any batch dimensions.
      everything: all operations instead of only these.
    """
    closed = jax.make_jaxpr(cell.step)(params, carry, x)
    found: list[tuple[str, str, Array]] = []
    counts: dict[str, int] = {}

    def record(kind: str, scope: str, value: Array) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        found.append((scope or f"{kind} {counts[kind]}", kind, value))

    def run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], scope: str) -> list[Any]:
        known: dict[Any, Any] = dict(
            zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True)
        )
        read = lambda atom: atom.val if isinstance(atom, core.Literal) else known[atom]  # noqa: E731
        for eqn in jaxpr.eqns:
            here = str(eqn.source_info.name_stack).rpartition("/")[2] or scope
            inputs = [read(atom) for atom in eqn.invars]
            inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
            if eqn.primitive.name in INLINED and inner is not None:
                body = getattr(inner, "jaxpr", inner)
                outputs = run(body, getattr(inner, "consts", ()), inputs, here)
            else:
                outputs = _evaluate(jaxpr, eqn, inputs)
                kind = PRIMITIVES.get(eqn.primitive.name, eqn.primitive.name)
                if kind in RANGES or everything:
                    record(kind, here, outputs[0])
            known.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    run(closed.jaxpr, closed.consts, jax.tree.leaves((params, carry, x)), "")
    return found


def _evaluate(jaxpr: Any, eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of one equation of a jaxpr."""
    given = [(v, x) for v, x in zip(eqn.invars, inputs, strict=True) if isinstance(v, core.Var)]
    variables = list(dict.fromkeys(variable for variable, _ in given))
    debug = jaxpr.debug_info._replace(arg_names=None, result_paths=None)
    alone = jaxpr.replace(
        constvars=[], invars=variables, outvars=eqn.outvars, eqns=[eqn], debug_info=debug
    )
    values = dict(given)
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*(values[v] for v in variables))
