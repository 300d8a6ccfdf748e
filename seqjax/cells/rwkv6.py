"""RWKV-6: a decay for each channel that the input chooses."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.cells.rwkv_initializers import Bonus, NormGain, Power, Ramp
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, prenorm
from seqjax.core.cell import Cell, expect_width, factory, position_in_stack, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, heads_of_64
from seqjax.core.layers import draw, layer_norm, standardize
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.shift import windowed
from seqjax.core.stack import stack
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray

ZERO = initializers.Constant(0.0)
MIXED = ("w", "k", "v", "r", "g")


@factory
def rwkv6_time_mix(
    features: int,
    *,
    heads: int | None = None,
    layer: int = 0,
    layers: int = 1,
    mix_rank: int = 32,
    decay_rank: int = 64,
    epsilon: float = 64e-5,
) -> Cell:
    """The time mix of RWKV-6 ("Finch").

        d = x_{t-1} - x_t
        x_z = x + d * (mu_z + tanh((x + d * mu) A_z) B_z)      for z = w, k, v, r, g
        r = W_r x_r, k = W_k x_k, v = W_v x_v, g = silu(W_g x_g)
        w = exp(-exp(w_0 + tanh(x_w A) B))             one for each channel of k
        o = S' r + (r . u k) v                         u: the bonus of a step for itself
        S = diag(w) S + k v'
        y = W_o (norm(o) * g)                          norm: layer norm, head by head

    Args:
      features: width of the input and of the output.
      heads: number of memories; by default as many as divide the features and are at least 64
        wide, or one.
      layer, layers: which layer this is, of how many: some parameters start accordingly.
      mix_rank: width of every A_z.
      decay_rank: width of A. The released models of 4096 features and more have ranks twice as
        wide.
      epsilon: of the norm; the released models, with heads 64 wide, have this one.

    Returns:
      A cell of two parts, `mix` and `memory`, whose carry is a dict of theirs: the last input,
      and `MatrixState(memory)` `(*batch, heads, K, K)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv6_time_mix(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((2, 5, 8)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))

    Source: Peng et al. 2024, arXiv:2404.05892; initialisation: the released training code. Decays
    are stored as there: `decay` is w_0.
    """
    features = positive_int("rwkv6_time_mix", "features", features)
    heads = heads_of_64(features) if heads is None else heads
    width = head_width("rwkv6_time_mix", "features", features, heads)
    depth, rise = position_in_stack("rwkv6_time_mix", layer, layers)
    own = _TimeMix(
        features,
        heads,
        mix_rank,
        decay_rank,
        depth,
        rise,
        norm_gain=NormGain(layer, layers),
        epsilon=epsilon,
    )
    return checkpointed(
        stack(
            mix=windowed(
                own.mix, width=2, features=5 * features, init=own.init_mix, in_features=features
            ),
            memory=matrix_state(
                own.access,
                heads=heads,
                keys=width,
                values=width,
                init=own.init_memory,
                read_out=own.read_out,
                features=features,
            ),
        )
    )


@dataclasses.dataclass(frozen=True)
class _TimeMix:
    """The equations of `rwkv6_time_mix`.

    `mix` makes `[r k v w g]`, w before its two exponentials; `access` and `read_out` are those of
    the memory.
    """

    features: int
    heads: int
    mix_rank: int
    decay_rank: int
    depth: float
    rise: float
    norm_gain: Initializer
    epsilon: float

    def init_mix(self, key: PRNGKeyArray, in_features: int) -> Params:
        features = self.features
        expect_width("rwkv6_time_mix", features, in_features)
        depth, rise = self.depth, self.rise
        square, down = (features, features), (features, len(MIXED) * self.mix_rank)
        shapes = {
            "mu": (Power(rise), (features,)),
            "mu_w": (Power(rise), (features,)),
            "mu_k": (Power(rise), (features,)),
            "mu_v": (Power(rise, -0.3 * depth), (features,)),
            "mu_r": (Power(0.5 * rise), (features,)),
            "mu_g": (Power(0.5 * rise), (features,)),
            "mix_down": (ZERO, down),
            "mix_up": (initializers.Uniform(0.01), (len(MIXED), self.mix_rank, features)),
            "decay": (Ramp(-6.0, 5.0, 0.7 + 1.3 * depth), (features,)),
            "decay_down": (ZERO, (features, self.decay_rank)),
            "decay_up": (initializers.Uniform(0.01), (self.decay_rank, features)),
            "receptance": (initializers.Orthogonal(), square),
            "key": (initializers.Orthogonal(0.1), square),
            "value": (initializers.Orthogonal(), square),
            "gate": (initializers.Orthogonal(0.1), square),
        }
        return draw(key, shapes)

    def mix(self, p: Params, window: tuple[Array, ...]) -> Array:
        x, d = window[0], window[1].astype(window[0].dtype) - window[0]
        low = jnp.tanh((x + d * like_features(p["mu"], x)) @ p["mix_down"])
        seen = {}
        for n, name in enumerate(MIXED):
            more = low[..., n * self.mix_rank : (n + 1) * self.mix_rank] @ p["mix_up"][n]
            seen[name] = x + d * (like_features(p[f"mu_{name}"], x) + more)
        decay = jnp.tanh(seen["w"] @ p["decay_down"]) @ p["decay_up"]
        made = [
            seen["r"] @ p["receptance"],
            seen["k"] @ p["key"],
            seen["v"] @ p["value"],
            decay + like_features(p["decay"], x),
            jax.nn.silu(seen["g"] @ p["gate"]),
        ]
        return jnp.concatenate(made, axis=-1)

    def init_memory(self, key: PRNGKeyArray, in_features: int) -> Params:
        features = self.features
        shapes = {
            "bonus": (Bonus(self.depth), (features,)),
            "norm_gain": (self.norm_gain, (features,)),
            "norm_bias": (ZERO, (features,)),
            "output": (ZERO, (features, features)),
        }
        return draw(key, shapes)

    def access(self, p: Params, x: Array) -> Access:
        width = self.features // self.heads
        r, k, v, w = (
            part.reshape(*part.shape[:-1], self.heads, width)
            for part in jnp.split(x, 5, axis=-1)[:4]
        )
        bonus = like_features(p["bonus"].reshape(self.heads, width), r)
        return Access(r, k, v, log_decay=log_decay(w), bonus=bonus)

    def read_out(self, p: Params, o: Array, x: Array) -> Array:
        y = from_heads(standardize(o, self.epsilon)) * like_features(p["norm_gain"], x)
        gate = x[..., 4 * self.features :]
        return ((y + like_features(p["norm_bias"], x)) * gate) @ p["output"]


@factory
def rwkv6_channel_mix(
    features: int, *, hidden: int | None = None, layer: int = 0, layers: int = 1
) -> Cell:
    """The channel mix of RWKV-6: a feed-forward layer that also sees the step before.

        d = x_{t-1} - x_t
        k = relu(W_k (x + d * mu_k))^2
        y = sigmoid(W_r (x + d * mu_r)) * (W_v k)

    Args:
      features: width of the input and of the output.
      hidden: width of k, by default 3.5 times `features`.
      layer, layers: which layer this is, of how many: mu starts accordingly.

    Returns:
      A cell whose carry is `WindowState(inputs)`, the last input.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv6_channel_mix(4)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 4), jnp.ones((5, 4)))[1].shape
      (5, 4)

    Source: Peng et al. 2024, arXiv:2404.05892.
    """
    features = positive_int("rwkv6_channel_mix", "features", features)
    wide = 7 * features // 2 if hidden is None else hidden
    _, rise = position_in_stack("rwkv6_channel_mix", layer, layers)

    def init(key, in_features):
        expect_width("rwkv6_channel_mix", features, in_features)
        shapes = {
            "mu_k": (Power(rise), (features,)),
            "mu_r": (Power(rise), (features,)),
            "key": (initializers.Orthogonal(), (features, wide)),
            "receptance": (ZERO, (features, features)),
            "value": (ZERO, (wide, features)),
        }
        return draw(key, shapes)

    def mix(p, window):
        x, d = window[0], window[1].astype(window[0].dtype) - window[0]
        k = jnp.square(jax.nn.relu((x + d * like_features(p["mu_k"], x)) @ p["key"]))
        r = (x + d * like_features(p["mu_r"], x)) @ p["receptance"]
        return jax.nn.sigmoid(r) * (k @ p["value"])

    return windowed(
        mix,
        width=2,
        features=features,
        init=init,
        in_features=features,
    )


@factory
def rwkv6_block(
    features: int,
    *,
    hidden: int | None = None,
    layer: int = 0,
    layers: int = 1,
    norm_epsilon: float = 1e-5,
    **options: Any,
) -> Cell:
    """One block of an RWKV-6.

        x = x + time_mix(norm(x))
        y = x + channel_mix(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the channel mix.
      layer, layers: which layer this is, of how many: some parameters start accordingly.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.rwkv6_time_mix`, such as `heads`.

    Returns:
      A cell; `sj.stack(*[sj.rwkv6_block(64, layer=n, layers=6) for n in range(6)])` is the trunk
      of a language model; `sj.block_stack` adds the norm behind the embedding and the last one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv6_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Peng et al. 2024, arXiv:2404.05892.
    """
    time = rwkv6_time_mix(features, layer=layer, layers=layers, **options)
    channel = rwkv6_channel_mix(features, hidden=hidden, layer=layer, layers=layers)
    return stack(
        time=prenorm(time, norm=layer_norm, epsilon=norm_epsilon),
        channel=prenorm(channel, norm=layer_norm, epsilon=norm_epsilon),
    )
