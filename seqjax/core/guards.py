"""The functions of a cell, guarded: when one fails, what is wrong with its arguments is said."""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from seqjax.core.misfits import (
    FAILURES,
    ArgumentError,
    MisfitError,
    clearer,
    difference,
    explain_inputs,
    explain_params,
    spell_argument,
)
from seqjax.core.types import Carry, Params


class Subject(NamedTuple):
    """What must be known of a cell: the fields of a `Cell` with these names."""

    call: str
    init: Callable[..., Any]
    initial_carry: Callable[..., Any]
    in_features: int | None
    input_ndim: Any


class Guarded(abc.ABC):
    """A function of a cell whose failures are explained. It equals another one of that function."""

    def __init__(self, function: Callable[..., Any], cell: Subject):
        self.function, self.cell = function, cell
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.function(*args, **kwargs)
        except FAILURES as error:
            self.clear_up(error, *args, **kwargs)
            raise

    def clear_up(self, error: Exception, *args: Any, **kwargs: Any) -> None:
        """Raises a clearer error, if there is one."""
        explain = functools.partial(self.explain, *args, **kwargs)
        clear = clearer(self.cell.call, error, explain)
        if clear is not None:
            raise clear from error.__cause__ if isinstance(error, ArgumentError) else error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Guarded) and self.function == other.function

    def __hash__(self) -> int:
        return hash(self.function)

    @abc.abstractmethod
    def explain(self, *args: Any, **kwargs: Any) -> ArgumentError | None:
        """What is wrong with arguments."""


class GuardedInit(Guarded):
    """The `init` of a cell."""

    def explain(self, key: Any = None, in_features: Any = None) -> ArgumentError | None:
        wide = hasattr(in_features, "__index__") and in_features.__index__() > 0
        if isinstance(key, jax.Array | np.ndarray) and wide:
            return None
        return MisfitError(
            "init",
            "`init` takes a key, such as jax.random.key(0), and in_features, the width of the "
            f"inputs, a positive whole number; got {spell_argument(key)} and "
            f"{spell_argument(in_features)}.",
        )


class GuardedInitialCarry(Guarded):
    """The `initial_carry` of a cell."""

    def explain(self, params: Params, batch_shape: Any = ()) -> ArgumentError | None:
        if isinstance(batch_shape, tuple | list):
            return explain_params(self.cell, params, None)
        return MisfitError(
            "initial_carry",
            "`initial_carry` takes a batch shape, a tuple such as (2,) or (); got "
            f"{batch_shape!r}.",
        )


class GuardedStep(Guarded):
    """The `step` of a cell, which must not broadcast a carry to another batch."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Not by `super`: each frame more costs every operation of an eager step.
        try:
            made = self.function(*args, **kwargs)
        except FAILURES as error:
            self.clear_up(error, *args, **kwargs)
            raise
        if len(args) == 3 and isinstance(made, tuple) and not _alike(args[1], made[0]):
            found = self.explain(*args)
            if found is not None:
                raise found.of(self.cell.call)
        return made

    def explain(self, params: Params, carry: Carry, x: Any) -> ArgumentError | None:
        cell = self.cell
        found = explain_inputs(cell, x, "x") or explain_params(cell, params, x)
        if found is not None:
            return found
        leaf, rank = jax.tree.leaves(x)[0], jax.tree.leaves(cell.input_ndim)[0]
        batch_shape = leaf.shape[: leaf.ndim - rank]
        wanted = jax.eval_shape(lambda given: cell.initial_carry(given, batch_shape), params)
        lacks = difference(wanted, carry, more=False)
        if lacks is None:
            return None
        return MisfitError(
            "step",
            f"expected a carry for inputs of shape {leaf.shape}, one step of the batch "
            f"{batch_shape}, {lacks}. Start from cell.initial_carry(params, {batch_shape}); whole "
            "sequences go through sj.scan.",
        )


GUARDS = {"init": GuardedInit, "initial_carry": GuardedInitialCarry, "step": GuardedStep}
"""For each function of a cell what guards it."""


def bare(function: Any) -> Any:
    """The function that is guarded, or the function itself."""
    return function.function if isinstance(function, Guarded) else function


def _alike(before: Carry, after: Carry) -> bool:
    """Whether the arrays of two carries have the same shapes."""
    if before is after:
        return True
    old, new = jax.tree.leaves(before), jax.tree.leaves(after)
    shapes = ((getattr(leaf, "shape", ()) for leaf in leaves) for leaves in (old, new))
    return len(old) == len(new) and all(a == b for a, b in zip(*shapes, strict=True))
