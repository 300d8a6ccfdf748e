"""Cells for video: the products of a gated cell as convolutions over space."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_real, factory, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.layers import draw, pointwise
from seqjax.core.recurrence import AnyStep
from seqjax.core.trees import is_float
from seqjax.core.types import Activation, Array, Params

Space = tuple[int, ...]


@exportable
class ConvLSTMState(NamedTuple):
    """Hidden and cell state, `(*batch, *space, features)`."""

    hidden: Array
    cell: Array


@factory
def conv_lstm(features: int, *, space: Space, kernel: int = 3, forget_bias: float = 1.0) -> Cell:
    """LSTM whose products are convolutions, for inputs that are images or volumes.

        i, f, g, o = x * input + h * recurrent + bias           *: convolution over space
        cell       = sigmoid(f) cell + sigmoid(i) tanh(g)
        h          = sigmoid(o) tanh(cell)

    Args:
      features: channels of the state.
      space: size of the inputs, `(length,)`, `(height, width)` or `(depth, height, width)`.
      kernel: width of the convolutions along each of them, an odd number; the edges are padded
        with zeros.
      forget_bias: start of the forget gate's bias.

    Returns:
      A cell over inputs `(*batch, *space, in_features)` with outputs `(*batch, *space,
      features)`, the carry `ConvLSTMState`, and parameters `input` `(kernel, ..., in_features,
      4 features)`, `recurrent` and `bias`.

    Raises:
      ValueError: if a size makes no sense; from `init`, never.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.conv_lstm(4, space=(6, 5))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 7, 6, 5, 3)), lengths=jnp.array([7, 2]))
      >>> ys.shape, carry.cell.shape
      ((2, 7, 6, 5, 4), (2, 6, 5, 4))

    Source: Shi et al. 2015, arXiv:1506.04214, without its peepholes. Keras' ConvLSTM2D has the
    same equations with a hard sigmoid in older versions.
    """
    check = _check("conv_lstm", features, space, kernel)

    def init(key, in_features):
        params = _draw(key, check, in_features, 4)
        forget = jnp.zeros((4, features)).at[1].set(forget_bias).reshape(-1)
        return {**params, "bias": forget.astype(params["bias"].dtype)}

    def initial_carry(params, batch_shape=()):
        shape, dtype = (*batch_shape, *space, features), params["bias"].dtype
        return ConvLSTMState(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def step(params, carry, x):
        gates = _convolve(x, params["input"], check) + _bias(params["bias"], x)
        gates = gates + _convolve(carry.hidden, params["recurrent"], check)
        i, f, g, o = jnp.split(gates, 4, -1)
        cell = jax.nn.sigmoid(f) * carry.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        cell = cell.astype(carry.cell.dtype)
        hidden = (jax.nn.sigmoid(o) * jnp.tanh(cell)).astype(carry.hidden.dtype)
        return ConvLSTMState(hidden, cell), hidden

    return _cell(init, initial_carry, step, check, output=lambda carry: carry.hidden)


@factory
def conv_gru(features: int, *, space: Space, kernel: int = 3) -> Cell:
    """GRU whose products are convolutions, for inputs that are images or volumes.

        r, z      = sigmoid(x * input + h * recurrent + bias)          *: convolution over space
        candidate = tanh(x * input + (r h) * recurrent + bias)
        h         = (1 - z) candidate + z h

    Args:
      features, space, kernel: as for `conv_lstm`.

    Returns:
      A cell like `conv_lstm`, whose carry is `h` and whose parameters have three gates.

    Raises:
      ValueError: if a size makes no sense.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.conv_gru(4, space=(6, 5)), sj.space_mean(4, axes=2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sj.scan(cell, params, jnp.ones((2, 7, 6, 5, 3)))[1].shape
      (2, 7, 4)

    Source: Ballas et al. 2015, arXiv:1511.06432; the GRU of Cho et al. 2014, with the reset
    gate before the product.
    """
    check = _check("conv_gru", features, space, kernel)

    def init(key, in_features):
        return _draw(key, check, in_features, 3)

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, *space, features), params["bias"].dtype)

    def step(params, carry, x):
        from_input = _convolve(x, params["input"], check) + _bias(params["bias"], x)
        gates, candidate = jnp.split(params["recurrent"], [2 * features], -1)
        seen = from_input[..., : 2 * features] + _convolve(carry, gates, check)
        r, z = jnp.split(jax.nn.sigmoid(seen), 2, -1)
        again = _convolve((r * carry).astype(carry.dtype), candidate, check)
        new = jnp.tanh(from_input[..., 2 * features :] + again)
        h = ((1 - z) * new + z * carry).astype(carry.dtype)
        return h, h

    return _cell(init, initial_carry, step, check, output=lambda carry: carry)


@factory
def convolution(
    features: int,
    *,
    space: Space,
    kernel: int = 3,
    stride: int = 1,
    activation: Activation | None = jax.nn.relu,
) -> Cell:
    """A layer that looks at each image by itself, and may leave fewer pixels of it.

        y = activation(x * weights + bias)                      *: convolution over space

    Args:
      features: channels of the output.
      space: size of the inputs, as for `conv_lstm`.
      kernel: width of the convolution along each of them, an odd number.
      stride: every how many pixels the kernel is applied, along each axis; see `strided`.
      activation: applied to the sum; None for none.

    Returns:
      A cell without a state, over inputs `(*batch, *space, in_features)`, with parameters
      `weights` and `bias`.

    Raises:
      ValueError: if a size makes no sense.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> eyes = sj.convolution(4, space=(6, 5), stride=2)
      >>> cell = sj.stack(eyes, sj.conv_gru(4, space=sj.strided((6, 5), 2)))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sj.scan(cell, params, jnp.ones((2, 7, 6, 5, 3)))[1].shape
      (2, 7, 3, 3, 4)

    Source: LeCun et al. 1989 (Neural Computation 1).
    """
    check = _check("convolution", features, space, kernel)._replace(
        stride=positive_int("convolution", "stride", stride)
    )

    def init(key, in_features):
        shape = (kernel ** len(space) * in_features, features)
        drawn = draw(
            key,
            {
                "weights": (initializers.LeCun(), shape),
                "bias": (initializers.Constant(0.0), (features,)),
            },
        )
        window = (kernel,) * len(space)
        return {**drawn, "weights": drawn["weights"].reshape(*window, in_features, features)}

    def look(params, x):
        y = _convolve(x, params["weights"], check) + _bias(params["bias"], x)
        return y if activation is None else activation(y)

    return pointwise(look, features=features, init=init, input_ndim=len(space) + 1)


def strided(space: Space, stride: int) -> Space:
    """The size of what `convolution` leaves: of every `stride` pixels the first one.

    Args:
      space: sizes in pixels.
      stride: at least 1.

    Returns:
      As many sizes, each divided by the stride and rounded up.

    Example:
      >>> import seqjax as sj
      >>> sj.strided((6, 5), 2)
      (3, 3)
    """
    return tuple(-(-size // stride) for size in space)


@factory
def space_mean(features: int, *, axes: int = 2) -> Cell:
    """A layer that averages over space: from images to vectors.

        y = mean over space of x

    Args:
      features: channels of the inputs and of the outputs.
      axes: how many dimensions space has.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.space_mean(3, axes=2)
      >>> cell.step((), (), jnp.ones((4, 5, 3)))[1].shape
      (3,)
    """
    over = tuple(range(-1 - axes, -1))
    return pointwise(
        lambda params, x: x.mean(over),
        features=features,
        init=lambda key, in_features: (),
        input_ndim=axes + 1,
        output_ndim=1,
    )


class _Convolution(NamedTuple):
    features: int
    space: Space
    kernel: int
    stride: int = 1


def _check(owner: str, features: int, space: Space, kernel: int) -> _Convolution:
    positive_int(owner, "features", features)
    positive_int(owner, "kernel", kernel)
    if not 1 <= len(space) <= 3:
        raise ValueError(f"{owner}: `space` must have one to three sizes, got {space!r}.")
    for size in space:
        positive_int(owner, "space", size)
    if kernel % 2 == 0:
        raise ValueError(
            f"{owner}: `kernel` must be odd, so that space keeps its size; got {kernel}."
        )
    return _Convolution(features, tuple(space), kernel)


def _draw(key: Array, of: _Convolution, in_features: int, gates: int) -> Params:
    window = (of.kernel,) * len(of.space)
    taps = math.prod(window)
    recipes = {}
    for name, width in (("input", in_features), ("recurrent", of.features)):
        # Drawn as the matrix that a window is multiplied with.
        recipes[name] = (initializers.Glorot(), (taps * width, gates * of.features))
    recipes["bias"] = (initializers.Constant(0.0), (gates * of.features,))
    drawn = draw(key, recipes)
    for name, width in (("input", in_features), ("recurrent", of.features)):
        drawn[name] = drawn[name].reshape(*window, width, gates * of.features)
    return drawn


def _convolve(x: Array, weights: Array, of: _Convolution) -> Array:
    """The convolution over the last axes but one, zeros around the edges."""
    space = x.shape[-len(of.space) - 1 : -1]
    if space != of.space:
        raise ValueError(
            f"expected images of {of.space} pixels, which is what `space` said; got inputs of "
            f"shape {x.shape}."
        )
    expect_real("convolution", x, weights)
    if not is_float(x):  # As pixels often are.
        x = x.astype(weights.dtype)
    return (_as_product if jax.default_backend() == "cpu" else _as_convolution)(x, weights, of)


def _as_product(x: Array, weights: Array, of: _Convolution) -> Array:
    """All windows side by side, as one matrix product.

    It takes as many times the memory as a window has pixels, and on a CPU a fraction of the time:
    what XLA has for convolutions there, for their gradients above all, is slow; see
    `docs/measured/bench.md`.
    """
    reach, axes = of.kernel // 2, len(of.space)
    batch = x.ndim - axes - 1
    padded = jnp.pad(x, [(0, 0)] * batch + [(reach, reach)] * axes + [(0, 0)])
    windows = []
    for start in itertools.product(range(of.kernel), repeat=axes):
        cut = [slice(at, at + size, of.stride) for at, size in zip(start, of.space, strict=True)]
        windows.append(padded[(..., *cut, slice(None))])
    return jnp.concatenate(windows, -1) @ weights.astype(x.dtype).reshape(-1, weights.shape[-1])


def _as_convolution(x: Array, weights: Array, of: _Convolution) -> Array:
    axes = len(of.space)
    letters = "DHW"[-axes:]
    batch = x.shape[: x.ndim - axes - 1]
    flat = x.reshape(-1, *x.shape[len(batch) :])
    y = jax.lax.conv_general_dilated(
        flat,
        weights.astype(x.dtype),
        window_strides=(of.stride,) * axes,
        padding=[(of.kernel // 2, of.kernel // 2)] * axes,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    return y.reshape(*batch, *y.shape[1:])


def _bias(bias: Array, like: Array) -> Array:
    return bias.reshape((1,) * (like.ndim - 1) + bias.shape)


def _cell(init, initial_carry, step, of: _Convolution, *, output) -> Cell:
    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step,
        features=of.features,
        input_ndim=len(of.space) + 1,
        output=output,
        structure=AnyStep(),
    )
