"""Attention over the last steps as a recurrence: the state is a window of keys and values."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, heads_of_64, to_heads
from seqjax.core.key_ring import (
    WindowAttentionState,
    after,
    filled,
    in_a_row,
    places,
    written,
)
from seqjax.core.layers import draw, feed_forward, rms_norm, scale_to_one
from seqjax.core.ring_stretch import RingStretch
from seqjax.core.rotary import rotate
from seqjax.core.stack import stack
from seqjax.core.steps import Run, is_symbolic, time_of
from seqjax.core.trees import floats, narrow, widen
from seqjax.core.types import Activation, Initializer
from seqjax.core.window_attention import Sight, attend_in_groups
from seqjax.engines.banded import Past, Reads, banded
from seqjax.engines.sequential import sequential

ZERO, ONE = initializers.Constant(0.0), initializers.Constant(1.0)


@factory
def sliding_window_attention(
    features: int,
    *,
    window: int = 1024,
    heads: int = 4,
    key_heads: int | None = None,
    width: int | None = None,
    rotary: float = 1.0,
    base: float = 10000.0,
    soft_cap: float | None = None,
    norm: Literal["head", "all"] | None = None,
    zero_centred: bool = False,
    epsilon: float = 1e-6,
    gate: bool = False,
    bias: bool = False,
    output_bias: bool = False,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Attention over the last `window` steps, this one included.

        q_n = rotate(norm(W_q x_n), n)                 for each head; n: steps before this one
        k_n = rotate(norm(W_k x_n), n), v_n = W_v x_n  for each key head
        score_m = q_n . k_m / sqrt(D)                  m = n - window + 1 .. n, and m >= 0
        o = sum_m softmax(score)_m v_m
        y = W_o (o * sigmoid(W_g x_n))                 the gate is optional, as the norms are

    A window that is as long as the longest sequence makes it full causal attention. Whole sequences
    go in tiles of time: the memory that they take grows with time times the window.

    Args:
      features: width of the output.
      window: number of steps that it sees.
      heads: number of queries.
      key_heads: number of keys and of values, by default `heads`; each is for `heads / key_heads`
        queries in a row.
      width: D, by default `features / heads`.
      rotary: share of the D channels that carry rotary positions, the first ones; 0 for no
        positions.
      base: the larger, the slower the slowest rotation.
      soft_cap: scores become `soft_cap * tanh(score / soft_cap)`; None leaves them as they are.
      norm: RMS norms of queries and keys with a gain: `"head"` for each head with one gain for
        all, `"all"` over all heads together; None for none.
      zero_centred: whether these gains are what they have beyond 1, as in Qwen3-Next.
      epsilon: of the norms.
      gate: whether there is a gate on what is read.
      bias: whether queries, keys, values and gates have biases, which start at 0.
      output_bias: whether the output has one.
      weight_init: initializer of the weights.

    Returns:
      A cell with parameters `query` and `gate` `(in_features, heads, D)`, `key` and `value`
      `(in_features, key_heads, D)`, `output` `(heads * D, features)`, biases such as `query_bias`
      `(heads, D)`, gains such as `key_gain`, `(D,)` or `(key_heads, D)`. Its carry is
      `WindowAttentionState(keys, values, steps)`.

    Raises:
      ValueError: if `heads` do not divide the features where no `width` is given, `key_heads` do
        not divide the heads, or the channels that turn are no whole number of pairs.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.sliding_window_attention(8, window=3, heads=2, key_heads=1)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 5), jnp.ones((2, 7, 5)))
      >>> carry.keys.shape, carry.steps, ys.shape
      ((2, 3, 1, 4), Array([7, 7], dtype=int32), (2, 7, 8))

    Source: Beltagy et al. 2020, arXiv:2004.05150; rotary positions: Su et al. 2021,
    arXiv:2104.09864; key heads: Ainslie et al. 2023, arXiv:2305.13245; as it stands in hybrids: De
    et al. 2024, arXiv:2402.19427. The released Griffin sees one step more than its window says;
    here, and in transformers, it is the number of keys.
    """
    owner = "sliding_window_attention"
    features = positive_int(owner, "features", features)
    window = positive_int(owner, "window", window)
    key_heads = heads if key_heads is None else key_heads
    group = head_width(owner, "heads", heads, key_heads)
    width = head_width(owner, "features", features, heads) if width is None else width
    turning = _turning(positive_int(owner, "width", width), rotary, base)
    if norm not in (None, "head", "all"):
        raise ValueError(f"{owner}: `norm` must be 'head', 'all' or None; got {norm!r}.")
    if soft_cap is not None and not soft_cap > 0:
        raise ValueError(f"{owner}: `soft_cap` must be above 0, or None; got {soft_cap}.")
    scores: dict[str, Any] = {"scale": width**-0.5, "soft_cap": soft_cap}
    each = {"query": heads, "key": key_heads, "value": key_heads} | (
        {"gate": heads} if gate else {}
    )

    def init(key, in_features):
        recipes: dict[str, Any] = {
            name: (weight_init, (in_features, count, width)) for name, count in each.items()
        }
        recipes["output"] = (weight_init, (heads * width, features))
        if bias:
            recipes |= {f"{name}_bias": (ZERO, (count, width)) for name, count in each.items()}
        if output_bias:
            recipes["output_bias"] = (ZERO, (features,))
        if norm is not None:
            for name in ("query", "key"):
                shape = (width,) if norm == "head" else (each[name], width)
                recipes[f"{name}_gain"] = (ZERO if zero_centred else ONE, shape)
        return draw(key, recipes)

    def initial_carry(params, batch_shape=()):
        ring = lambda: jnp.zeros((*batch_shape, window, key_heads, width), dtype)  # noqa: E731
        dtype = jnp.result_type(*floats(params))
        return WindowAttentionState(ring(), ring(), jnp.zeros(batch_shape, jnp.int32))

    def part(params, x, name):
        made = to_heads(x, params[name])
        return made + like_features(params[f"{name}_bias"], made) if bias else made

    def scaled(made, gain):
        if zero_centred:
            return narrow(widen(made) * (1 + widen(gain)), made)
        return made * gain

    def placed(params, x, name, position):
        made = part(params, x, name)
        if norm == "all":
            made = scale_to_one(from_heads(made), epsilon).reshape(made.shape)
        if norm == "head":
            made = scale_to_one(made, epsilon)
        if norm is not None:
            made = scaled(made, like_features(params[f"{name}_gain"], made))
        turned = rotate(made[..., :turning], position, base=base) if turning else made[..., :0]
        return jnp.concatenate([turned, made[..., turning:]], axis=-1)

    def project(params, x, position):
        expect_inputs(owner, params["query"].shape[0], x)
        expect_real(owner, x, params)
        query = placed(params, x, "query", position)
        query = query.reshape(*query.shape[:-2], key_heads, group, width)
        return query, placed(params, x, "key", position), part(params, x, "value")

    def read_out(params, reading, x):
        reading = reading.reshape(*reading.shape[:-3], heads, width)
        if gate:
            reading = reading * jax.nn.sigmoid(part(params, x, "gate"))
        y = from_heads(reading) @ params["output"]
        return y + like_features(params["output_bias"], y) if output_bias else y

    def step(params, carry, x):
        query, key, value = project(params, x, carry.steps)
        carry = written(carry, key, value)
        sight = Sight(filled(carry)[..., None, :])
        query = query[..., None, :, :, :]
        reading = attend_in_groups(query, carry.keys, carry.values, sight, **scores)
        return carry, read_out(params, reading[..., 0, :, :, :], x)

    def sequence(scan, params, carry, initial, xs, steps):
        if steps.record or is_symbolic(time_of(xs)):
            # All states are asked for, or the time is no number that tiles could divide.
            return sequential(cell, params, carry, initial, xs, steps)
        found = places(carry, steps, xs.shape[:-1])
        x = found.order.take(xs)
        query, *made = project(params, x, found.position)
        key, value = (new.astype(carry.keys.dtype) for new in made)
        past = in_a_row(carry)
        reads = Reads(query, key, value, found.begin, found.cut)
        reading = banded(Past(*past), reads, **scores)
        ys = found.order.put_back(read_out(params, reading, x))
        return Run(after(carry, initial, past, (key, value), found), ys, None)

    cell = Cell(init, initial_carry, step, features, sequence=sequence, structure=RingStretch())
    return cell


