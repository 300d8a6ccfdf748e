"""Cells whose state meets no matrix: quasi-recurrent, simple recurrent, independent units."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.blocks import checkpointed
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.gated import gated
from seqjax.core.gates import add_bias, initialize_gates, like_features, project
from seqjax.core.linear import diagonal
from seqjax.core.shift import windowed
from seqjax.core.stack import stack
from seqjax.core.trees import widen
from seqjax.core.types import Activation, Array, Initializer, Params, PRNGKeyArray


@factory
def qrnn(
    features: int,
    *,
    width: int = 2,
    pooling: Literal["f", "fo", "ifo"] = "fo",
    input_init: Initializer = initializers.Glorot(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The quasi-recurrent network: a causal convolution, then gates that pool over time.

        z = tanh(W_z * x + b_z)                 * sees the last `width` inputs
        f = sigmoid(W_f * x + b_f)
        o = sigmoid(W_o * x + b_o)              fo and ifo
        i = sigmoid(W_i * x + b_i)              ifo; else i = 1 - f
        c = f * c + i * z
        h = o * c                               f: h = c

    Gates are stored in the order z, f, o, i.

    Args:
      features: width of the state `c` and of the output `h`.
      width: number of inputs that the convolution sees.
      pooling: `"f"`, `"fo"` or `"ifo"`: the gates there are.
      input_init: initializer of each gate's `(width * in_features, features)` kernel.
      bias_init: initializer of b.

    Returns:
      A stack of `convolve`, with parameters `kernel` `(width, in_features, gates, features)`
      and `bias` `(gates, features)`, and `pool`, without parameters. Its carry is a dict by
      these names: the last inputs and `c`.

    Raises:
      ValueError: if `pooling` is none of the three.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.qrnn(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 4)

    Source: Bradbury et al. 2016, arXiv:1611.01576. For its zoneout see `sj.zoneout`, which
    mixes states; the paper's sets f to 1.
    """
    if pooling not in ("f", "fo", "ifo"):
        raise ValueError(f"qrnn: `pooling` must be 'f', 'fo' or 'ifo', got {pooling!r}.")
    features = positive_int("qrnn", "features", features)
    width = positive_int("qrnn", "width", width)
    gates = 1 + len(pooling)

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        kernel_key, bias_key = jax.random.split(key)
        shape = (width * in_features, gates, features)
        kernel = initialize_gates(kernel_key, input_init, shape, dtype)
        return {
            "kernel": kernel.reshape(width, in_features, gates, features),
            "bias": bias_init(bias_key, (gates, features), dtype),
        }

    def convolve(params, window):
        kernel, bias = params["kernel"], params["bias"]
        seen = jnp.concatenate(window[::-1], axis=-1)
        made = project(seen, kernel.reshape(-1, gates, features))
        return jnp.concatenate(list(add_bias(made, bias)), axis=-1)

    convolution = windowed(
        convolve,
        width=width,
        features=gates * features,
        init=init,
        in_features=lambda params: params["kernel"].shape[1],
    )
    return checkpointed(stack(convolve=convolution, pool=_pool(features, pooling)))


@factory
def _pool(features: int, pooling: str) -> Cell:
    def split(params, x):
        wide = widen(x)
        return jnp.split(wide, 1 + len(pooling), axis=-1)

    def coefficients(params, gates):
        candidate, forget = gates[:2]
        write = gates[3] if pooling == "ifo" else -forget
        return jax.nn.sigmoid(forget), jax.nn.sigmoid(write) * jnp.tanh(candidate)

    def read(params, c, gates):
        return c if pooling == "f" else jax.nn.sigmoid(gates[2]) * c

    return diagonal(
        coefficients,
        init=lambda key, in_features: (),
        initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, features)),
        features=features,
        project=split,
        read=read,
        output=lambda params, values, x: values.astype(x.dtype),
    )


