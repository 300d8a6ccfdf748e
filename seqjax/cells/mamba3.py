"""Mamba-3: a state space model by the trapezoidal rule, with a state that turns."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.affine import Complex
from seqjax.core.blocks import checkpointed, on_slice
from seqjax.core.cell import Cell, expect_real, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.heads import from_heads, head_width, heads_of_64, inner_width
from seqjax.core.layers import dense, draw, scale_to_one
from seqjax.core.linear import diagonal
from seqjax.core.matrix_step import Access
from seqjax.core.mixer_block import mixer_block
from seqjax.core.several_writes import several_writes
from seqjax.core.shift import windowed
from seqjax.core.stack import stack
from seqjax.core.trees import floats, narrow, widen
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray

ONE = initializers.Constant(1.0)


@factory
def mamba3(
    features: int,
    *,
    expansion: int = 2,
    inner: int | None = None,
    heads: int | None = None,
    states: int = 64,
    groups: int = 1,
    inputs: int = 1,
    turning: float = 0.5,
    layers: int = 1,
    epsilon: float = 1e-5,
    weight_init: Initializer = initializers.FanIn(),
) -> Cell:
    """Mamba-3: no convolution, but a rule that looks one step back; and a state of complex numbers.

        u, z, B, C, d, a, l, t = W x
        d = softplus(d + b_d)                               a time step for each head
        a = exp(-d max(softplus(a), 1e-4))                  a decay for each head
        l = sigmoid(l)                                      the share of the end of the interval
        r = r + d pi tanh(t)                                angles of pairs of states, from 0
        B, C = turn(norm(B) + b_B, r), turn(norm(C) + b_C, r)
        S = a (S + (1 - l) d B_{t-1} u_{t-1}') + l d B u'
        o = S' C + D u
        y = W_o (o * silu(z))

    norm is RMS, group by group. Several inputs share a state: with n of them there are n of each B
    and C, u comes as u * P_j and z as z * Q_j for j = 1 .. n, S adds up the products of all B_j and
    u_j, and y = W_o sum_j R_j * o_j * silu(z_j).

    Args:
      features: width of the output.
      expansion: width of u of all heads together, as a multiple of `features`.
      inner: that width itself, which need not be a multiple; by default `expansion * features`.
      heads: number of memories; by default as many as divide u and are at least 64 wide, or
        one.
      states: width of B and C.
      groups: how many B and C there are; heads share them evenly.
      inputs: n.
      turning: share of the states that turn, in pairs, the first ones.
      layers: how many such layers the model has; W_o starts smaller by the root of it.
      epsilon: of the norms.
      weight_init: initializer of W and W_o.

    Returns:
      A cell of four parts, `project`, `turn`, `previous` and `memory`, whose carry is a dict of
      theirs. `turn` has the cosine and the sine of r, `Complex` `(*batch, heads, pairs)` in float32
      at least, which no length makes inexact and a reset takes back to r = 0; `previous` what B and
      u of the last step are made of; `MatrixState(memory)` `(*batch, heads, states, width of u)` is
      S without the product of that step, whose weight the next one knows.

    Raises:
      ValueError: if heads do not divide the width, or groups the heads, or if no pair turns.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba3(8, heads=4, states=4, inputs=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 5), jnp.ones((2, 6, 5)))
      >>> carry["memory"].memory.shape, carry["turn"].real.shape, ys.shape
      ((2, 4, 4, 4), (2, 4, 1), (2, 6, 8))

    Source: Lahoti et al. 2026, arXiv:2603.15569. b_d starts so that time steps are log-uniform in
    [0.001, 0.1]; b_B, b_C, D and Q at 1, P and R at 1/n, as in the released code, whose kernels for
    several inputs pair state i with i + states / 2 and not with its neighbour. The norm in front of
    W_o that hybrid models have is left out.
    """
    named = "expansion * features" if inner is None else "inner"
    inner = inner_width("mamba3", features, expansion, inner)
    heads = heads_of_64(inner) if heads is None else heads
    width = head_width("mamba3", named, inner, heads)
    if heads % positive_int("mamba3", "groups", groups):
        raise ValueError(f"mamba3: `groups={groups}` must divide `heads`, which is {heads}.")
    states = positive_int("mamba3", "states", states)
    pairs = int(states * turning) // 2 if 0 < turning <= 1 else 0
    if not pairs:
        raise ValueError(
            f"mamba3: `turning` must be a share of the states, in (0, 1], that holds a pair; got "
            f"{turning} of {states} states."
        )
    memory = _Memory(
        features=features,
        heads=heads,
        width=width,
        states=states,
        groups=groups,
        inputs=positive_int("mamba3", "inputs", inputs),
        pairs=pairs,
        layers=positive_int("mamba3", "layers", layers),
        epsilon=epsilon,
        weight_init=weight_init,
    )
    drive, beside, waves = memory.drive, memory.beside, 2 * heads * pairs
    previous = windowed(
        lambda p, window: jnp.concatenate([window[0], window[1].astype(window[0].dtype)], -1),
        width=2,
        features=2 * (drive + waves),
        init=lambda key, in_features: (),
        in_features=drive + waves,
    )
    return checkpointed(
        stack(
            project=dense(drive + beside + pairs, bias=False, weight_init=weight_init),
            turn=_turn(heads, pairs, drive=drive, beside=beside),
            previous=on_slice(previous, width=drive + waves, rest=beside),
            memory=several_writes(
                memory.access,
                count=inputs,
                heads=heads,
                keys=states,
                values=width,
                init=memory.init,
                read_out=memory.read_out,
                features=features,
            ),
        )
    )


@factory
def mamba3_block(
    features: int,
    *,
    hidden: int | None = None,
    layers: int = 1,
    norm_epsilon: float = 1e-6,
    **options: Any,
) -> Cell:
    """One block of a Mamba-3.

        x = x + mamba3(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: of the feed-forward layer, see `sj.feed_forward`.
      layers: how many such blocks the model has.
      norm_epsilon: of the norms in front of both.
      **options: further arguments of `sj.mamba3`, such as `states`.

    Returns:
      A cell; `sj.block_stack("mamba3", 64, layers=6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba3_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Lahoti et al. 2026, arXiv:2603.15569.
    """
    mixer = mamba3(features, layers=layers, **options)
    return mixer_block(mixer, hidden=hidden, norm_epsilon=norm_epsilon)


@factory
def _turn(heads: int, pairs: int, *, drive: int, beside: int) -> Cell:
    """`[.. d, beside, t]` as `[.. d + b_d, cos r, sin r, beside]`, with the angles r of all steps
    so far added up on the unit circle."""

    def init(key, in_features):
        return draw(key, {"step_bias": (initializers.TimeStep(), (heads,))})

    def initial_carry(params, batch_shape=()):
        dtype = jnp.result_type(jnp.float32, *floats(params))
        shape = (*batch_shape, heads, pairs)
        return Complex(jnp.ones(shape, dtype), jnp.zeros(shape, dtype))

    def steps(params, x):
        d = x[..., drive - heads : drive]
        return d + like_features(params["step_bias"], d)

    def angles(params, x):
        expect_real("mamba3", x, params)
        d = jax.nn.softplus(widen(steps(params, x)))
        return d[..., None] * jnp.pi * jnp.tanh(widen(x[..., -pairs:]))[..., None, :]

    def coefficients(params, angle):
        return Complex(jnp.cos(angle), jnp.sin(angle)), Complex(*[jnp.zeros_like(angle)] * 2)

    def output(params, r, x):
        # On the circle again: the products of many rounded factors leave it slowly.
        inverse = jax.lax.rsqrt(jnp.square(r.real) + jnp.square(r.imaginary))
        waves = (from_heads(part * inverse) for part in r)
        made = [x[..., : drive - heads], steps(params, x), *waves]
        made.append(x[..., drive : drive + beside])
        return jnp.concatenate([narrow(part, x) for part in made], axis=-1)

    return diagonal(
        coefficients,
        init=init,
        initial_carry=initial_carry,
        features=drive + 2 * heads * pairs + beside,
        project=angles,
        output=output,
        in_features=drive + beside + pairs,
    )


class _Drive(NamedTuple):
    """What a step writes: B `(*batch, inputs, heads, states)`, u by heads, l and d."""

    key: Array
    value: Array
    share: Array
    step: Array


@dataclasses.dataclass(frozen=True)
class _Memory:
    """The recurrence of Mamba-3, from `[B u l d cos sin]` of a step, the same of the step before,
    and `[C a z]`."""

    features: int
    heads: int
    width: int
    states: int
    groups: int
    inputs: int
    pairs: int
    layers: int
    epsilon: float
    weight_init: Initializer

    @property
    def keys(self) -> int:
        """Width of B of all inputs and groups, and of C."""
        return self.inputs * self.groups * self.states

    @property
    def drive(self) -> int:
        """Width of `[B u l d]`."""
        return self.keys + self.heads * (self.width + 2)

    @property
    def beside(self) -> int:
        """Width of `[C a z]`."""
        return self.keys + self.heads * (self.width + 1)

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        def output_init(key, shape, dtype):
            return self.layers**-0.5 * self.weight_init(key, shape, dtype)

        bias, by_input = ((self.inputs, self.heads, n) for n in (self.states, self.width))
        share = initializers.Constant(1 / self.inputs)
        recipes = {
            "key_gain": (ONE, (self.states,)),
            "key_bias": (ONE, bias),
            "query_gain": (ONE, (self.states,)),
            "query_bias": (ONE, bias),
            "D": (ONE, (self.heads,)),
            "output": (output_init, (self.heads * self.width, self.features)),
        }
        if self.inputs > 1:
            recipes |= {"P": (share, by_input), "Q": (ONE, by_input), "R": (share, by_input)}
        return draw(key, recipes)

    def parts(self, x: Array) -> list[Array]:
        inner, waves = self.heads * self.width, 2 * self.heads * self.pairs
        once = (self.keys, inner, self.heads, self.heads, waves)
        ends = itertools.accumulate((*once, *once, self.keys, self.heads))
        return jnp.split(x, tuple(ends), axis=-1)

    def driven(self, p: Params, parts: list[Array]) -> _Drive:
        b, u, share, step, wave = parts
        return _Drive(
            key=self.turned(p, "key", b, wave),
            value=self.by_input(p, "P", u),
            share=jax.nn.sigmoid(share),
            step=jax.nn.softplus(step),
        )

    def access(self, p: Params, x: Array) -> Access:
        parts = self.parts(x)
        before, (c, a, _) = self.driven(p, parts[5:10]), parts[10:]
        _, _, share, step, wave = parts[:5]
        step = jax.nn.softplus(step)
        decay = -step * jnp.maximum(jax.nn.softplus(a), 1e-4)
        weight = before.share * before.step + (1 - jax.nn.sigmoid(share)) * step
        weight = weight * jnp.exp(decay)
        return Access(
            query=self.turned(p, "query", c, wave),
            key=before.key,
            value=weight[..., None, :, None] * before.value,
            log_decay=decay,
        )

    def read_out(self, p: Params, o: Array, x: Array) -> Array:
        parts = self.parts(x)
        now, z = self.driven(p, parts[:5]), parts[-1]
        written = self.access(p, x)
        value = (now.share * now.step)[..., None, :, None] * now.value
        o = o + self.seen(written.query, now.key, value, later=False)
        if self.inputs > 1:
            # Each has read after its own write of what the step before was driven by.
            o = o + self.seen(written.query, written.key, written.value, later=True)
        o = o + like_features(p["D"][:, None], o) * now.value
        o = o * jax.nn.silu(self.by_input(p, "Q", z))
        if self.inputs > 1:
            o = o * like_features(p["R"], o)
        return narrow(from_heads(o.sum(-3)), x) @ p["output"]

    def seen(self, query: Array, key: Array, value: Array, *, later: bool) -> Array:
        """What each query reads of the products of all keys and values, or of later ones."""
        scores = jnp.einsum("...ihk,...jhk->...hij", query, key)
        scores = jnp.triu(scores, 1) if later else scores
        return jnp.einsum("...hij,...jhv->...ihv", scores, value)

    def turned(self, p: Params, name: str, x: Array, wave: Array) -> Array:
        """B or C of every head, `(*batch, inputs, heads, states)`, turned."""
        x = x.reshape(*x.shape[:-1], self.inputs, self.groups, self.states)
        x = scale_to_one(x, self.epsilon) * like_features(p[f"{name}_gain"], x)
        x = jnp.repeat(x, self.heads // self.groups, axis=-2)
        x = x + like_features(p[f"{name}_bias"], x)
        wave = wave.reshape(*wave.shape[:-1], 2, self.heads, self.pairs)
        cos, sin = (wave[..., part, :, :][..., None, :, :] for part in (0, 1))
        turning = x[..., : 2 * self.pairs].reshape(*x.shape[:-1], self.pairs, 2)
        a, b = turning[..., 0], turning[..., 1]
        turning = jnp.stack([a * cos - b * sin, a * sin + b * cos], axis=-1)
        turning = turning.reshape(*x.shape[:-1], 2 * self.pairs)
        return jnp.concatenate([turning, x[..., 2 * self.pairs :]], axis=-1)

    def by_input(self, p: Params, name: str, x: Array) -> Array:
        """u or z by heads, for every input."""
        x = x.reshape(*x.shape[:-1], 1, self.heads, self.width)
        return x if self.inputs == 1 else x * like_features(p[name], x)
