"""The simple recurrent network."""

import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.types import Activation, Initializer


@factory
def elman(
    features: int,
    *,
    activation: Activation = jnp.tanh,
    blocks: int = 1,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The simple recurrent network of Elman, with any activation.

        h = activation(W x + U h + b)

    Args:
      features: width of the hidden state `h` and of the output.
      activation: applied unit by unit: `jnp.tanh`, `jax.nn.relu` or any function.
      blocks: diagonal blocks of U, see `sj.gated`.
      layer_norm: normalise `W x` and `U h`, see `sj.gated`.
      input_init: initializer of W.
      recurrent_init: initializer of U. `Orthogonal()` keeps gradients from fading at the
        start of training; for ReLU, an identity U is another choice (arXiv:1504.00941).
      bias_init: initializer of b.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.elman(4, activation=jax.nn.relu)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> h, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape, bool((ys[-1] == h).all())
      ((5, 4), True)

    Source: Elman 1990, "Finding structure in time". PyTorch's `nn.RNN` has two biases, of
    which this has the sum.
    """

    def update(h, x, r):
        (gate,) = x + r
        return activation(gate)

    return gated(
        update,
        features=features,
        gates=1,
        blocks=blocks,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )
