"""Noise that regularises: randomness that travels in the carry, and dropout."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, factory
from seqjax.core.counting import Counting
from seqjax.core.exportable import exportable
from seqjax.core.keys import batchable
from seqjax.core.masks import select
from seqjax.core.stack import expect_cell, no_step
from seqjax.core.steps import Run
from seqjax.core.types import Array, BatchKeys, Carry, PRNGKeyArray


@exportable
class Randomness(NamedTuple):
    """Where the random numbers of one cell come from, one stream for each sequence.

    `key` is `(*batch,)` typed keys, or None: no noise. `draws` `(*batch,)` int32 counts the
    draws that were made. A masked step draws nothing; a reset moves on to the next draw.
    """

    key: BatchKeys | None
    draws: Array


@exportable
class DropoutState(NamedTuple):
    """The carry of the cell inside, and its randomness."""

    cell: Carry
    randomness: Randomness


def seed_carry(carry: Carry, key: PRNGKeyArray | BatchKeys) -> Carry:
    """The carry with noise switched on.

    Every dropout and zoneout inside gets a stream of its own, and so does every sequence, whose
    noise then does not depend on the rest of the batch.

    Args:
      carry: from `cell.initial_carry`, or from an earlier scan.
      key: a key from `jax.random.key`, or keys of the batch shape, one for each sequence. Of `rbg`
        and `unsafe_rbg` keys, whose numbers change under `vmap`, Threefry keys are made.

    Returns:
      The carry with new keys; a carry of a cell without noise is returned unchanged.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.dropout(sj.gru(4), 0.5)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry = sj.seed_carry(cell.initial_carry(params, (2,)), jax.random.key(1))
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)), carry)
      >>> bool((ys == 0).any())
      True
    """
    key = batchable(key)
    streams = iter(range(len(jax.tree.leaves(carry, is_leaf=_is_randomness))))

    def seed(node: Any) -> Any:
        stream = next(streams)
        if not _is_randomness(node):
            return node
        shape = node.draws.shape
        if key.shape:
            own = jnp.vectorize(jax.random.fold_in, signature="(),()->()")(key, stream)
        else:
            own = jax.random.split(jax.random.fold_in(key, stream), shape)
        return Randomness(own, jnp.zeros(shape, jnp.int32))

    return jax.tree.map(seed, carry, is_leaf=_is_randomness)


def restart(flags: Array, initial: Carry, carry: Carry) -> Carry:
    """The initial carry where the flag of a sequence is set, else the carry; keys stay."""

    def pick(start: Any, now: Any) -> Any:
        if _is_randomness(now):
            return Randomness(now.key, now.draws + flags)
        return select(flags, start, now)

    return jax.tree.map(pick, initial, carry, is_leaf=_is_randomness)


def with_keys_of(initial: Carry, carry: Carry) -> Carry:
    """The initial carry with the keys of another one, so that both have one structure."""

    def adopt(start: Any, now: Any) -> Any:
        return start._replace(key=now.key) if _is_randomness(start) else start

    return jax.tree.map(adopt, initial, carry, is_leaf=_is_randomness)


def without_keys(carry: Carry) -> Carry:
    """The carry with its counts of draws alone: numbers to compute with."""
    strip = lambda node: node._replace(key=None) if _is_randomness(node) else node  # noqa: E731
    return jax.tree.map(strip, carry, is_leaf=_is_randomness)


def with_dtypes_of(initial: Carry, carry: Carry) -> Carry:
    """The initial carry in the dtypes of another one, so that a reset changes none."""

    def cast(start: Any, now: Any) -> Any:
        if _is_randomness(start) or start.dtype == now.dtype:  # Keys cannot be converted.
            return start
        return start.astype(now.dtype)

    return jax.tree.map(cast, initial, carry, is_leaf=_is_randomness)


@factory
def dropout(cell: Cell, rate: float, *, variational: bool = False) -> Cell:
    """A cell whose outputs are dropped at random.

        y = where(keep, y / (1 - rate), 0),   keep ~ Bernoulli(1 - rate)

    It is off until the carry has a key: `sj.seed_carry(carry, key)`.

    Args:
      cell: any cell. In a stack, dropout of one layer is dropout of the next one's input.
      rate: probability that a unit is dropped, in [0, 1).
      variational: one mask for a whole sequence, drawn anew at every reset, instead of one
        for every step.

    Returns:
      A cell with the given cell's parameters and the carry
      `DropoutState(cell, randomness)`.

    Raises:
      ValueError: if the rate is not in [0, 1).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.dropout(sj.gru(4), 0.5)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 5, 3))
      >>> _, ys = sj.scan(cell, params, xs)                      # off: no key
      >>> bool((ys == sj.scan(sj.gru(4), params, xs)[1]).all())
      True

    Source: Srivastava et al. 2014; between layers: Zaremba et al. 2014, arXiv:1409.2329;
    variational: Gal and Ghahramani 2016, arXiv:1512.05287 (their masks on the recurrent
    connection are not applied here).
    """
    expect_cell("dropout", cell)
    mask = _dropout_mask(
        cell.features, check_rate("dropout", rate), variational, output_ndim=cell.output_ndim
    )

    def initial_carry(params, batch_shape=()):
        return DropoutState(
            cell.initial_carry(params, batch_shape), mask.initial_carry((), batch_shape)
        )

    def step(params, carry, x):
        inner, y = cell.step(params, carry.cell, x)
        randomness, y = mask.step((), carry.randomness, y)
        return DropoutState(inner, randomness), y

    def sequence(scan, params, carry, initial, xs, steps):
        run = scan(cell, params, carry.cell, initial.cell, xs, steps)
        dropped = scan(mask, (), carry.randomness, initial.randomness, run.ys, steps)
        return Run(
            carry=DropoutState(run.carry, dropped.carry),
            ys=dropped.ys,
            carries=DropoutState(run.carries, dropped.carries),
        )

    return Cell(
        init=cell.init,
        initial_carry=initial_carry,
        step=step if cell.causal else no_step("dropout", (cell,)),
        features=cell.features,
        input_ndim=cell.input_ndim,
        output_ndim=cell.output_ndim,
        pixelwise=cell.pixelwise,
        in_features=cell.in_features,
        causal=cell.causal,
        sequence=sequence,
        name=cell.name,
    )


def _is_randomness(node: Any) -> bool:
    return isinstance(node, Randomness)


def check_rate(owner: str, rate: Any) -> float:
    """The rate as a float; raises unless it is a probability below 1."""
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ValueError(f"{owner}: a rate is a probability in [0, 1), got {rate!r}.")
    return float(rate)


def draw_units(
    key: BatchKeys, draws: Array, stream: int, rate: float, shape: tuple[int, ...]
) -> Array:
    """True with probability `rate`: `(*batch, *shape)`, each sequence from its own key."""

    def draw(row_key, row_draws):
        row_key = jax.random.fold_in(jax.random.fold_in(row_key, row_draws), stream)
        return jax.random.bernoulli(row_key, rate, shape)

    for _ in range(draws.ndim):
        draw = jax.vmap(draw)
    return draw(key, draws)


@factory
def _dropout_mask(features: int, rate: float, variational: bool, *, output_ndim: Any) -> Cell:
    """A cell without parameters that drops its inputs; its carry is its randomness."""

    def initial_carry(params, batch_shape=()):
        return Randomness(None, jnp.zeros(batch_shape, jnp.int32))

    def step(params, carry, x):
        key, draws = carry
        if key is None or rate == 0:
            return carry, x
        dropped = draw_units(key, draws, 0, rate, x.shape[draws.ndim :])
        y = jnp.where(dropped, jnp.zeros_like(x), x / (1 - rate)).astype(x.dtype)
        return Randomness(key, draws if variational else draws + 1), y

    def sequence(scan, params, carry, initial, xs, steps):
        """All steps at once: which draw belongs to a step is known by counting."""
        key, draws = carry
        on = key is not None and rate > 0
        # Steps and sequences; what follows in the shape is one output, a vector or an image.
        lead = 1 + draws.ndim
        valid = jnp.ones(xs.shape[:lead], bool) if steps.valid is None else steps.valid
        fresh = jnp.zeros_like(valid) if steps.resets is None else valid & steps.resets
        used = valid & (on and not variational)
        made = fresh.astype(draws.dtype) + used
        after = draws[None] + jax.lax.cumsum(made, reverse=steps.reverse)
        keys = None if key is None else jnp.broadcast_to(key[None], after.shape)
        ys = xs
        if keys is not None and rate > 0:
            dropped = draw_units(keys, after - used, 0, rate, xs.shape[lead:])
            ys = jnp.where(dropped, jnp.zeros_like(xs), xs / (1 - rate)).astype(xs.dtype)
        end = draws + made.sum(0, dtype=draws.dtype)
        carries = Randomness(keys, after)
        return Run(Randomness(key, end), ys, carries)

    return Cell(
        init=lambda key, in_features: (),
        initial_carry=initial_carry,
        step=step,
        features=features,
        input_ndim=output_ndim,
        sequence=sequence,
        structure=Counting(forgets=False),
    )
