"""Cells that are linear in their state, from the coefficients of their recurrence."""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.affine import Complex, Coupled, Coupling, LogScaled, Update, apply, empty
from seqjax.core.cell import (
    Cell,
    InitFn,
    InitialCarryFn,
    expect_inputs,
    expect_real,
    factory,
    positive_int,
)
from seqjax.core.gates import Gates, add_bias, broadcasts, initialize_gates, like_features, project
from seqjax.core.trees import widen
from seqjax.core.types import Array, Carry, Initializer, Params, PRNGKeyArray, PyTree


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
    owner: str = dataclasses.field(default="diagonal", compare=False)
    """The call that made the cell, for errors."""

    def update(self, params: Params, inputs: PyTree, like: Carry, *, lead: int = 0) -> Update:
        """The coefficients of a step, or of steps on `lead` more axes, in the dtypes of a state."""
        dtype = jax.tree.leaves(like)[0].dtype
        decay, value = _checked(self.coefficients(params, inputs), dtype)
        got, wanted = (jax.tree.map(jnp.shape, tree) for tree in (value, like))
        if jax.tree.structure(value) != jax.tree.structure(like):
            raise ValueError(
                "The value that `coefficients` returns must be of the kind of the state, "
                f"{wanted}; it returned {got}."
            )
        for new, old in zip(jax.tree.leaves(value), jax.tree.leaves(like), strict=True):
            if _of_step(new, old, lead) != old.shape:
                raise ValueError(
                    "The value that `coefficients` returns must have the shape of the state, "
                    f"{wanted}; it returned {got}. {_REPEAT}"
                )
        *_, state = jax.tree.leaves(like)
        for leaf in jax.tree.leaves(decay):
            if not broadcasts(_of_step(leaf, state, lead), state.shape):
                raise ValueError(
                    "The decay that `coefficients` returns must be a number or an array that "
                    f"broadcasts against the state, {state.shape}; it returned {leaf.shape}."
                )
        *_, unit = jax.tree.leaves(value)
        decay = jax.tree.map(lambda leaf: like_features(leaf, unit), decay)
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
    in_features: int | None = None,
) -> Cell:
    """A cell that is linear in its state, unit by unit.

        inputs = project(params, x)
        decay, value = coefficients(params, inputs)
        state = decay * state + value
        y = output(params, read(params, state, inputs), x)

    `*` and `+` are those of the kind of state (`seqjax.core.affine`): an array; a
    `Complex(real, imaginary)`; a `Coupled(first, second)`, with a decay that is a `Coupling`; or a
    `LogScaled(values, maximum)`, for which `decay` is the logarithm of the decay. Such a cell
    runs in chunks of time, or all steps at once: see `method` of `sj.scan`. `sj.linear` is
    shorter if the only weights are those of a projection of the input.

    All functions take any number of batch dimensions, of which time may be one. Products with
    weights belong in `project` and `output`, which see many steps at once; `coefficients` and
    `read` should work unit by unit, and may sum over units. Only what `read` returns is
    kept of a state: a state that is much larger than the inputs never exists for more than a
    chunk of time.

    Args:
      coefficients: `(params, inputs) -> (decay, value)`: `value` is like the state, `decay` a
        number or an array that broadcasts against it.
      init: `(key, in_features) -> params`.
      initial_carry: `(params, batch_shape=()) -> state`. It should be in float32 at least.
      features: width of the output.
      project: `(params, x) -> inputs`, by default `x`.
      read: `(params, state, inputs) -> values`, by default the state.
      read_before: whether `read` gets the state before the step instead of the one after.
      output: `(params, values, x) -> y` of `(*batch, features)`, by default the values.
      input_ndim, in_features: as for `sj.Cell`.

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
    features = positive_int("diagonal", "features", features)

    def as_read(params: Params, values: PyTree, x: PyTree) -> PyTree:
        _check_read("diagonal", values, (features,))
        return values

    structure = Diagonal(
        coefficients=coefficients,
        project=project or _input,
        read=read or _state,
        read_before=read_before,
        output=output or as_read,
    )
    bare = read is None and output is None and not read_before
    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=structure.step,
        features=features,
        input_ndim=input_ndim,
        in_features=in_features,
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
        given. `x` holds `gates` arrays `(*batch, features)`, at least in float32. `value` has
        their batch dimensions, `decay` is a number or broadcasts against it. The kind of
        `value` is the kind of state: a real array; `sj.Complex(real, imaginary)`, with a decay
        of that kind and a `read`; or `sj.log_scaled(values, exponent)`, with the logarithm of a
        decay. `p` has the extra parameters as attributes. Everything in it should work unit by
        unit.
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
    taken = {"input", "bias"}.intersection(parameters or {})
    if taken:
        raise ValueError(
            f"linear: the names {sorted(taken)} belong to linear itself; rename the extra "
            "parameters."
        )
    own = _LinearGates(
        coefficients,
        read,
        features,
        gates,
        parameters=tuple((parameters or {}).items()),
        input_init=input_init,
        bias_init=bias_init,
    )
    cell = diagonal(
        own.coefficients_of,
        init=own.init,
        initial_carry=own.initial_carry,
        features=features,
        project=own.project,
        read=own.read_of,
        output=own.output,
    )
    return dataclasses.replace(cell, output=None if read else _same)


@dataclasses.dataclass(frozen=True)
class _LinearGates:
    """What `linear` makes of its arguments, which are the fields, for `diagonal`."""

    coefficients: Callable[..., Any]
    read: Callable[..., Any] | None
    features: int
    gates: int
    parameters: tuple[tuple[str, Initializer], ...]
    input_init: Initializer
    bias_init: Initializer
    owner: str = dataclasses.field(default="linear", compare=False)
    """The call that made the cell, for errors."""

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = iter(jax.random.split(key, 2 + len(self.parameters)))
        shape = (in_features, self.gates, self.features)
        params = {
            "input": initialize_gates(next(keys), self.input_init, shape, dtype),
            "bias": self.bias_init(next(keys), shape[1:], dtype),
        }
        for name, initializer in self.parameters:
            params[name] = initializer(next(keys), (self.features,), dtype)
        return params

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        dtype = jnp.promote_types(params["input"].dtype, jnp.float32)

        def value():
            x = Gates([jnp.zeros((*batch_shape, self.features), dtype)] * self.gates)
            return _checked(self.coefficients_of(params, x), dtype)[1]

        like = jax.eval_shape(value)
        if any(leaf.shape[: len(batch_shape)] != batch_shape for leaf in jax.tree.leaves(like)):
            raise ValueError(
                f"{self.owner}: the value that `coefficients` returns must have the batch "
                f"dimensions of its argument, {batch_shape}; it returned "
                f"{jax.tree.map(jnp.shape, like)}. {_REPEAT}"
            )
        return jax.tree.map(lambda leaf: leaf.astype(dtype), empty(like))

    def project(self, params: Params, x: Array) -> Gates:
        expect_inputs(self.owner, params["input"].shape[0], x)
        expect_real(self.owner, x, params["input"])
        made = add_bias(project(x, params["input"]), params["bias"])
        return made.map(widen)

    def coefficients_of(self, params: Params, x: Gates) -> Any:
        return self.coefficients(x, *self.extra(params, x[0]))

    def read_of(self, params: Params, state: Carry, x: Gates) -> Array:
        return self.read(state, x, *self.extra(params, x[0])) if self.read else state

    def output(self, params: Params, values: Array, x: Array) -> Array:
        _check_read(self.owner, values, (*x.shape[:-1], self.features))
        if _is_complex(values):
            raise ValueError(
                f"{self.owner}: `read` must return real numbers, got {values.dtype}. Return the "
                "real part; or both, side by side, from the `output` of an sj.diagonal."
            )
        return values.astype(jnp.result_type(params["input"], x))

    def extra(self, params: Params, like: Array) -> tuple[Any, ...]:
        """The extra parameters, ready to meet arrays of the rank of `like`."""
        if not self.parameters:
            return ()
        names = [name for name, _ in self.parameters]
        values = (like_features(jnp.asarray(params[name]), like) for name in names)
        return (collections.namedtuple("Parameters", names)(*values),)


_REPEAT = "For one number everywhere write jnp.full_like(x[0], number)."


def _checked(made: Any, dtype: Any) -> tuple[Any, Any]:
    """A decay and a value of one kind, as arrays that fit into a state of that dtype."""
    pair = isinstance(made, tuple) and not isinstance(made, Complex | Coupled | LogScaled)
    if not pair or len(made) != 2:
        raise ValueError(
            "`coefficients` must return two things, (decay, value), for "
            f"state = decay * state + value; it returned {jax.tree.map(jnp.shape, made)}."
        )
    decay, value = jax.tree.map(jnp.asarray, made)
    for name, tree in (("decay", decay), ("value", value)):
        if _is_complex(tree) and not jnp.issubdtype(dtype, jnp.complexfloating):
            raise ValueError(
                f"`coefficients` must return real arrays, or sj.Complex(real, imaginary) and a "
                f"`read` for such a state; the {name} has dtype {jax.tree.leaves(tree)[0].dtype}. "
                f"Write sj.Complex({name}.real, {name}.imag) for both the decay and the value."
            )
    like = value.maximum if isinstance(value, LogScaled) else value
    fits = jax.tree.structure(decay) == jax.tree.structure(like)
    if isinstance(value, Coupled):
        fits = isinstance(decay, Coupling)
    if not fits:
        shapes = (jax.tree.map(jnp.shape, tree) for tree in (like, decay))
        raise ValueError(
            "The decay that `coefficients` returns must be of the kind of its value: both "
            "arrays, or both sj.Complex(real, imaginary); beside sj.Coupled(first, second) an "
            "sj.Coupling, beside sj.log_scaled(values, exponent) an array. For the shape {} it "
            "returned {}.".format(*shapes)
        )
    return decay, value


def _check_read(owner: str, values: Any, shape: tuple[int, ...]) -> None:
    """Raises unless what is read is an array with these last axes."""
    got = jax.tree.map(jnp.shape, values)
    if got[-len(shape) :] != shape:
        raise ValueError(
            f"{owner}: what is read of a state must be one array of {shape[-1]} features, but has "
            f"the shape {got}. Without a `read` it is the state itself; give a `read` that "
            "returns, for example, state.real."
        )


def _is_complex(tree: Any) -> bool:
    return any(map(jnp.iscomplexobj, jax.tree.leaves(tree)))


def _of_step(leaf: Array, like: Array, lead: int) -> tuple[int, ...]:
    """The shape without the axes that come before those of a step, if it has them."""
    return leaf.shape[max(0, min(lead, leaf.ndim - like.ndim)) :]


def _input(params: Params, x: PyTree) -> PyTree:
    return x


def _state(params: Params, state: Carry, inputs: PyTree) -> Carry:
    return state


def _same(state: Carry) -> Carry:
    return state
