"""Multi-head latent attention as a recurrence: the state is a window of compressed steps."""

from typing import Any

import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, to_heads
from seqjax.core.key_ring import (
    LatentAttentionState,
    after,
    filled,
    in_a_row,
    places,
    written,
)
from seqjax.core.layers import draw, scale_to_one
from seqjax.core.ring_stretch import RingStretch
from seqjax.core.rotary import rotate
from seqjax.core.steps import Run, is_symbolic, time_of
from seqjax.core.trees import floats
from seqjax.core.types import Array, Initializer, Params
from seqjax.core.window_attention import Sight, attend_in_groups
from seqjax.engines.banded import Past, Reads, banded
from seqjax.engines.sequential import sequential

ONE = initializers.Constant(1.0)


@factory
def latent_attention(
    features: int,
    *,
    window: int = 1024,
    heads: int = 4,
    rank: int | None = None,
    query_rank: int | None = None,
    width: int | None = None,
    value_width: int | None = None,
    shared: int | None = None,
    rotary: bool = True,
    base: float = 10000.0,
    epsilon: float = 1e-6,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Attention over the last `window` steps, of which one latent a step is remembered.

        c_n = norm(W_c x_n)                              the latent, for all heads
        s_n = rotate(W_s x_n, n)                         a key for all heads; n: steps before
        (q_n, r_n) = W_q x_n, r_n = rotate(r_n, n)       for each head
        k_n = U_k c_n, v_n = U_v c_n                     for each head
        score_m = (q_n . k_m + r_n . s_m) / sqrt(D + S)  m = n - window + 1 .. n, and m >= 0
        o = sum_m softmax(score)_m v_m
        y = W_o o

    A step makes no keys and values of those before it: `q . (U_k c) = (U_k' q) . c`, and the sum of
    `U_v c` is `U_v` times the sum of `c`. A whole sequence makes them if it is so long that this
    takes fewer products.

    Args:
      features: width of the output.
      window: number of steps that it sees.
      heads: number of queries.
      rank: width of the latent, by default four times `width`.
      query_rank: width of a latent of the queries, `(q_n, r_n) = W_q norm(W_d x_n)`; None for none.
      width: D, of a key of a head, by default `features / heads`.
      value_width: of a value of a head, by default `width`.
      shared: S, the width of the key that all heads share, by default half of `width`, rounded
        down to an even number, and at least 2.
      rotary: whether the shared key carries rotary positions; else there are none.
      base: the larger, the slower the slowest rotation.
      epsilon: of the norms.
      weight_init: initializer of the weights.

    Returns:
      A cell with parameters `query` `(in_features, heads, D + S)`, `latent` `(in_features, rank)`
      with `latent_gain`, `shared` `(in_features, S)`, `key` `(rank, heads, D)`, `value`
      `(rank, heads, value_width)` and `output` `(heads * value_width, features)`; with a
      `query_rank`, `query_down` and `query_gain` in front of `query`. Its carry is
      `LatentAttentionState(latents, steps)`.

    Raises:
      ValueError: if `heads` do not divide the features where no `width` is given, or `shared` is
        odd where it carries positions.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.latent_attention(8, window=3, heads=4, rank=6, shared=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 5), jnp.ones((2, 7, 5)))
      >>> carry.latents.shape, carry.steps, ys.shape
      ((2, 3, 1, 8), Array([7, 7], dtype=int32), (2, 7, 8))

    Source: DeepSeek-AI 2024, arXiv:2405.04434; without positions: Kimi Team 2025, arXiv:2510.26692.
    Where the released DeepSeek turns neighbouring channels together, here halves of S do.
    """
    owner = "latent_attention"
    features = positive_int(owner, "features", features)
    window = positive_int(owner, "window", window)
    width = head_width(owner, "features", features, heads) if width is None else width
    heads, width = positive_int(owner, "heads", heads), positive_int(owner, "width", width)
    value_width = positive_int(owner, "value_width", width if value_width is None else value_width)
    rank = positive_int(owner, "rank", 4 * width if rank is None else rank)
    shared = positive_int(owner, "shared", max(width // 4, 1) * 2 if shared is None else shared)
    if query_rank is not None:
        query_rank = positive_int(owner, "query_rank", query_rank)
    if rotary and shared % 2:
        raise ValueError(
            f"{owner}: channels turn in pairs, so `shared` must be even with rotary positions; "
            f"got {shared}."
        )
    if base < 1:
        raise ValueError(f"{owner}: `base` must be at least 1, got {base}.")
    scale = (width + shared) ** -0.5

    def init(key, in_features):
        down: dict[str, Any] = {
            "query_down": (weight_init, (in_features, query_rank)),
            "query_gain": (ONE, (query_rank,)),
        }
        recipes = {
            "query": (weight_init, (query_rank or in_features, heads, width + shared)),
            "latent": (weight_init, (in_features, rank)),
            "latent_gain": (ONE, (rank,)),
            "shared": (weight_init, (in_features, shared)),
            "key": (weight_init, (rank, heads, width)),
            "value": (weight_init, (rank, heads, value_width)),
            "output": (weight_init, (heads * value_width, features)),
        }
        return draw(key, recipes if query_rank is None else down | recipes)

    def initial_carry(params, batch_shape=()):
        latents = jnp.zeros(
            (*batch_shape, window, 1, rank + shared), jnp.result_type(*floats(params))
        )
        return LatentAttentionState(latents, jnp.zeros(batch_shape, jnp.int32))

    def normed(params, x, name):
        return scale_to_one(x, epsilon) * like_features(params[f"{name}_gain"], x)

    def project(params, x, position):
        """Queries in two parts, and what is remembered."""
        expect_inputs(owner, params["latent"].shape[0], x)
        expect_real(owner, x, params)
        turned = (lambda part: rotate(part, position, base=base)) if rotary else (lambda part: part)
        asked = x if query_rank is None else normed(params, x @ params["query_down"], "query")
        query = to_heads(asked, params["query"])
        latent = normed(params, x @ params["latent"], "latent")[..., None, :]
        common = turned((x @ params["shared"])[..., None, :])
        made = jnp.concatenate([latent, common], axis=-1)
        return query[..., :width], turned(query[..., width:]), made

    def step(params, carry, x):
        query, turned, made = project(params, x, carry.steps)
        carry = written(carry, made)
        asked = _absorbed(params, query, turned)[..., None, :, :, :]
        sight = Sight(filled(carry)[..., None, :])
        # The shared keys are read as well: to cut them off first would copy the whole ring.
        reading = attend_in_groups(asked, carry.latents, carry.latents, sight, scale=scale)
        return carry, from_heads(_of_latents(params, reading[..., 0, :, :, :])) @ params["output"]

    def sequence(scan, params, carry, initial, xs, steps):
        time = time_of(xs)
        if steps.record or is_symbolic(time):
            # All states are asked for, or the time is no number that tiles could divide.
            return sequential(cell, params, carry, initial, xs, steps)
        found = places(carry, steps, xs.shape[:-1])
        query, turned, made = project(params, found.order.take(xs), found.position)
        made = made.astype(carry.latents.dtype)
        (past,) = in_a_row(carry)
        # To a weight that makes keys of latents, gradients go over cuts as well.
        if found.cut is None and _expansion_pays(time, rank, shared, width + value_width):
            asked = jnp.concatenate([query, turned], axis=-1)[..., None, :]
            reads = Reads(asked, *_expanded(params, made), found.begin, found.cut)
            reading = banded(Past(*_expanded(params, past)), reads, scale=scale)[..., 0, :]
        else:
            asked = _absorbed(params, query, turned)
            reads = Reads(asked, made, made, found.begin, found.cut)
            reading = _of_latents(params, banded(Past(past, past), reads, scale=scale))
        ys = found.order.put_back(from_heads(reading) @ params["output"])
        return Run(after(carry, initial, (past,), (made,), found), ys, None)

    cell = Cell(init, initial_carry, step, features, sequence=sequence, structure=RingStretch())
    return cell


def _absorbed(params: Params, query: Array, turned: Array) -> Array:
    """What queries ask of latents, as one key head of all of them."""
    inward = jnp.einsum("...hd,rhd->...hr", query, params["key"])
    return jnp.concatenate([inward, turned], axis=-1)[..., None, :, :]


def _expanded(params: Params, latents: Array) -> tuple[Array, Array]:
    """Keys and values of every head."""
    rank, heads, _ = params["key"].shape
    latent, common = latents[..., 0, :rank], latents[..., rank:]
    common = jnp.broadcast_to(common, (*common.shape[:-2], heads, common.shape[-1]))
    keys = jnp.concatenate([to_heads(latent, params["key"]), common], axis=-1)
    return keys, to_heads(latent, params["value"])


def _of_latents(params: Params, reading: Array) -> Array:
    """The values that a reading of latents stands for, by head."""
    rank = len(params["value"])
    return jnp.einsum("...hr,rhv->...hv", reading[..., 0, :, :rank], params["value"])


def _expansion_pays(time: int, rank: int, shared: int, both: int) -> bool:
    """Whether keys and values, `both` wide together, spare more products than making them takes.

    They are made once for every step of the window; spared are some for each query and each step.
    """
    return time * (2 * rank + shared - both) > rank * both
