"""The mLSTM behind a short convolution, as in the first paper on xLSTM."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.mlstm import quotient, with_ones
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice
from seqjax.core.cell import Cell, expect_inputs, expect_width, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width
from seqjax.core.layers import draw, pointwise, standardize
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray

ONE = initializers.Constant(1.0)


@factory
def mlstm_layer(
    features: int,
    *,
    heads: int = 4,
    expand: int = 2,
    convolution: int = 4,
    block: int = 4,
    layers: int = 1,
    epsilon: float = 1e-6,
    scaled_epsilon: bool = False,
    forget_bias: Initializer = initializers.Linspace(3.0, 6.0),
    input_bias: Initializer = initializers.Normal(0.1),
    gate_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The mLSTM inside a wider branch, behind a short convolution.

        u, z = split(W_up x)                               expand * features each
        c = silu(convolve(u))
        q = W_q c / sqrt(K), k = W_k c, v = W_v u          W in diagonal blocks; for each head
        i = exp(w_i [q k v] + b_i), f = sigmoid(w_f [q k v] + b_f)      of q before it is scaled
        C, n, h as in `sj.mlstm`
        y = W_down ((norm(h) + skip * c) * silu(z))        norm: layer norm, head by head

    Through the convolution a key sees a few steps back, so a value can be stored under what came
    before it; `sj.mlstm` needs another layer below it for that.

    Args:
      features: width of the input and of the output.
      heads: number of memories.
      expand: how many times wider the branch is.
      convolution: steps of the short convolution.
      block: width of the blocks of W_q, W_k and W_v.
      layers: how many such layers the model has; W_down starts smaller the more there are.
      epsilon, scaled_epsilon: added to the denominator, as for `sj.mlstm`.
      forget_bias: initializer of b_f `(heads,)`.
      input_bias: initializer of b_i `(heads,)`.
      gate_init: initializer of w_i and w_f.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and `MatrixState(memory, log_scale)` as of `sj.mlstm`.
      In a model it sits behind a norm and inside `sj.residual`: `sj.prenorm(sj.mlstm_layer(64))`.

    Raises:
      ValueError: if `heads` or `block` does not divide the width of the branch, and from `init`
        if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mlstm_layer(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((2, 5, 8)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 2, 8, 9), (2, 5, 8))

    Source: Beck et al. 2024, arXiv:2405.04517, figure 10, with the start of the authors' code.
    That code scales queries in one form and keys in others; here it is always the queries. Epsilon
    is added to the denominator itself, as in `sj.mlstm`.
    """
    features = positive_int("mlstm_layer", "features", features)
    inner = features * positive_int("mlstm_layer", "expand", expand)
    width = head_width("mlstm_layer", "expand * features", inner, heads)
    block = positive_int("mlstm_layer", "block", block)
    if inner % block:
        raise ValueError(
            f"mlstm_layer: `block={block}` must divide the width of the branch, which is {inner}."
        )
    small = initializers.Normal((2 / (5 * features)) ** 0.5)
    branch = _Branch(
        features=features,
        heads=heads,
        inner=inner,
        block=block,
        epsilon=epsilon,
        scaled_epsilon=scaled_epsilon,
        forget_bias=forget_bias,
        input_bias=input_bias,
        gate_init=gate_init,
        weight_init=small,
        output_init=initializers.Normal(
            2 / (positive_int("mlstm_layer", "layers", layers) * features**0.5)
        ),
    )
    short = short_convolution(
        inner,
        width=convolution,
        activation=jax.nn.silu,
        bias_init=initializers.Uniform(convolution**-0.5),
    )
    return checkpointed(
        stack(
            project=_up(features, inner, weight_init=small),
            convolve=on_slice(short, width=inner, rest=2 * inner),
            memory=matrix_state(
                branch.access,
                heads=heads,
                keys=width,
                values=width + 1,
                init=branch.init,
                read_out=branch.read_out,
                features=features,
                stabilized=True,
            ),
        )
    )


@factory
def _up(features: int, inner: int, *, weight_init: Initializer) -> Cell:
    """The two branches of `mlstm_layer`, u twice: once to be convolved."""

    def init(key, in_features):
        expect_width("mlstm_layer", features, in_features)
        return draw(key, {"weights": (weight_init, (features, 2 * inner))})

    def project(p, x):
        expect_inputs("mlstm_layer", features, x)
        both = x @ p["weights"]
        return jnp.concatenate([both[..., :inner], both], axis=-1)

    return pointwise(project, features=3 * inner, init=init, in_features=features)


@dataclasses.dataclass(frozen=True)
class _Branch:
    """The equations of `mlstm_layer` behind its convolution, from `[c u z]`."""

    features: int
    heads: int
    inner: int
    block: int
    epsilon: float
    scaled_epsilon: bool
    forget_bias: Initializer
    input_bias: Initializer
    gate_init: Initializer
    weight_init: Initializer
    output_init: Initializer

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        blocks = (self.weight_init, (self.inner // self.block, self.block, self.block))
        gate = (self.gate_init, (3 * self.inner, self.heads))
        return draw(
            key,
            {
                "query": blocks,
                "key": blocks,
                "value": blocks,
                "input": gate,
                "input_bias": (self.input_bias, (self.heads,)),
                "forget": gate,
                "forget_bias": (self.forget_bias, (self.heads,)),
                "norm_gain": (ONE, (self.inner,)),
                "skip": (ONE, (self.inner,)),
                "output": (self.output_init, (self.inner, self.features)),
            },
        )

    def access(self, p: Params, x: Array) -> Access:
        c, u, _ = jnp.split(x, 3, axis=-1)
        flat = [_in_blocks(p[name], y) for name, y in (("query", c), ("key", c), ("value", u))]
        seen = jnp.concatenate(flat, axis=-1)
        i, f = (seen @ p[name] for name in ("input", "forget"))
        i, f = i + like_features(p["input_bias"], i), f + like_features(p["forget_bias"], f)
        width = self.inner // self.heads
        q, k, v = (part.reshape(*part.shape[:-1], self.heads, width) for part in flat)
        return Access(q * width**-0.5, k, with_ones(v), jax.nn.log_sigmoid(f), log_input=i)

    def read_out(self, p: Params, o: Any, x: Array) -> Array:
        c, _, z = jnp.split(x, 3, axis=-1)
        h = quotient(o, self.epsilon, scaled=self.scaled_epsilon)
        h = from_heads(standardize(h, 1e-5)).astype(x.dtype)
        h = h * like_features(p["norm_gain"], h) + like_features(p["skip"], c) * c
        return (h * jax.nn.silu(z)) @ p["output"]


def _in_blocks(weights: Array, x: Array) -> Array:
    """The product with a block-diagonal matrix, given as its blocks."""
    x = x.reshape(*x.shape[:-1], *weights.shape[:2])
    return from_heads(jnp.einsum("...ni,nio->...no", x, weights))
