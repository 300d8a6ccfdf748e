"""Numbers with bounds, as types of options: what `--batch 0` or `--dropout 2` meets."""

import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from seqjax.core.errors import InputError


class Bounds(NamedTuple):
    """Which values an option may have, in words and as a condition."""

    words: str
    hold: Callable[[float], bool]


ABOVE_ZERO = Bounds("above 0", lambda value: value > 0)
NOT_NEGATIVE = Bounds("0 or more", lambda value: value >= 0)

PositiveInt = Annotated[int, ABOVE_ZERO]
PositiveFloat = Annotated[float, ABOVE_ZERO]
NonNegativeInt = Annotated[int, NOT_NEGATIVE]
NonNegativeFloat = Annotated[float, NOT_NEGATIVE]
Probability = Annotated[float, Bounds("in [0, 1]", lambda value: 0 <= value <= 1)]
ProbabilityBelowOne = Annotated[float, Bounds("in [0, 1)", lambda value: 0 <= value < 1)]
Fraction = Annotated[float, Bounds("between 0 and 1", lambda value: 0 < value < 1)]


def check_bounds(config: Any) -> None:
    """Raises `InputError` where a field, here or in the records inside, is out of its bounds.

    Example:
      >>> import dataclasses
      >>> from seqjax.train.bounds import PositiveInt, check_bounds
      >>> @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     batch: PositiveInt = 64
      >>> check_bounds(Config(batch=0))
      Traceback (most recent call last):
      seqjax.core.errors.InputError: --batch must be above 0, got 0.
    """
    hints = typing.get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_bounds(value)
            continue
        bounds = _exceeded(hints[field.name], value)
        if bounds is not None:
            every = ", all of them" if isinstance(value, tuple) else ""
            option = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{option} must be {bounds.words}{every}, got {value}.")


def _exceeded(hint: Any, value: Any) -> Bounds | None:
    """The bounds in a type that a value, or an element of it, is out of."""
    if value is None:
        return None
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        broken = (mark for mark in inner[1:] if isinstance(mark, Bounds) and not mark.hold(value))
        return next(broken, None)
    if origin in (types.UnionType, typing.Union):
        return next(filter(None, (_exceeded(kind, value) for kind in inner)), None)
    if origin is tuple:
        return next(filter(None, (_exceeded(inner[0], one) for one in value)), None)
    return None
