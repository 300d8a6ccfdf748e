"""Steps of differential equations: long expressive memory, coupled oscillators, antisymmetry."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.gated import gated
from seqjax.core.gates import add_bias, initialize_gates, like_features, project
from seqjax.core.recurrence import AnyStep
from seqjax.core.types import Array, Initializer


@exportable
class LEMState(NamedTuple):
    """What a long expressive memory carries: `hidden` y and `memory` z, `(*batch, features)`."""

    hidden: Array
    memory: Array


@factory
def lem(features: int, *, dt: float = 1.0) -> Cell:
    """Long expressive memory: two states, each with time steps of its own for every unit.

        s = dt * sigmoid(W_s x + U_s y + b_s)
        r = dt * sigmoid(W_r x + U_r y + b_r)
        z = (1 - s) * z + s * tanh(W_z x + U_z y + b_z)
        y = (1 - r) * y + r * tanh(W_y x + U_y z + b_y)

    Gates are stored in the order s, r, z, y. y sees the new z.

    Args:
      features: width of both states and of the output y.
      dt: the longest time step.

    Returns:
      A gated cell whose carry is `LEMState(hidden, memory)`. All parameters start uniform in
      `±features ** -0.5`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lem(4)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.memory.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Rusch et al. 2022, arXiv:2110.04744, with the start of the authors' code. In
    torchrecurrent y sees the old z, which is another cell.
    """
    features = positive_int("lem", "features", features)
    start = initializers.Uniform(features**-0.5)

    def remember(state, x, r):
        size = dt * named_scope("memory_step")(sigmoid)(x[0] + r[0])
        value = named_scope("memory_candidate")(jnp.tanh)(x[2] + r[2])
        return (1 - size) * state.memory + size * value

    def update(state, x, r):
        size = dt * named_scope("hidden_step")(sigmoid)(x[1] + r[1])
        value = named_scope("hidden_candidate")(jnp.tanh)(x[3] + r[3])
        return LEMState((1 - size) * state.hidden + size * value, remember(state, x, r))

    return gated(
        update,
        features=features,
        gates=4,
        state=LEMState,
        hidden="hidden",
        modulate=remember,
        modulated=1,
        input_init=start,
        recurrent_init=start,
        bias_init=start,
    )


@exportable
class CoRNNState(NamedTuple):
    """What coupled oscillators carry: `hidden` y and its `velocity` z, `(*batch, features)`."""

    hidden: Array
    velocity: Array


@factory
def cornn(features: int, *, dt: float = 0.042, gamma: float = 2.7, epsilon: float = 4.7) -> Cell:
    """Coupled oscillators, driven and damped.

        z = z + dt * (tanh(W x + U y + V z + b) - gamma * y - epsilon * z)
        y = y + dt * z

    Args:
      features: the number of oscillators: width of both states and of the output y.
      dt: time step.
      gamma: frequency of the oscillators, squared.
      epsilon: damping.

    Returns:
      A cell whose carry is `CoRNNState(hidden, velocity)`. Parameters: `input` W `(in_features,
      features)`, `recurrent` U and `velocity` V `(features, features)`, `bias` `(features,)`; all
      start uniform in `±(in_features + 2 * features) ** -0.5`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.cornn(4)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.velocity.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Rusch and Mishra 2021, arXiv:2010.00951, with the explicit damping, the start and, for
    rows of pixels, the numbers of the authors' code. torchrecurrent has three biases, of which
    this has the sum.
    """
    features = positive_int("cornn", "features", features)

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        shapes = {
            "input": (in_features, features),
            "recurrent": (features, features),
            "velocity": (features, features),
            "bias": (features,),
        }
        start = initializers.Uniform((in_features + 2 * features) ** -0.5)
        keys = jax.random.split(key, len(shapes))
        dtype = jnp.result_type(float)
        pairs = zip(shapes.items(), keys, strict=True)
        return {name: start(key, shape, dtype) for (name, shape), key in pairs}

    def initial_carry(params, batch_shape=()):
        shape, dtype = (*batch_shape, features), params["recurrent"].dtype
        return CoRNNState(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def step(params, carry, x):
        expect_inputs("cornn", params["input"].shape[0], x)
        expect_real("cornn", x, params)
        y, z = carry
        force = x @ params["input"] + y @ params["recurrent"] + z @ params["velocity"]
        force = named_scope("force")(jnp.tanh)(force + like_features(params["bias"], force))
        z = z + dt * (force - gamma * y - epsilon * z)
        new = CoRNNState((y + dt * z).astype(y.dtype), z.astype(y.dtype))
        return new, new.hidden

    return Cell(
        init,
        initial_carry,
        step,
        features,
        output=lambda carry: carry.hidden,
        structure=AnyStep(),
    )


@factory
def antisymmetric(
    features: int,
    *,
    gate: bool = False,
    epsilon: float = 0.1,
    gamma: float = 0.01,
    input_init: Initializer = initializers.LeCun(),
    recurrent_init: Initializer = initializers.LeCun(),
) -> Cell:
    """A step of a differential equation that neither grows nor dies away.

        p = U h - U' h - gamma * h
        z = sigmoid(W_z x + p + b_z)       gate=True, else 1
        h = h + epsilon * z * tanh(W x + p + b)

    `U - U'` is antisymmetric, with eigenvalues on the imaginary axis; gamma moves them a little to
    the left of it. Input weights are stored in the order h, z.

    Args:
      features: width of the hidden state `h` and of the output.
      gate: whether there is a z.
      epsilon: time step.
      gamma: diffusion, which keeps the steps stable.
      input_init: initializer of each W.
      recurrent_init: initializer of U.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`. Parameters: `input` `(in_features, gates,
      features)`, `recurrent` U `(features, features)`, `bias` `(gates, features)`, with 2 gates
      or 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.antisymmetric(4, gate=True)
      >>> h, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> h.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Chang et al. 2019, arXiv:1902.09689, whose epsilon and gamma are hyperparameters.
    torchrecurrent has two biases, of which this has the sum; its epsilon is 1 and its gamma 0.
    """
    features = positive_int("antisymmetric", "features", features)
    gates = 1 + bool(gate)

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key)
        return {
            "input": initialize_gates(keys[0], input_init, (in_features, gates, features), dtype),
            "recurrent": recurrent_init(keys[1], (features, features), dtype),
            "bias": jnp.zeros((gates, features), dtype),
        }

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, features), params["recurrent"].dtype)

    def step(params, carry, x):
        expect_inputs("antisymmetric", params["input"].shape[0], x)
        expect_real("antisymmetric", x, params)
        h = carry
        inputs = add_bias(project(x, params["input"]), params["bias"])
        p = h @ (params["recurrent"] - params["recurrent"].T) - gamma * h
        change = named_scope("candidate")(jnp.tanh)(inputs[0] + p)
        if gate:
            change = named_scope("gate")(sigmoid)(inputs[1] + p) * change
        new = (h + epsilon * change).astype(h.dtype)
        return new, new

    return Cell(
        init, initial_carry, step, features, output=lambda carry: carry, structure=AnyStep()
    )
