"""A nonlinear recurrence whose state is a matrix."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, on_slice
from seqjax.core.bounded_gradient import bounded_gradient
from seqjax.core.cell import Cell, expect_real, expect_width, factory, positive_int
from seqjax.core.gates import Gates, Projection, flat, like_features
from seqjax.core.heads import head_width
from seqjax.core.layers import dense, draw, scale_to_one
from seqjax.core.mixer_block import mixer_block
from seqjax.core.recurrence import multiply, updated
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.steps import Run, Steps
from seqjax.core.trees import widen
from seqjax.core.types import Array, Carry, Initializer, Params, PRNGKeyArray, TimeFlags


@factory
def m2rnn(
    features: int,
    *,
    heads: int = 4,
    keys: int | None = None,
    values: int | None = None,
    key_heads: int | None = None,
    convolution: int = 4,
    gradient_bound: float | None = None,
    epsilon: float = 1e-6,
    weight_init: Initializer = initializers.Glorot(),
) -> Cell:
    """M2RNN: a tanh recurrence whose state is a matrix, for each head.

        q, k, v = silu(convolve([W_q x, W_k x, W_v x]))
        f = exp(-exp(A_log) * softplus(W_f x + b_f))          a number for each head
        C = tanh(H R + k v')                                  keys x values
        H = f * H + (1 - f) * C
        y = W_o norm((H' q + D * v) * silu(W_g x))            norm over all heads

    Rows of H share R and see no other row: a row is a state of a gated cell, and as many of them as
    there are keys are so many sequences. So the engine of gated cells runs it, `method="newton"`
    and kernels included, with a block of R for each head.

    Args:
      features: width of the output.
      heads: number of matrices.
      keys, values: rows and columns of each, by default `features / heads`.
      key_heads: number of queries and keys, each of which serves as many neighbouring heads; by
        default one for each head.
      convolution: steps of the short convolution.
      gradient_bound: in the backward pass, clip what comes back to H at each step to plus or minus
        this, number by number. What comes out is no gradient any more, and a loss that falls along
        it falls by luck; it is what the authors' code does against gradients that explode.
        `method="newton"` makes the tangents of all steps at once, and refuses it.
      epsilon: of the norm.
      weight_init: initializer of W.

    Returns:
      A cell of three parts, `project`, `convolve` and `memory`, whose carry is a dict of theirs:
      the last inputs of the convolution, and H as `(*batch, keys, heads * values)`, in float32 at
      least. With kernels or without, memory for states is made for a stretch of time only; a step
      of H is `keys` times as large as one of the output.

    Raises:
      ValueError: if `heads` does not divide `features` and must, or `key_heads` not `heads`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.m2rnn(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry["memory"].shape, ys.shape
      ((2, 4, 8), (2, 5, 8))

    Source: Mishra et al. 2026, arXiv:2603.14360, and its authors' code (open-lm-engine/lm-engine)
    for all that is around the equations of C, H and y: the forget gate, the convolution with its
    silu, D, the gate before the norm, and the starts of R (the identity), D (1) and b_f (time steps
    from 1e-3 to 1e-1). There exp(A_log) starts uniform in [0, 16]; here from 1e-2 on, as 0 never
    forgets. The default sizes and no biases of projections and convolution are choices made here.
    """
    features = positive_int("m2rnn", "features", features)
    if keys is None or values is None:
        width = head_width("m2rnn", "features", features, heads)
        keys = width if keys is None else keys
        values = width if values is None else values
    memory = _Memory(
        features=features,
        heads=positive_int("m2rnn", "heads", heads),
        key_heads=heads if key_heads is None else key_heads,
        keys=positive_int("m2rnn", "keys", keys),
        values=positive_int("m2rnn", "values", values),
        gradient_bound=gradient_bound,
        epsilon=epsilon,
        output_init=weight_init,
    )
    if heads % positive_int("m2rnn", "key_heads", memory.key_heads):
        raise ValueError(f"m2rnn: `key_heads={key_heads}` must divide `heads={heads}`.")
    if gradient_bound is not None and not gradient_bound > 0:
        raise ValueError(f"m2rnn: `gradient_bound` must be above 0, got {gradient_bound}.")
    *_, convolved, _, width = memory.ends
    short = short_convolution(convolved, width=convolution, activation=jax.nn.silu, bias=False)
    return checkpointed(
        stack(
            project=dense(width, bias=False, weight_init=weight_init),
            convolve=on_slice(short, width=convolved, rest=width - convolved),
            memory=_matrix(memory),
        )
    )


@factory
def m2rnn_block(
    features: int, *, hidden: int | None = None, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of an M2RNN.

        x = x + m2rnn(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.m2rnn`, such as `heads`.

    Returns:
      A cell; `sj.block_stack("m2rnn", 64, layers=6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.m2rnn_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Mishra et al. 2026, arXiv:2603.14360.
    """
    mixer = m2rnn(features, **options)
    return mixer_block(mixer, hidden=hidden, norm_epsilon=norm_epsilon)


@dataclasses.dataclass(frozen=True)
class _Memory:
    """What is written to the matrices and read of them, from `[q k v | f g]`."""

    features: int
    heads: int
    key_heads: int
    keys: int
    values: int
    gradient_bound: float | None
    epsilon: float
    output_init: Initializer

    @property
    def inner(self) -> int:
        return self.heads * self.values

    @property
    def ends(self) -> tuple[int, ...]:
        """Where each part of the input ends."""
        widths = (self.key_heads * self.keys,) * 2 + (self.inner, self.heads, self.inner)
        return tuple(itertools.accumulate(widths))

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        expect_width("memory", self.ends[-1], in_features)
        one = initializers.Constant(1.0)
        drawn = draw(
            key,
            {
                "A_log": (initializers.LogUniform(1e-2, 16.0), (self.heads,)),
                "forget_bias": (initializers.TimeStep(), (self.heads,)),
                "skip": (one, (self.inner,)),
                "norm_gain": (one, (self.inner,)),
                "output": (self.output_init, (self.inner, self.features)),
            },
        )
        identity = jnp.eye(self.values, dtype=drawn["output"].dtype)
        return {"recurrent": jnp.tile(identity, (self.heads, 1, 1)), **drawn}

    def parts(self, x: Array) -> list[Array]:
        return jnp.split(x, self.ends[:-1], axis=-1)

    def by_row(self, x: Array) -> Array:
        """Queries or keys, `(*batch, keys, heads)`."""
        x = x.reshape(*x.shape[:-1], self.key_heads, self.keys)
        return jnp.swapaxes(jnp.repeat(x, self.heads // self.key_heads, axis=-2), -1, -2)

    def written(self, p: Params, x: Array) -> Array:
        """For each row what it is to add and the logarithm of its decay, `(*batch, keys, heads *
        values + heads)`."""
        _, k, v, f, _ = self.parts(x)
        k, v = self.by_row(k), v.reshape(*v.shape[:-1], 1, self.heads, self.values)
        added = (k[..., None] * v).reshape(*k.shape[:-1], self.inner)
        f = widen(f)
        step = jax.nn.softplus(f + like_features(widen(p["forget_bias"]), f))
        decay = log_decay(like_features(widen(p["A_log"]), step), step)[..., None, :]
        decay = jnp.broadcast_to(decay, (*added.shape[:-1], self.heads))
        return jnp.concatenate([added, decay.astype(added.dtype)], axis=-1)

    def read_out(self, p: Params, rows: Array, x: Array) -> Array:
        """y, from H `(*batch, keys, heads * values)`."""
        q, _, v, _, g = self.parts(x)
        apart = rows.reshape(*rows.shape[:-1], self.heads, self.values)
        o = jnp.einsum("...kh,...khv->...hv", self.by_row(q), apart)
        o = o.reshape(v.shape) + like_features(p["skip"], v) * v
        y = scale_to_one(o * jax.nn.silu(g), self.epsilon) * like_features(p["norm_gain"], o)
        return y.astype(x.dtype) @ p["output"]


@factory
def _matrix(memory: _Memory) -> Cell:
    rows = _rows(memory.heads, memory.values, memory.gradient_bound)

    def initial_carry(params, batch_shape=()):
        return rows.initial_carry(params, (*batch_shape, memory.keys))

    def step(params, carry, x):
        expect_real("m2rnn", x, params)
        carry, made = rows.step(params, carry, memory.written(params, x))
        return carry, memory.read_out(params, made, x)

    def each_row(flags: TimeFlags | None) -> TimeFlags | None:
        if flags is None:
            return None
        return jnp.broadcast_to(flags[..., None], (*flags.shape, memory.keys))

    def sequence(scan, params, carry, initial, xs, steps: Steps):
        expect_real("m2rnn", xs, params)
        valid, resets, cuts = map(each_row, steps.flags)
        steps = dataclasses.replace(steps, valid=valid, resets=resets, cuts=cuts)
        run = scan(rows, params, carry, initial, memory.written(params, xs), steps)
        return Run(run.carry, memory.read_out(params, run.ys, xs), run.carries)

    return Cell(
        init=memory.init,
        initial_carry=initial_carry,
        step=step,
        features=memory.features,
        in_features=memory.ends[-1],
        sequence=sequence,
    )


@functools.cache
def _rows(heads: int, values: int, gradient_bound: float | None) -> Cell:
    """The recurrence of one row of every head, which the output is."""
    parts = _Row(heads, values, gradient_bound)
    return Cell(
        init=lambda key, in_features: (),
        initial_carry=parts.initial_carry,
        step=parts.step,
        features=heads * values,
        in_features=heads * values + heads,
        output=parts.output,
        structure=parts,
        call=f"m2rnn({heads=}, {values=}, {gradient_bound=})",
    )


@dataclasses.dataclass(frozen=True)
class _Row:
    """The `Recurrence` of a row `(*batch, heads * values)`."""

    heads: int
    values: int
    gradient_bound: float | None
    apart: bool = False
    unit_parameters: tuple[str, ...] = ()
    summed_gates: frozenset[int] = frozenset({0})
    closes_over_traced: bool = False

    @property
    def state_blocks(self) -> int:
        return self.heads

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Array:
        dtype = jnp.promote_types(params["recurrent"].dtype, jnp.float32)
        return jnp.zeros((*batch_shape, self.heads * self.values), dtype)

    def step(self, params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        params = self.flat(params)
        return self.advance(params, carry, self.project_inputs(params, x))

    def flat(self, params: Params) -> Params:
        weights = params["recurrent"][:, :, None]
        one = self.heads == 1
        return {"recurrent": flat(weights[0] if one else weights, blocks=not one)}

    def by_gate(self) -> "_Row":
        return dataclasses.replace(self, apart=True)

    def project_inputs(self, params: Params, x: Array) -> Gates:
        added, log_decay = jnp.split(widen(x), [self.heads * self.values], axis=-1)
        return Gates([added, jnp.repeat(jnp.exp(log_decay), self.values, axis=-1)])

    def joint(self, params: Params) -> None:
        return None

    def advance(
        self, params: Params, carry: Carry, x: Any, multiply: Callable[..., Any] = multiply
    ) -> tuple[Carry, Array]:
        added, f = x
        weights = params["recurrent"]
        product = Projection(1, None if self.heads == 1 else self.heads, self.apart)
        (r,) = multiply(product, carry.astype(weights.dtype), weights, None, slice(0, 1))
        new = f * carry + (1 - f) * jnp.tanh(added + r)
        if self.gradient_bound is not None:
            new = bounded_gradient(new, self.gradient_bound)
        new = updated("m2rnn", new, carry)
        return new, new

    def output(self, carry: Carry) -> Array:
        return carry
