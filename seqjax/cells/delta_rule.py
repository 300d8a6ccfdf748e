"""The delta rule as a layer: what all cells of its family have in common."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice
from seqjax.core.cell import Cell
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads
from seqjax.core.layers import dense, draw, scale_to_one, unit_length
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.types import Activation, Array, Initializer, Params, PRNGKeyArray

ONE = initializers.Constant(1.0)


def delta_rule_layer(
    features: int,
    *,
    heads: int,
    keys: int,
    values: int,
    convolution: int,
    convolution_bias: bool,
    negative_eigenvalues: bool,
    epsilon: float,
    weight_init: Initializer,
    key_heads: int | None = None,
    **forgetting: Any,
) -> Cell:
    """`[q k v | beta, decay, gate]` out of one product, a short convolution of its first part, the
    delta rule, and the way out."""
    rule = _DeltaRule(
        features=features,
        heads=heads,
        key_heads=heads if key_heads is None else key_heads,
        keys=keys,
        values=values,
        epsilon=epsilon,
        largest_rate=2.0 if negative_eigenvalues else 1.0,
        output_init=weight_init,
        **forgetting,
    )
    memory = matrix_state(
        rule.access,
        heads=heads,
        keys=keys,
        values=values,
        init=rule.init,
        read_out=rule.read_out,
        features=features,
    )
    *_, convolved, _, _, width = rule.ends
    short = short_convolution(
        convolved, width=convolution, activation=jax.nn.silu, bias=convolution_bias
    )
    return checkpointed(
        stack(
            project=dense(width, bias=False, weight_init=weight_init),
            convolve=on_slice(short, width=convolved, rest=width - convolved),
            memory=memory,
        )
    )


@dataclasses.dataclass(frozen=True)
class _DeltaRule:
    """The memory of the layer: what a step writes and reads, from `[q k v | beta, decay, gate]`.

    `decay` makes log-decays of its part, `decay_width` wide, and of parameters in `own`. The gate
    is the activation of its part, which is `gate_width` wide if `gate_up` in `own` widens it; `own`
    may have a bias for it.
    """

    features: int
    heads: int
    key_heads: int
    keys: int
    values: int
    epsilon: float
    largest_rate: float
    output_init: Initializer
    decay: Callable[[Params, Array], Array] | None = None
    decay_width: int = 0
    own: tuple[tuple[str, Any], ...] = ()
    gate: Activation | None = None
    gate_width: int | None = None

    @property
    def ends(self) -> tuple[int, ...]:
        """Where each part of the input ends."""
        inner = self.heads * self.values
        gate = 0 if self.gate is None else self.gate_width or inner
        widths = (self.key_heads * self.keys,) * 2 + (inner, self.heads, self.decay_width, gate)
        return tuple(itertools.accumulate(widths))

    def parts(self, x: Array) -> list[Array]:
        return jnp.split(x, self.ends[:-1], axis=-1)

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        recipes = {
            **dict(self.own),
            "norm_gain": (ONE, (self.values,)),
            "output": (self.output_init, (self.heads * self.values, self.features)),
        }
        return draw(key, recipes)

    def access(self, p: Params, x: Array) -> Access:
        q, k, v, rate, forget, _ = self.parts(x)
        return Access(
            query=self.for_each_head(unit_length(self.by_width(q, self.keys)) * self.keys**-0.5),
            key=self.for_each_head(unit_length(self.by_width(k, self.keys))),
            value=self.by_width(v, self.values),
            log_decay=None if self.decay is None else self.decay(p, forget),
            rate=self.largest_rate * jax.nn.sigmoid(rate),
        )

    def read_out(self, p: Params, o: Array, x: Array) -> Array:
        y = from_heads(scale_to_one(o, self.epsilon) * like_features(p["norm_gain"], o))
        if self.gate is not None:
            g = self.parts(x)[-1]
            g = g if self.gate_width is None else g @ p["gate_up"]
            g = g + like_features(p["gate_bias"], g) if "gate_bias" in p else g
            y = y * self.gate(g)
        return y @ p["output"]

    def by_width(self, x: Array, width: int) -> Array:
        return x.reshape(*x.shape[:-1], x.shape[-1] // width, width)

    def for_each_head(self, x: Array) -> Array:
        """What neighbouring memories share, repeated."""
        return jnp.repeat(x, self.heads // self.key_heads, axis=-2)
