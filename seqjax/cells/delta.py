"""Memories that correct themselves: DeltaNet, Gated DeltaNet, Kimi Delta Attention."""

from typing import Any

import jax

from seqjax.cells.delta_rule import (
    at_one_rate,
    decays_of_channels,
    decays_of_heads,
    delta_rule_layer,
)
from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.heads import head_width
from seqjax.core.mixer_block import mixer_block
from seqjax.core.types import Initializer


@factory
def delta_net(
    features: int,
    *,
    heads: int = 4,
    convolution: int = 4,
    convolution_bias: bool = True,
    negative_eigenvalues: bool = False,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """DeltaNet: write the difference between a value and what the memory returns for its key.

        q, k, v = silu(convolve(W_q x, W_k x, W_v x))     for each head
        q = q / |q| / sqrt(K), k = k / |k|
        beta = sigmoid(w_b x)
        S = S + beta k (v - S' k)'
        y = W_o norm(S' q)                                norm: RMS, head by head

    Args:
      features: width of the output, and of q, k and v of all heads together.
      heads: number of memories.
      convolution: steps of the short convolution.
      convolution_bias: whether it has one; published models have none.
      negative_eigenvalues: twice the beta, so that a write may turn the memory around along k:
        eigenvalues of its transition are then in [-1, 1], and parity can be kept.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and `MatrixState(memory)` `(*batch, heads, K, K)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.delta_net(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))

    Source: Schlag et al. 2021, arXiv:2102.11174; convolution, norms and chunks: Yang et al. 2024,
    arXiv:2406.06484; negative eigenvalues: Grazzi et al. 2024, arXiv:2411.12537.
    """
    width = head_width("delta_net", "features", features, heads)
    return delta_rule_layer(
        features,
        heads=heads,
        keys=width,
        values=width,
        convolution=convolution,
        convolution_bias=convolution_bias,
        epsilon=epsilon,
        weight_init=weight_init,
        rates=heads,
        **at_one_rate(negative_eigenvalues=negative_eigenvalues),
    )


@factory
def gated_delta_net(
    features: int,
    *,
    heads: int = 4,
    key_heads: int | None = None,
    key_width: int | None = None,
    value_width: int | None = None,
    convolution: int = 4,
    convolution_bias: bool = True,
    negative_eigenvalues: bool = False,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Gated DeltaNet: forget, then correct.

        q, k, v = silu(convolve(W_q x, W_k x, W_v x))     for each head
        q = q / |q| / sqrt(K), k = k / |k|
        beta = sigmoid(w_b x)
        a = exp(-exp(A) softplus(w_a x + b_a))            one number for each head
        S = a S
        S = S + beta k (v - S' k)'
        y = W_o (norm(S' q) * silu(W_g x))                norm: RMS, head by head

    Args:
      features: width of the output.
      heads: number of memories.
      key_heads: number of q and k, by default `heads`; neighbouring memories share them evenly.
      key_width: K, by default 3/4 of `features / heads`.
      value_width: width of v per head, by default twice K.
      convolution: steps of the short convolution.
      convolution_bias: whether it has one; published models have none.
      negative_eigenvalues: twice the beta, see `sj.delta_net`.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and `MatrixState(memory)` `(*batch, heads, K, values)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gated_delta_net(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 3, 6), (2, 5, 8))

    Source: Yang et al. 2024, arXiv:2412.06464. exp(A) starts uniform in [1, 16]; the released
    code begins at 0, whose logarithm there is none. b_a starts so that softplus gives time steps
    of 0.001 to 0.1, as in Mamba. Fewer q and k than memories: Qwen3-Next.
    """
    heads = positive_int("gated_delta_net", "heads", heads)
    key_heads = heads if key_heads is None else key_heads
    if heads % positive_int("gated_delta_net", "key_heads", key_heads):
        raise ValueError(
            f"gated_delta_net: `key_heads={key_heads}` must divide `heads`, which is {heads}."
        )
    if key_width is None:
        width = head_width("gated_delta_net", "features", features, heads)
        key_width = max(1, 3 * width // 4)
    keys = positive_int("gated_delta_net", "key_width", key_width)
    values = 2 * keys if value_width is None else value_width
    return delta_rule_layer(
        features,
        heads=heads,
        key_heads=key_heads,
        keys=keys,
        values=values,
        convolution=convolution,
        convolution_bias=convolution_bias,
        epsilon=epsilon,
        weight_init=weight_init,
        rates=heads,
        gate=jax.nn.silu,
        **at_one_rate(negative_eigenvalues=negative_eigenvalues),
        **decays_of_heads(heads),
    )


@factory
def kimi_delta_attention(
    features: int,
    *,
    heads: int = 4,
    width: int | None = None,
    gate_bias: bool = False,
    convolution: int = 4,
    convolution_bias: bool = True,
    negative_eigenvalues: bool = False,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Kimi Delta Attention: forget each channel of the keys by itself, then correct.

        q, k, v = silu(convolve(W_q x, W_k x, W_v x))     for each head
        q = q / |q| / sqrt(K), k = k / |k|
        beta = sigmoid(w_b x)
        a = exp(-exp(A) softplus(W_2 W_1 x + b_a))        for each channel of k
        S = diag(a) S
        S = S + beta k (v - S' k)'
        y = W_o (norm(S' q) * sigmoid(U_2 U_1 x))         norm: RMS, head by head

    Args:
      features: width of the output.
      heads: number of memories.
      width: K, by default `features / heads`.
      gate_bias: whether U_2 has one; it starts at 0.
      convolution: steps of the short convolution.
      convolution_bias: whether it has one; published models have none.
      negative_eigenvalues: twice the beta, see `sj.delta_net`.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and `MatrixState(memory)` `(*batch, heads, K, K)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.kimi_delta_attention(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 4, 4), (2, 5, 8))

    Source: Kimi team 2025, arXiv:2510.26692. The rank of W_1 and of U_1 is K. The gate has a bias
    in fla and none in the published model.
    """
    if width is None:
        width = head_width("kimi_delta_attention", "features", features, heads)
    width = positive_int("kimi_delta_attention", "width", width)
    inner = heads * width
    decays = decays_of_channels(heads, width, width, weight_init)
    own = (
        *decays.pop("own"),
        ("gate_up", (weight_init, (width, inner))),
        *((("gate_bias", (initializers.Constant(0.0), (inner,))),) if gate_bias else ()),
    )
    return delta_rule_layer(
        features,
        heads=heads,
        keys=width,
        values=width,
        convolution=convolution,
        convolution_bias=convolution_bias,
        epsilon=epsilon,
        weight_init=weight_init,
        rates=heads,
        own=own,
        gate=jax.nn.sigmoid,
        gate_width=width,
        **at_one_rate(negative_eigenvalues=negative_eigenvalues),
        **decays,
    )


@factory
def gated_delta_net_block(
    features: int, *, hidden: int | None = None, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of a Gated DeltaNet.

        x = x + gated_delta_net(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.gated_delta_net`, such as `heads`.

    Returns:
      A cell; `sj.stack(*[sj.gated_delta_net_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gated_delta_net_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Yang et al. 2024, arXiv:2412.06464.
    """
    mixer = gated_delta_net(features, **options)
    return mixer_block(mixer, hidden=hidden, norm_epsilon=norm_epsilon)
