"""Retention: linear attention with a fixed decay and a rotation for each head (RetNet)."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice, prenorm
from seqjax.core.cell import Cell, expect_inputs, expect_width, factory, positive_int
from seqjax.core.counting import Counting
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width
from seqjax.core.layers import dense, draw, layer_norm, scale_to_one, standardize
from seqjax.core.masks import processing_order
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.rotary import rotate
from seqjax.core.stack import stack
from seqjax.core.steps import Run
from seqjax.core.types import Array, PRNGKeyArray

GAIN = 2**-2.5
"""On Glorot's initialisation of queries, keys, values and gates, in the released code."""


@factory
def retention(
    features: int,
    *,
    heads: int = 4,
    value_factor: int = 2,
    forgetting: tuple[float, float] | None = None,
    base: float = 10000.0,
    norm: Literal["layer", "rms"] = "layer",
    epsilon: float = 1e-6,
) -> Cell:
    """Multi-scale retention, the layer of a RetNet.

        q = rotate(W_q x, n), k = rotate(W_k x, n)     for each head; n: steps before this one
        S = gamma S + k v',   v = W_v x                gamma = 1 - 2^(-5 - h) for head h = 0, 1, ..
        o = S' q / sqrt(K)                             K = features / heads
        y = W_o (norm(o) * silu(W_g x))                norm: mean 0, variance 1, head by head

    `rotate` takes channels j and j + K / 2 as one complex number and turns it by the angle
    n base^(-2 j / K). Only differences of n matter, so this is a decay gamma e^(i theta) of a
    complex memory. Angles are as exact after 2^31 steps, the most that are counted, as after one.

    Args:
      features: width of the output, and of queries and keys of all heads together.
      heads: number of memories.
      value_factor: width of values and gates of all heads, as a multiple of `features`.
      forgetting: 1 - gamma of the first and of the last head, in geometric progression between
        them; by default `(2**-5, 2**(-4 - heads))`, which halves it from head to head. The other
        schedule in use is `(2**-5, 2**-9)`, for any number of heads.
      base: the larger, the slower the slowest rotation.
      norm: `"layer"`, as in the paper, or `"rms"`: root mean square with a gain, as in models that
        were released since.
      epsilon: of the norm.

    Returns:
      A cell of three parts, `project`, `rotate` and `memory`, whose carry is a dict of theirs:
      the number of steps so far `(*batch,)`, and `MatrixState(memory)` `(*batch, heads, K,
      value_factor * K)`.

    Raises:
      ValueError: if heads do not divide the features into even widths, if `forgetting` is not
        between 0 and 1, or if `base` is below 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.retention(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, carry["rotate"], ys.shape
      ((2, 2, 4, 8), Array([5, 5], dtype=int32), (2, 5, 8))

    Source: Sun et al. 2023, arXiv:2307.08621; initialisation: the released code (torchscale). What
    the paper divides scores by besides sqrt(K) is left out, as the norm takes it away again. In
    the released code neighbouring channels turn together, angles are `10000^(-j / (K / 2 - 1))`,
    which is a `base` of `10000 ** (K / (K - 2))` here; the norm of later versions is RMS, without
    a gain; in fla angles are as here, and the norm is RMS with a gain.
    """
    if norm not in ("layer", "rms"):
        raise ValueError(f"retention: `norm` must be 'layer' or 'rms', got {norm!r}.")
    width = head_width("retention", "features", features, heads)
    values = positive_int("retention", "value_factor", value_factor) * width
    if width % 2:
        raise ValueError(
            f"retention: channels turn in pairs, so `features / heads` must be even; got "
            f"{features} / {heads}."
        )
    log_gamma = _log_decays(heads, forgetting)
    widths = (features, features, heads * values, heads * values)
    cuts = (features, 2 * features, 2 * features + heads * values)

    def init(key, in_features):
        gain = {"norm_gain": (initializers.Constant(1.0), (values,))} if norm == "rms" else {}
        output = {"output": (initializers.Glorot(), (heads * values, features))}
        return draw(key, output | gain)

    def access(p, x):
        q, k, v = (
            part.reshape(*part.shape[:-1], heads, part.shape[-1] // heads)
            for part in jnp.split(x, cuts, axis=-1)[:3]
        )
        # Decays near 1 need more digits than a narrow x has.
        decays = jnp.asarray(log_gamma, jnp.promote_types(x.dtype, jnp.float32))
        return Access(q * width**-0.5, k, v, jnp.broadcast_to(decays, q.shape[:-1]))

    def read_out(p, o, x):
        gate = jax.nn.silu(jnp.split(x, cuts, axis=-1)[3])
        if norm == "layer":
            return (from_heads(standardize(o, epsilon)) * gate) @ p["output"]
        o = scale_to_one(o, epsilon) * like_features(p["norm_gain"], o)
        return (from_heads(o) * gate) @ p["output"]

    return checkpointed(
        stack(
            project=dense(sum(widths), bias=False, weight_init=_GlorotEach(widths)),
            rotate=on_slice(
                rotation(2 * features, width=width, base=base),
                width=2 * features,
                rest=2 * heads * values,
            ),
            memory=matrix_state(
                access,
                heads=heads,
                keys=width,
                values=values,
                init=init,
                read_out=read_out,
                features=features,
            ),
        )
    )


def _log_decays(heads: int, forgetting: tuple[float, float] | None) -> np.ndarray:
    """`log gamma` of each head."""
    bounds = (2.0**-5, 2.0 ** (-4 - heads)) if forgetting is None else forgetting
    if len(bounds) != 2 or not all(0 < bound < 1 for bound in bounds):
        raise ValueError(
            f"retention: `forgetting` must be two numbers between 0 and 1, got {forgetting}."
        )
    return np.log1p(-np.geomspace(*bounds, heads))


@dataclasses.dataclass(frozen=True)
class _GlorotEach:
    """Matrices side by side, each drawn by itself."""

    widths: tuple[int, ...]

    def __call__(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: Any) -> Array:
        keys = jax.random.split(key, len(self.widths))
        each = [
            initializers.Glorot(GAIN)(own, (shape[0], width), dtype)
            for own, width in zip(keys, self.widths, strict=True)
        ]
        return jnp.concatenate(each, axis=1)


@factory
def rotation(features: int, *, width: int, base: float = 10000.0) -> Cell:
    """Turns pairs of channels by angles that grow with every step (rotary positions).

        y_j + i y_{j + W/2} = (x_j + i x_{j + W/2}) e^(i n theta_j),   j = 0 .. W/2 - 1
        theta_j = base^(-2 j / W)                      n: steps before this one

    Args:
      features: width of the input and of the output.
      width: W, even; every W channels are turned alike.
      base: the larger, the slower the slowest rotation; at least 1.

    Returns:
      A cell without parameters whose carry is n, `(*batch,)` int32. It counts the steps that
      count, from the last reset on.

    Raises:
      ValueError: if `base` is below 1, or if the input has another width.

    Source: Su et al. 2021, arXiv:2104.09864.
    """
    if base < 1:
        raise ValueError(f"rotation: `base` must be at least 1, got {base}.")

    def init(key, in_features):
        expect_width("rotation", features, in_features)
        return ()

    def initial_carry(params, batch_shape=()):
        return jnp.zeros(batch_shape, jnp.int32)

    def turn(n, x):
        expect_inputs("rotation", features, x)
        heads = x.reshape(*x.shape[:-1], features // width, width)
        return rotate(heads, n, base=base).reshape(x.shape)

    def step(params, carry, x):
        return carry + 1, turn(carry, x)

    def sequence(scan, params, carry, initial, xs, steps):
        order = processing_order(steps.valid, reverse=steps.reverse)
        n = jax.lax.broadcasted_iota(jnp.int32, xs.shape[:-1], 0)
        before = carry[None] + n
        if steps.resets is not None:
            latest = jax.lax.cummax(jnp.where(order.take(steps.resets), n, -1))
            before = jnp.where(latest < 0, before, initial[None] + n - latest)
        ys = turn(order.put_back(before), xs)
        carries = order.held(before + 1, carry) if steps.record else None
        return Run(order.last(before + 1, carry), ys, carries)

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step,
        features=features,
        in_features=features,
        sequence=sequence,
        structure=Counting(forgets=True),
    )


@factory
def retention_block(
    features: int, *, hidden: int | None = None, norm_epsilon: float = 1e-5, **options: Any
) -> Cell:
    """One block of a RetNet.

        x = x + retention(norm(x))
        y = x + W_2 gelu(W_1 norm(x))                  twice as wide inside; norm: layer norm

    Args:
      features: width of the input and of the output.
      hidden: width of the feed-forward layer, by default twice `features`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.retention`, such as `heads`.

    Returns:
      A cell; `sj.stack(*[sj.retention_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.retention_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Sun et al. 2023, arXiv:2307.08621. Later versions of the released code have a gate in
    the feed-forward layer and RMS norms.
    """
    features = positive_int("retention_block", "features", features)
    hidden = 2 * features if hidden is None else hidden
    wide = dense(hidden, bias=False, activation=jax.nn.gelu)
    forward = stack(up=wide, down=dense(features, bias=False))
    return stack(
        time=prenorm(retention(features, **options), norm=layer_norm, epsilon=norm_epsilon),
        channel=prenorm(forward, norm=layer_norm, epsilon=norm_epsilon),
    )
