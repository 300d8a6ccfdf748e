"""Attention without a softmax as a recurrence: linear attention, GLA, HGRN2."""

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, to_heads
from seqjax.core.layers import draw, scale_to_one
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.trees import narrow, widen
from seqjax.core.types import Activation, Initializer

ZERO, ONE = initializers.Constant(0.0), initializers.Constant(1.0)


def _positive(x):
    return jax.nn.elu(x) + 1


@factory
def linear_attention(
    features: int,
    *,
    heads: int = 1,
    feature_map: Activation = _positive,
    epsilon: float = 1e-6,
    weight_init: Initializer = initializers.Glorot(),
) -> Cell:
    """Linear attention.

        q = phi(W_q x), k = phi(W_k x), v = W_v x      for each head
        S = S + k v'
        z = z + k
        o = S' q / (z . q + epsilon)
        y = W_o [o of all heads]

    z is one more column of S, in which every v is 1.

    Args:
      features: width of the output; heads divide it.
      heads: number of memories.
      feature_map: phi, positive; `elu(x) + 1` unless given.
      epsilon: keeps the division finite before anything was written.
      weight_init: initializer of the weights.

    Returns:
      A cell with parameters `query`, `key`, `value` `(in_features, heads, width)` and `output`
      `(heads, width, features)`, whose carry is `MatrixState(memory)` with memory `(*batch,
      heads, width, width + 1)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.linear_attention(4, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.memory.shape, ys.shape
      ((2, 2, 2, 3), (2, 5, 4))

    Source: Katharopoulos et al. 2020, arXiv:2006.16236.
    """
    width = head_width("linear_attention", "features", features, heads)

    def init(key, in_features):
        inward = (weight_init, (in_features, heads, width))
        shapes = {"query": inward, "key": inward, "value": inward}
        return draw(key, shapes | {"output": (weight_init, (heads * width, features))})

    def access(p, x):
        q, k, v = (to_heads(x, p[name]) for name in ("query", "key", "value"))
        v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
        return Access(feature_map(q), feature_map(k), v)

    def read_out(p, o, x):
        return from_heads(o[..., :-1] / (o[..., -1:] + epsilon)) @ p["output"]

    return matrix_state(
        access,
        heads=heads,
        keys=width,
        values=width + 1,
        init=init,
        read_out=read_out,
        features=features,
    )


