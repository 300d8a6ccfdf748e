"""Convolutions over space: the sizes they leave, and the products that they are."""

import itertools
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import expect_inputs, expect_real, positive_int
from seqjax.core.misfits import MisfitError
from seqjax.core.trees import is_float
from seqjax.core.types import Array

Space = tuple[int, ...]
Padding = Literal["same", "valid"]


def strided(
    space: Space,
    stride: int = 1,
    *,
    kernel: int = 3,
    dilation: int = 1,
    padding: Padding = "same",
) -> Space:
    """The size of what `convolution` leaves: of every `stride` pixels the first one.

        left = ceil(size / stride)                                      "same"
        left = ceil((size - dilation (kernel - 1)) / stride)            "valid"

    Args:
      space: sizes in pixels.
      stride, kernel, dilation, padding: as for `convolution`.

    Returns:
      As many sizes.

    Example:
      >>> import seqjax as sj
      >>> sj.strided((6, 5), 2)
      (3, 3)
      >>> sj.strided((6, 5), kernel=3, padding="valid")
      (4, 3)
    """
    lost = 0 if padding == "same" else dilation * (kernel - 1)
    return tuple(-(-(size - lost) // stride) for size in space)


class Convolution(NamedTuple):
    """A convolution over images of one size; fields are arguments of `sj.convolution`."""

    features: int
    space: Space
    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: Padding = "same"

    @property
    def left(self) -> Space:
        """The size of the outputs."""
        options = {"kernel": self.kernel, "dilation": self.dilation}
        return strided(self.space, self.stride, **options, padding=self.padding)

    @property
    def edge(self) -> tuple[int, int]:
        """Zeros before and behind each axis."""
        zeros = self.dilation * (self.kernel // 2) if self.padding == "same" else 0
        return zeros, zeros


def check_convolution(
    owner: str,
    features: int,
    space: Space,
    kernel: int,
    stride: int,
    dilation: int,
    padding: Padding,
) -> Convolution:
    """The convolution, or an error that says which size makes no sense."""
    positive_int(owner, "features", features)
    for name, size in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        positive_int(owner, name, size)
    if padding not in ("same", "valid"):
        raise ValueError(f"{owner}: `padding` must be 'same' or 'valid', got {padding!r}.")
    if not 1 <= len(space) <= 3:
        raise ValueError(f"{owner}: `space` must have one to three sizes, got {space!r}.")
    for size in space:
        positive_int(owner, "space", size)
    if kernel % 2 == 0:
        raise ValueError(
            f"{owner}: `kernel` must be odd, so that space keeps its size; got {kernel}."
        )
    made = Convolution(features, tuple(space), kernel, stride, dilation, padding)
    if min(made.left) < 1:
        raise ValueError(
            f"{owner}: a window of {dilation * (kernel - 1) + 1} pixels does not fit into "
            f"space={space}, and padding='valid' takes whole windows only. Take a smaller kernel "
            "or padding='same'."
        )
    return made


def convolve(x: Array, weights: Array, of: Convolution) -> Array:
    """The convolution over the last axes but one, zeros around the edges."""
    space = x.shape[-len(of.space) - 1 : -1]
    if space != of.space:
        raise MisfitError(
            "convolution",
            f"expected images of {of.space} pixels, which is what `space` said; got {space}.",
        )
    expect_inputs("convolution", weights.shape[-2], x)
    expect_real("convolution", x, weights)
    if not is_float(x):  # As pixels often are.
        x = x.astype(weights.dtype)
    return jax.lax.platform_dependent(
        x, weights, cpu=partial(as_product, of=of), default=partial(as_convolution, of=of)
    )


def as_product(x: Array, weights: Array, of: Convolution) -> Array:
    """All windows side by side, as one matrix product.

    It takes as many times the memory as a window has pixels, and on a CPU a fraction of the time:
    what XLA has for convolutions there, for their gradients above all, is slow; see
    `docs/measured/bench.md`.
    """
    axes = len(of.space)
    batch = x.ndim - axes - 1
    padded = jnp.pad(x, [(0, 0)] * batch + [of.edge] * axes + [(0, 0)])
    windows = []
    for start in itertools.product(range(of.kernel), repeat=axes):
        cut = [
            slice(first * of.dilation, first * of.dilation + (left - 1) * of.stride + 1, of.stride)
            for first, left in zip(start, of.left, strict=True)
        ]
        windows.append(padded[(..., *cut, slice(None))])
    return jnp.concatenate(windows, -1) @ weights.astype(x.dtype).reshape(-1, weights.shape[-1])


def as_convolution(x: Array, weights: Array, of: Convolution) -> Array:
    """The convolution of XLA."""
    axes = len(of.space)
    letters = "DHW"[-axes:]
    batch = x.shape[: x.ndim - axes - 1]
    flat = x.reshape(-1, *x.shape[len(batch) :])
    y = jax.lax.conv_general_dilated(
        flat,
        weights.astype(x.dtype),
        window_strides=(of.stride,) * axes,
        padding=[of.edge] * axes,
        rhs_dilation=(of.dilation,) * axes,
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )
    return y.reshape(*batch, *y.shape[1:])
