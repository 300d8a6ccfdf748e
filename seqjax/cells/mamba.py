"""The selective state space of Mamba (S6), and the block around it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, prenorm, product
from seqjax.core.cell import Cell, expect_inputs, expect_real, expect_width, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.layers import dense, scale_to_one
from seqjax.core.linear import diagonal
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.trees import widen
from seqjax.core.types import Array, Params, PRNGKeyArray


@factory
def s6(
    features: int,
    *,
    state: int = 16,
    rank: int | None = None,
    step_size: tuple[float, float] = (1e-3, 1e-1),
    negative_eigenvalues: bool = False,
    selection_norm: float | None = None,
) -> Cell:
    """The selective state space (S6): step size, input and read-out depend on the input.

        delta, B, C = split(W_selection x)      (rank,), (state,), (state,)
        d = softplus(W_step delta + b_step)     (features,)
        s = exp(-d exp(a)) * s + (d * x) B      (features, state)
        y = s C + D * x

    Args:
      features: width of the input and of the output.
      state: size of the state of each feature.
      rank: width of delta, by default `features / 16`, rounded up.
      step_size: d starts between these, uniform in the logarithm.
      negative_eigenvalues: `2 exp(-d exp(a)) - 1` instead of `exp(-d exp(a))`: eigenvalues are
        then in [-1, 1], and parity can be kept.
      selection_norm: the epsilon of norms that delta, B and C go through, each by itself: root mean
        square, without a gain. None for no norms.

    Returns:
      A cell whose carry is `s`, `(*batch, features, state)`, in float32 at least. Parameters:
      `selection` `(features, rank + 2 * state)`; `step_weights` `(rank, features)`; `step_bias`
      `(features,)`; `a` `(features, state)`; `skip` (the D) `(features,)`.

    Raises:
      ValueError: from `init`, if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.s6(4, state=2)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> s, ys = sj.scan(cell, params, jnp.ones((5, 4)))
      >>> s.shape, ys.shape
      ((4, 2), (5, 4))

    Source: Gu and Dao 2023, arXiv:2312.00752. As in the released code, B is held for one step
    by `d B`, not by the zero-order hold that the paper writes; a starts at log(1 .. state), and
    d is at least 1e-4 at the start. Negative eigenvalues: Grazzi et al. 2024, arXiv:2411.12537.
    Norms of delta, B and C, with an epsilon of 1e-6: Falcon Mamba, Zuo et al. 2024,
    arXiv:2410.05355.
    """
    features = positive_int("s6", "features", features)
    state = positive_int("s6", "state", state)
    rank = positive_int("s6", "rank", -(-features // 16) if rank is None else rank)
    low, high = step_size
    if not 0 < low <= high:
        raise ValueError(
            "s6: `step_size` must be two numbers above 0, the smaller one "
            f"first; got {step_size!r}."
        )

    own = _Selective(features, state, rank, step_size, negative_eigenvalues, selection_norm)
    return diagonal(
        own.coefficients,
        init=own.init,
        initial_carry=own.initial_carry,
        features=features,
        in_features=features,
        project=own.project,
        read=own.read,
        output=own.output,
    )


@dataclasses.dataclass(frozen=True)
class _Selective:
    """The equations of `s6`; fields are its arguments."""

    features: int
    state: int
    rank: int
    step_size: tuple[float, float]
    negative_eigenvalues: bool
    selection_norm: float | None

    def init(self, key: PRNGKeyArray, in_features: int) -> Params:
        features, state, rank = self.features, self.state, self.rank
        expect_width("s6", features, in_features)
        dtype = jnp.result_type(float)
        selection, weights, bias = jax.random.split(key, 3)
        first = jnp.log(jnp.arange(1, state + 1, dtype=dtype))
        inward = initializers.Uniform(features**-0.5)
        return {
            "selection": inward(selection, (features, rank + 2 * state), dtype),
            "step_weights": initializers.Uniform(rank**-0.5)(weights, (rank, features), dtype),
            "step_bias": initializers.TimeStep(*self.step_size)(bias, (features,), dtype),
            "a": jnp.broadcast_to(first, (features, state)),
            "skip": jnp.ones((features,), dtype),
        }

    def initial_carry(self, params: Params, batch_shape: tuple[int, ...] = ()) -> Array:
        return jnp.zeros((*batch_shape, self.features, self.state), widen(params["a"]).dtype)

    def project(self, params: Params, x: Array) -> tuple[Array, ...]:
        expect_inputs("s6", self.features, x)
        expect_real("s6", x, params)
        cuts = [self.rank, self.rank + self.state]
        delta, b, c = jnp.split(x @ params["selection"], cuts, axis=-1)
        if self.selection_norm is not None:
            delta, b, c = (scale_to_one(part, self.selection_norm) for part in (delta, b, c))
        size = delta @ params["step_weights"]
        size = jax.nn.softplus(widen(size) + like_features(widen(params["step_bias"]), size))
        return tuple(map(widen, (x, size, b, c)))

    def coefficients(self, params: Params, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        x, size, b, _ = inputs
        size, written = size[..., None], (size * x)[..., None]
        decay = jnp.exp(log_decay(like_features(widen(params["a"]), written), size))
        decay = 2 * decay - 1 if self.negative_eigenvalues else decay
        return decay, written * b[..., None, :]

    def read(self, params: Params, s: Array, inputs: tuple[Array, ...]) -> Array:
        *_, c = inputs
        return (s * c[..., None, :]).sum(-1)

    def output(self, params: Params, values: Array, x: Array) -> Array:
        direct = like_features(params["skip"], x) * x
        return (values + direct).astype(direct.dtype)


@factory
def mamba(
    features: int,
    *,
    expand: int = 2,
    inner: int | None = None,
    state: int = 16,
    width: int = 4,
    rank: int | None = None,
    layers: int = 1,
    bias: bool = False,
    convolution_bias: bool = True,
    negative_eigenvalues: bool = False,
    selection_norm: float | None = None,
) -> Cell:
    """The Mamba block: a gated branch of convolution and selective state space.

        u = silu(convolve(W_u x))                     inner
        y = W_y (s6(u) * silu(W_z x))

    Args:
      features: width of the input and of the output.
      expand: how many times wider the branch is.
      inner: width of the branch, by default `expand * features`.
      state: size of the state of each feature of the branch.
      width: number of inputs that the convolution sees.
      rank: of the step sizes, by default `features / 16`, rounded up.
      layers: how many such layers the model has; W_y starts smaller the more there are.
      bias: whether the products with W_u, W_z and W_y have one; it starts at 0.
      convolution_bias: whether the convolution has one.
      negative_eigenvalues, selection_norm: of the recurrence, see `sj.s6`.

    Returns:
      A stack of two `branches`, `recurrent` (`project`, `convolve` and `memory`) and `gate`, and
      of `output`; its carry has the same names. In a model it sits behind a norm and inside
      `sj.residual`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba(4)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 4)))
      >>> carry["branches"]["recurrent"]["memory"].shape, ys.shape
      ((8, 16), (5, 4))

    Source: Gu and Dao 2023, arXiv:2312.00752; initialisation: the released code.
    """
    features = positive_int("mamba", "features", features)
    layers = positive_int("mamba", "layers", layers)
    wide = features * positive_int("mamba", "expand", expand) if inner is None else inner
    inner = positive_int("mamba", "inner", wide)
    rank = -(-features // 16) if rank is None else rank
    inward = initializers.Uniform(features**-0.5)
    memory = stack(
        project=dense(inner, bias=bias, weight_init=inward),
        convolve=short_convolution(
            inner,
            width=width,
            activation=jax.nn.silu,
            bias=convolution_bias,
            bias_init=initializers.Uniform(width**-0.5),
        ),
        memory=s6(
            inner,
            state=state,
            rank=rank,
            negative_eigenvalues=negative_eigenvalues,
            selection_norm=selection_norm,
        ),
    )
    gate = dense(inner, bias=bias, activation=jax.nn.silu, weight_init=inward)
    outward = initializers.Uniform((inner * layers) ** -0.5)
    return checkpointed(
        stack(
            branches=product(recurrent=memory, gate=gate),
            output=dense(features, bias=bias, weight_init=outward),
        )
    )


@factory
def mamba_block(
    features: int, *, layers: int = 1, norm_epsilon: float = 1e-6, **options: Any
) -> Cell:
    """One block of a Mamba.

        y = x + mamba(norm(x))

    Args:
      features: width of the input and of the output.
      layers: how many such blocks the model has.
      norm_epsilon: of the norm; the released models have 1e-5.
      **options: further arguments of `sj.mamba`, such as `state`.

    Returns:
      A cell; `sj.stack(*[sj.mamba_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba_block(8, state=4)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Gu and Dao 2023, arXiv:2312.00752.
    """
    return prenorm(mamba(features, layers=layers, **options), epsilon=norm_epsilon)