@factory
def gated_linear_attention(
    features: int,
    *,
    heads: int = 4,
    rank: int = 16,
    temperature: float = 16.0,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.Glorot(2**-2.5),
) -> Cell:
    """Gated linear attention (GLA).

        q = W_q x / sqrt(K), k = W_k x, v = W_v x      K = features / 2 / heads
        log a = log_sigmoid(W_2 W_1 x + b) / temperature       for each channel of k
        S = diag(a) S + k v'
        y = W_o (norm(S' q) * silu(W_g x))             norm: RMS, head by head

    Args:
      features: width of the output, and of the values of all heads together; queries and keys
        have half of it.
      heads: number of memories.
      rank: width between W_1 and W_2.
      temperature: the larger, the slower the memory forgets.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell whose carry is `MatrixState(memory)`, memory `(*batch, heads, K, 2 K)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gated_linear_attention(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.memory.shape, ys.shape
      ((2, 2, 2, 4), (2, 5, 8))

    Source: Yang et al. 2023, arXiv:2312.06635. The released code shares the gain of the norm
    between heads, as here; its weights start that small.
    """
    values = head_width("gated_linear_attention", "features", features, heads)
    width = head_width("gated_linear_attention", "features / 2", features // 2, heads)
    rank = positive_int("gated_linear_attention", "rank", rank)
    if not temperature > 0:
        raise ValueError(
            f"gated_linear_attention: `temperature` must be above 0, got {temperature}."
        )

    def init(key, in_features):
        return draw(
            key,
            {
                "query": (weight_init, (in_features, heads, width)),
                "key": (weight_init, (in_features, heads, width)),
                "value": (weight_init, (in_features, heads, values)),
                "decay_down": (weight_init, (in_features, rank)),
                "decay_up": (weight_init, (rank, heads, width)),
                "decay_bias": (ZERO, (heads, width)),
                "gate": (weight_init, (in_features, heads, values)),
                "norm_gain": (ONE, (values,)),
                "output": (weight_init, (features, features)),
            },
        )

    def access(p, x):
        q, k, v = (to_heads(x, p[name]) for name in ("query", "key", "value"))
        decay = to_heads(x @ p["decay_down"], p["decay_up"])
        decay = decay + like_features(p["decay_bias"].reshape(heads, width), decay)
        return Access(q * width**-0.5, k, v, jax.nn.log_sigmoid(decay) / temperature)

    def read_out(p, o, x):
        o = scale_to_one(o, epsilon) * like_features(p["norm_gain"], o)
        return from_heads(o * jax.nn.silu(to_heads(x, p["gate"]))) @ p["output"]

    return matrix_state(
        access,
        heads=heads,
        keys=width,
        values=values,
        init=init,
        read_out=read_out,
        features=features,
    )


@factory
def hgrn2(
    features: int,
    *,
    heads: int = 4,
    lower_bound: float | None = 0.0,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.Glorot(),
) -> Cell:
    """The second hierarchically gated recurrent network.

        f = lower_bound + (1 - lower_bound) sigmoid(W_f x)     for each head, K channels
        S = diag(f) S + (1 - f) i',   i = W_i x
        o = S' silu(W_q x)
        y = W_o norm(o)                                        norm: RMS over all features

    Args:
      features: width of the output, and of q, f and i of all heads together.
      heads: number of memories.
      lower_bound: what a layer never forgets more of, a number; None for the parameter
        `lower_bound` `(features,)`, above 0 and below 1. The paper learns one per layer as a
        cumulative softmax, from 0 in the first layer upwards.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell whose carry is `MatrixState(memory)`, memory `(*batch, heads, K, K)`.

    Raises:
      ValueError: if the lower bound is not in [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.hgrn2(8, heads=2, lower_bound=0.5)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))

    Source: Qin et al. 2024, arXiv:2404.07904.
    """
    if lower_bound is not None and not 0 <= lower_bound < 1:
        raise ValueError(f"hgrn2: `lower_bound` must be in [0, 1), got {lower_bound}.")
    width = head_width("hgrn2", "features", features, heads)

    def init(key, in_features):
        inward = (weight_init, (in_features, heads, width))
        half = initializers.Constant(0.5)
        bound = {"lower_bound": (half, (features,))} if lower_bound is None else {}
        return draw(
            key,
            {
                "query": inward,
                "forget": inward,
                "input": inward,
                "norm_gain": (ONE, (features,)),
                "output": (weight_init, (features, features)),
                **bound,
            },
        )

    def bound_of(p, like):
        if lower_bound is not None:
            return lower_bound
        return like_features(widen(p["lower_bound"]).reshape(heads, width), like)

    def access(p, x):
        gate = to_heads(x, p["forget"])
        # In float32 at least, and at most 0: what is rounded here is rounded at every step.
        log_forget = jax.nn.log_sigmoid(widen(gate))
        bound = bound_of(p, log_forget)
        if lower_bound != 0:
            above = jnp.log1p(-bound) + log_forget
            log_forget = jnp.minimum(jnp.logaddexp(jnp.log(bound), above), 0)
        # 1 - f without a difference that loses digits near 0.
        key = narrow((1 - bound) * jax.nn.sigmoid(-gate), gate)
        query = jax.nn.silu(to_heads(x, p["query"]))
        return Access(query, key, to_heads(x, p["input"]), log_forget)

    def read_out(p, o, x):
        y = scale_to_one(from_heads(o), epsilon)
        return (y * like_features(p["norm_gain"], y)) @ p["output"]

    return matrix_state(
        access,
        heads=heads,
        keys=width,
        values=width,
        init=init,
        read_out=read_out,
        features=features,
    )
