"""Cells that look back a few steps: token shift, short convolutions, any function of a window."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import (
    Cell,
    InitFn,
    expect_inputs,
    expect_real,
    expect_width,
    factory,
    positive_int,
)
from seqjax.core.exportable import exportable
from seqjax.core.gates import like_features
from seqjax.core.masks import processing_order, select
from seqjax.core.steps import Run, ScanFn, Steps
from seqjax.core.trees import floats
from seqjax.core.types import Activation, Array, Initializer, Params


@exportable
class WindowState(NamedTuple):
    """The inputs of the last steps that counted, `(*batch, width - 1, in_features)`, the
    latest last."""

    inputs: Array


@runtime_checkable
class WindowFn(Protocol):
    """`(params, window) -> y`: `window[j]` is the input j steps back, `(*batch, inputs)`."""

    def __call__(self, params: Params, window: tuple[Array, ...], /) -> Array: ...


@factory
def windowed(
    function: WindowFn,
    *,
    width: int,
    features: int,
    init: InitFn,
    in_features: int | Callable[[Params], int],
) -> Cell:
    """A cell whose output is a function of the last few inputs.

        y_t = function(params, (x_t, x_{t-1}, ..., x_{t-width+1}))

    A masked step is as if it were not there: `x_{t-1}` is the input of the step before that
    counted. Before the first step, and after a reset, inputs are those of the initial carry,
    zeros. Whole sequences run all at once, whatever the method.

    Args:
      function: `(params, window) -> y`, for any number of batch dimensions; `window[j]` is
        `(*batch, in_features)`, `y` `(*batch, features)`.
      width: number of inputs that it sees, at least 1.
      features: width of its output.
      init: `(key, in_features) -> params`.
      in_features: width of the input: a number if `init` accepts that one only, else
        `(params) -> in_features`, the width that some parameters are for.

    Returns:
      A cell whose carry is `WindowState(inputs)`.

    Raises:
      ValueError: if `width` or `features` is not a positive number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> difference = sj.windowed(
      ...     lambda weights, window: (window[0] - window[1]) @ weights,
      ...     width=2,
      ...     features=1,
      ...     init=lambda key, in_features: jnp.ones((in_features, 1)),
      ...     in_features=len,
      ... )
      >>> params = difference.init(jax.random.key(0), 1)
      >>> carry, ys = sj.scan(difference, params, jnp.array([[1.0], [4.0], [9.0]]))
      >>> ys[:, 0]
      Array([1., 3., 5.], dtype=float32)
    """
    width = positive_int("windowed", "width", width)
    features = positive_int("windowed", "features", features)

    def initial_carry(params, batch_shape=()):
        dtype = jnp.result_type(*(floats(params) or [float]))
        inputs = in_features(params) if callable(in_features) else in_features
        return WindowState(jnp.zeros((*batch_shape, width - 1, inputs), dtype))

    def step(params, carry, x):
        _expect_inputs(x, carry)
        past = carry.inputs
        window = (x, *(past[..., -j, :] for j in range(1, width)))
        now = x[..., None, :].astype(past.dtype)
        after = jnp.concatenate([past, now], axis=-2)[..., 1:, :]
        return WindowState(after), function(params, window)

    def sequence(scan, params, carry, initial, xs, steps):
        _expect_inputs(xs, carry)
        order = processing_order(steps.valid, reverse=steps.reverse)
        window = _windows(order, carry, initial, xs, steps)
        ys = order.put_back(function(params, tuple(window)))

        def remembered(pick, nothing):
            starts = _entries(carry)
            entries = [
                pick(seen.astype(start.dtype), start)
                for seen, start in zip(window, starts, strict=False)
            ]
            return WindowState(jnp.stack(entries[::-1], axis=-2) if entries else nothing)

        carries = None
        if steps.record:
            carries = remembered(order.held, jnp.zeros_like(xs[..., None, :][..., :0, :]))
        return Run(remembered(order.last, carry.inputs), ys, carries)

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step,
        features=features,
        in_features=None if callable(in_features) else in_features,
        sequence=sequence,
        structure=LastInputs(),
    )


@dataclasses.dataclass(frozen=True)
class LastInputs:
    """The `Composition` of windows: a stretch moves out as many inputs as it moves in.

    The transition says which inputs at the end are the stretch's own, `(*batch, width - 1)` bool;
    after a reset all are.
    """

    forgets: bool = False

    def summarize(
        self,
        scan: ScanFn,
        cell: Cell,
        params: Params,
        empty: WindowState,
        initial: WindowState,
        xs: Array,
        steps: Steps,
    ) -> tuple[Array, WindowState]:
        count = jnp.full(xs.shape[1:-1], xs.shape[0], jnp.int32)
        if steps.valid is not None:
            count = steps.valid.sum(0, dtype=jnp.int32)
        if steps.resets is not None:
            resets = steps.resets if steps.valid is None else steps.resets & steps.valid
            count = jnp.where(resets.any(0), empty.inputs.shape[-2], count)
        return _latest(count, empty.inputs.shape[:-1]), scan(
            cell, params, empty, initial, xs, steps
        ).carry

    def reach(self, carry: WindowState, xs: Array, steps: Steps) -> int | None:
        return None if steps.valid is not None else -(-carry.inputs.shape[-2] // xs.shape[0])

    def empty(self, carry: WindowState) -> WindowState:
        return WindowState(jnp.zeros_like(carry.inputs))

    def chain(self, first: Array, second: Array) -> Array:
        return _latest(first.sum(-1) + second.sum(-1), first.shape)

    def follow(self, transition: Array, carry: WindowState, end: WindowState) -> WindowState:
        place = jax.lax.broadcasted_iota(jnp.int32, transition.shape, transition.ndim - 1)
        moved = place + transition.sum(-1, keepdims=True)
        index = jnp.minimum(moved, transition.shape[-1] - 1)[..., None]
        before = jnp.take_along_axis(carry.inputs, index, axis=-2)
        return WindowState(select(transition, end.inputs, before))


def _latest(count: Array, shape: tuple[int, ...]) -> Array:
    """The last ones of a row, as many as `count` says: `(*batch, size)` bool."""
    place = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1)
    return place >= shape[-1] - count[..., None]


def _entries(state: WindowState) -> list[Array]:
    """The inputs of a state, the latest first."""
    count = state.inputs.shape[-2]
    return [state.inputs[..., -j, :] for j in range(1, count + 1)]


def _windows(
    order: Any, carry: WindowState, initial: WindowState, xs: Array, steps: Any
) -> list[Array]:
    """The inputs j steps back for each j, `(time, *batch, in_features)`, as they are processed."""
    resets, cuts = (
        None if flags is None else order.take(flags) for flags in (steps.resets, steps.cuts)
    )
    window = [order.take(xs)]
    for start, anew in zip(_entries(carry), _entries(initial), strict=True):
        # What a step sees j steps back, the one before it sees j - 1 steps back.
        before = jnp.concatenate([start[None], window[-1][:-1].astype(start.dtype)])
        if cuts is not None:
            before = select(cuts, jax.lax.stop_gradient(before), before)
        if resets is not None:
            before = select(resets, jnp.broadcast_to(anew[None], before.shape), before)
        window.append(before)
    return window


@factory
def token_shift(features: int) -> Cell:
    """The input one step back.

        y_t = x_{t-1}

    Args:
      features: width of the input and of the output.

    Returns:
      A cell without parameters whose carry is `WindowState(inputs)`.

    Raises:
      ValueError: if the input has another width.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> xs = jnp.array([[1.0], [2.0], [3.0]])
      >>> sj.scan(sj.token_shift(1), (), xs, mask=jnp.array([True, False, True]))[1][:, 0]
      Array([0., 0., 1.], dtype=float32)

    Source: Peng et al. 2023, arXiv:2305.13048.
    """

    def init(key, in_features):
        expect_width("token_shift", features, in_features)
        return ()

    return windowed(_previous, width=2, features=features, init=init, in_features=features)


def _previous(params: Params, window: tuple[Array, ...]) -> Array:
    return window[1].astype(window[0].dtype)


@exportable
class ConvolutionParameters(NamedTuple):
    """`kernel` `(width, features)`, its last row for the input of now; `bias` `(features,)`, or
    None without one."""

    kernel: Array
    bias: Array | None


@factory
def short_convolution(
    features: int,
    *,
    width: int = 4,
    activation: Activation | None = None,
    bias: bool = True,
    kernel_init: Initializer | None = None,
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """A causal convolution over the last few inputs, each feature by itself.

        y_t = activation(sum_j kernel[width - 1 - j] * x_{t-j} + bias),   j = 0 .. width - 1

    Args:
      features: width of the input and of the output.
      width: number of inputs that it sees.
      activation: applied to the sum, such as `jax.nn.silu`; None for none.
      bias: whether there is one.
      kernel_init: initializer of the `(width, features)` kernel, by default uniform in
        `±width**-0.5`, which is what PyTorch's convolutions start from.
      bias_init: initializer of the `(features,)` bias.

    Returns:
      A cell with parameters `ConvolutionParameters(kernel, bias)`, whose carry is
      `WindowState(inputs)`.

    Raises:
      ValueError: if the input has another width.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.short_convolution(3, width=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params = params._replace(kernel=jnp.array([[10.0] * 3, [1.0] * 3]))
      >>> sj.scan(cell, params, jnp.array([[1.0] * 3, [2.0] * 3]))[1][:, 0]
      Array([ 1., 12.], dtype=float32)

    Source: the short convolutions of Mamba, arXiv:2312.00752, and of H3, arXiv:2212.14052.
    """
    width = positive_int("short_convolution", "width", width)
    kernel_init = kernel_init or initializers.Uniform(width**-0.5)

    def init(key, in_features):
        expect_width("short_convolution", features, in_features)
        dtype = jnp.result_type(float)
        keys = key, jax.random.fold_in(key, 1)
        kernel = kernel_init(keys[0], (width, features), dtype)
        start = bias_init(keys[1], (features,), dtype) if bias else None
        return ConvolutionParameters(kernel, start)

    def apply(params, window):
        total = convolve(params, window)
        return total if activation is None else activation(total)

    return windowed(
        apply,
        width=width,
        features=features,
        init=init,
        in_features=features,
    )


def convolve(params: ConvolutionParameters, window: tuple[Array, ...]) -> Array:
    """The weighted sum of the inputs in a window, feature by feature, and the bias."""
    seen = [like_features(params.kernel[-1 - j], value) * value for j, value in enumerate(window)]
    start = [] if params.bias is None else [like_features(params.bias, window[0])]
    return functools.reduce(operator.add, start + seen)


def _expect_inputs(x: Array, carry: WindowState) -> None:
    expect_inputs("windowed", carry.inputs.shape[-1], x)
    expect_real("windowed", x, carry)
