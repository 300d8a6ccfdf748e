"""Gated DeltaNet-2: what a step erases and what it writes have gates of their own."""

from typing import Any

import jax

from seqjax.cells.delta_rule import decays_of_channels, delta_rule_layer
from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.heads import head_width
from seqjax.core.matrix_step import Access
from seqjax.core.mixer_block import mixer_block
from seqjax.core.types import Array, Initializer, Params


@factory
def gated_delta_net2(
    features: int,
    *,
    heads: int = 4,
    width: int | None = None,
    value_width: int | None = None,
    gate_bias: bool = True,
    convolution: int = 4,
    convolution_bias: bool = True,
    negative_eigenvalues: bool = False,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Gated DeltaNet-2: forget, erase and write each channel by itself.

        q, k, v = silu(convolve(W_q x, W_k x, W_v x))     for each head
        q = q / |q| / sqrt(K), k = k / |k|
        b = sigmoid(W_b x)                                erase, for each channel of k
        w = sigmoid(W_w x)                                write, for each channel of v
        a = exp(-exp(A) softplus(W_2 W_1 x + b_a))        for each channel of k
        S = diag(a) S
        S = S + k (w * v - S' (b * k))'
        y = W_o (norm(S' q) * sigmoid(U_2 U_1 x + c))     norm: RMS, head by head

    With b = w = beta it is `sj.kimi_delta_attention`.

    Args:
      features: width of the output.
      heads: number of memories.
      width: K, by default `features / heads`.
      value_width: width of v per head, by default K.
      gate_bias: whether there is c; it starts at 0.
      convolution: steps of the short convolution.
      convolution_bias: whether it has one; published models have none.
      negative_eigenvalues: twice the b, see `sj.delta_net`.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and `MatrixState(memory)` `(*batch, heads, K, values)`.

    Raises:
      ValueError: if heads do not divide the features.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gated_delta_net2(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))

    Source: Hatamizadeh et al. 2026, arXiv:2605.22791; the ranks of W_1 and of U_1, which are the
    width of v, and the starts, which are those of `sj.kimi_delta_attention`: fla.
    """
    if width is None:
        width = head_width("gated_delta_net2", "features", features, heads)
    keys = positive_int("gated_delta_net2", "width", width)
    values = keys if value_width is None else value_width
    values = positive_int("gated_delta_net2", "value_width", values)
    largest = 1.0 + negative_eigenvalues

    def correct(p: Params, access: Access, rates: Array) -> Access:
        key, value = access.key, access.value
        erase = jax.nn.sigmoid(rates[..., : heads * keys]).reshape(key.shape)
        write = jax.nn.sigmoid(rates[..., heads * keys :]).reshape(value.shape)
        return access._replace(erase=largest * erase * key, value=write * value)

    decays = decays_of_channels(heads, keys, values, weight_init)
    bias = ("gate_bias", (initializers.Constant(0.0), (heads * values,)))
    own = (
        *decays.pop("own"),
        ("gate_up", (weight_init, (values, heads * values))),
        *((bias,) if gate_bias else ()),
    )
    return delta_rule_layer(
        features,
        heads=heads,
        keys=keys,
        values=values,
        convolution=convolution,
        convolution_bias=convolution_bias,
        epsilon=epsilon,
        weight_init=weight_init,
        rates=heads * (keys + values),
        correct=correct,
        own=own,
        gate=jax.nn.sigmoid,
        gate_width=values,
        **decays,
    )


@factory
def gated_delta_net2_block(
    features: int, *, hidden: int | None = None, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of a Gated DeltaNet-2.

        x = x + gated_delta_net2(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.gated_delta_net2`, such as `heads`.

    Returns:
      A cell; `sj.block_stack("gated_delta_net2", 64, layers=6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gated_delta_net2_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Hatamizadeh et al. 2026, arXiv:2605.22791.
    """
    mixer = gated_delta_net2(features, **options)
    return mixer_block(mixer, hidden=hidden, norm_epsilon=norm_epsilon)
