"""The `Recurrence` of a gated cell: its parameters, its products and its update, apart."""

import collections
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import expect_inputs, expect_real, positive_int, spell
from seqjax.core.gates import (
    Gates,
    Projection,
    add_bias,
    flat,
    initialize_gates,
    like_features,
    normalize,
)
from seqjax.core.programs import is_traced, only_summed
from seqjax.core.recurrence import multiply, updated
from seqjax.core.types import Array, Carry, Initializer, Params, PRNGKeyArray

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
    recurrent_limit: float | None
    modulate: Callable[..., Array] | None
    modulated: int
    input_gates: int
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
        if not 0 <= self.input_gates < self.gates:
            raise ValueError(
                f"gated: `input_gates` must be fewer than `gates={self.gates}`, and not negative; "
                f"got {self.input_gates}."
            )
        if not 0 <= self.modulated <= self.recurrent_gates or (self.modulate is None) != (
            self.modulated == 0
        ):
            raise ValueError(
                "gated: `modulate` and `modulated` go together: pass the function and how many "
                f"of the {self.recurrent_gates} gates it feeds; got modulate={self.modulate}, "
                f"modulated={self.modulated}."
            )
        if self.recurrent_limit is not None and not self.recurrent_limit > 0:
            raise ValueError(
                f"gated: `recurrent_limit` must be above 0, got {self.recurrent_limit}."
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
    def recurrent_gates(self) -> int:
        """How many gates see the hidden state."""
        return self.gates - self.input_gates

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
    def state_blocks(self) -> int:
        """The blocks of the recurrent weights, unless something else mixes their units."""
        return 1 if self.layer_norm or self.projection is not None else self.blocks

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
            early = Gates(r[: self.recurrent_gates - self.modulated])
            modulated = self.modulate and self.modulate(carry, Gates(x), early, *extra)
            return modulated, self.update(carry, Gates(x), Gates(r), *extra)

        in_features = 1 if self.input_weights else self.gates * self.features
        params = jax.eval_shape(lambda: self.init(jax.random.key(0), in_features))
        unit = jax.ShapeDtypeStruct((self.features,), params["bias"].dtype)
        gates, recurrent = [unit] * self.gates, [unit] * self.recurrent_gates
        carry = jax.eval_shape(self.initial_carry, params)
        extra = jax.eval_shape(lambda p: self._extra(p, jnp.zeros(unit.shape)), params)
        program = jax.make_jaxpr(see)(carry, gates, recurrent, extra)
        jaxpr = program.jaxpr
        first = len(jax.tree.leaves(carry))
        x = jaxpr.invars[first : first + self.gates]
        r = jaxpr.invars[first + self.gates : first + self.gates + self.recurrent_gates]
        summed = frozenset(
            gate
            for gate, pair in enumerate(zip(x[: len(r)], r, strict=True))
            if only_summed(jaxpr, *pair)
        )
        return summed, any(map(is_traced, program.consts))

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = iter(jax.random.split(key, 4 + len(self.parameters)))
        block = self.hidden_features // self.blocks
        unit = self.features // self.blocks
        recurrent_shape = (block, self.recurrent_gates, unit)
        if self.blocks > 1:
            recurrent_shape = (self.blocks, *recurrent_shape)
        gate_shape = (self.gates, self.features)
        recurrent_gates = (self.recurrent_gates, self.features)
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
            params["recurrent_bias"] = jnp.zeros(recurrent_gates, dtype)
        if self.projection is not None:
            shape = (self.features, self.projection)
            params["projection"] = self.input_init(projection_key, shape, dtype)
        if self.layer_norm:
            params["input_gain"] = jnp.ones(gate_shape, dtype)
            params["recurrent_gain"] = jnp.ones(recurrent_gates, dtype)
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
        early = self.recurrent_gates - self.modulated
        parts = [slice(0, early), slice(early, self.recurrent_gates)][: 1 + bool(self.modulated)]
        weights, bias = params["recurrent"], params["bias"]
        if self.recurrent_limit is not None:
            weights = jnp.clip(weights, -self.recurrent_limit, self.recurrent_limit)
        if bias.shape[0] != self.gates:
            raise ValueError(
                f"{self}: expected parameters with {self.gates} gates, got {bias.shape[0]}: they "
                "are another cell's."
            )
        recurrent = [flat(weights[..., which, :], blocks=self.blocks > 1) for which in parts]
        own = {"input": flat(params["input"])} if self.input_weights else {}
        return {**params, **own, "recurrent": recurrent}

    def project_inputs(self, params: Params, x: Array) -> Gates:
        """The input part of every gate, a function of the input alone."""
        own = self.input_weights
        in_features = params["input"].shape[0] if own else self.gates * self.features
        expect_inputs(self, in_features, x)
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
        early = self.recurrent_gates - self.modulated
        hidden = self.output(carry)
        extra = self._extra(params, x[0])
        r = self._recur(params, hidden, slice(0, early), multiply)
        if self.modulate is not None:
            modulated = self.modulate(carry, x, r, *extra)
            late = self._recur(params, modulated, slice(early, self.recurrent_gates), multiply)
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
        blocks = self.blocks if self.blocks > 1 else None
        product = Projection(which.stop - which.start, blocks, self.apart)
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
