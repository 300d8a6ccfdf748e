"""The matrix memory of the xLSTM."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, factory
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, to_heads
from seqjax.core.layers import draw, feed_forward, standardize
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access, Scaled
from seqjax.core.stack import stack
from seqjax.core.trees import narrow
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray

ONE = initializers.Constant(1.0)


@factory
def mlstm(
    features: int,
    *,
    heads: int = 4,
    key_features: int | None = None,
    input_gate: Literal["exponential", "sigmoid"] = "exponential",
    epsilon: float = 1e-6,
    scaled_epsilon: bool = False,
    norm_epsilon: float = 1e-6,
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
      scaled_epsilon: whether it is added to the denominator over exp(m), as in released code; h
        depends on m then, the less the smaller epsilon is.
      norm_epsilon: of the norm.
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
    dividing by `exp(m)`, which makes h depend on m; here it is added to the denominator itself,
    unless `scaled_epsilon` is set. That code scales queries in one form and keys in others; here it
    is always the queries.
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
    memory = _Memory(
        features=features,
        heads=heads,
        keys=keys,
        values=values,
        exponential=input_gate == "exponential",
        epsilon=epsilon,
        scaled_epsilon=scaled_epsilon,
        norm_epsilon=norm_epsilon,
        soft_cap=soft_cap,
        forget_bias=forget_bias,
        input_bias=input_bias,
        gate_init=gate_init,
        weight_init=weight_init,
    )
    return matrix_state(
        memory.access,
        heads=heads,
        keys=keys,
        values=values + 1,
        init=memory.init,
        read_out=memory.read_out,
        features=features,
        stabilized=memory.exponential,
    )


@dataclasses.dataclass(frozen=True)
class _Memory:
    """The equations of `mlstm`; fields are its arguments, widths are per head."""

    features: int
    heads: int
    keys: int
    values: int
    exponential: bool
    epsilon: float
    scaled_epsilon: bool
    norm_epsilon: float
    soft_cap: float | None
    forget_bias: Initializer
    input_bias: Initializer
    gate_init: Initializer
    weight_init: Initializer

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        weights, inward = self.weight_init, (in_features, self.heads)
        return draw(
            key,
            {
                "query": (weights, (*inward, self.keys)),
                "key": (weights, (*inward, self.keys)),
                "value": (weights, (*inward, self.values)),
                "input": (self.gate_init, inward),
                "input_bias": (self.input_bias, (self.heads,)),
                "forget": (self.gate_init, inward),
                "forget_bias": (self.forget_bias, (self.heads,)),
                "gate": (weights, (in_features, self.features)),
                "norm_gain": (ONE, (self.features,)),
                "output": (weights, (self.features, self.features)),
            },
        )

    def gate(self, p: Params, x: Array, name: str) -> Array:
        a = x @ p[name]
        a = a + like_features(p[f"{name}_bias"], a)
        return a if self.soft_cap is None else self.soft_cap * jnp.tanh(a / self.soft_cap)

    def access(self, p: Params, x: Array) -> Access:
        q, k, v = (to_heads(x, p[name]) for name in ("query", "key", "value"))
        q, v = q * self.keys**-0.5, with_ones(v)
        i, f = self.gate(p, x, "input"), self.gate(p, x, "forget")
        if self.exponential:
            return Access(q, k, v, jax.nn.log_sigmoid(f), log_input=i)
        return Access(q, jax.nn.sigmoid(i)[..., None] * k, v, jax.nn.log_sigmoid(f))

    def read_out(self, p: Params, o: Any, x: Array) -> Array:
        h = quotient(o, self.epsilon, scaled=self.scaled_epsilon)
        h = narrow(from_heads(standardize(h, self.norm_epsilon)), x)
        h = h * like_features(p["norm_gain"], h)
        return (jax.nn.sigmoid(x @ p["gate"]) * h) @ p["output"]


def with_ones(v: Array) -> Array:
    """Values with a column of ones behind them: what is read there is n . q."""
    return jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)


def quotient(o: Scaled | Array, epsilon: float, *, scaled: bool = False) -> Array:
    """The readings over `max(|n . q|, 1) + epsilon`; `scaled`: over all but epsilon by exp(m)."""
    one: Any = 1.0
    added: Any = epsilon
    if isinstance(o, Scaled):
        # Both sides of the fraction over the larger of 1 and exp(m), so that neither overflows;
        # the smallest 1 is far below the rounding of n . q, and its square not yet 0.
        m = o.log_scale[..., None]
        small, one = jnp.exp(jnp.minimum(m, 0)), jnp.exp(-jnp.clip(m, 0, 40))
        o, added = small * o.values, epsilon * (small if scaled else one)
    return o[..., :-1] / (jnp.maximum(jnp.abs(o[..., -1:]), one) + added)


@factory
def mlstm_block(
    features: int,
    *,
    hidden: int | None = None,
    soft_cap: float | None = 15.0,
    input_bias: Initializer = initializers.Constant(-10.0),
    norm_epsilon: float = 1e-6,
    **options: Any,
) -> Cell:
    """One block of an xLSTM 7B, whose memories are matrices all.

        x = x + mlstm(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      soft_cap, input_bias: of the mLSTM.
      norm_epsilon: of the norms in front of both, and of that inside the mLSTM.
      **options: further arguments of `sj.mlstm`, such as `heads`.

    Returns:
      A cell; `sj.stack(*[sj.mlstm_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mlstm_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: xLSTM 7B, Beck et al. 2025, arXiv:2503.13427. The mLSTM block of the first paper is
    `sj.prenorm(sj.mlstm_layer(64), norm=sj.layer_norm)`.
    """
    memory = mlstm(
        features,
        soft_cap=soft_cap,
        input_bias=input_bias,
        norm_epsilon=norm_epsilon,
        **options,
    )
    return stack(
        time=prenorm(memory, epsilon=norm_epsilon),
        channel=prenorm(feed_forward(features, hidden=hidden), epsilon=norm_epsilon),
    )