def _turning(width: int, rotary: float, base: float) -> int:
    """How many channels of a head turn."""
    turning = int(width * rotary)
    if not 0 <= rotary <= 1 or turning % 2:
        raise ValueError(
            "sliding_window_attention: channels turn in pairs, so `rotary` times the width of a "
            f"head must be even, and at most the width; got {rotary} * {width}."
        )
    if base < 1:
        raise ValueError(f"sliding_window_attention: `base` must be at least 1, got {base}.")
    return turning


@factory
def attention_block(
    features: int,
    *,
    heads: int | None = None,
    hidden: int | None = None,
    bias: bool = False,
    activation: Activation = jax.nn.silu,
    norm_around: Callable[..., Cell] = rms_norm,
    norm_epsilon: float = 1e-6,
    **options: Any,
) -> Cell:
    """A block of attention over the last steps, such as stands between recurrent blocks.

        x = x + sliding_window_attention(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      heads: of the attention; by default as many as make them 64 wide or more.
      hidden, bias, activation: of the feed-forward layer.
      norm_around: makes the norms in front of both.
      norm_epsilon: of these.
      **options: further arguments of `sj.sliding_window_attention`, such as `window=128`.

    Returns:
      A cell; `sj.block_stack(["griffin", "griffin", "attention"], 64, layers=6)` is the trunk of a
      Griffin.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.attention_block(8, window=3, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Xiong et al. 2020, arXiv:2002.04745; in hybrids: De et al. 2024, arXiv:2402.19427.
    """
    features = positive_int("attention_block", "features", features)
    heads = heads_of_64(features) if heads is None else heads
    attention = sliding_window_attention(features, heads=heads, **options)
    forward = feed_forward(features, hidden=hidden, bias=bias, activation=activation)
    return stack(
        time=prenorm(attention, norm=norm_around, epsilon=norm_epsilon),
        channel=prenorm(forward, norm=norm_around, epsilon=norm_epsilon),
    )
