"""Cells that tell the time: units that open in a rhythm, and modules with a clock."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import named_scope
from jax.nn import sigmoid

from seqjax.cells.decay import bounded_exp
from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.gated import gated
from seqjax.core.gates import like_features
from seqjax.core.recurrence import AnyStep
from seqjax.core.types import Activation, Array, Initializer


@exportable
class PhasedLSTMState(NamedTuple):
    """What a phased LSTM carries, all `(*batch, features)`: `hidden` is the output, and `time` that
    of the next step, the same for all units."""

    hidden: Array
    cell: Array
    time: Array

    settable = ("hidden", "cell")


@factory
def phased_lstm(
    features: int,
    *,
    shortest: float = 1.0,
    longest: float = 1000.0,
    open_ratio: float = 0.05,
    leak: float = 0.001,
    timed: bool = False,
    forget_bias: float = 1.0,
    blocks: int = 1,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
) -> Cell:
    """An LSTM whose units open for a moment once in a period, each in a rhythm of its own.

        phase = (t / exp(log_period) - shift) mod 1
        k = 2 * phase / r           phase < r / 2         opening;   r = open_ratio
        k = 2 - 2 * phase / r       r / 2 <= phase < r    closing
        k = leak * phase            else                  closed
        i, f, g, o as in `sj.lstm`
        n = f * c + i * g
        h = k * o * tanh(n) + (1 - k) * h
        c = k * n + (1 - k) * c

    The time t is 0 at the first step and after a reset, and grows by 1; with `timed` it is part of
    the input. Gates are stored in the order i, f, g, o.

    Args:
      features: width of both states and of the output.
      shortest, longest: periods start log-uniform between these, in the unit of t.
      open_ratio: share of a period in which a unit is open.
      leak: how open it is otherwise, at the end of the period; after training 0.
      timed: whether the input is a pair `(x, t)`, with the time of the step `(*batch,)`.
      forget_bias: start of b_f.
      blocks: diagonal blocks (heads) of U, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.

    Returns:
      A cell whose carry is `PhasedLSTMState(hidden, cell, time)`, the last two in float32 at least;
      a gated one unless `timed`. Beside those of an LSTM its parameters are `log_period`, and
      `shift`, in periods, which starts uniform between 0 and 1; both `(features,)`.

    Raises:
      ValueError: unless `0 < shortest <= longest` and `0 < open_ratio <= 1`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.phased_lstm(4, timed=True)
      >>> inputs = jnp.ones((2, 5, 3)), jnp.tile(jnp.linspace(0.0, 1.7, 5), (2, 1))
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), inputs)
      >>> carry.time.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Neil et al. 2016, arXiv:1610.09513. The shift is a share of the period (there it is a
    time, of the same start), and there are no peepholes.
    """
    if not 0 < shortest <= longest:
        raise ValueError(
            "phased_lstm: expected periods with 0 < shortest <= longest, got "
            f"shortest={shortest!r} and longest={longest!r}."
        )
    if not 0 < open_ratio <= 1:
        raise ValueError(f"phased_lstm: `open_ratio` must be in (0, 1], got {open_ratio!r}.")

    def openness(time, p):
        turns = time / bounded_exp(p.log_period) - p.shift
        phase = turns - jnp.floor(turns)
        rising = 2 * phase / open_ratio
        closed = jnp.where(phase < open_ratio, 2 - rising, leak * phase)
        return jnp.where(phase < open_ratio / 2, rising, closed)

    def update(state, x, r, p):
        i, f, g, o = x + r
        i = named_scope("input")(sigmoid)(i)
        f = named_scope("forget")(sigmoid)(f)
        o = named_scope("output")(sigmoid)(o)
        k = named_scope("time")(openness)(state.time, p)
        new = f * state.cell + i * named_scope("candidate")(jnp.tanh)(g)
        return PhasedLSTMState(
            hidden=k * o * named_scope("cell")(jnp.tanh)(new) + (1 - k) * state.hidden,
            cell=k * new + (1 - k) * state.cell,
            time=state.time + 1,
        )

    cell = gated(
        update,
        features=features,
        gates=4,
        state=PhasedLSTMState,
        hidden="hidden",
        wide_state=True,
        parameters={
            "log_period": initializers.Between(math.log(shortest), math.log(longest)),
            "shift": initializers.Between(0.0, 1.0),
        },
        blocks=blocks,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=initializers.GateBias(1, forget_bias),
    )
    return _told_the_time(cell) if timed else cell


def _told_the_time(cell: Cell) -> Cell:
    """The same cell, with the time of every step in its input."""

    def step(params, carry, x):
        x, time = x
        expect_inputs("phased_lstm", params["input"].shape[0], x)
        time = jnp.broadcast_to(time[..., None], carry.time.shape).astype(carry.time.dtype)
        return cell.step(params, carry._replace(time=time), x)

    return Cell(
        init=cell.init,
        initial_carry=cell.initial_carry,
        step=step,
        features=cell.features,
        input_ndim=(1, 0),
        output_ndim=1,
        output=cell.output,
        structure=AnyStep(),
    )


@exportable
class ClockworkState(NamedTuple):
    """What a clockwork RNN carries: `hidden` `(*batch, features)` and `step`, the number of steps
    so far, `(*batch,)`; the latter begins anew when all clocks strike together."""

    hidden: Array
    step: Array

    settable = ("hidden",)


@factory
def clockwork(
    features: int,
    *,
    periods: Sequence[int] = (1, 2, 4, 8),
    activation: Activation = jnp.tanh,
    input_init: Initializer = initializers.Normal(0.1),
    recurrent_init: Initializer = initializers.Normal(0.1),
) -> Cell:
    """The clockwork RNN: modules that run at different speeds.

        n = activation(W x + U h + b)
        h_i = n_i           every `periods[i]` steps, the first among them
        h_i = h_i           else

    A module sees itself and those that are as slow or slower: the other blocks of U count as 0.

    Args:
      features: width of the hidden state `h` and of the output; all modules are as wide.
      periods: of each module.
      activation: applied unit by unit.
      input_init: initializer of W.
      recurrent_init: initializer of U.

    Returns:
      A cell whose carry is `ClockworkState(hidden, step)`. Parameters: `input` `(in_features,
      features)`, `recurrent` `(features, features)`, `bias` `(features,)`.

    Raises:
      ValueError: if there is no period, or if their number does not divide `features`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.clockwork(4, periods=(1, 3))
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((6, 3)))
      >>> [bool((ys[t, 2:] == ys[t - 1, 2:]).all()) for t in range(1, 6)]
      [True, True, False, True, True]

    Source: Koutník et al. 2014, arXiv:1402.3511, with its start. All of U is multiplied at every
    step, which on wide devices takes no longer than parts of it.
    """
    features = positive_int("clockwork", "features", features)
    periods = tuple(positive_int("clockwork", "periods", period) for period in periods)
    if not periods or features % len(periods):
        raise ValueError(
            f"clockwork: the {len(periods)} periods need modules of equal width, and their number "
            f"does not divide `features={features}`."
        )
    turn = math.lcm(*periods)
    by_unit = np.repeat(np.array(periods, np.int32), features // len(periods))
    seen = by_unit[:, None] >= by_unit[None, :]

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key)
        return {
            "input": input_init(keys[0], (in_features, features), dtype),
            "recurrent": recurrent_init(keys[1], (features, features), dtype),
            "bias": jnp.zeros(features, dtype),
        }

    def initial_carry(params, batch_shape=()):
        hidden = jnp.zeros((*batch_shape, features), params["recurrent"].dtype)
        return ClockworkState(hidden, jnp.zeros(batch_shape, jnp.int32))

    def step(params, carry, x):
        expect_inputs("clockwork", params["input"].shape[0], x)
        expect_real("clockwork", x, params)
        h, count = carry
        recurrent = jnp.where(seen, params["recurrent"], 0)
        made = x @ params["input"] + h @ recurrent
        made = made + like_features(params["bias"], made)
        made = named_scope("hidden")(activation)(made).astype(h.dtype)
        strikes = count[..., None] % like_features(jnp.asarray(by_unit), h) == 0
        h = jnp.where(strikes, made, h)
        return ClockworkState(h, (count + 1) % turn), h

    return Cell(
        init,
        initial_carry,
        step,
        features,
        output=lambda carry: carry.hidden,
        structure=AnyStep(),
    )
