"""Cells for video: the products of a gated cell as convolutions over space."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.exportable import exportable
from seqjax.core.layers import draw, pointwise
from seqjax.core.over_space import Convolution, Padding, Space, check_convolution, convolve
from seqjax.core.recurrence import AnyStep
from seqjax.core.types import Activation, Array, Params


@exportable
class ConvLSTMState(NamedTuple):
    """Hidden and cell state, `(*batch, *space, features)`."""

    hidden: Array
    cell: Array


@factory
def conv_lstm(
    features: int,
    *,
    space: Space,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "same",
    forget_bias: float = 1.0,
) -> Cell:
    """LSTM whose products are convolutions, for inputs that are images or volumes.

        i, f, g, o = x * input + h * recurrent + bias           *: convolution over space
        cell       = sigmoid(f) cell + sigmoid(i) tanh(g)
        h          = sigmoid(o) tanh(cell)

    Args:
      features: channels of the state.
      space: size of the inputs, `(length,)`, `(height, width)` or `(depth, height, width)`.
      kernel: width of the convolutions along each of them, an odd number.
      stride, dilation, padding: of the convolution of the inputs: every how many pixels the kernel
        is applied, how many pixels lie between two of its own, and whether the edges are padded
        with zeros, `"same"`, or only whole windows count, `"valid"`. The state has the size
        of what is left, see `sj.strided`; its own convolution keeps that.
      forget_bias: start of the forget gate's bias.

    Returns:
      A cell over inputs `(*batch, *space, in_features)` with outputs `(*batch, *space left,
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
    check = check_convolution("conv_lstm", features, space, kernel, stride, dilation, padding)
    inner = Convolution(features, check.left, kernel)

    def init(key, in_features):
        params = _draw(key, check, in_features, 4)
        forget = jnp.zeros((4, features)).at[1].set(forget_bias).reshape(-1)
        return {**params, "bias": forget.astype(params["bias"].dtype)}

    def initial_carry(params, batch_shape=()):
        shape, dtype = (*batch_shape, *check.left, features), params["bias"].dtype
        return ConvLSTMState(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def step(params, carry, x):
        gates = convolve(x, params["input"], check) + _bias(params["bias"], x)
        gates = gates + convolve(carry.hidden, params["recurrent"], inner)
        i, f, g, o = jnp.split(gates, 4, -1)
        cell = jax.nn.sigmoid(f) * carry.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        cell = cell.astype(carry.cell.dtype)
        hidden = (jax.nn.sigmoid(o) * jnp.tanh(cell)).astype(carry.hidden.dtype)
        return ConvLSTMState(hidden, cell), hidden

    return _cell(init, initial_carry, step, check, output=lambda carry: carry.hidden)


@factory
def conv_gru(
    features: int,
    *,
    space: Space,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    padding: Padding = "same",
) -> Cell:
    """GRU whose products are convolutions, for inputs that are images or volumes.

        r, z      = sigmoid(x * input + h * recurrent + bias)          *: convolution over space
        candidate = tanh(x * input + (r h) * recurrent + bias)
        h         = (1 - z) candidate + z h

    Args:
      features, space, kernel, stride, dilation, padding: as for `conv_lstm`.

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
    check = check_convolution("conv_gru", features, space, kernel, stride, dilation, padding)
    inner = Convolution(features, check.left, kernel)

    def init(key, in_features):
        return _draw(key, check, in_features, 3)

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, *check.left, features), params["bias"].dtype)

    def step(params, carry, x):
        from_input = convolve(x, params["input"], check) + _bias(params["bias"], x)
        gates, candidate = jnp.split(params["recurrent"], [2 * features], -1)
        seen = from_input[..., : 2 * features] + convolve(carry, gates, inner)
        r, z = jnp.split(jax.nn.sigmoid(seen), 2, -1)
        again = convolve((r * carry).astype(carry.dtype), candidate, inner)
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
    dilation: int = 1,
    padding: Padding = "same",
    activation: Activation | None = jax.nn.relu,
) -> Cell:
    """A layer that looks at each image by itself, and may leave fewer pixels of it.

        y = activation(x * weights + bias)                      *: convolution over space

    Args:
      features: channels of the output.
      space: size of the inputs, as for `conv_lstm`.
      kernel: width of the convolution along each of them, an odd number.
      stride, dilation, padding: as for `conv_lstm`.
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
    check = check_convolution("convolution", features, space, kernel, stride, dilation, padding)

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
        y = convolve(x, params["weights"], check) + _bias(params["bias"], x)
        return y if activation is None else activation(y)

    return pointwise(look, features=features, init=init, input_ndim=len(space) + 1)


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


def _draw(key: Array, of: Convolution, in_features: int, gates: int) -> Params:
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


def _bias(bias: Array, like: Array) -> Array:
    return bias.reshape((1,) * (like.ndim - 1) + bias.shape)


def _cell(init, initial_carry, step, of: Convolution, *, output) -> Cell:
    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step,
        features=of.features,
        input_ndim=len(of.space) + 1,
        output=output,
        structure=AnyStep(),
    )
