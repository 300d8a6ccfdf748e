"""Gated DeltaProduct: several corrections at each step, for groups that one cannot turn through."""

from typing import Any

import jax

from seqjax.cells.delta_rule import at_one_rate, decays_of_heads, delta_rule_layer
from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.heads import head_width
from seqjax.core.mixer_block import mixer_block
from seqjax.core.types import Initializer


@factory
def gated_delta_product(
    features: int,
    *,
    heads: int = 4,
    writes: int = 2,
    key_width: int | None = None,
    value_width: int | None = None,
    convolution: int = 4,
    convolution_bias: bool = True,
    negative_eigenvalues: bool = True,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Gated DeltaProduct: forget once, then correct several times.

        q, k_1, v_1, .. k_n, v_n = silu(convolve(W x))    for each head
        q = q / |q| / sqrt(K), k_j = k_j / |k_j|
        beta_j = 2 sigmoid(w_j x)
        a = exp(-exp(A) softplus(w_a x + b_a))            one number for each head
        S = a S
        for j = 1 .. n:
            S = S + beta_j k_j (v_j - S' k_j)'
        y = W_o (norm(S' q) * silu(W_g x))                norm: RMS, head by head

    Any rotation of n dimensions is a product of n reflections, eigenvalues of -1: with n = 2 the
    memory turns by any angle in one step, and with n it can permute n + 1 items as it likes.

    Args:
      features: width of the output.
      heads: number of memories.
      writes: n, the corrections of a step. It costs as much time as n steps of
        `sj.gated_delta_net`.
      key_width: K, by default 3/4 of `features / heads`.
      value_width: width of v per head, by default twice K.
      convolution: steps of the short convolution.
      convolution_bias: whether it has one; published models have none.
      negative_eigenvalues: without, beta is half as large, and eigenvalues are in [0, 1].
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
      >>> cell = sj.gated_delta_product(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 3, 6), (2, 5, 8))

    Source: Siems et al. 2025, arXiv:2502.10297. Starts are those of `sj.gated_delta_net`; the
    released code draws exp(A) from [0, 16], whose logarithm there is none at 0.
    """
    heads = positive_int("gated_delta_product", "heads", heads)
    writes = positive_int("gated_delta_product", "writes", writes)
    width = head_width("gated_delta_product", "features", features, heads)
    if key_width is None:
        key_width = max(1, 3 * width // 4)
    keys = positive_int("gated_delta_product", "key_width", key_width)
    return delta_rule_layer(
        features,
        heads=heads,
        keys=keys,
        values=2 * keys if value_width is None else value_width,
        writes=writes,
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
def gated_delta_product_block(
    features: int, *, hidden: int | None = None, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of a Gated DeltaProduct.

        x = x + gated_delta_product(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.gated_delta_product`, such as `writes`.

    Returns:
      A cell; `sj.block_stack("gated_delta_product", 64, layers=6)` is the trunk of a language
      model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gated_delta_product_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Siems et al. 2025, arXiv:2502.10297.
    """
    mixer = gated_delta_product(features, **options)
    return mixer_block(mixer, hidden=hidden, norm_epsilon=norm_epsilon)
