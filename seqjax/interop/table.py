"""What a family of models says of its weights: a table of rules that is read in both directions."""

import collections
import dataclasses
import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flax import nnx

from seqjax.core.errors import InputError
from seqjax.interop.operations import Arrays, Operation

Shapes = Mapping[str, tuple[int, ...]]
"""By their name."""

PLACE = re.compile(r"\{(\w+)\}")
SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Rule:
    """Which of their arrays make which of ours.

    Names may have places such as `{layer}` that stand for numbers; a rule holds for every number
    with which one of its paths exists here. A rule of which no path exists says nothing: a bias
    that some models lack needs no more than its rule. Of several rules for the same paths that one
    holds of which most names came, or the first: names that have changed need a second rule.

    Args:
      theirs: one name or several, `"backbone.layers.{layer}.norm.weight"`; none with `constant`.
      ours: one path or several in the tree of the module, `"rnn.blocks.mamba_{layer}.norm.gain"`.
      operations: from theirs to ours, one or several in a row.
      float32: whether it stays in float32 when all else is loaded in a narrower dtype.
      constant: the value of an array that they do not have. A model in which it has another value
        is not saved.

    Raises:
      ValueError: if the places of the names differ.
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    operations: Operation | tuple[Operation, ...] = ()
    _: dataclasses.KW_ONLY
    float32: bool = False
    constant: float | None = None

    def __post_init__(self):
        for field in ("theirs", "ours", "operations"):
            value = getattr(self, field)
            object.__setattr__(self, field, value if isinstance(value, tuple) else (value,))
        places = {frozenset(PLACE.findall(name)) for name in (*self.theirs, *self.ours)}
        if len(places) != 1 or bool(self.theirs) == (self.constant is not None):
            raise ValueError(
                f"{self}: expected names with the same places, and theirs or a constant."
            )

    def load(self, arrays: Arrays) -> Arrays:
        """Our arrays of theirs."""
        for operation in self._steps():
            arrays = operation.load(arrays)
        return arrays

    def save(self, arrays: Arrays) -> Arrays:
        """Their arrays of ours."""
        for operation in reversed(self._steps()):
            arrays = operation.save(arrays)
        return arrays

    def _steps(self) -> Sequence[Any]:
        return self.operations  # pyright: ignore[reportReturnType]


def under(theirs: str, ours: str, *rules: Rule) -> tuple[Rule, ...]:
    """The rules with something in front of all their names and all our paths.

    Example:
      >>> from seqjax.interop import Rule, under
      >>> (rule,) = under("layers.{i}.", "rnn.block_{i}.", Rule("norm.weight", "norm.gain"))
      >>> rule.theirs, rule.ours
      (('layers.{i}.norm.weight',), ('rnn.block_{i}.norm.gain',))
    """
    return tuple(
        dataclasses.replace(
            rule,
            theirs=tuple(theirs + name for name in rule.theirs),
            ours=tuple(ours + path for path in rule.ours),
        )
        for rule in rules
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Family:
    """Models with one layout of weights: how to tell them, build them, and where all goes.

    Args:
      name: of the family, as in `sj.interop.save(..., family=name)`.
      matches: `(config, shapes) -> bool`: whether it is theirs. `config` is what `config.json`
        says, empty if there is none.
      build: `(config, shapes, rngs) -> nnx.Module`, from the config and, where that says too
        little, from the shapes of the weights. To load it runs without arrays: nothing is drawn.
      rules: `config -> rules`.
      describe: `shapes -> config`: what the shapes of the weights tell where no config does.
      defaults: what a config says that leaves it out.
      requires: the value that a key must have if a config has it, as there is no option here for
        others; a frozenset of values for any of them.
      tied: their names that may repeat another, and which; a model that ties them has one leaf for
        both.
      ignored: their names that no model needs, `"model.visual.*"` for all that begin so. They are
        kept for the way back.
      arrange: arrays by name in the form in which the library takes them, see
        `sj.interop.weights`.
    """

    name: str
    matches: Callable[[Mapping[str, Any], Shapes], bool]
    build: Callable[[Mapping[str, Any], Shapes, nnx.Rngs], nnx.Module]
    rules: Callable[[Mapping[str, Any]], Sequence[Rule]]
    _: dataclasses.KW_ONLY
    describe: Callable[[Shapes], Mapping[str, Any]] = lambda shapes: {}
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    requires: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    arrange: Callable[[dict[str, Any]], Any] = dict

    def __repr__(self) -> str:
        return f"<family {self.name}>"

    def ignored_of(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are `ignored`."""
        return [
            name
            for name in names
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignored)
        ]

    def complete(self, config: Mapping[str, Any], shapes: Shapes) -> dict[str, Any]:
        """The config with the defaults and what the shapes tell.

        Raises:
          InputError: if it says of a key what `requires` does not.
        """
        for key, value in self.requires.items():
            values = sorted(value) if isinstance(value, frozenset) else [value]
            if key in config and config[key] not in values:
                raise InputError(
                    f"{self.name}: {key} can be {' or '.join(map(repr, values))} here; this model "
                    f"has {config[key]!r}."
                )
        return {**self.defaults, **(self.describe(shapes) if shapes else {}), **config}


