"""From one update rule to a cell: the products, biases and parameters around it."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int, spell
from seqjax.core.gates import (
    Gates,
    Projection,
    add_bias,
    expect_gates,
    flat,
    initialize_gates,
    like_features,
    normalize,
)
from seqjax.core.programs import is_traced, only_summed
from seqjax.core.recurrence import multiply, updated
from seqjax.core.types import Array, Carry, Initializer, Params, PRNGKeyArray


@factory
def gated(
    update: Callable[..., Any],
    *,
    features: int,
    gates: int,
    state: type | None = None,
    hidden: str | None = None,
    wide_state: bool = False,
    parameters: Mapping[str, Initializer] | None = None,
    recurrent_bias: bool = False,
    blocks: int = 1,
    modulate: Callable[..., Array] | None = None,
    modulated: int = 0,
    projection: int | None = None,
    layer_norm: bool = False,
    input_weights: bool = True,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """A cell from its gate equations.

    At each step, with `h` the hidden state:

        x_g = input[:, g] x + bias[g]         for every gate g
        r_g = recurrent[:, g] h
        state = update(state, x, r)
        y = hidden leaf of the new state

    Parameters are a dict: `input` `(in_features, gates, features)`, `recurrent`
    `(features, gates, features)`, `bias` `(gates, features)`, and what the options change.

    Args:
      update: `(state, x, r) -> state`, or `(state, x, r, p)` when `parameters` are given.
        `x` and `r` hold `gates` arrays `(*batch, features)`: they index and unpack by
        gate, and `x + r` adds gate by gate. `p` has the extra parameters as attributes.
        Everything in it should work unit by unit on the last axis.
      features: width of the state, and of the output unless `projection` is given.
      gates: number of gates, candidates included.
      state: a NamedTuple class for a state with several leaves, each `(*batch, features)`.
        Without it the state is one array, the hidden state itself.
      hidden: the field of `state` that feeds the recurrent product and is the output;
        the first field unless given.
      wide_state: keep the other fields in float32 at least, also where parameters are narrower:
        for sums over many steps, which stop growing where one step is less than their rounding.
      parameters: names of extra parameters of shape `(features,)` and how they start, for
        peepholes and the like.
      recurrent_bias: add a `recurrent_bias` `(gates, features)` to `r`, apart from `bias`.
      blocks: number of equal diagonal blocks (heads) of the recurrent weights, which are
        then `(blocks, features / blocks, gates, features / blocks)`. `blocks=features` is
        a diagonal recurrence.
      modulate: `(state, x, r) -> (*batch, features)` (and `p`, as for `update`): what the
        last `modulated` gates see in place of `h`; here `r` holds the gates before them.
        The GRU of the paper applies its reset gate this way.
      modulated: how many gates, the last ones, take the product with `modulate`'s result.
      projection: width of a projected hidden state: the hidden leaf that `update` returns
        is multiplied by `projection` `(features, projection)`, and `recurrent` is
        `(projection, gates, features)`.
      layer_norm: normalise `input x` and `recurrent h` before they meet, each over all
        gates, with gains `input_gain` and `recurrent_gain` `(gates, features)`.
      input_weights: whether there are any. If not, the input is what the gates get of it, one
        after the other, `(*batch, gates * features)`: whatever stands before the cell made it.
      input_init: initializer of each gate's input weights `(in_features, features)`.
      recurrent_init: initializer of each gate's (and block's) recurrent weights.
      bias_init: initializer of `bias` `(gates, features)`.

    Returns:
      A `Cell`. Equal calls return equal cells as long as `update` is the same function:
      put `sj.factory` or `functools.cache` on a function that defines `update` inside.

    Raises:
      ValueError: if sizes or names do not fit together.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> def minimal_gated_unit(features):
      ...     def update(h, x, r):
      ...         forget = jax.nn.sigmoid(x[0] + r[0])
      ...         return (1 - forget) * h + forget * jnp.tanh(x[1] + forget * r[1])
      ...     return sj.gated(update, features=features, gates=2)
      >>> cell = minimal_gated_unit(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> jax.tree.map(jnp.shape, params)
      {'bias': (2, 4), 'input': (3, 2, 4), 'recurrent': (4, 2, 4)}
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 4)
    """
    structure = Gated(
        update=update,
        features=positive_int("gated", "features", features),
        gates=positive_int("gated", "gates", gates),
        state=state,
        hidden=hidden,
        wide_state=wide_state,
        parameters=tuple((parameters or {}).items()),
        recurrent_bias=recurrent_bias,
        blocks=positive_int("gated", "blocks", blocks),
        modulate=modulate,
        modulated=modulated,
        projection=None if projection is None else positive_int("gated", "projection", projection),
        layer_norm=layer_norm,
        input_weights=input_weights,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )
    return Cell(
        init=structure.init,
        initial_carry=structure.initial_carry,
        step=structure.step,
        features=structure.hidden_features,
        output=structure.output,
        structure=structure,
    )


_OWN = {"input", "recurrent", "bias", "recurrent_bias", "projection"}
_OWN |= {"input_gain", "recurrent_gain"}


@dataclasses.dataclass(frozen=True)
class Gated:
    """The parts of a gated cell, apart, so that an engine can arrange them in time.

    `step` is `advance` after `project_inputs`; the first depends on the input alone, so it
    can be done for many steps in one product. The fields are the arguments of `gated`.
    """

    update: Callable[..., Any]
    features: int
    gates: int
    state: Any
    hidden: str | None
    wide_state: bool
    parameters: tuple[tuple[str, Initializer], ...]
    recurrent_bias: bool
    blocks: int
    modulate: Callable[..., Array] | None
    modulated: int
    projection: int | None
    layer_norm: bool
    input_weights: bool
    input_init: Initializer
    recurrent_init: Initializer
    bias_init: Initializer
    apart: bool = False  # See `by_gate`.
    owner: str = dataclasses.field(default="", compare=False)
    """The call that made the cell, for errors."""

    def __post_init__(self):
        fields = getattr(self.state, "_fields", None)
        if self.state is not None and not fields:
            raise ValueError(
                f"gated: `state` must be a NamedTuple class, got {self.state!r}. Write "
                "`class MyState(NamedTuple): hidden: Array; ...` and pass `state=MyState`."
            )
        if self.hidden is not None and self.hidden not in (fields or ()):
            raise ValueError(
                f"gated: `hidden={self.hidden!r}` is not a field of the state; its fields are "
                f"{list(fields or ())}."
            )
        if self.features % self.blocks:
            sizes = f"`blocks={self.blocks}` does not divide `features={self.features}`"
            raise ValueError(f"gated: {sizes}.")
        if not 0 <= self.modulated <= self.gates or (self.modulate is None) != (
            self.modulated == 0
        ):
            raise ValueError(
                "gated: `modulate` and `modulated` go together: pass the function and how many "
                f"of the {self.gates} gates it feeds; got modulate={self.modulate}, "
                f"modulated={self.modulated}."
            )
        for name, given in (("blocks", self.blocks > 1), ("modulate", self.modulated > 0)):
            if given and self.projection is not None:
                raise ValueError(f"gated: `{name}` and `projection` cannot be combined.")
        taken = _OWN.intersection(name for name, _ in self.parameters)
        if taken:
            own = f"the names {sorted(taken)} belong to gated itself"
            raise ValueError(f"gated: {own}; rename the extra parameters.")

    @property
    def hidden_features(self) -> int:
        """Width of the hidden state and of the output."""
        return self.features if self.projection is None else self.projection

    @property
    def hidden_field(self) -> str | None:
        """Name of the state's leaf that feeds the recurrent product."""
        return self.hidden or (self.state._fields[0] if self.state else None)

    def output(self, state: Carry) -> Array:
        """The leaf of the state that feeds the recurrent product and is the output."""
        field = self.hidden_field
        return state if field is None else getattr(state, field)

    def by_gate(self) -> "Gated":
        return dataclasses.replace(self, apart=True)

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that act unit by unit after the products."""
        own = ()
        if self.layer_norm:
            own = ("recurrent_gain",) + ("recurrent_bias",) * self.recurrent_bias
        return own + tuple(name for name, _ in self.parameters)

    @property
    def summed_gates(self) -> frozenset[int]:
        """The gates i of which `update` and `modulate` see only the sum `x[i] + r[i]`."""
        return frozenset() if self.layer_norm else self._seen[0]

    @property
    def closes_over_traced(self) -> bool:
        """Whether `update` or `modulate` uses traced numbers that are not among its arguments."""
        return self._seen[1]

    @functools.cached_property
    def _seen(self) -> tuple[frozenset[int], bool]:
        """What a trace of the update tells: the sums it makes, and what it closes over."""

        def see(carry, x, r, extra):
            early = Gates(r[: self.gates - self.modulated])
            modulated = self.modulate and self.modulate(carry, Gates(x), early, *extra)
            return modulated, self.update(carry, Gates(x), Gates(r), *extra)

        in_features = 1 if self.input_weights else self.gates * self.features
        params = jax.eval_shape(lambda: self.init(jax.random.key(0), in_features))
        unit = jax.ShapeDtypeStruct((self.features,), params["bias"].dtype)
        gates = [unit] * self.gates
        carry = jax.eval_shape(self.initial_carry, params)
        extra = jax.eval_shape(lambda p: self._extra(p, jnp.zeros(unit.shape)), params)
        program = jax.make_jaxpr(see)(carry, gates, gates, extra)
        jaxpr = program.jaxpr
        first = len(jax.tree.leaves(carry))
        x = jaxpr.invars[first : first + self.gates]
        r = jaxpr.invars[first + self.gates : first + 2 * self.gates]
        summed = frozenset(
            gate for gate, pair in enumerate(zip(x, r, strict=True)) if only_summed(jaxpr, *pair)
        )
        return summed, any(map(is_traced, program.consts))

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = iter(jax.random.split(key, 4 + len(self.parameters)))
        block = self.hidden_features // self.blocks
        unit = self.features // self.blocks
        recurrent_shape = (block, self.gates, unit)
        if self.blocks > 1:
            recurrent_shape = (self.blocks, *recurrent_shape)
        gate_shape = (self.gates, self.features)
        input_key = next(keys)
        params = {
            "recurrent": initialize_gates(next(keys), self.recurrent_init, recurrent_shape, dtype),
            "bias": self.bias_init(next(keys), gate_shape, dtype),
        }
        if self.input_weights:
            shape = (in_features, *gate_shape)
            params["input"] = initialize_gates(input_key, self.input_init, shape, dtype)
        elif in_features != self.gates * self.features:
            raise ValueError(
                f"{self}: without input weights the input must be {self.gates} times "
                f"{self.features} wide, one part for each gate; got in_features={in_features}."
            )
        projection_key = next(keys)
        if self.recurrent_bias:
            params["recurrent_bias"] = jnp.zeros(gate_shape, dtype)
        if self.projection is not None:
            shape = (self.features, self.projection)
            params["projection"] = self.input_init(projection_key, shape, dtype)
        if self.layer_norm:
            params["input_gain"] = jnp.ones(gate_shape, dtype)
            params["recurrent_gain"] = jnp.ones(gate_shape, dtype)
        for name, initializer in self.parameters:
            params[name] = initializer(next(keys), (self.features,), dtype)
        return params

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        dtype = params["recurrent"].dtype

        def zeros(name: str | None) -> Array:
            hidden = name == self.hidden_field
            width = self.hidden_features if hidden else self.features
            wide = self.wide_state and not hidden
            own = jnp.promote_types(dtype, jnp.float32) if wide else dtype
            return jnp.zeros((*batch_shape, width), own)

        if self.state is None:
            return zeros(None)
        return self.state(*map(zeros, self.state._fields))

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        params = self.flat(params)
        return self.advance(params, carry, self.project_inputs(params, x))

    def flat(self, params: Params) -> Params:
        """`input` and, for each recurrent product, `recurrent` as a `Projection` takes them."""
        expect_gates(self, self.gates, params["bias"])
        early = self.gates - self.modulated
        parts = [slice(0, early), slice(early, self.gates)][: 1 + bool(self.modulated)]
        weights = params["recurrent"]
        recurrent = [flat(weights[..., which, :], blocks=self.blocks > 1) for which in parts]
        own = {"input": flat(params["input"])} if self.input_weights else {}
        return {**params, **own, "recurrent": recurrent}

    def project_inputs(self, params: Params, x: Array) -> Gates:
        """The input part of every gate, a function of the input alone."""
        own = self.input_weights
        expect_inputs(self, params["input"].shape[0] if own else self.gates * self.features, x)
        expect_real(self, x, params["recurrent"])
        product = Projection(self.gates, apart=self.apart)
        gates = product(x, params["input"]) if own else Gates(jnp.split(x, self.gates, axis=-1))
        if self.layer_norm:
            gates = normalize(gates, params["input_gain"])
        return add_bias(gates, params["bias"])

    def joint(self, params: Params) -> tuple[Array, Array] | None:
        """Weights `[input; recurrent]` and bias, where all gates see `x + r` of one product."""
        apart = len(self.summed_gates) < self.gates or self.modulated or self.blocks > 1
        if apart or not self.input_weights:
            return None
        bias = params["bias"]
        if self.recurrent_bias:
            bias = bias + params["recurrent_bias"]
        return jnp.concatenate([params["input"], *params["recurrent"]]), bias

    def advance(
        self, params: Params, carry: Carry, x: Gates, multiply: Callable[..., Any] = multiply
    ) -> tuple[Carry, Array]:
        """One step from the input part of the gates."""
        early = self.gates - self.modulated
        hidden = self.output(carry)
        extra = self._extra(params, x[0])
        r = self._recur(params, hidden, slice(0, early), multiply)
        if self.modulate is not None:
            modulated = self.modulate(carry, x, r, *extra)
            late = self._recur(params, modulated, slice(early, self.gates), multiply)
            r = Gates([*r, *late])
        state = self.update(carry, x, r, *extra)
        if self.projection is not None:
            projected = multiply(jnp.matmul, self.output(state), params["projection"])
            field = self.hidden_field
            state = projected if field is None else state._replace(**{field: projected})
        state = updated(self, state, carry)
        return state, self.output(state)

    def _recur(
        self, params: Params, hidden: Array, which: slice, multiply: Callable[..., Any]
    ) -> Gates:
        product = Projection(which.stop - which.start, self.blocks, self.apart)
        bias = params["recurrent_bias"][which] if self.recurrent_bias else None
        weights = params["recurrent"][which.start > 0]
        if not self.layer_norm:
            return multiply(product, hidden, weights, bias, which)
        r = multiply(product, hidden, weights, None, which)
        r = normalize(r, params["recurrent_gain"][which])
        return r if bias is None else add_bias(r, bias)

    def _extra(self, params: Params, like: Array) -> tuple[Any, ...]:
        """The extra parameters, ready to meet arrays of the rank of `like`."""
        if not self.parameters:
            return ()
        names = [name for name, _ in self.parameters]
        values = (like_features(params[name], like) for name in names)
        return (collections.namedtuple("Parameters", names)(*values),)

    def __str__(self) -> str:
        own = f"gated({spell(self.update)}, features={self.features}, gates={self.gates})"
        return self.owner or own
