"""Features by head: how heads divide them, and products that make them."""

from seqjax.core.cell import expect_inputs, positive_int
from seqjax.core.types import Array


def to_heads(x: Array, weights: Array) -> Array:
    """`x @ weights[:, h]` for each head h, as one matrix product.

    Args:
      x: `(*batch, inputs)`.
      weights: `(inputs, heads, width)`.

    Returns:
      `(*batch, heads, width)`.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> sj.to_heads(jnp.ones((5, 3)), jnp.ones((3, 2, 4))).shape
      (5, 2, 4)
    """
    inputs, heads, width = weights.shape
    expect_inputs("to_heads", inputs, x)
    return (x @ weights.reshape(inputs, heads * width)).reshape(*x.shape[:-1], heads, width)


def from_heads(o: Array) -> Array:
    """`(*batch, heads, width)` as `(*batch, heads * width)`, head after head."""
    return o.reshape(*o.shape[:-2], o.shape[-2] * o.shape[-1])


def head_width(owner: str, name: str, features: int, heads: int) -> int:
    """The width of a head; raises, in the name of `owner`, unless heads divide the features."""
    heads, features = positive_int(owner, "heads", heads), positive_int(owner, name, features)
    if features % heads:
        raise ValueError(f"{owner}: `heads={heads}` must divide `{name}`, which is {features}.")
    return features // heads


def inner_width(owner: str, features: int, expansion: int, inner: int | None) -> int:
    """`inner`, or `expansion * features` unless it is given; raises if one is no width."""
    if inner is not None:
        return positive_int(owner, "inner", inner)
    return positive_int(owner, "expansion", expansion) * positive_int(owner, "features", features)


def heads_of_64(features: int) -> int:
    """The largest number of heads that divides the features into widths of at least 64, or one."""
    return next((heads for heads in range(features // 64, 1, -1) if features % heads == 0), 1)
