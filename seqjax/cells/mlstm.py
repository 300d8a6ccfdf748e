"""The matrix memory of the xLSTM."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice, prenorm
from seqjax.core.cell import Cell, expect_inputs, expect_width, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.layers import draw, feed_forward, pointwise, standardize
from seqjax.core.matrix import Access, Scaled, from_heads, head_width, matrix_state, to_heads
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.trees import narrow
from seqjax.core.types import Array, Initializer

ONE = initializers.Constant(1.0)


@factory
def mlstm(
    features: int,
    *,
    heads: int = 4,
    key_features: int | None = None,
    input_gate: Literal["exponential", "sigmoid"] = "exponential",
    epsilon: float = 1e-6,
    soft_cap: float | None = None,
    forget_bias: Initializer = initializers.Linspace(3.0, 6.0),
    input_bias: Initializer = initializers.Normal(0.1),
    gate_init: Initializer = initializers.Constant(0.0),
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """The mLSTM: an LSTM whose cell state is a matrix.

        q = W_q x / sqrt(K), k = W_k x, v = W_v x              for each head
        i = exp(w_i x + b_i), f = sigmoid(w_f x + b_f)         one number for each head
        C = f C + i k v'
        n = f n + i k
        h = C' q / (max(|n . q|, 1) + epsilon)
        y = W_o (sigmoid(W_g x) * norm(h))                     norm: layer norm, head by head

    n is one more column of C, in which every v is 1. C is kept as `exp(m) C~` with m the running
    maximum of what was written, so i may have any size; h does not depend on m.

    With `input_gate="sigmoid"`, i = sigmoid(w_i x + b_i): m is not needed then.

    Args:
      features: width of the output, and of the values of all heads together.
      heads: number of memories.
      key_features: width of queries and keys of all heads together, by default half of
        `features`.
      input_gate: `"exponential"`, as in the paper, or `"sigmoid"`.
      epsilon: added to the denominator.
      soft_cap: c, if given: gates see `c tanh(a / c)` of their pre-activations a.
      forget_bias: initializer of b_f `(heads,)`.
      input_bias: initializer of b_i `(heads,)`.
      gate_init: initializer of w_i and w_f.
      weight_init: initializer of the other weights.

    Returns:
      A cell whose carry is `MatrixState(memory, log_scale)`: C with n behind it `(*batch,
      heads, K, values + 1)`, and m `(*batch, heads)`, None with the sigmoid gate.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mlstm(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.memory.shape, carry.log_scale.shape, ys.shape
      ((2, 2, 2, 5), (2, 2), (2, 5, 8))

    Source: Beck et al. 2024, arXiv:2405.04517; widths, norm and gate around the memory, and the
    soft cap (15 there, with an input bias of -10): xLSTM 7B, Beck et al. 2025, arXiv:2503.13427;
    sigmoid gate: Beck et al. 2025, arXiv:2503.14376. The released code adds epsilon after
    dividing by `exp(m)`, which makes h depend on m; here it is added to the denominator itself.
    That code scales queries in one form and keys in others; here it is always the queries.
    """
    if input_gate not in ("exponential", "sigmoid"):
        raise ValueError(
            f"mlstm: `input_gate` must be 'exponential' or 'sigmoid', got {input_gate!r}."
        )
    if soft_cap is not None and not soft_cap > 0:
        raise ValueError(f"mlstm: `soft_cap` must be above 0, or None for none; got {soft_cap}.")
    values = head_width("mlstm", "features", features, heads)
    wide = features // 2 if key_features is None else key_features
    keys = head_width("mlstm", "key_features", wide, heads)
    exponential = input_gate == "exponential"

    def init(key, in_features):
        return draw(
            key,
            {
                "query": (weight_init, (in_features, heads, keys)),
                "key": (weight_init, (in_features, heads, keys)),
                "value": (weight_init, (in_features, heads, values)),
                "input": (gate_init, (in_features, heads)),
                "input_bias": (input_bias, (heads,)),
                "forget": (gate_init, (in_features, heads)),
                "forget_bias": (forget_bias, (heads,)),
                "gate": (weight_init, (in_features, features)),
                "norm_gain": (ONE, (features,)),
                "output": (weight_init, (features, features)),
            },
        )

    def gate(p, x, name):
        a = x @ p[name]
        a = a + like_features(p[f"{name}_bias"], a)
        return a if soft_cap is None else soft_cap * jnp.tanh(a / soft_cap)

    def access(p, x):
        q, k, v = (to_heads(x, p[name]) for name in ("query", "key", "value"))
        v = _with_one(v)
        i, f = gate(p, x, "input"), gate(p, x, "forget")
        if exponential:
            return Access(q * keys**-0.5, k, v, jax.nn.log_sigmoid(f), log_input=i)
        k = jax.nn.sigmoid(i)[..., None] * k
        return Access(q * keys**-0.5, k, v, jax.nn.log_sigmoid(f))

    def read_out(p, o, x):
        h = narrow(_normalized(o, epsilon, 1e-6), x)
        h = h * like_features(p["norm_gain"], h)
        return (jax.nn.sigmoid(x @ p["gate"]) * h) @ p["output"]

    return matrix_state(
        access,
        heads=heads,
        keys=keys,
        values=values + 1,
        init=init,
        read_out=read_out,
        features=features,
        stabilized=exponential,
    )


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
      epsilon: added to the denominator.
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
    layers = positive_int("mlstm_layer", "layers", layers)
    small = initializers.Normal((2 / (5 * features)) ** 0.5)
    blocks = (inner // block, block, block)

    def init_project(key, in_features):
        expect_width("mlstm_layer", features, in_features)
        return draw(key, {"weights": (small, (features, 2 * inner))})

    def project(p, x):
        expect_inputs("mlstm_layer", features, x)
        both = x @ p["weights"]
        return jnp.concatenate([both[..., :inner], both], axis=-1)  # u to convolve, u and z

    def init(key, in_features):
        last = initializers.Normal(2 / (layers * features**0.5))
        return draw(
            key,
            {
                **{name: (small, blocks) for name in ("query", "key", "value")},
                "input": (gate_init, (3 * inner, heads)),
                "input_bias": (input_bias, (heads,)),
                "forget": (gate_init, (3 * inner, heads)),
                "forget_bias": (forget_bias, (heads,)),
                "norm_gain": (ONE, (inner,)),
                "skip": (ONE, (inner,)),
                "output": (last, (inner, features)),
            },
        )

    def in_blocks(weights, x):
        x = x.reshape(*x.shape[:-1], *weights.shape[:2])
        return from_heads(jnp.einsum("...ni,nio->...no", x, weights))

    def access(p, x):
        c, u, _ = jnp.split(x, 3, axis=-1)
        flat = [in_blocks(p["query"], c), in_blocks(p["key"], c), in_blocks(p["value"], u)]
        seen = jnp.concatenate(flat, axis=-1)
        i, f = (seen @ p[name] for name in ("input", "forget"))
        i, f = i + like_features(p["input_bias"], i), f + like_features(p["forget_bias"], f)
        q, k, v = (part.reshape(*part.shape[:-1], heads, width) for part in flat)
        return Access(q * width**-0.5, k, _with_one(v), jax.nn.log_sigmoid(f), log_input=i)

    def read_out(p, o, x):
        c, _, z = jnp.split(x, 3, axis=-1)
        h = _normalized(o, epsilon, 1e-5).astype(x.dtype)
        h = h * like_features(p["norm_gain"], h) + like_features(p["skip"], c) * c
        return (h * jax.nn.silu(z)) @ p["output"]

    memory = matrix_state(
        access,
        heads=heads,
        keys=width,
        values=width + 1,
        init=init,
        read_out=read_out,
        features=features,
        stabilized=True,
    )
    short = short_convolution(
        inner,
        width=convolution,
        activation=jax.nn.silu,
        bias_init=initializers.Uniform(convolution**-0.5),
    )
    return checkpointed(
        stack(
            project=pointwise(project, features=3 * inner, init=init_project, in_features=features),
            convolve=on_slice(short, width=inner, rest=2 * inner),
            memory=memory,
        )
    )


def _with_one(v: Array) -> Array:
    """Values with a column of ones behind them: what is read there is n . q."""
    return jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)


def _normalized(o: Scaled | Array, epsilon: float, norm_epsilon: float) -> Array:
    """The readings divided by `max(|n . q|, 1) + epsilon`, then layer norm, head by head."""
    one: Any = 1.0
    if isinstance(o, Scaled):
        # Both sides of the fraction over the larger of 1 and exp(m), so that neither overflows;
        # the smallest 1 is far below the rounding of n . q, and its square not yet 0.
        m = o.log_scale[..., None]
        o, one = jnp.exp(jnp.minimum(m, 0)) * o.values, jnp.exp(-jnp.clip(m, 0, 40))
    h = o[..., :-1] / (jnp.maximum(jnp.abs(o[..., -1:]), one) + epsilon * one)
    return from_heads(standardize(h, norm_epsilon))


@factory
def mlstm_block(
    features: int,
    *,
    heads: int = 4,
    input_gate: Literal["exponential", "sigmoid"] = "exponential",
) -> Cell:
    """One block of an xLSTM 7B, whose memories are matrices all.

        x = x + mlstm(norm(x))
        y = x + feed_forward(norm(x))

    Its gates have a soft cap of 15, and the bias of the input gate starts at -10.

    Args:
      features: width of the input and of the output.
      heads: of the mLSTM.
      input_gate: of the mLSTM.

    Returns:
      A cell; `sj.stack(*[sj.mlstm_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(*[sj.mlstm_block(8, heads=2)] * 2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: xLSTM 7B, Beck et al. 2025, arXiv:2503.13427. The mLSTM block of the first paper is
    `sj.prenorm(sj.mlstm_layer(64), norm=sj.layer_norm)`.
    """
    memory = mlstm(
        features,
        heads=heads,
        input_gate=input_gate,
        soft_cap=15.0,
        input_bias=initializers.Constant(-10.0),
    )
    return stack(time=prenorm(memory), channel=prenorm(feed_forward(features)))
