"""The configuration of a run as JSON, and from JSON of this version or an earlier one."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from seqjax.core.errors import InputError
from seqjax.train.config import RunConfig
from seqjax.train.migrations import VERSION, migrate


def to_json(kind: str, config: RunConfig) -> str:
    """The configuration of a run of the task `kind`, as JSON."""
    head = {"version": VERSION, "kind": kind}
    return json.dumps(head | dataclasses.asdict(config), indent=2, default=str)


def from_json(text: str, configs: Mapping[str, type[RunConfig]]) -> tuple[str, RunConfig]:
    """`(kind, config)` as written by `to_json`, by this version or by an earlier one.

    Args:
      text: the JSON.
      configs: the class of the configuration for each kind of task.

    Raises:
      InputError: if a key or a task is unknown, or a later version wrote it.
      ValueError: if it is not JSON; KeyError or TypeError if it is something else.
    """
    values = migrate(json.loads(text))
    kind = values.pop("kind")
    if kind is None:
        raise InputError(
            "This config names no task, so it is not that of a run; `seqjax import` makes a run "
            "of a published model."
        )
    if kind not in configs:
        raise InputError(f"There is no task {kind!r}; the tasks are {', '.join(configs)}.")
    return kind, _build(configs[kind], values, "")


def _build(hint: Any, value: Any, path: str) -> Any:
    """A value of a type from its JSON; `path` leads to it, as `model.cell`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build_record(hint, value, path)
    if origin is Annotated:
        return _build(inner[0], value, path)
    if origin in (types.UnionType, typing.Union):
        some = next(kind for kind in inner if kind is not type(None))
        return None if value is None else _build(some, value, path)
    if origin is tuple:
        return tuple(_build(inner[0], one, path) for one in value)
    if origin is Literal and value not in inner:
        expected = ", ".join(map(str, inner))
        raise InputError(f"{path} must be one of {expected}, got {value!r}.")
    if hint is Path:
        return Path(value)
    if hint in (bool, int, str) and type(value) is not hint:
        raise InputError(f"{path} must be of type {hint.__name__}, got {value!r}.")
    return value


def _build_record(record: Any, values: Any, path: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{path or 'The configuration'} must be an object, got {values!r}.")
    hints = typing.get_type_hints(record, include_extras=True)
    inside = f"{path}." if path else ""
    for name in values:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, n=1, cutoff=0.5)
            advice = f"did you mean {inside + close[0]!r}?" if close else "remove it."
            raise InputError(f"There is no option {inside + name!r}: {advice}")
    return record(
        **{name: _build(hints[name], value, inside + name) for name, value in values.items()}
    )


FREE = frozenset(
    {
        "out",
        "resume",
        "sample",
        "log_every",
        "devices",
        "time_devices",
        "model_devices",
        "sharded",
        "accumulate",
        "token_cache",
    }
)
"""Options that may differ when a run goes on: how many devices share the work, and in how many
parts they take it, changes no more than rounding."""


def differences(saved: Any, config: Any, free: frozenset[str] = FREE) -> list[str]:
    """The options that would change the course of a run, as `--name old, not new`.

    Args:
      saved: the options of the run.
      config: those asked for.
      free: names of fields that may differ.
    """
    found = []

    def compare(old: Any, new: Any) -> None:
        for field in dataclasses.fields(old):
            before, after = getattr(old, field.name), getattr(new, field.name)
            if dataclasses.is_dataclass(before):
                compare(before, after)
            elif before != after and field.name not in free:
                name = field.name.rstrip("_").replace("_", "-")
                found.append(f"--{name} {before}, not {after}")

    compare(saved, config)
    return found
