"""Comba: the gated delta rule with feedback of its own strength, and a corrected query."""

from typing import Any

import jax

from seqjax.cells.delta_rule import decays_of_heads, delta_rule_layer
from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import head_width
from seqjax.core.matrix_step import Access
from seqjax.core.mixer_block import mixer_block
from seqjax.core.types import Array, Initializer, Params


@factory
def comba(
    features: int,
    *,
    heads: int = 4,
    key_width: int | None = None,
    value_width: int | None = None,
    correction: float = 1.0,
    convolution: int = 4,
    convolution_bias: bool = True,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Comba: a memory in a closed loop, which corrects what it holds and what it returns.

        q, k, v = silu(convolve(W_q x, W_k x, W_v x))     for each head
        q = q / |q|, k = k / |k|
        beta = sigmoid(w_b x)
        a = exp(-exp(A) softplus(w_a x + b_a))            one number for each head
        S = a S + beta k (v - sigmoid(b) S' k)'           state feedback, before S is forgotten
        o = S' (q - d k) / sqrt(K)                        output feedback
        y = W_o (norm(o) * sigmoid(W_g x))                norm: RMS, head by head

    Args:
      features: width of the output.
      heads: number of memories.
      key_width: K, by default 3/4 of `features / heads`.
      value_width: width of v per head, by default twice K.
      correction: where d starts; 0.02 is said to be better for small models.
      convolution: steps of the short convolution.
      convolution_bias: whether it has one; published models have none.
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
      >>> cell = sj.comba(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 3, 6), (2, 5, 8))

    Source: Hu et al. 2025, arXiv:2506.02475. b and d are one number for each head and start at 1,
    the others as in `sj.gated_delta_net`. The layer of fla brings q - d k and sigmoid(b) k to unit
    length after the feedback, so that its b has no effect; here q and k have it before. Its loop
    for reference forgets before the feedback; the paper and its kernels do not.
    """
    width = head_width("comba", "features", features, heads)
    if key_width is None:
        key_width = max(1, 3 * width // 4)
    keys = positive_int("comba", "key_width", key_width)
    values = 2 * keys if value_width is None else value_width

    def correct(p: Params, access: Access, rates: Array) -> Access:
        query, key, value = access.query, access.key, access.value
        feedback, output = (
            like_features(p[f"{n}_feedback"][:, None], key) for n in ("state", "output")
        )
        rate = jax.nn.sigmoid(rates)[..., None]
        return access._replace(
            query=query - output * key * keys**-0.5,
            value=rate * value,
            low_rank=(key, -rate * jax.nn.sigmoid(feedback) * key),
        )

    decays = decays_of_heads(heads)
    own = (
        *decays.pop("own"),
        ("state_feedback", (initializers.Constant(1.0), (heads,))),
        ("output_feedback", (initializers.Constant(correction), (heads,))),
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
        rates=heads,
        correct=correct,
        own=own,
        gate=jax.nn.sigmoid,
        **decays,
    )


@factory
def comba_block(
    features: int, *, hidden: int | None = None, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of a Comba.

        x = x + comba(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.comba`, such as `heads`.

    Returns:
      A cell; `sj.block_stack("comba", 64, layers=6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.comba_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Hu et al. 2025, arXiv:2506.02475.
    """
    mixer = comba(features, **options)
    return mixer_block(mixer, hidden=hidden, norm_epsilon=norm_epsilon)
