"""RWKV-7: a memory that replaces what it holds."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.rwkv_initializers import NormGain, Power, Ramp, Zigzag
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice, prenorm
from seqjax.core.cell import Cell, expect_width, factory, position_in_stack, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, heads_of_64
from seqjax.core.layers import draw, layer_norm, standardize, unit_length
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.shift import windowed
from seqjax.core.stack import stack
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray

ZERO = initializers.Constant(0.0)
MIXED = ("r", "w", "k", "v", "a", "g")
EXPONENTS = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}


@factory
def rwkv7_time_mix(
    features: int,
    *,
    heads: int | None = None,
    layer: int = 0,
    layers: int = 1,
    decay_rank: int | None = None,
    rate_rank: int | None = None,
    value_rank: int | None = None,
    gate_rank: int | None = None,
    epsilon: float = 64e-5,
) -> Cell:
    """The time mix of RWKV-7 ("Goose").

        x_z = x + (x_{t-1} - x) * mu_z                         for z = r, w, k, v, a, g
        r = W_r x_r, k = W_k x_k, v = W_v x_v
        w = exp(-exp(-1/2) sigmoid(w_0 + tanh(x_w A_w) B_w))   one for each channel of k
        a = sigmoid(a_0 + x_a A_a B_a)
        g = sigmoid(x_g A_g) B_g
        v = v + (v_first - v) * sigmoid(v_0 + x_v A_v B_v)     in layers after the first
        n = unit(k * k_k),  k = k * (1 + (a - 1) * k_a)        unit length, head by head
        S = diag(w) S - (n * a) (S' n)' + k v'
        o = norm(S' r) + (r . r_k k) v                         norm: layer norm, head by head
        y = W_o (o * g)

    `S' n` is read before S decays. v_first is the v of the first layer: where there are several
    layers, it travels with x, as the second half of the input and of the output.

    Args:
      features: width of x and of y.
      heads: number of memories; by default as many as divide the features and are at least 64
        wide, or one.
      layer, layers: which layer this is, of how many. The first of several takes x and returns
        `[y, v_first]`, the others take `[x, v_first]`; all but the last return it too. Some
        parameters start according to the layer.
      decay_rank, rate_rank, value_rank, gate_rank: widths of A_w, A_a, A_v and A_g; by default
        2.5, 2.5, 1.7 and 5 roots of the features, to the nearest multiple of 32. Published models
        have these, or those of an older recipe.
      epsilon: of the norm. The released models have 64e-5, with heads 64 wide; fla makes it 1e-5
        times the width of a head.

    Returns:
      A cell of two parts, `mix` and `memory`, whose carry is a dict of theirs: the last input,
      and `MatrixState(memory)` `(*batch, heads, K, K)`.

    Raises:
      ValueError: if heads do not divide the features.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv7_time_mix(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((2, 5, 8)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))

    Source: Peng et al. 2025, arXiv:2503.14456; initialisation: the released training code. The
    memory there is the transpose of ours.
    """
    features = positive_int("rwkv7_time_mix", "features", features)
    heads = heads_of_64(features) if heads is None else heads
    width = head_width("rwkv7_time_mix", "features", features, heads)
    depth, rise = position_in_stack("rwkv7_time_mix", layer, layers)
    own = _TimeMix(
        features,
        heads,
        takes_first=layers > 1 and layer > 0,
        returns_first=layers > 1 and layer < layers - 1,
        depth=depth,
        rise=rise,
        norm_gain=NormGain(layer, layers),
        ranks=_ranks(features, decay_rank, rate_rank, value_rank, gate_rank),
        epsilon=epsilon,
    )
    out = (2 if own.returns_first else 1) * features
    return checkpointed(
        stack(
            mix=windowed(
                own.mix,
                width=2,
                features=5 * features + out,
                init=own.init_mix,
                in_features=own.in_features,
            ),
            memory=matrix_state(
                own.access,
                heads=heads,
                keys=width,
                values=width,
                init=own.init_memory,
                read_out=own.read_out,
                features=out,
                least_log_decay=-0.607,
            ),
        )
    )


@dataclasses.dataclass(frozen=True)
class _TimeMix:
    """The equations of `rwkv7_time_mix`.

    `mix` makes `[r k v w a g]`, w before its sigmoid, and v_first behind them if the layer returns
    it; `access` and `read_out` are those of the memory.
    """

    features: int
    heads: int
    takes_first: bool
    returns_first: bool
    depth: float
    rise: float
    norm_gain: Initializer
    ranks: tuple[int, int, int, int]
    epsilon: float

    @property
    def in_features(self) -> int:
        return (2 if self.takes_first else 1) * self.features

    def init_mix(self, key: PRNGKeyArray, in_features: int) -> Params:
        expect_width("rwkv7_time_mix", self.in_features, in_features)
        features, width = self.features, self.features // self.heads
        decay_rank, rate_rank, value_rank, gate_rank = self.ranks
        low, square = initializers.Orthogonal(0.1), (features, features)
        ramp = Ramp(-6.0, 6.0, 1 + self.depth**0.3)
        shapes = {f"mu_{z}": (Power(EXPONENTS[z] * self.rise), (features,)) for z in MIXED}
        shapes |= {
            "decay": (Zigzag(0.5, zigzag=2.5, width=width, ramp=ramp), (features,)),
            "decay_down": (ZERO, (features, decay_rank)),
            "decay_up": (low, (decay_rank, features)),
            "rate": (Zigzag(-0.19, zigzag=0.3, line=0.4, width=width), (features,)),
            "rate_down": (ZERO, (features, rate_rank)),
            "rate_up": (low, (rate_rank, features)),
            "gate_down": (ZERO, (features, gate_rank)),
            "gate_up": (low, (gate_rank, features)),
            "receptance": (initializers.FanIn(0.5), square),
            "key": (initializers.FanIn(0.05), square),
            "value": (initializers.FanIn(0.5), square),
        }
        if self.takes_first:
            shapes |= {
                "first": (Zigzag(0.73, line=-0.4), (features,)),
                "first_down": (ZERO, (features, value_rank)),
                "first_up": (low, (value_rank, features)),
            }
        return draw(key, shapes)

    def mix(self, p: Params, window: tuple[Array, ...]) -> Array:
        x, before = (seen[..., : self.features] for seen in window)
        d = before.astype(x.dtype) - x
        seen = {z: x + d * like_features(p[f"mu_{z}"], x) for z in MIXED}
        v = seen["v"] @ p["value"]
        first = v
        if self.takes_first:
            first = window[0][..., self.features :]
            share = (seen["v"] @ p["first_down"]) @ p["first_up"] + like_features(p["first"], x)
            v = v + (first - v) * jax.nn.sigmoid(share)
        decay = jnp.tanh(seen["w"] @ p["decay_down"]) @ p["decay_up"]
        rate = (seen["a"] @ p["rate_down"]) @ p["rate_up"]
        made = [
            seen["r"] @ p["receptance"],
            seen["k"] @ p["key"],
            v,
            decay + like_features(p["decay"], x),
            jax.nn.sigmoid(rate + like_features(p["rate"], x)),
            jax.nn.sigmoid(seen["g"] @ p["gate_down"]) @ p["gate_up"],
        ]
        return jnp.concatenate([*made, first] if self.returns_first else made, axis=-1)

    def init_memory(self, key: PRNGKeyArray, in_features: int) -> Params:
        features = self.features
        shapes = {
            "key_norm": (Zigzag(0.71, line=-0.1), (features,)),
            "key_rate": (initializers.Constant(1.02), (features,)),
            "bonus": (initializers.Constant(-0.04), (features,)),
            "norm_gain": (self.norm_gain, (features,)),
            "norm_bias": (ZERO, (features,)),
            "output": (ZERO, (features, features)),
        }
        return draw(key, shapes)

    def access(self, p: Params, x: Array) -> Access:
        r, k, v, decay, a, _ = self.parts(x)
        n = unit_length(self.by_head(k * like_features(p["key_norm"], k)), 1e-16)
        return Access(
            query=self.by_head(r),
            key=self.by_head(self.replaced_key(p, k, a)),
            value=self.by_head(v),
            log_decay=self.by_head(-(jnp.e**-0.5) * jax.nn.sigmoid(decay)),
            low_rank=(-n, n * self.by_head(a)),
        )

    def read_out(self, p: Params, o: Array, x: Array) -> Array:
        r, k, v, _, a, g = self.parts(x)
        y = from_heads(standardize(o, self.epsilon)) * like_features(p["norm_gain"], r)
        y = y + like_features(p["norm_bias"], y)
        weight = r * like_features(p["bonus"], r) * self.replaced_key(p, k, a)
        y = y + from_heads(self.by_head(weight).sum(-1, keepdims=True) * self.by_head(v))
        y = (y * g) @ p["output"]
        if not self.returns_first:
            return y
        return jnp.concatenate([y, x[..., 6 * self.features :]], axis=-1)

    def parts(self, x: Array) -> list[Array]:
        # The transpose of one split is one concatenation, that of six slices a sum of six arrays.
        return jnp.split(x[..., : 6 * self.features], 6, axis=-1)

    def by_head(self, x: Array) -> Array:
        return x.reshape(*x.shape[:-1], self.heads, self.features // self.heads)

    def replaced_key(self, p: Params, k: Array, a: Array) -> Array:
        return k * (1 + (a - 1) * like_features(p["key_rate"], k))


@factory
def rwkv7_channel_mix(
    features: int, *, hidden: int | None = None, layer: int = 0, layers: int = 1
) -> Cell:
    """The channel mix of RWKV-7: a feed-forward layer that also sees the step before.

        y = W_v relu(W_k (x + (x_{t-1} - x) * mu))^2

    Args:
      features: width of the input and of the output.
      hidden: width inside, by default four times `features`.
      layer, layers: which layer this is, of how many: mu starts accordingly.

    Returns:
      A cell whose carry is `WindowState(inputs)`, the last input.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv7_channel_mix(4)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 4), jnp.ones((5, 4)))[1].shape
      (5, 4)

    Source: Peng et al. 2025, arXiv:2503.14456.
    """
    features = positive_int("rwkv7_channel_mix", "features", features)
    wide = 4 * features if hidden is None else hidden
    _, rise = position_in_stack("rwkv7_channel_mix", layer, layers)

    def init(key, in_features):
        expect_width("rwkv7_channel_mix", features, in_features)
        shapes = {
            "mu": (Power(rise**4), (features,)),
            "key": (initializers.FanIn(0.5), (features, wide)),
            "value": (ZERO, (wide, features)),
        }
        return draw(key, shapes)

    def mix(p, window):
        x, d = window[0], window[1].astype(window[0].dtype) - window[0]
        seen = (x + d * like_features(p["mu"], x)) @ p["key"]
        return jnp.square(jax.nn.relu(seen)) @ p["value"]

    return windowed(
        mix,
        width=2,
        features=features,
        init=init,
        in_features=features,
    )


@factory
def rwkv7_block(
    features: int,
    *,
    hidden: int | None = None,
    layer: int = 0,
    layers: int = 1,
    norm_epsilon: float = 1e-5,
    **options: Any,
) -> Cell:
    """One block of an RWKV-7.

        x = x + time_mix(norm(x))
        y = x + channel_mix(norm(x))

    Args:
      features: width of x and of y.
      hidden: of the channel mix.
      layer, layers: which layer this is, of how many. With several, the v of the first travels
        with x, see `sj.rwkv7_time_mix`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.rwkv7_time_mix`, such as `heads`.

    Returns:
      A cell; `sj.stack(*[sj.rwkv7_block(64, layer=n, layers=6) for n in range(6)])` is the trunk
      of a language model, `sj.stack(*[sj.rwkv7_block(64)] * 6)` one without values that travel;
      `sj.block_stack` adds the norm behind the embedding and the last one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv7_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Peng et al. 2025, arXiv:2503.14456.
    """
    time = rwkv7_time_mix(features, layer=layer, layers=layers, **options)
    channel = rwkv7_channel_mix(features, hidden=hidden, layer=layer, layers=layers)
    channel = prenorm(channel, norm=layer_norm, epsilon=norm_epsilon)
    norm = layer_norm(features, epsilon=norm_epsilon)
    if layers > 1 and layer > 0:
        norm = on_slice(norm, width=features, rest=features)
    if time.features > features:
        channel = on_slice(channel, width=features, rest=features)
    return stack(time=_add_first(stack(norm=norm, cell=time), features), channel=channel)


@factory
def _add_first(cell: Cell, width: int) -> Cell:
    """`sj.residual` for the first features of input and output."""

    def add(x, y):
        return jnp.concatenate([x[..., :width] + y[..., :width], y[..., width:]], axis=-1)

    def step(params, carry, x):
        carry, y = cell.step(params, carry, x)
        return carry, add(x, y)

    def sequence(scan, params, carry, initial, xs, steps):
        run = scan(cell, params, carry, initial, xs, steps)
        return run._replace(ys=add(xs, run.ys))

    return Cell(
        init=cell.init,
        initial_carry=cell.initial_carry,
        step=step,
        features=cell.features,
        in_features=cell.in_features,
        sequence=sequence,
        name=cell.name,
    )


def _ranks(features: int, *given: int | None) -> tuple[int, int, int, int]:
    """The ranks of decay, rate, value and gate, by the recipe where none is given."""
    names = ("decay_rank", "rate_rank", "value_rank", "gate_rank")
    factors = (2.5, 2.5, 1.7, 5.0)
    made = [
        low_rank_width(factor, features)
        if rank is None
        else positive_int("rwkv7_time_mix", name, rank)
        for name, factor, rank in zip(names, factors, given, strict=True)
    ]
    return made[0], made[1], made[2], made[3]


def low_rank_width(factor: float, features: int) -> int:
    """`factor sqrt(features)` to the nearest multiple of 32, and 32 at least."""
    return max(32, round(factor * features**0.5 / 32) * 32)
