"""Mamba-2: a state space model with one decay per head."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice, prenorm
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, heads_of_64, inner_width
from seqjax.core.layers import dense, draw, scale_to_one
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.trees import narrow
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray

ZERO, ONE = initializers.Constant(0.0), initializers.Constant(1.0)


@factory
def mamba2(
    features: int,
    *,
    expansion: int = 2,
    inner: int | None = None,
    heads: int | None = None,
    states: int = 64,
    groups: int = 1,
    convolution: int = 4,
    layers: int = 1,
    bias: bool = False,
    convolution_bias: bool = True,
    step_limit: tuple[float, float] | None = None,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.FanIn(),
) -> Cell:
    """Mamba-2, the state space model with structured duality (SSD).

        u, B, C = silu(convolve(W_u x, W_B x, W_C x))
        d = softplus(w_d x + b_d)                         one time step for each head
        S = exp(-exp(A) d) S + B (d u)'
        o = S' C + D u
        y = W_o norm(o * silu(W_z x))                     norm: RMS, group by group

    Args:
      features: width of the output.
      expansion: width of u of all heads together, as a multiple of `features`.
      inner: that width itself, which need not be a multiple; by default `expansion * features`.
      heads: number of memories; by default as many as divide u and are at least 64 wide, or
        one.
      states: width of B and C.
      groups: how many B and C there are; heads share them evenly. The norm treats each alone.
      convolution: steps of the short convolution.
      layers: how many such layers the model has; W_o starts smaller by the root of it.
      bias: whether the products at both ends, with W_u, W_B, W_C, w_d and W_z and with W_o, have
        one; it starts at 0.
      convolution_bias: whether the convolution has one.
      step_limit: bounds that d is held between; None for none.
      epsilon: of the norm.
      weight_init: initializer of the weights.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and `MatrixState(memory)` `(*batch, heads, states,
      width of u)`.

    Raises:
      ValueError: if heads do not divide the width, or groups the heads, or if the bounds are none.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba2(8, heads=4, states=3)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 5), jnp.ones((2, 6, 5)))
      >>> carry["memory"].memory.shape, ys.shape
      ((2, 4, 3, 4), (2, 6, 8))

    Source: Dao and Gu 2024, arXiv:2405.21060. exp(A) starts uniform in [1, 16] as in the released
    code, b_d so that time steps are log-uniform in [0.001, 0.1], D at 1. Our memory has the states
    first; that of the released code has them last.
    """
    named = "expansion * features" if inner is None else "inner"
    inner = inner_width("mamba2", features, expansion, inner)
    heads = heads_of_64(inner) if heads is None else heads
    width = head_width("mamba2", named, inner, heads)
    if heads % positive_int("mamba2", "groups", groups):
        raise ValueError(f"mamba2: `groups={groups}` must divide `heads`, which is {heads}.")
    layers = positive_int("mamba2", "layers", layers)
    if step_limit is not None and not 0 <= step_limit[0] < step_limit[1]:
        raise ValueError(
            "mamba2: `step_limit` must be two numbers from 0 on, the smaller one first; "
            f"got {step_limit!r}."
        )
    memory = _Memory(
        features=features,
        heads=heads,
        width=width,
        states=states,
        groups=groups,
        layers=layers,
        bias=bias,
        step_limit=step_limit,
        epsilon=epsilon,
        weight_init=weight_init,
    )
    short = short_convolution(
        memory.convolved,
        width=convolution,
        activation=jax.nn.silu,
        bias=convolution_bias,
        bias_init=initializers.Uniform(convolution**-0.5),
    )
    beside = heads + inner
    return checkpointed(
        stack(
            project=dense(memory.convolved + beside, bias=bias, weight_init=weight_init),
            convolve=on_slice(short, width=memory.convolved, rest=beside),
            memory=matrix_state(
                memory.access,
                heads=heads,
                keys=states,
                values=width,
                init=memory.init,
                read_out=memory.read_out,
                features=features,
            ),
        )
    )


@dataclasses.dataclass(frozen=True)
class _Memory:
    """The recurrence of Mamba-2, from `[u B C | d | z]`; u, B and C are convolved."""

    features: int
    heads: int
    width: int
    states: int
    groups: int
    layers: int
    bias: bool
    step_limit: tuple[float, float] | None
    epsilon: float
    weight_init: Initializer

    @property
    def inner(self) -> int:
        """Width of u, and of z."""
        return self.heads * self.width

    @property
    def convolved(self) -> int:
        return self.inner + 2 * self.groups * self.states

    def parts(self, x: Array) -> list[Array]:
        first = self.inner + self.groups * self.states
        return jnp.split(
            x, (self.inner, first, self.convolved, self.convolved + self.heads), axis=-1
        )

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        def output_init(key, shape, dtype):
            return self.layers**-0.5 * self.weight_init(key, shape, dtype)

        bias = {"output_bias": (ZERO, (self.features,))} if self.bias else {}
        return draw(
            key,
            {
                "A_log": (initializers.LogUniform(1.0, 16.0), (self.heads,)),
                "step_bias": (initializers.TimeStep(), (self.heads,)),
                "D": (ONE, (self.heads,)),
                "norm_gain": (ONE, (self.inner,)),
                "output": (output_init, (self.inner, self.features)),
                **bias,
            },
        )

    def access(self, p: Params, x: Array) -> Access:
        _, b, c, step, _ = self.parts(x)
        step = jax.nn.softplus(step + like_features(p["step_bias"], step))
        if self.step_limit is not None:
            step = jnp.clip(step, *self.step_limit)
        return Access(
            query=self.for_each_head(c),
            key=self.for_each_head(b),
            value=step[..., None] * self.values(x),
            log_decay=log_decay(like_features(p["A_log"], step), step),
        )

    def read_out(self, p: Params, o: Array, x: Array) -> Array:
        skip = like_features(p["D"][:, None], o)
        y = from_heads(o + skip * self.values(x)) * jax.nn.silu(self.parts(x)[-1])
        by_group = y.reshape(*y.shape[:-1], self.groups, self.inner // self.groups)
        y = narrow(from_heads(scale_to_one(by_group, self.epsilon)), x)
        y = (y * like_features(p["norm_gain"], y)) @ p["output"]
        return y + like_features(p["output_bias"], y) if self.bias else y

    def for_each_head(self, x: Array) -> Array:
        """What heads of a group share, repeated."""
        shared = x.reshape(*x.shape[:-1], self.groups, self.states)
        return jnp.repeat(shared, self.heads // self.groups, axis=-2)

    def values(self, x: Array) -> Array:
        u = self.parts(x)[0]
        return u.reshape(*u.shape[:-1], self.heads, self.width)


@factory
def mamba2_block(
    features: int, *, layers: int = 1, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of a Mamba-2.

        y = x + mamba2(norm(x))

    Args:
      features: width of the input and of the output.
      layers: how many such blocks the model has.
      norm_epsilon: of the norm in front; the released models have 1e-5.
      **options: further arguments of `sj.mamba2`, such as `states`.

    Returns:
      A cell; `sj.stack(*[sj.mamba2_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba2_block(8, states=4)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Dao and Gu 2024, arXiv:2405.21060.
    """
    return prenorm(mamba2(features, layers=layers, **options), epsilon=norm_epsilon)
