"""The delta rule as a layer: what all cells of its family have in common."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice
from seqjax.core.cell import Cell
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads
from seqjax.core.layers import dense, draw, scale_to_one, unit_length
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.several_writes import several_writes
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
    epsilon: float,
    weight_init: Initializer,
    key_heads: int | None = None,
    writes: int = 1,
    **parts: Any,
) -> Cell:
    """`[q k v | rates, decay, gate]` out of one product, a short convolution of its first part, the
    delta rule, and the way out. With several writes there are as many k, v and rates."""
    rule = _DeltaRule(
        features=features,
        heads=heads,
        key_heads=heads if key_heads is None else key_heads,
        keys=keys,
        values=values,
        writes=writes,
        epsilon=epsilon,
        output_init=weight_init,
        **parts,
    )
    remember = matrix_state if writes == 1 else functools.partial(several_writes, count=writes)
    memory = remember(
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
    """The memory of the layer: what a step writes and reads, from `[q k v | rates, decay, gate]`.

    `correct` takes parameters, an access that adds, and the rates, `rates` wide, and returns one
    that corrects. `decay` makes log-decays of its part, `decay_width` wide, and of parameters in
    `own`. The gate is the activation of its part, which is `gate_width` wide if `gate_up` in `own`
    widens it; `own` may have a bias for it.
    """

    features: int
    heads: int
    key_heads: int
    keys: int
    values: int
    writes: int
    epsilon: float
    output_init: Initializer
    rates: int
    correct: Callable[[Params, Access, Array], Access]
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
        several = (self.key_heads * self.keys, inner, self.rates)
        query, written = several[0], tuple(self.writes * width for width in several)
        return tuple(itertools.accumulate((query, *written, self.decay_width, gate)))

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
        q, k, v, rates, forget, _ = self.parts(x)
        if self.writes > 1:
            k, v, rates = (self.by_width(a, a.shape[-1] // self.writes) for a in (k, v, rates))
            q = jnp.broadcast_to(q[..., None, :], (*k.shape[:-1], q.shape[-1]))
        access = Access(
            query=self.for_each_head(unit_length(self.by_width(q, self.keys)) * self.keys**-0.5),
            key=self.for_each_head(unit_length(self.by_width(k, self.keys))),
            value=self.by_width(v, self.values),
            log_decay=None if self.decay is None else self.decay(p, forget),
        )
        return self.correct(p, access, rates)

    def read_out(self, p: Params, o: Array, x: Array) -> Array:
        o = o if self.writes == 1 else o[..., -1, :, :]
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


def at_one_rate(*, negative_eigenvalues: bool) -> dict[str, Any]:
    """The parts of a layer that corrects at one rate for each head, below 1 or below 2."""
    largest = 2.0 if negative_eigenvalues else 1.0

    def correct(p: Params, access: Access, rates: Array) -> Access:
        return access._replace(rate=largest * jax.nn.sigmoid(rates))

    return {"correct": correct}


def decays_of_heads(heads: int) -> dict[str, Any]:
    """The parts of a layer with one decay for each head, `exp(-exp(A) softplus(a + b_a))`."""

    def decay(p: Params, a: Array) -> Array:
        size = jax.nn.softplus(a + like_features(p["decay_bias"], a))
        return log_decay(like_features(p["A_log"], size), size)

    own = (
        ("A_log", (initializers.LogUniform(1.0, 16.0), (heads,))),
        ("decay_bias", (initializers.TimeStep(), (heads,))),
    )
    return {"decay": decay, "decay_width": heads, "own": own}


def decays_of_channels(
    heads: int, width: int, rank: int, weight_init: Initializer
) -> dict[str, Any]:
    """The parts of a layer with one decay for each channel of k, of low rank."""

    def decay(p: Params, a: Array) -> Array:
        a = a @ p["decay_up"]
        a = (a + like_features(p["decay_bias"], a)).reshape(*a.shape[:-1], heads, width)
        return log_decay(like_features(p["A_log"][:, None], a), jax.nn.softplus(a))

    own = (
        ("A_log", (initializers.LogUniform(1.0, 16.0), (heads,))),
        ("decay_bias", (initializers.TimeStep(), (heads * width,))),
        ("decay_up", (weight_init, (rank, heads * width))),
    )
    return {"decay": decay, "decay_width": rank, "own": own}
