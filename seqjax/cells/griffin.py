"""The real-gated linear recurrent unit of Griffin and RecurrentGemma, and the block around it."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from seqjax.core.blocks import on_slice, prenorm, product
from seqjax.core.cell import Cell, expect_inputs, expect_real, expect_width, factory, positive_int
from seqjax.core.gates import add_bias, initialize_gates, like_features, project_blocks
from seqjax.core.layers import dense, feed_forward, pointwise, rms_norm
from seqjax.core.linear import diagonal
from seqjax.core.shift import short_convolution, token_shift
from seqjax.core.stack import stack
from seqjax.core.trees import widen
from seqjax.core.types import Array

SHARPNESS = 8.0
"""The exponent that the paper calls c."""

FirstStep = Literal["scaled", "plain"]


@factory
def rg_lru(
    features: int,
    *,
    blocks: int = 1,
    radius: tuple[float, float] = (0.9, 0.999),
    first_step: FirstStep = "scaled",
) -> Cell:
    """The real-gated linear recurrent unit (RG-LRU).

        r = sigmoid(W_r x + b_r)
        i = sigmoid(W_i x + b_i)
        a = exp(-8 r * softplus(decay))
        h = a * h + sqrt(1 - a^2) * (i * x)

    Gates are stored in the order r, i.

    Args:
      features: width of the input, of the hidden state `h` and of the output.
      blocks: number of equal diagonal blocks of W.
      radius: bounds between which `exp(-softplus(decay))` starts, uniform in the ring: what a
        is when r = 1/8.
      first_step: `"scaled"`, a step like any other; or `"plain"`, as in released code: there the
        first step of a sequence, and the one after a reset, lacks the factor `sqrt(1 - a^2)`.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`, in float32 at least. Parameters: `input`
      `(features, 2, features)`, with blocks `(blocks, features / blocks, 2, features / blocks)`;
      `bias` `(2, features)`; `decay` `(features,)`. With `first_step="plain"` it is a stack of
      `begun`, whose carry is 1 after the first step, and of that cell under the name `memory`.

    Raises:
      ValueError: if `blocks` does not divide `features`; from `init`, if the input has another
        width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rg_lru(4, blocks=2)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> h, ys = sj.scan(cell, params, jnp.ones((5, 4)))
      >>> ys.shape
      (5, 4)

    Source: De et al. 2024, arXiv:2402.19427. The paper writes a = sigmoid(Lambda); `decay` is
    that Lambda with the opposite sign, as in the released code. The derivative of the root is
    held at 1000, as there.
    """
    parts = _rg_lru(features, blocks, radius, first_step)
    return stack(**parts) if len(parts) > 1 else parts["memory"]


def _rg_lru(
    features: int,
    blocks: int,
    radius: tuple[float, float] = (0.9, 0.999),
    first_step: FirstStep = "scaled",
) -> dict[str, Cell]:
    """The parts of an RG-LRU: its memory, and what tells it the first step if that is plain."""
    if first_step not in ("scaled", "plain"):
        raise ValueError(f"rg_lru: `first_step` must be 'scaled' or 'plain', got {first_step!r}.")
    features = positive_int("rg_lru", "features", features)
    blocks = positive_int("rg_lru", "blocks", blocks)
    if features % blocks:
        raise ValueError(f"rg_lru: `blocks={blocks}` does not divide `features={features}`.")
    low, high = radius
    if not 0 < low <= high < 1:
        raise ValueError(
            "rg_lru: `radius` must be two numbers between 0 and 1, the smaller one first; "
            f"got {radius!r}."
        )
    if first_step == "scaled":
        return {"memory": _recurrence(features, blocks, radius)}
    return {
        "begun": _begun(features),
        "memory": _recurrence(features, blocks, radius, told_first=True),
    }


@factory
def _begun(features: int) -> Cell:
    """Behind the input, 0 on the first step and 1 on all others."""
    one = pointwise(
        lambda _, x: jnp.concatenate([jnp.ones_like(x[..., :1]), x], axis=-1),
        features=1 + features,
        init=lambda key, in_features: expect_width("rg_lru", features, in_features) or (),
        in_features=features,
    )
    return stack(one=one, before=on_slice(token_shift(1), width=1, rest=features))


@factory
def _recurrence(
    features: int, blocks: int, radius: tuple[float, float], *, told_first: bool = False
) -> Cell:
    """The recurrence of `rg_lru`; `told_first`: of `[whether it has begun, x]`."""
    block = features // blocks
    low, high = radius

    def init(key, in_features):
        expect_width("rg_lru", features + told_first, in_features)
        dtype = jnp.result_type(float)
        input_key, ring = jax.random.split(key)
        square = jax.random.uniform(ring, (features,), dtype, low**2, high**2)
        normal = jax.nn.initializers.normal(block**-0.5)
        return {
            "input": initialize_gates(input_key, normal, (blocks, block, 2, block), dtype),
            "bias": jnp.zeros((2, features), dtype),
            # softplus(decay) = -log of the radius
            "decay": jnp.log(jnp.expm1(-0.5 * jnp.log(square))),
        }

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, features), widen(params["decay"]).dtype)

    def project(params, x):
        expect_inputs("rg_lru", features + told_first, x)
        expect_real("rg_lru", x, params)
        begun, x = x[..., :told_first], x[..., told_first:]
        gates = add_bias(project_blocks(x, params["input"]), params["bias"])
        return [widen(part) for part in (*gates, x, begun)]

    def coefficients(params, inputs):
        r, i, x, begun = inputs
        rate = like_features(jax.nn.softplus(widen(params["decay"])), x)
        log_a = -SHARPNESS * jax.nn.sigmoid(r) * rate
        gain = _bounded_sqrt(-jnp.expm1(2 * log_a))
        gain = jnp.where(begun > 0, gain, 1) if told_first else gain
        return jnp.exp(log_a), gain * jax.nn.sigmoid(i) * x

    return diagonal(
        coefficients,
        init=init,
        initial_carry=initial_carry,
        features=features,
        in_features=features + told_first,
        project=project,
        output=lambda params, h, x: h.astype(jnp.result_type(params["input"], x)),
    )


@factory
def griffin_block(
    features: int,
    *,
    inner: int | None = None,
    blocks: int | None = None,
    convolution: int = 4,
    hidden: int | None = None,
    bias: bool = False,
    first_step: FirstStep = "scaled",
    norm_around: Callable[..., Cell] = rms_norm,
    norm_epsilon: float = 1e-6,
) -> Cell:
    """The recurrent block of Griffin; a trunk of these alone is Hawk.

        u = gelu(W_gate norm(x))
        v = rg_lru(convolution(W_in norm(x)))
        x = x + W_out (u * v)
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      inner: width of u and v, by default 4/3 of `features`, rounded up to a multiple of
        `blocks`.
      blocks: number of equal diagonal blocks of the gates' weights, the paper's heads; by default
        as many as make them 256 wide or more, as in RecurrentGemma, or one.
      convolution: steps of the convolution.
      hidden: width inside the feed-forward layer, by default three times `features`.
      bias: whether the products of the feed-forward layer have one, as in RecurrentGemma.
      first_step: of the recurrence, see `sj.rg_lru`; RecurrentGemma's is `"plain"`.
      norm_around: makes the norms in front of both: `sj.zero_centred_rms_norm` in RecurrentGemma.
      norm_epsilon: of these.

    Returns:
      A cell; `sj.stack(*[sj.griffin_block(64)] * 6)` is the trunk of a Hawk. The paper's Griffin
      has a block of local attention after every two of these: `sj.block_stack(["griffin",
      "griffin", "attention"], 64, layers=6)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.griffin_block(8, blocks=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: De et al. 2024, arXiv:2402.19427.
    """
    features = positive_int("griffin_block", "features", features)
    if blocks is None:
        blocks = max(1, (4 * features // 3 if inner is None else inner) // 256)
    if inner is None:
        inner = -(-4 * features // (3 * blocks)) * blocks
    branch = stack(
        project=dense(inner),
        convolve=short_convolution(inner, width=convolution),
        **_rg_lru(inner, blocks, first_step=first_step),
    )
    gate = dense(inner, activation=jax.nn.gelu)
    mix = stack(branches=product(gate=gate, recurrent=branch), output=dense(features))
    after = feed_forward(
        features,
        hidden=3 * features if hidden is None else hidden,
        bias=bias,
        activation=jax.nn.gelu,
    )
    return stack(
        time=prenorm(mix, norm=norm_around, epsilon=norm_epsilon),
        channel=prenorm(after, norm=norm_around, epsilon=norm_epsilon),
    )


def _bounded_sqrt(x: Array) -> Array:
    """The square root, with a derivative of at most 1000.

    Without a rule of its own: inside a loop, JAX forgets such a rule for second derivatives.
    """
    small = x < 2.5e-7
    still = jax.lax.stop_gradient(x)
    line = 1e3 * (x - still) + jnp.sqrt(still)
    return jnp.where(small, line, jnp.sqrt(jnp.where(small, 1.0, x)))
