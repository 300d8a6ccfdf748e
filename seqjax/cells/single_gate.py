"""Cells with a single gate: the update gate RNN, JANET, the light GRU, FastGRNN and STAR."""

import jax
import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.types import Activation, Initializer


@factory
def ugrnn(
    features: int,
    *,
    update_bias: float = 1.0,
    blocks: int = 1,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
) -> Cell:
    """The update gate RNN: an Elman network that keeps a share of its state.

        g = sigmoid(W_g x + U_g h + b_g)
        c = tanh(W_c x + U_c h + b_c)
        h = g * h + (1 - g) * c

    Gates are stored in the order g, c.

    Args:
      features: width of the hidden state `h` and of the output.
      update_bias: start of b_g: positive, and the unit starts by remembering.
      blocks: diagonal blocks of U, see `sj.gated`.
      layer_norm: normalise `W x` and `U h`, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.ugrnn(4)
      >>> h, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> h.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Collins et al. 2017, arXiv:1611.09913, whose bias of the update gate is a
    hyperparameter. torchrecurrent has two biases, of which this has the sum, and the gates the
    other way around.
    """

    def update(h, x, r):
        gate, candidate = x + r
        gate = named_scope("update")(sigmoid)(gate)
        return gate * h + (1 - gate) * named_scope("candidate")(jnp.tanh)(candidate)

    return gated(
        update,
        features=features,
        gates=2,
        blocks=blocks,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=initializers.GateBias(0, update_bias),
    )


@factory
def janet(
    features: int,
    *,
    beta: float = 1.0,
    longest: int = 1000,
    blocks: int = 1,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
) -> Cell:
    """Just another network: an LSTM of which only the forget gate is left.

        s = W_f x + U_f h + b_f
        c = tanh(W_c x + U_c h + b_c)
        h = sigmoid(s) * h + (1 - sigmoid(s - beta)) * c

    Gates are stored in the order f, c.

    Args:
      features: width of the hidden state `h` and of the output.
      beta: how much more is written than was forgotten.
      longest: the longest dependency expected, in steps: b_f starts by
        `sj.initializers.Chrono`.
      blocks: diagonal blocks of U, see `sj.gated`.
      layer_norm: normalise `W x` and `U h`, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.janet(4, longest=784)
      >>> h, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> h.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: van der Westhuizen and Lasenby 2018, arXiv:1804.04849. torchrecurrent trains beta, has
    two biases, of which this has the sum, and starts them at 0.
    """

    def update(h, x, r):
        score, candidate = x + r
        forget = named_scope("forget")(sigmoid)(score)
        write = 1 - named_scope("input")(sigmoid)(score - beta)
        return forget * h + write * named_scope("candidate")(jnp.tanh)(candidate)

    return gated(
        update,
        features=features,
        gates=2,
        blocks=blocks,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=initializers.Chrono(longest, forget=0, input=None),
    )


@factory
def li_gru(
    features: int,
    *,
    activation: Activation = jax.nn.relu,
    blocks: int = 1,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The light GRU of speech recognition: no reset gate, and candidates without a bound.

        z = sigmoid(W_z x + U_z h + b_z)
        n = activation(W_n x + U_n h + b_n)
        h = z * h + (1 - z) * n

    Gates are stored in the order z, n.

    Args:
      features: width of the hidden state `h` and of the output.
      activation: of the candidate.
      blocks: diagonal blocks of U, see `sj.gated`.
      layer_norm: normalise `W x` and `U h`, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.
      bias_init: initializer of b.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.li_gru(4, layer_norm=True)
      >>> h, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> h.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Ravanelli et al. 2018, arXiv:1803.10225. The paper normalises `W x` over the batch and
    needs that norm for large candidates to stay in bounds: a cell knows no batch, `layer_norm` is
    what it can do. torchrecurrent has two biases, of which this has the sum.
    """

    def update(h, x, r):
        gate, candidate = x + r
        gate = named_scope("update")(sigmoid)(gate)
        return gate * h + (1 - gate) * named_scope("candidate")(activation)(candidate)

    return gated(
        update,
        features=features,
        gates=2,
        blocks=blocks,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )


@factory
def fast_grnn(
    features: int,
    *,
    blocks: int = 1,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
) -> Cell:
    """FastGRNN: gate and candidate share their weights, for devices with little memory.

        p = W x + U h + b
        z = sigmoid(p)
        n = tanh(p + d)
        h = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * n + z * h

    Args:
      features: width of the hidden state `h` and of the output.
      blocks: diagonal blocks of U, see `sj.gated`.
      input_init: initializer of W.
      recurrent_init: initializer of U.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`. Beside those of `sj.gated` its
      parameters are `candidate_bias` d, `zeta` and `nu`, `(features,)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.fast_grnn(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      44
      >>> h, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 4)

    Source: Kusupati et al. 2018, arXiv:1901.02358. Biases start at 1, zeta at 1 and nu at -4, as in
    the authors' code. The candidate's bias is `b + d`; zeta and nu are numbers for each unit, in
    the paper one for all. Weights have full rank.
    """

    def update(h, x, r, p):
        score = x[0] + r[0]
        gate = named_scope("update")(sigmoid)(score)
        candidate = named_scope("candidate")(jnp.tanh)(score + p.candidate_bias)
        return (sigmoid(p.zeta) * (1 - gate) + sigmoid(p.nu)) * candidate + gate * h

    return gated(
        update,
        features=features,
        gates=1,
        blocks=blocks,
        parameters={
            "candidate_bias": initializers.Constant(0.0),
            "zeta": initializers.Constant(1.0),
            "nu": initializers.Constant(-4.0),
        },
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=initializers.Constant(1.0),
    )


@factory
def star(
    features: int,
    *,
    blocks: int = 1,
    input_init: Initializer = initializers.Orthogonal(),
    recurrent_init: Initializer = initializers.Orthogonal(),
) -> Cell:
    """The stackable recurrent cell: gradients neither fade nor grow from layer to layer.

        k = sigmoid(W_k x + U h + b_k)
        z = tanh(W_z x + b_z)
        h = tanh((1 - k) * h + k * z)

    Gates are stored in the order k, z.

    Args:
      features: width of the hidden state `h` and of the output.
      blocks: diagonal blocks of U, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of U.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.star(4), sj.star(4))
      >>> _, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 4)

    Source: Turkoglu et al. 2021, arXiv:1911.11033. The bias of k starts at 1, as in the authors'
    code. torchrecurrent has two biases of k, of which this has the sum, and the gates the other
    way around.
    """

    def update(h, x, r):
        gate = named_scope("update")(sigmoid)(x[0] + r[0])
        candidate = named_scope("candidate")(jnp.tanh)(x[1])
        return named_scope("hidden")(jnp.tanh)((1 - gate) * h + gate * candidate)

    return gated(
        update,
        features=features,
        gates=2,
        input_gates=1,
        blocks=blocks,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=initializers.GateBias(0, 1.0),
    )
