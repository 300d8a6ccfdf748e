"""Train steps of a cell over a sequence: every method beside the plain loop over its steps."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.measure import race
from seqjax.bench.published import published_step
from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.core.types import Array, Params
from seqjax.engines.memory_report import temporary_bytes
from seqjax.engines.scan import scan

TOLERANCE = 2e-3
"""Difference from the plain loop that is still float32, as a share of the largest number."""


@dataclasses.dataclass(frozen=True)
class Training:
    """One method on one cell and shape. Seconds are those of the rounds, in order.

    They are empty for who needed more memory than allowed, and None for who is the same
    program as `same_as`. `error` is the largest difference from the plain loop. Of somebody else's
    implementation (`published`), `method` is the package; it has other weights, so no `error`.
    """

    cell: str
    method: str
    time: int
    batch: int
    features: int
    seconds: tuple[float, ...] | None
    same_as: str | None
    compile_seconds: float | None
    temporary_bytes: int | None
    error: float | None
    published: bool = False

    @property
    def tokens_per_second(self) -> float | None:
        """By the median."""
        return self.time * self.batch / statistics.median(self.seconds) if self.seconds else None

    @property
    def bytes_per_token(self) -> float | None:
        """Temporary memory of the compiled train step for each step of each sequence."""
        known = self.temporary_bytes
        return None if known is None else known / (self.time * self.batch)


def problem(cell: Cell, features: int, time: int, batch: int) -> tuple[Params, Array]:
    """Parameters and inputs `(batch, time, features)`.

    Parameters are drawn a little away from where they start: some start at zero, and then
    all methods agree on zeros.
    """
    params = cell.init(jax.random.key(0), features)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [
        leaf + 0.01 * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return structure.unflatten(moved), jax.random.normal(jax.random.key(2), (batch, time, features))


def methods_of(cell: Cell, params: Params, xs: Array, methods: Sequence[str]) -> list[str]:
    """Those of some methods that a cell can be run by."""
    found = []
    for method in methods:
        try:
            jax.eval_shape(lambda p, x, how=method: scan(cell, p, x, method=how), params, xs)
        except ValueError as reason:
            if not str(reason).startswith(f"scan: method={method!r} needs"):
                raise
        else:
            found.append(method)
    return found


def train_step(cell: Cell, method: str) -> Callable[[Params, Array], Any]:
    """`(params, xs) -> loss, (d params, d xs)` with the loss `mean(ys ** 2)`."""

    def loss(params, xs):
        return jnp.mean(jnp.square(scan(cell, params, xs, method=method)[1]))

    return jax.value_and_grad(loss, (0, 1))


def training(
    name: str,
    cell: Cell,
    features: int,
    *,
    time: int,
    batch: int,
    methods: Sequence[str],
    seconds: float,
    most_bytes: float,
    published: bool = False,
) -> list[Training]:
    """Compiles every method, checks that all compute the same, then races them.

    Args:
      name: of the cell.
      cell: takes and puts out `features`.
      features: width.
      time, batch: length and number of the sequences.
      methods: those to try, the plain loop first.
      seconds: about how long the race lasts.
      most_bytes: who needs more temporary memory is left out.
      published: whether somebody else's implementation takes part, where one is installed.

    Returns:
      One entry for each method, the plain loop first.

    Raises:
      InputError: if values or gradients differ.
    """
    params, xs = problem(cell, features, time, batch)
    texts: dict[str, str] = {}
    runs: dict[str, Callable[[], Any]] = {}
    found: dict[str, Training] = {}
    wanted = None
    for method in methods_of(cell, params, xs, methods):
        lowered = jax.jit(train_step(cell, method)).lower(params, xs)
        text = lowered.as_text()
        entry = Training(
            name, method, time, batch, features, None, texts.get(text), None, None, None
        )
        if entry.same_as is None:
            texts[text] = method
            compiled, took = _compile(lowered)
            memory = temporary_bytes(compiled)
            entry = dataclasses.replace(
                entry, seconds=(), compile_seconds=took, temporary_bytes=memory
            )
            if memory is None or memory <= most_bytes:
                runs[method] = _bind(compiled, params, xs)
                result = jax.tree.map(np.asarray, runs[method]())
                wanted = result if wanted is None else wanted
                entry = dataclasses.replace(entry, error=max(map(difference, wanted, result)))
        found[method] = entry
    wrong = {m: e.error for m, e in found.items() if e.error is not None and e.error > TOLERANCE}
    if wrong:
        raise InputError(f"{name} at {time} steps: methods differ from the plain loop by {wrong}.")
    other = published_step(name, features, time, batch) if published else None
    if other is not None:
        label, step = other
        runs[label] = step
        found[label] = Training(
            name, label, time, batch, features, (), None, None, None, None, published=True
        )
    for method, took in race(runs, seconds=seconds).items() if runs else ():
        found[method] = dataclasses.replace(found[method], seconds=tuple(took))
    return list(found.values())


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference in any array, as a share of the largest number in it.

    Arrays a thousand times smaller than the largest are measured by that: the gradient of a
    parameter on which nothing depends is rounding alone.
    """
    pairs = list(zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True))
    sizes = [float(np.abs(a).max()) for a, _ in pairs]
    errors = [float(np.abs(a - b).max()) for a, b in pairs]
    if not np.isfinite([*sizes, *errors]).all():
        return np.inf
    least = max(1e-3 * max(sizes), 1e-12)
    return max(error / max(size, least) for error, size in zip(errors, sizes, strict=True))


def _bind(compiled: Any, params: Params, xs: Array) -> Callable[[], Any]:
    return lambda: compiled(params, xs)


def _compile(lowered: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return lowered.compile(), time.perf_counter() - start
