"""RWKV-4: time mix, channel mix, and a block of both."""

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.core import initializers
from seqjax.core.affine import NOTHING, LogScaled, Update, apply, log_scaled
from seqjax.core.blocks import checkpointed, prenorm
from seqjax.core.cell import Cell, expect_width, factory, position_in_stack, positive_int
from seqjax.core.gates import like_features
from seqjax.core.layers import draw, layer_norm
from seqjax.core.linear import diagonal
from seqjax.core.shift import windowed
from seqjax.core.stack import stack
from seqjax.core.trees import widen
from seqjax.core.types import Array

ZERO = initializers.Constant(0.0)


@factory
def rwkv4_time_mix(
    features: int, *, inner: int | None = None, layer: int = 0, layers: int = 1
) -> Cell:
    """The time mix of RWKV-4: attention with a decay for each feature, as a recurrence.

        r = W_r mix(mu_r),  k = W_k mix(mu_k),  v = W_v mix(mu_v)
        mix(mu) = mu * x + (1 - mu) * x_before
        a, b = numerator and denominator
        y = W_output (sigmoid(r) * (a + exp(u + k) * v) / (b + exp(u + k)))
        a = exp(-w) * a + exp(k) * v
        b = exp(-w) * b + exp(k)

    where `w = exp(decay)`, `u = bonus` and `x_before` is the input of the last step that
    counted.

    Args:
      features: width of the input and of the output.
      inner: width of r, k and v, by default `features`.
      layer, layers: which layer this is, of how many: mu and the decay start accordingly.

    Returns:
      A stack of `mix`, the projections (`mu`, `weights` in the order r, k, v), and `memory`, the
      recurrence (`decay`, `bonus`, `output`). Its carry is a dict by these names: the last input,
      and `sj.LogScaled((a', b'), maximum)`, `a = a' exp(maximum)`, in float32 at least: exponents
      of any size do not overflow.

    Raises:
      ValueError: from `init`, if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv4_time_mix(4)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 4)))
      >>> ys.shape
      (5, 4)

    Source: Peng et al. 2023, arXiv:2305.13048; initialisation: the released training code, where
    W_r, W_k and W_output start at zero: between other layers it needs a way around it, such as
    `sj.residual`.
    """
    features = positive_int("rwkv4_time_mix", "features", features)
    inner = positive_int("rwkv4_time_mix", "inner", features if inner is None else inner)
    depth, rise = position_in_stack("rwkv4_time_mix", layer, layers)

    def project(params, window):
        now, before = window
        made = [
            _mix(row, now, before) @ weights
            for row, weights in zip(params["mu"], params["weights"], strict=True)
        ]
        return jnp.concatenate(made, axis=-1)

    def init(key, in_features):
        expect_width("rwkv4_time_mix", features, in_features)
        position = jnp.arange(features) / features
        early = position**rise
        value = initializers.Orthogonal()(key, (features, inner), jnp.result_type(float))
        nothing = jnp.zeros_like(value)
        return {
            "mu": jnp.stack([position ** (0.5 * rise), early, early + 0.3 * depth]),
            "weights": jnp.stack([nothing, nothing, value]),
        }

    mixed = windowed(
        project,
        width=2,
        features=3 * inner,
        init=init,
        in_features=features,
    )
    return checkpointed(stack(mix=mixed, memory=_wkv(features, inner=inner, depth=depth)))


@factory
def _wkv(features: int, *, inner: int, depth: float) -> Cell:
    def init(key, in_features):
        dtype = jnp.result_type(float)
        position = jnp.arange(inner, dtype=dtype) / max(1, inner - 1)
        zigzag = (jnp.arange(inner) + 1) % 3 - 1
        return {
            "decay": -5 + 8 * position ** (0.7 + 1.3 * depth),
            "bonus": jnp.log(jnp.asarray(0.3, dtype)) + 0.5 * zigzag,
            "output": jnp.zeros((inner, features), dtype),
        }

    def initial_carry(params, batch_shape=()):
        shape, dtype = (*batch_shape, inner), widen(params["decay"]).dtype
        values = jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
        return LogScaled(values, jnp.full(shape, NOTHING, dtype))

    def coefficients(params, inputs):
        _, k, v = inputs
        return log_decay(widen(params["decay"])), log_scaled((v, jnp.ones_like(v)), k)

    def read(params, state, inputs):
        r, k, v = inputs
        bonus = like_features(widen(params["bonus"]), k)
        now = log_scaled((v, jnp.ones_like(v)), bonus + k)
        above, below = apply(Update(jnp.zeros_like(k), now), state).values
        return jax.nn.sigmoid(r) * above / below

    return diagonal(
        coefficients,
        init=init,
        initial_carry=initial_carry,
        features=features,
        project=lambda params, x: jnp.split(widen(x), 3, axis=-1),
        read=read,
        read_before=True,
        output=lambda params, values, x: values.astype(x.dtype) @ params["output"],
    )


