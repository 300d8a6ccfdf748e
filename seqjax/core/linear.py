"""Cells that are linear in their state, from the coefficients of their recurrence."""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.affine import Update, apply, empty
from seqjax.core.cell import Cell, InitFn, InitialCarryFn, factory, positive_int
from seqjax.core.gates import Gates, add_bias, initialize_gates, like_features, project
from seqjax.core.trees import widen
from seqjax.core.types import Array, Carry, Initializer, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Diagonal:
    """The parts of a recurrence `state = decay * state + value`, apart.

    The fields are arguments of `diagonal`. Everything works for any number of batch
    dimensions, so that time can be one of them.
    """

    coefficients: Callable[..., Any]
    project: Callable[..., Any]
    read: Callable[..., Any]
    read_before: bool
    output: Callable[..., Any]

    def update(self, params: Params, inputs: PyTree, like: Carry) -> Update:
        """The coefficients of a step, in the dtypes of the state."""
        made = self.coefficients(params, inputs)
        if not isinstance(made, tuple) or len(made) != 2:
            raise ValueError(
                "diagonal: `coefficients` must return two things, (decay, value), for "
                f"state = decay * state + value; it returned {jax.tree.map(jnp.shape, made)}."
            )
        decay, value = made
        kinds = jax.tree.structure(value), jax.tree.structure(like)
        if kinds[0] != kinds[1]:
            raise ValueError(
                "diagonal: the value that `coefficients` returns must be of the kind of the "
                f"state, {kinds[1]}; it returned {kinds[0]}."
            )
        for new, old in zip(jax.tree.leaves(value), jax.tree.leaves(like), strict=True):
            if new.shape[max(0, new.ndim - old.ndim) :] != old.shape:
                raise ValueError(
                    f"diagonal: the value that `coefficients` returns must have the shape of the "
                    f"state, {old.shape}; it returned {new.shape}."
                )
        *_, unit = jax.tree.leaves(value)
        decay = jax.tree.map(lambda leaf: like_features(leaf, unit), decay)
        dtype = jax.tree.leaves(like)[0].dtype
        return Update(*jax.tree.map(lambda leaf: leaf.astype(dtype), (decay, value)))

    def advance(self, params: Params, carry: Carry, inputs: PyTree) -> tuple[Carry, PyTree]:
        """One step from the projected inputs: the new state, and what is read."""
        new = apply(self.update(params, inputs, carry), carry)
        return new, self.read(params, carry if self.read_before else new, inputs)

    def step(self, params: Params, carry: Carry, x: PyTree) -> tuple[Carry, PyTree]:
        carry, values = self.advance(params, carry, self.project(params, x))
        return carry, self.output(params, values, x)


@factory
def diagonal(
    coefficients: Callable[..., Any],
    *,
    init: InitFn,
    initial_carry: InitialCarryFn,
    features: int,
    project: Callable[..., Any] | None = None,
    read: Callable[..., Any] | None = None,
    read_before: bool = False,
    output: Callable[..., Any] | None = None,
    input_ndim: Any = 1,
) -> Cell:
    """A cell that is linear in its state, unit by unit.

        inputs = project(params, x)
        decay, value = coefficients(params, inputs)
        state = decay * state + value
        y = output(params, read(params, state, inputs), x)

    `*` and `+` are those of the kind of state (`seqjax.core.affine`): an array; a
    `Complex(real, imaginary)`; or a `LogScaled(values, maximum)`, for which `decay` is the
    logarithm of the decay. Such a cell runs in chunks of time, or all steps at once: see
    `method` of `sj.scan`. `sj.linear` is shorter where a projection of the input is all there
    is to learn.

    All functions take any number of batch dimensions, of which time may be one. Products with
    weights belong into `project` and `output`, which see many steps at once; `coefficients` and
    `read` should work unit by unit, and may sum over units. Of these, `read` decides what is
    kept of a state: a state that is much larger than the inputs never exists for more than a
    chunk of time.

    Args:
      coefficients: `(params, inputs) -> (decay, value)`: `value` is like the state, `decay`
        broadcasts against it.
      init: `(key, in_features) -> params`.
      initial_carry: `(params, batch_shape=()) -> state`. It should be in float32 at least.
      features: width of the output.
      project: `(params, x) -> inputs`, by default `x`.
      read: `(params, state, inputs) -> values`, by default the state.
      read_before: whether `read` gets the state before the step instead of the one after.
      output: `(params, values, x) -> y` of `(*batch, features)`, by default the values.
      input_ndim: as for `sj.Cell`.

    Returns:
      A `Cell` whose carry is the state.

    Raises:
      ValueError: if the coefficients do not fit the state.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.diagonal(                          # an exponential moving average
      ...     lambda rate, x: (1 - rate, rate * x),
      ...     init=lambda key, in_features: jnp.float32(0.5),
      ...     initial_carry=lambda rate, batch_shape=(): jnp.zeros((*batch_shape, 1)),
      ...     features=1,
      ... )
      >>> params = cell.init(jax.random.key(0), 1)
      >>> sj.scan(cell, params, jnp.ones((3, 1)))[1][:, 0]
      Array([0.5  , 0.75 , 0.875], dtype=float32)
    """
    structure = Diagonal(
        coefficients=coefficients,
        project=project or _input,
        read=read or _state,
        read_before=read_before,
        output=output or _values,
    )
    bare = read is None and output is None and not read_before
    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=structure.step,
        features=positive_int("diagonal", "features", features),
        input_ndim=input_ndim,
        output=_same if bare else None,
        structure=structure,
    )


