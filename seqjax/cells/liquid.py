"""Liquid time constants: neurons whose time constants depend on the input, and a closed form."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid, softplus

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.gates import add_bias, initialize_gates, like_features, project
from seqjax.core.recurrence import AnyStep
from seqjax.core.types import Array, Initializer, Params, PRNGKeyArray


@factory
def cfc(
    features: int,
    *,
    backbone: int = 128,
    timed: bool = False,
    weight_init: Initializer = initializers.Glorot(),
) -> Cell:
    """Closed-form continuous time: between two candidates, by the time that has passed.

        u = 1.7159 * tanh(0.666 * (W x + U h + b))
        f = tanh(V_f u + d_f)
        g = tanh(V_g u + d_g)
        s = sigmoid((V_a u + d_a) * dt + V_b u + d_b)
        h = (1 - s) * f + s * g

    Args:
      features: width of the hidden state `h` and of the output.
      backbone: width of u.
      timed: whether the input is a pair `(x, dt)`, with the time since the step before `(*batch,)`;
        otherwise dt is 1.
      weight_init: initializer of W and U together, and of each V.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`. Parameters: `input` W `(in_features,
      backbone)`, `recurrent` U `(features, backbone)`, `bias` `(backbone,)`, `gates` V `(backbone,
      4, features)` and `gate_bias` d `(4, features)`, in the order f, g, a, b.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.cfc(4, backbone=8, timed=True)
      >>> inputs = jnp.ones((2, 5, 3)), jnp.full((2, 5), 0.5)
      >>> h, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), inputs)
      >>> h.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Hasani et al. 2022, arXiv:2106.13898. The backbone is that of ncps, its default: one
    layer, without dropout. Biases start at 0, in ncps as those of PyTorch.
    """
    features = positive_int("cfc", "features", features)
    backbone = positive_int("cfc", "backbone", backbone)

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key)
        joined = weight_init(keys[0], (in_features + features, backbone), dtype)
        return {
            "input": joined[:in_features],
            "recurrent": joined[in_features:],
            "bias": jnp.zeros(backbone, dtype),
            "gates": initialize_gates(keys[1], weight_init, (backbone, 4, features), dtype),
            "gate_bias": jnp.zeros((4, features), dtype),
        }

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, features), params["recurrent"].dtype)

    def advance(params: Params, h: Array, x: Array, dt: Array | float) -> tuple[Array, Array]:
        expect_inputs("cfc", params["input"].shape[0], x)
        expect_real("cfc", x, params)
        u = x @ params["input"] + h @ params["recurrent"]
        u = 1.7159 * named_scope("backbone")(jnp.tanh)(
            0.666 * (u + like_features(params["bias"], u))
        )
        f, g, a, b = add_bias(project(u, params["gates"]), params["gate_bias"])
        share = named_scope("time")(sigmoid)(a * dt + b)
        f, g = (named_scope("candidate")(jnp.tanh)(part) for part in (f, g))
        new = ((1 - share) * f + share * g).astype(h.dtype)
        return new, new

    return _in_time(advance, init, initial_carry, features, timed)


@factory
def ltc(features: int, *, unfolds: int = 6, timed: bool = False) -> Cell:
    """Neurons with liquid time constants, joined by synapses that saturate.

        g_i = w_i * sigmoid(sigma_i * (s_i - mu_i))        every synapse; s = [x; v]
        v = (C * v + d * (l * e + sum_i g_i * E_i)) / (C + d * (l + sum_i g_i))       unfolds times

    A step of length dt is `unfolds` steps `d = dt / unfolds` of a solver that is implicit where the
    differential equation is linear in v. Each neuron has a synapse from every input and from every
    neuron. w, C and l are softplus of parameters.

    Args:
      features: number of neurons: width of the state v and of the output.
      unfolds: steps of the solver.
      timed: whether the input is a pair `(x, dt)`, with the time since the step before `(*batch,)`,
        0 or more; otherwise dt is 1.

    Returns:
      A cell whose carry is v, `(*batch, features)`. Parameters: of synapses `weight` (of w),
      `sigma`, `mu` and `reversal` E `(in_features + features, features)`, of neurons `capacitance`
      (of C), `leak` (of l) and `rest` e `(features,)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.ltc(4)
      >>> v, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> v.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Hasani et al. 2021, arXiv:2006.04439, in the form and with the start of ncps: there
    `implicit_param_constraints=True`, without the affine maps of inputs and outputs, and with the
    wiring `FullyConnected`, of whose synapses two in three excite. No small number is added to the
    denominator.
    """
    features = positive_int("ltc", "features", features)
    unfolds = positive_int("ltc", "unfolds", unfolds)

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        synapses, neurons = (in_features + features, features), (features,)
        starts = {
            "weight": (SoftplusBetween(0.001, 1.0), synapses),
            "sigma": (initializers.Between(3.0, 8.0), synapses),
            "mu": (initializers.Between(0.3, 0.8), synapses),
            "reversal": (_signs, synapses),
            "capacitance": (SoftplusBetween(0.4, 0.6), neurons),
            "leak": (SoftplusBetween(0.001, 1.0), neurons),
            "rest": (initializers.Between(-0.2, 0.2), neurons),
        }
        keys = jax.random.split(key, len(starts))
        dtype = jnp.result_type(float)
        pairs = zip(starts.items(), keys, strict=True)
        return {name: start(key, shape, dtype) for (name, (start, shape)), key in pairs}

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, features), params["rest"].dtype)

    def advance(params: Params, v: Array, x: Array, dt: Array | float) -> tuple[Array, Array]:
        inputs = params["mu"].shape[0] - features
        expect_inputs("ltc", inputs, x)
        expect_real("ltc", x, params)
        dtype = v.dtype
        weight, capacitance, leak = (
            named_scope(name)(softplus)(params[name]) for name in ("weight", "capacitance", "leak")
        )
        capacitance, leak, rest = (like_features(p, v) for p in (capacitance, leak, params["rest"]))

        def currents(sources, which):
            """The sums over synapses of g_i E_i and of g_i."""
            names = "mu", "sigma", "reversal"
            sources = sources[..., None]
            own = (part[which] for part in (*(params[name] for name in names), weight))
            mu, sigma, reversal, most = (like_features(part, sources) for part in own)
            g = most * named_scope("synapse")(sigmoid)(sigma * (sources - mu))
            return (g * reversal).sum(-2), g.sum(-2)

        driven, opened = currents(x, slice(None, inputs))
        size = dt / unfolds
        for _ in range(unfolds):
            into, conductance = currents(v, slice(inputs, None))
            charge = capacitance * v + size * (leak * rest + driven + into)
            v = charge / (capacitance + size * (leak + opened + conductance))
        v = v.astype(dtype)
        return v, v

    return _in_time(advance, init, initial_carry, features, timed)


def _in_time(advance, init, initial_carry, features: int, timed: bool) -> Cell:
    """A cell whose step is as long as its input says, or 1."""

    def step(params, carry, x):
        return advance(params, carry, x, 1.0)

    def timed_step(params, carry, x):
        x, dt = x
        return advance(params, carry, x, dt[..., None].astype(carry.dtype))

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=timed_step if timed else step,
        features=features,
        input_ndim=(1, 0) if timed else 1,
        output_ndim=1,
        output=lambda carry: carry,
        structure=AnyStep(),
    )


@dataclasses.dataclass(frozen=True)
class SoftplusBetween:
    """Parameters of which the softplus is uniform between `low` and `high`."""

    low: float
    high: float

    def __call__(self, key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
        return jnp.log(jnp.expm1(jax.random.uniform(key, shape, dtype, self.low, self.high)))


def _signs(key: PRNGKeyArray, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """1 with a probability of two thirds, otherwise -1."""
    return jnp.where(jax.random.bernoulli(key, 2 / 3, shape), 1.0, -1.0).astype(dtype)