@factory
def sru(
    features: int,
    *,
    peepholes: bool = True,
    highway_bias: float = 0.0,
) -> Cell:
    """The simple recurrent unit.

        u = W x
        f = sigmoid(W_f x + v_f * c + b_f)
        r = sigmoid(W_r x + v_r * c + b_r)
        c = f * c + (1 - f) * u
        h = r * c + (1 - r) * scale * x         scale = sqrt(1 + 2 exp(highway_bias))

    where both gates see the old c. If the input has another width than the output, a fourth
    product takes the place of x.

    Args:
      features: width of the state `c` and of the output `h`.
      peepholes: whether there are v_f and v_r. Without them the cell is linear in its state,
        and runs in parallel over time; with them it goes step by step.
      highway_bias: start of b_r; b_f starts at 0.

    Returns:
      A cell with parameters `input` `(in_features, 3 or 4, features)` in the order u, f, r, x;
      `bias` `(2, features)`; with peepholes `peephole` `(2, features)`. Its carry is `c`,
      `(*batch, features)`, in float32 at least.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.sru(4, peepholes=False)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> c, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 4)

    Source: Lei et al. 2017, arXiv:1709.02755, as revised in 2018, with its initialisation. The
    released code scales only x itself, and starts the fourth product larger instead.
    """
    features = positive_int("sru", "features", features)
    own = _SRU(features, peepholes, highway_bias)
    if peepholes:
        return Cell(own.init, own.initial_carry, own.step, features)
    return diagonal(
        own.coefficients,
        init=own.init,
        initial_carry=own.initial_carry,
        features=features,
        project=own.project,
        read=own.read,
        output=own.output,
    )


@dataclasses.dataclass(frozen=True)
class _SRU:
    """The equations of `sru`; fields are its arguments."""

    features: int
    peepholes: bool
    highway_bias: float

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        features = self.features
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        input_key, peephole_key = jax.random.split(key)
        uniform = initializers.Uniform((3 / in_features) ** 0.5)
        shape = (in_features, 3 if in_features == features else 4, features)
        params = {
            "input": initialize_gates(input_key, uniform, shape, dtype),
            "bias": jnp.zeros((2, features), dtype).at[1].set(self.highway_bias),
        }
        if self.peepholes:
            bound = initializers.Uniform(1.5**0.5)
            params["peephole"] = bound(peephole_key, (2, features), dtype)
        return params

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Array:
        dtype = jnp.promote_types(params["input"].dtype, jnp.float32)
        return jnp.zeros((*batch_shape, self.features), dtype)

    def project(self, params: Params, x: Array) -> list[Array]:
        """u, the pre-activations of f and r, and what goes around."""
        expect_inputs("sru", params["input"].shape[0], x)
        expect_real("sru", x, params)
        made = list(project(x, params["input"]))
        u, f, r, skip = made if len(made) == 4 else (*made, x)
        f, r = (
            gate + like_features(row, gate)
            for gate, row in zip((f, r), params["bias"], strict=True)
        )
        return [widen(part) for part in (u, f, r, skip)]

    def coefficients(self, params: Params, inputs: Sequence[Array]) -> tuple[Array, Array]:
        u, f, _, _ = inputs
        return jax.nn.sigmoid(f), jax.nn.sigmoid(-f) * u

    def read(self, params: Params, c: Array, inputs: Sequence[Array]) -> Array:
        _, _, r, skip = inputs
        scale = math.sqrt(1 + 2 * math.exp(self.highway_bias))
        return jax.nn.sigmoid(r) * c + jax.nn.sigmoid(-r) * scale * skip

    def output(self, params: Params, values: Array, x: Array) -> Array:
        return values.astype(jnp.result_type(params["input"], x))

    def step(self, params: Params, carry: Array, x: Array) -> tuple[Array, Array]:
        """With peepholes."""
        u, f, r, skip = self.project(params, x)
        v_f, v_r = (like_features(row, carry) for row in params["peephole"])
        inputs = u, f + v_f * carry, r + v_r * carry, skip
        keep, write = self.coefficients(params, inputs)
        new = (keep * carry + write).astype(carry.dtype)
        return new, self.output(params, self.read(params, new, inputs), x)


@factory
def indrnn(
    features: int,
    *,
    activation: Activation = jax.nn.relu,
    recurrent_init: Initializer | None = None,
    longest: int = 1000,
    input_init: Initializer = initializers.Glorot(),
) -> Cell:
    """The independently recurrent network: each unit sees itself alone.

        h = activation(W x + u * h + b)

    Args:
      features: width of the hidden state `h` and of the output.
      activation: any function that works unit by unit.
      recurrent_init: initializer of u, called with shape `(1, 1)` once for each unit; by
        default uniform between 0 and `2 ** (1 / longest)`.
      longest: steps after which a unit may have doubled what it started with.
      input_init: initializer of W.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`, and whose `recurrent` weights u are
      `(features, 1, 1, 1)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.indrnn(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> h, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 4)

    Source: Li et al. 2018, arXiv:1803.04831. The paper also keeps `|u|` below the bound after
    every update of the weights, which is up to the optimiser.
    """
    longest = positive_int("indrnn", "longest", longest)

    def update(h, x, r):
        return activation(x[0] + r[0])

    return gated(
        update,
        features=features,
        gates=1,
        blocks=features,
        input_init=input_init,
        recurrent_init=recurrent_init or initializers.Between(0.0, 2 ** (1 / longest)),
    )