@dataclasses.dataclass(frozen=True)
class Placed:
    """A rule with its names, every place filled."""

    rule: Rule
    theirs: tuple[str, ...]
    ours: tuple[str, ...]


def to_load(
    family: Family, config: Mapping[str, Any], theirs: Iterable[str], ours: Iterable[str]
) -> list[Placed]:
    """The rules that make all of ours of all of theirs.

    Raises:
      InputError: with the names that have no place, and the leaves that would stay empty.
    """
    given, wanted = set(theirs), set(ours)
    given -= set(family.ignored_of(given))
    found = _all_placed(family.rules(config), wanted, given)
    placed = [one for one in found if not one.theirs or not given.isdisjoint(one.theirs)]
    used, filled = _expect_once(family, placed)
    without = [one for one in found if filled.isdisjoint(one.ours)]
    missing = (used | {name for one in without for name in one.theirs}) - given
    surplus = given - used - set(family.tied)
    empty = wanted ^ (filled | {path for one in without for path in one.ours})
    if missing or surplus or empty:
        raise InputError(
            f"The weights are not those of a model of the family {family.name} with this config: "
            + "; ".join(
                f"{what} {_shortened(names)}"
                for what, names in (
                    ("missing are", missing),
                    ("there is no place for", surplus),
                    ("nothing fills our", empty),
                )
                if names
            )
            + "."
        )
    return placed


def to_save(
    family: Family, config: Mapping[str, Any], ours: Iterable[str], theirs: Iterable[str] = ()
) -> list[Placed]:
    """The rules that make their arrays of all of ours, under the names that came.

    Raises:
      InputError: with the leaves for which the family has no place.
    """
    wanted = set(ours)
    placed = _all_placed(family.rules(config), wanted, set(theirs))
    _, filled = _expect_once(family, placed)
    if wanted - filled:
        raise InputError(f"{family.name} has no place for our {_shortened(wanted - filled)}.")
    if filled - wanted:
        raise InputError(f"{family.name} needs our {_shortened(filled - wanted)}; there is none.")
    return placed


def _all_placed(rules: Sequence[Rule], ours: set[str], theirs: set[str]) -> list[Placed]:
    """The rules with all numbers with which a path of theirs is one of ours."""
    found: dict[tuple[str, ...], list[Placed]] = {}
    for rule in rules:
        numbers = {}
        for match in (match for path in rule.ours for match in map(_regex(path), ours) if match):
            places = match.groupdict()
            numbers[tuple(sorted(places.items()))] = places
        for key in sorted(numbers, key=lambda places: [int(number) for _, number in places]):
            fill = numbers[key]
            one = Placed(
                rule,
                tuple(name.format(**fill) for name in rule.theirs),
                tuple(path.format(**fill) for path in rule.ours),
            )
            found.setdefault(one.ours, []).append(one)
    return [
        max(same, key=lambda one: len(theirs.intersection(one.theirs))) for same in found.values()
    ]


def _regex(pattern: str) -> Callable[[str], re.Match | None]:
    """Matches the names of a pattern; every place is one number."""
    text, seen = "", set()
    for index, part in enumerate(PLACE.split(pattern)):
        if index % 2 == 0:
            text += re.escape(part)
        else:
            text += f"(?P={part})" if part in seen else rf"(?P<{part}>\d+)"
            seen.add(part)
    return re.compile(text).fullmatch


def _expect_once(family: Family, placed: Sequence[Placed]) -> tuple[set[str], set[str]]:
    """All their names and our paths in use; an error if one is used twice."""
    theirs = collections.Counter(name for one in placed for name in one.theirs)
    ours = collections.Counter(path for one in placed for path in one.ours)
    twice = [name for names in (theirs, ours) for name, times in names.items() if times > 1]
    if twice:
        raise ValueError(f"{family.name}: two rules use {_shortened(twice)}.")
    return set(theirs), set(ours)


def _shortened(names: Iterable[str]) -> str:
    first, more = sorted(names)[:SHOWN], len(set(names)) - SHOWN
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")
