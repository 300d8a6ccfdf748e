"""Linear state spaces whose coefficients do not depend on the input: LRU, S4D, S5."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.cells.decay import bounded_exp, log_decay
from seqjax.cells.skip import add_skip, start_skip
from seqjax.core.affine import Complex
from seqjax.core.cell import (
    Cell,
    expect_inputs,
    expect_outputs,
    expect_real,
    expect_width,
    factory,
    positive_int,
)
from seqjax.core.gates import like_features
from seqjax.core.linear import diagonal
from seqjax.core.trees import widen
from seqjax.core.types import Array, Params, PRNGKeyArray


@factory
def lru(
    features: int,
    *,
    state: int | None = None,
    radius: tuple[float, float] = (0.9, 0.999),
    max_phase: float = 6.283185307179586,
) -> Cell:
    """The linear recurrent unit.

        decay = exp(-exp(nu) + i exp(theta))
        s = decay * s + exp(gamma) * (B x)              s, B, C complex
        y = Re(C s) + D * x                             D x if the widths differ

    Args:
      features: width of the output.
      state: number of complex modes, by default `features`.
      radius: bounds between which `|decay|` starts, uniform in the ring. The paper starts most
        tasks at (0, 1) and long ones at (0.9, 0.999).
      max_phase: the angles of decay start uniform between 0 and this.

    Returns:
      A cell whose carry is `sj.Complex(real, imaginary)` of `(*batch, state)`, in float32 at
      least. Parameters: `nu`, `theta`, `gamma` `(state,)`; `b_real`, `b_imaginary`
      `(in_features, state)`; `c_real`, `c_imaginary` `(state, features)`; `skip`
      `(features,)`, or `(in_features, features)` if these differ.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lru(4, state=8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> s, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> s.real.shape, ys.shape
      ((8,), (5, 4))

    Source: Orvieto et al. 2023, arXiv:2303.06349. `exp(gamma)` starts as `sqrt(1 - |decay|^2)`,
    and is trained apart from decay, as there.
    """
    features = positive_int("lru", "features", features)
    modes = features if state is None else positive_int("lru", "state", state)
    low, high = radius
    if not 0 <= low < high <= 1:
        raise ValueError(
            "lru: `radius` must be two numbers between 0 and 1, the smaller "
            f"one first; got {radius!r}."
        )

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        ring, phase, b_key, c_key, skip_key = jax.random.split(key, 5)
        square = jax.random.uniform(ring, (modes,), dtype, low**2, high**2)
        # No mode starts at exactly 1, where nothing is ever forgotten and nothing written.
        square = jnp.clip(square, 1e-12, 1 - 1e-6)
        angle = max_phase * jax.random.uniform(phase, (modes,), dtype, 1e-6, 1.0)
        b = _complex_normal(b_key, (in_features, modes), (2 * in_features) ** -0.5, dtype)
        c = _complex_normal(c_key, (modes, features), modes**-0.5, dtype)
        return {
            "nu": jnp.log(-0.5 * jnp.log(square)),
            "theta": jnp.log(angle),
            "gamma": 0.5 * jnp.log1p(-square),
            "b_real": b.real,
            "b_imaginary": b.imaginary,
            "c_real": c.real,
            "c_imaginary": c.imaginary,
            "skip": start_skip(skip_key, in_features, features, dtype),
        }

    def decay_of(params):
        modulus = jnp.exp(log_decay(widen(params["nu"])))
        angle = jnp.exp(widen(params["theta"]))
        return Complex(modulus * jnp.cos(angle), modulus * jnp.sin(angle))

    def project(params, x):
        expect_inputs("lru", params["b_real"].shape[0], x)
        expect_real("lru", x)
        gain = jnp.exp(widen(params["gamma"]))
        parts = (widen(x @ params[name]) for name in ("b_real", "b_imaginary"))
        return Complex(*(like_features(gain, part) * part for part in parts))

    return diagonal(
        lambda params, value: (decay_of(params), value),
        init=init,
        initial_carry=lambda params, batch_shape=(): _no_modes(params["nu"], batch_shape),
        features=features,
        project=project,
        output=lambda params, s, x: _read_out(params, s, x, 1.0, features),
    )


@factory
def s4d(
    features: int,
    *,
    state: int = 64,
    spectrum: Literal["linear", "inverse", "real"] = "linear",
    step_size: tuple[float, float] = (1e-3, 1e-1),
) -> Cell:
    """S4D: every feature has a bank of complex modes of its own.

        a = -exp(a_real) + i a_imaginary                (features, modes)
        decay = exp(d a),  d = exp(step_size)
        s = decay * s + (decay - 1) / a * x
        y = 2 Re(sum over modes of c s) + D * x

    Args:
      features: width of the input and of the output.
      state: size of the state of each feature; complex modes come in pairs, of which one is
        kept, so there are `state / 2` (all `state` if the spectrum is real).
      spectrum: where the modes a start: `"linear"` -1/2 + i pi n, `"inverse"`
        -1/2 + i N / pi (N / (2 n + 1) - 1), `"real"` -(n + 1).
      step_size: d starts between these, uniform in the logarithm, one for each feature.

    Returns:
      A cell whose carry is `sj.Complex(real, imaginary)` of `(*batch, features, modes)`, in
      float32 at least. Parameters: `a_real`, `a_imaginary`, `c_real`, `c_imaginary`
      `(features, modes)`; `step_size`, `skip` `(features,)`.

    Raises:
      ValueError: from `init`, if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.s4d(3, state=8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> s, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> s.real.shape, ys.shape
      ((3, 4), (5, 3))

    Source: Gu et al. 2022, arXiv:2206.11893. There a mixing of the features follows; here that
    is up to the layer above. The paper's B is part of c.
    """
    features = positive_int("s4d", "features", features)
    state = positive_int("s4d", "state", state)
    if spectrum not in ("linear", "inverse", "real"):
        raise ValueError(
            f"s4d: `spectrum` must be 'linear', 'inverse' or 'real', got {spectrum!r}."
        )
    modes = state if spectrum == "real" else max(1, state // 2)

    def init(key, in_features):
        expect_width("s4d", features, in_features)
        dtype = jnp.result_type(float)
        step_key, c_key, skip_key = jax.random.split(key, 3)
        damping, imaginary = _first_modes(spectrum, state, modes)
        spread = lambda row: jnp.broadcast_to(jnp.asarray(row, dtype), (features, modes))  # noqa: E731
        c = _complex_normal(c_key, (features, modes), 0.5**0.5, dtype)
        return {
            "a_real": spread(damping),
            "a_imaginary": spread(imaginary),
            "c_real": c.real,
            "c_imaginary": c.imaginary,
            "step_size": _log_uniform(step_key, (features,), step_size, dtype),
            "skip": jax.random.normal(skip_key, (features,), dtype),
        }

    def coefficients(params, x):
        expect_inputs("s4d", features, x)
        expect_real("s4d", x)
        a = Complex(-bounded_exp(widen(params["a_real"])), widen(params["a_imaginary"]))
        size = bounded_exp(widen(params["step_size"]))[:, None]
        decay, gain = _hold(a, size)
        value = Complex(*(like_features(part, x[..., None]) * x[..., None] for part in gain))
        return decay, value

    def read(params, s, x):
        c_real, c_imaginary = (
            like_features(widen(params[name]), s.real) for name in ("c_real", "c_imaginary")
        )
        return 2 * (c_real * s.real - c_imaginary * s.imaginary).sum(-1)

    return diagonal(
        coefficients,
        init=init,
        initial_carry=lambda params, batch_shape=(): _no_modes(params["a_real"], batch_shape),
        features=features,
        in_features=features,
        project=lambda params, x: widen(x),
        read=read,
        output=lambda params, values, x: add_skip(params, values, x),
    )


def _first_modes(spectrum: str, state: int, modes: int) -> tuple[Any, Any]:
    """Where `a_real` and `a_imaginary` of S4D start."""
    n = np.arange(modes)
    if spectrum == "real":
        return np.log(n + 1.0), 0.0 * n
    turns = np.pi * n if spectrum == "linear" else state / np.pi * (state / (2 * n + 1) - 1)
    return np.full(modes, np.log(0.5)), turns


@factory
def s5(
    features: int,
    *,
    state: int = 64,
    blocks: int = 1,
    step_size: tuple[float, float] = (1e-3, 1e-1),
) -> Cell:
    """S5: one bank of complex modes, fed by all inputs and read by all outputs.

        a = a_real + i a_imaginary                      (modes,)
        decay = exp(d a),  d = exp(step_size)
        s = decay * s + (decay - 1) / a * (B x)         s, B, C complex
        y = 2 Re(C s) + D * x                           D x if the widths differ

    Args:
      features: width of the output.
      state: size of the state; modes come in pairs of which one is kept: `state / 2`.
      blocks: number of equal HiPPO-N matrices whose eigenvalues the modes start as.
      step_size: d starts between these, uniform in the logarithm, one for each mode.

    Returns:
      A cell whose carry is `sj.Complex(real, imaginary)` of `(*batch, state / 2)`, in float32
      at least. Parameters: `a_real`, `a_imaginary`, `step_size` `(modes,)`; `b_real`,
      `b_imaginary` `(in_features, modes)`; `c_real`, `c_imaginary` `(modes, features)`;
      `skip` as in `sj.lru`.

    Raises:
      ValueError: if the state cannot be split into blocks of even size.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.s5(4, state=8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> s, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> s.real.shape, ys.shape
      ((4,), (5, 4))

    Source: Smith et al. 2022, arXiv:2208.04933. `a_real` is held below -1e-4, as its authors'
    code can. C starts as there by default, in each part with variance 1 / state before the change
    of basis; B with 1 / in_features, where that code has 1 / state.
    """
    features = positive_int("s5", "features", features)
    state = positive_int("s5", "state", state)
    blocks = positive_int("s5", "blocks", blocks)
    if state % (2 * blocks):
        raise ValueError(f"s5: `state={state}` must be a multiple of 2 * blocks = {2 * blocks}.")
    modes = state // 2

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        step_key, b_key, c_key, skip_key = jax.random.split(key, 4)
        values, vectors = _hippo(state // blocks)
        inverse = vectors.conj().T
        keep = lambda matrix: np.kron(np.eye(blocks), matrix)  # noqa: E731
        b = jax.random.normal(b_key, (in_features, state), dtype) * in_features**-0.5
        c = _complex_normal(c_key, (state, features), state**-0.5, dtype)
        into = keep(inverse).T
        out = keep(vectors).T
        return {
            "a_real": jnp.asarray(np.tile(values.real, blocks), dtype),
            "a_imaginary": jnp.asarray(np.tile(values.imag, blocks), dtype),
            "step_size": _log_uniform(step_key, (modes,), step_size, dtype),
            "b_real": b @ jnp.asarray(into.real, dtype),
            "b_imaginary": b @ jnp.asarray(into.imag, dtype),
            "c_real": jnp.asarray(out.real, dtype) @ c.real
            - jnp.asarray(out.imag, dtype) @ c.imaginary,
            "c_imaginary": jnp.asarray(out.real, dtype) @ c.imaginary
            + jnp.asarray(out.imag, dtype) @ c.real,
            "skip": start_skip(skip_key, in_features, features, dtype),
        }

    def held(params):
        a = Complex(jnp.minimum(widen(params["a_real"]), -1e-4), widen(params["a_imaginary"]))
        return _hold(a, bounded_exp(widen(params["step_size"])))

    def project(params, x):
        expect_inputs("s5", params["b_real"].shape[0], x)
        expect_real("s5", x)
        _, gain = held(params)
        real, imaginary = (widen(x @ params[name]) for name in ("b_real", "b_imaginary"))
        g_real, g_imaginary = (like_features(part, real) for part in gain)
        return Complex(
            g_real * real - g_imaginary * imaginary, g_real * imaginary + g_imaginary * real
        )

    return diagonal(
        lambda params, value: (held(params)[0], value),
        init=init,
        initial_carry=lambda params, batch_shape=(): _no_modes(params["a_real"], batch_shape),
        features=features,
        project=project,
        output=lambda params, s, x: _read_out(params, s, x, 2.0, features),
    )


def _hold(a: Complex, size: Array) -> tuple[Complex, Complex]:
    """A zero-order hold of `ds/dt = a s + x`: exp(d a) and (exp(d a) - 1) / a."""
    damping, angle = a.real * size, a.imaginary * size
    growth = jnp.exp(damping)
    decay = Complex(growth * jnp.cos(angle), growth * jnp.sin(angle))
    # exp(z) - 1 without the loss of digits at small z.
    less_one = jnp.expm1(damping) * jnp.cos(angle) - 2 * jnp.square(jnp.sin(angle / 2))
    square = jnp.square(damping) + jnp.square(angle)
    # Near 0 the quotient would be 0 / 0: there its Taylor series, 1 + z/2 (1 + z/3 (1 + ...)).
    small = square < 1e-6
    over = jnp.where(small, 1.0, square)
    u, v = (jnp.where(small, part, 0.0) for part in (damping, angle))
    real, imaginary = jnp.ones_like(u), jnp.zeros_like(v)
    for n in (5, 4, 3, 2):
        real, imaginary = 1 + (u * real - v * imaginary) / n, (u * imaginary + v * real) / n
    quotient = (
        (less_one * damping + decay.imaginary * angle) / over,
        (decay.imaginary * damping - less_one * angle) / over,
    )
    parts = zip((real, imaginary), quotient, strict=True)
    return decay, Complex(*(size * jnp.where(small, near, far) for near, far in parts))


def _hippo(size: int) -> tuple[Any, Any]:
    """The eigenvalues of the normal part of HiPPO-LegS with positive imaginary part, and their
    eigenvectors `(size, size / 2)`."""
    root = np.sqrt(2 * np.arange(size) + 1.0)
    outer = root[:, None] * root
    # Half of A + P P^T off the diagonal is antisymmetric; times -i it is Hermitian.
    skew = 0.5 * (np.triu(outer, 1) - np.tril(outer, -1))
    angles, vectors = np.linalg.eigh(-1j * skew)
    upper = angles > 0
    return -0.5 + 1j * angles[upper], vectors[:, upper]


def _read_out(params: Params, s: Complex, x: Array, factor: float, features: int) -> Array:
    """`factor * Re(C s)` and the skip, in the dtype of the inputs."""
    expect_outputs("diagonal", features, params["c_real"].shape)
    c_real, c_imaginary = (widen(params[name]) for name in ("c_real", "c_imaginary"))
    return add_skip(params, factor * (s.real @ c_real - s.imaginary @ c_imaginary), x)


def _no_modes(like: Any, batch_shape: tuple[int, ...]) -> Complex:
    shape = (*batch_shape, *like.shape)
    dtype = jnp.promote_types(like.dtype, jnp.float32)
    return Complex(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def _complex_normal(key: PRNGKeyArray, shape: tuple, scale: float, dtype: Any) -> Complex:
    """Each part normal with standard deviation `scale`."""
    return Complex(
        *(scale * jax.random.normal(part, shape, dtype) for part in jax.random.split(key))
    )


def _log_uniform(key: PRNGKeyArray, shape: tuple, bounds: tuple[float, float], dtype: Any) -> Array:
    """The logarithm of numbers between two bounds."""
    low, high = bounds
    if not 0 < low <= high < np.inf:
        raise ValueError(
            f"`step_size` must be two numbers above 0, the smaller one first; got {bounds!r}."
        )
    low, high = np.log(bounds)
    return jax.random.uniform(key, shape, dtype, low, high)