@factory
def linear(
    coefficients: Callable[..., Any],
    *,
    features: int,
    gates: int,
    read: Callable[..., Any] | None = None,
    parameters: Mapping[str, Initializer] | None = None,
    input_init: Initializer = initializers.Glorot(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """A cell that is linear in its state, from its coefficients: `sj.gated` without `r`.

    At each step, with `h` the state:

        x_g = input[:, g] x + bias[g]         for every gate g
        decay, value = coefficients(x)
        h = decay * h + value
        y = read(h, x)

    Since nothing but this product and sum depends on the state, time need not be a loop: see
    `method` of `sj.scan`. Parameters are a dict: `input` `(in_features, gates, features)`,
    `bias` `(gates, features)`, and `parameters`.

    Args:
      coefficients: `x -> (decay, value)`, or `(x, p) -> (decay, value)` when `parameters` are
        given. `x` holds `gates` arrays `(*batch, features)`, at least in float32. The kind of
        `value` is the kind of state: an array; `sj.Complex(real, imaginary)`, with a decay
        of that kind; or `sj.log_scaled(values, exponent)`, with the logarithm of a decay. `p`
        has the extra parameters as attributes. Everything in it should work unit by unit.
      features: width of the gates and of the output.
      gates: number of projections of the input.
      read: `(state, x) -> y`, or `(state, x, p) -> y`; by default the state.
      parameters: names of extra parameters of shape `(features,)` and how they start.
      input_init: initializer of each gate's input weights `(in_features, features)`.
      bias_init: initializer of `bias` `(gates, features)`.

    Returns:
      A `Cell` whose carry is the state, in float32 at least; it starts as zeros.

    Raises:
      ValueError: if sizes do not fit together.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> def minimal_gru(features):
      ...     def coefficients(x):
      ...         update, candidate = x
      ...         return jax.nn.sigmoid(-update), jax.nn.sigmoid(update) * candidate
      ...     return sj.linear(coefficients, features=features, gates=2)
      >>> cell = minimal_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> jax.tree.map(jnp.shape, params)
      {'bias': (2, 4), 'input': (3, 2, 4)}
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 4)

    Source: Martin and Cundy 2018, arXiv:1709.04057.
    """
    features = positive_int("linear", "features", features)
    gates = positive_int("linear", "gates", gates)
    extra = tuple((parameters or {}).items())
    names = [name for name, _ in extra]
    taken = {"input", "bias"}.intersection(names)
    if taken:
        raise ValueError(
            f"linear: the names {sorted(taken)} belong to linear itself; rename the extra "
            "parameters."
        )

    def of_units(params: Params, like: Array) -> tuple[Any, ...]:
        if not names:
            return ()
        values = (like_features(params[name], like) for name in names)
        return (collections.namedtuple("Parameters", names)(*values),)

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = iter(jax.random.split(key, 2 + len(extra)))
        shape = (in_features, gates, features)
        params = {
            "input": initialize_gates(next(keys), input_init, shape, dtype),
            "bias": bias_init(next(keys), shape[1:], dtype),
        }
        for name, initializer in extra:
            params[name] = initializer(next(keys), (features,), dtype)
        return params

    def initial_carry(params, batch_shape=()):
        dtype = jnp.promote_types(params["input"].dtype, jnp.float32)

        def value():
            x = Gates([jnp.zeros((*batch_shape, features), dtype)] * gates)
            return of_gates(params, x)[1]

        return jax.tree.map(lambda leaf: leaf.astype(dtype), empty(jax.eval_shape(value)))

    def project_inputs(params: Params, x: Array) -> Gates:
        in_features = params["input"].shape[0]
        if x.ndim < 1 or x.shape[-1] != in_features:
            raise ValueError(
                f"linear: expected inputs of width {in_features}, which is what the parameters "
                f"were made for by `init(key, {in_features})`; got inputs of shape {x.shape}."
            )
        made = add_bias(project(x, params["input"]), params["bias"])
        return made.map(widen)

    def of_gates(params: Params, x: Gates) -> Any:
        return coefficients(x, *of_units(params, x[0]))

    def read_gates(params: Params, state: Carry, x: Gates) -> Array:
        return read(state, x, *of_units(params, x[0])) if read else state

    def output(params: Params, values: Array, x: Array) -> Array:
        return values.astype(jnp.result_type(params["input"], x))

    cell = diagonal(
        of_gates,
        init=init,
        initial_carry=initial_carry,
        features=features,
        project=project_inputs,
        read=read_gates,
        output=output,
    )
    return dataclasses.replace(cell, output=None if read else _same)


def _input(params: Params, x: PyTree) -> PyTree:
    return x


def _state(params: Params, state: Carry, inputs: PyTree) -> Carry:
    return state


def _values(params: Params, values: PyTree, x: PyTree) -> PyTree:
    return values


def _same(state: Carry) -> Carry:
    return state