@factory
def rwkv4_channel_mix(
    features: int, *, hidden: int | None = None, layer: int = 0, layers: int = 1
) -> Cell:
    """The channel mix of RWKV-4: a feed-forward layer that sees the input before, too.

        r = W_r mix(mu_r),  k = W_k mix(mu_k)
        y = sigmoid(r) * (W_v relu(k)^2)

    with `mix` as in `sj.rwkv4_time_mix`.

    Args:
      features: width of the input and of the output.
      hidden: width of k, by default `4 * features`.
      layer, layers: which layer this is, of how many: mu starts accordingly.

    Returns:
      A cell with parameters `mu` (2, features), `receptance` `(features, features)`, `key`
      `(features, hidden)`, `value` `(hidden, features)`, and the carry `WindowState(inputs)`.

    Raises:
      ValueError: from `init`, if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv4_channel_mix(4)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> sj.scan(cell, params, jnp.ones((5, 4)))[1].shape
      (5, 4)

    Source: Peng et al. 2023, arXiv:2305.13048; initialisation: the released training code, where
    W_r and W_v start at zero.
    """
    features = positive_int("rwkv4_channel_mix", "features", features)
    hidden = positive_int("rwkv4_channel_mix", "hidden", 4 * features if hidden is None else hidden)
    _, rise = position_in_stack("rwkv4_channel_mix", layer, layers)

    def init(key, in_features):
        expect_width("rwkv4_channel_mix", features, in_features)
        mu = (jnp.arange(features) / features) ** rise
        wide = initializers.Orthogonal(max(1.0, hidden / features) ** 0.5)
        shapes = {
            "receptance": (ZERO, (features, features)),
            "key": (wide, (features, hidden)),
            "value": (ZERO, (hidden, features)),
        }
        return {"mu": jnp.stack([mu, mu]), **draw(key, shapes)}

    def mix(params, window):
        now, before = window
        r, k = (_mix(row, now, before) for row in params["mu"])
        hidden_layer = jnp.square(jax.nn.relu(k @ params["key"]))
        return jax.nn.sigmoid(r @ params["receptance"]) * (hidden_layer @ params["value"])

    return windowed(
        mix,
        width=2,
        features=features,
        init=init,
        in_features=features,
    )


@factory
def rwkv4_block(
    features: int,
    *,
    inner: int | None = None,
    hidden: int | None = None,
    layer: int = 0,
    layers: int = 1,
    norm_epsilon: float = 1e-5,
) -> Cell:
    """One block of an RWKV-4.

        x = x + time_mix(norm(x))
        y = x + channel_mix(norm(x))

    Args:
      features: width of the input and of the output.
      inner: of the time mix.
      hidden: of the channel mix.
      layer, layers: which layer this is, of how many: some parameters start accordingly.
      norm_epsilon: of the norms in front of both.

    Returns:
      A cell; `sj.stack(*[sj.rwkv4_block(64, layer=n, layers=6) for n in range(6)])` is the trunk
      of a language model; `sj.block_stack` adds the norm behind the embedding and the last one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rwkv4_block(8)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Peng et al. 2023, arXiv:2305.13048.
    """
    time = rwkv4_time_mix(features, inner=inner, layer=layer, layers=layers)
    channel = rwkv4_channel_mix(features, hidden=hidden, layer=layer, layers=layers)
    return stack(
        time=prenorm(time, norm=layer_norm, epsilon=norm_epsilon),
        channel=prenorm(channel, norm=layer_norm, epsilon=norm_epsilon),
    )


def _mix(mu: Array, now: Array, before: Array) -> Array:
    mu = like_features(mu, now)
    return mu * now + (1 - mu) * before
