"""The user's files, as examples."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.categories import find_categories
from seqjax.data.formats.description import listed
from seqjax.data.formats.regular_series import GridReport, on_grid
from seqjax.train.bounds import Fraction, NonNegativeInt, PositiveInt
from seqjax.train.stored_inputs import looked_at


@dataclasses.dataclass(frozen=True)
class FilesConfig:
    """Your own files."""

    train: tuple[Path, ...] = ()
    """Files to learn from, instead of --source: .csv, .tsv, .jsonl, .conllu, tables of words, .ts,
    .npz or folders of texts, also with .gz; the options below name their columns."""
    validation: tuple[Path, ...] = ()
    """Files to choose the best checkpoint by; by default a share of the training data."""
    test: tuple[Path, ...] = ()
    """Files that `seqjax evaluate` tests the trained model on."""
    held_out: Fraction = 0.1
    """Share of the training data that is held out for validation."""
    skip_malformed: bool = False
    """Skip and count rows that cannot be read, instead of stopping at the first."""


@dataclasses.dataclass(frozen=True)
class SequenceConfig:
    """How sequences are truncated and batched."""

    max_length: NonNegativeInt = 0
    """Longer sequences are truncated to this many steps; 0 for no limit."""
    truncate_side: Literal["head", "tail"] = "head"
    """The side of a truncated sequence that is kept."""
    buckets: PositiveInt = 4
    """Batches are padded to at most this many lengths, for each of which a program is compiled; 1
    pads all to the longest."""


class Data(NamedTuple):
    """Examples to learn from, to validate on and to test on.

    `validation` is None where it is to be held out from `train`. `values` are the columns of
    numbers in the user's files, and `roles` further roles of columns that were found in them, as
    fields of `Fields`.
    """

    name: str
    train: list[Example]
    validation: list[Example] | None
    test: list[Example]
    values: tuple[str, ...] | None = None
    roles: Mapping[str, Any] = {}

    def loaded(self) -> "Data":
        """The data with all inputs in memory."""
        train, validation, test = (
            part and [example.loaded() for example in part]
            for part in (self.train, self.validation, self.test)
        )
        return self._replace(train=train or [], validation=validation, test=test or [])


def find_data(config: Any, from_source: Callable[[str], Data], log: Callable[[str], None]) -> Data:
    """The user's files, or the source that the configuration names.

    Args:
      config: the options of a task, with `source`, `files` and `columns`.
      from_source: reads a source by its name.
      log: where lines for the user go.

    Raises:
      InputError: if a file or the source cannot be read.
    """
    files = config.files
    if not files.train:
        if files.validation or files.test:
            raise InputError("--validation and --test go with --train: name the training files.")
        return from_source(config.source)
    first = files.train[0]
    # All files must have the columns of the first.
    asked = config.columns.fields
    description = find_format(first, asked).describe(first, asked)
    for line in description.lines():
        log(line)
    categories = find_categories(files.train, find_format(first, asked), description)
    for name, words in categories:
        log(f"{first}: {name!r} is encoded as {listed(words) if words else 'true 1 and false 0'}")
    fields = dataclasses.replace(description.fields, categories=categories)
    for path in (*files.train[1:], *files.validation, *files.test):
        # Each file tells by itself how its numbers are written.
        for line in find_format(path, fields).describe(path, fields).lines():
            log(line)
    parts = []
    for paths in (files.train, files.validation, files.test):
        malformed = Malformed(files.skip_malformed)
        parts.append(read_examples(paths, fields, malformed, log))
        if malformed.count:
            log(malformed.summary())
    train, validation, test = parts
    name = ", ".join(map(str, files.train))
    return Data(
        name, train, validation or None, test, fields.values, found_roles(config.columns, fields)
    )


def found_roles(options: Any, found: Fields) -> dict[str, Any]:
    """The roles, besides `values`, that were found in a file, and that no option names already."""
    asked = options.fields
    return {
        field.name: getattr(found, field.name)
        for field in dataclasses.fields(found)
        if field.name != "values"
        and getattr(found, field.name)
        not in (getattr(asked, field.name), getattr(options, field.name, None))
    }


def read_examples(
    paths: Iterable[Path], fields: Fields, malformed: Malformed, log: Callable[[str], None]
) -> list[Example]:
    """All examples of files, one after the other; what was found of their times goes to `log`.

    Raises:
      InputError: if a file cannot be read, holds nothing, or has a malformed row that is not
        to be skipped.
    """
    found: list[Example] = []
    for path in paths:
        before = len(found)
        examples = find_format(path, fields).index(path, fields, malformed)
        report = GridReport(fields.time or "")
        if fields.time is not None:
            examples = on_grid(examples, fields, malformed, report)
        found += looked_at(examples, malformed)
        for line in report.lines(path):
            log(line)
        if len(found) == before:
            raise InputError(f"{path} holds no example that can be used. {malformed.summary()}")
    return found


def hold_out(
    examples: Sequence[Example], share: float, groups: Sequence[str]
) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to validate on: `share` of every group, always the same ones.

    At least one example of every group is left to train on.

    Raises:
      InputError: if there are too few examples to hold any out.
    """
    order = np.random.default_rng(0).permutation(len(examples))
    by_group: dict[Any, list[int]] = {}
    for place in order.tolist():
        by_group.setdefault(groups[place], []).append(place)
    # Group after group, and evenly spaced examples of these: small groups have their share.
    line = [place for group in sorted(by_group) for place in by_group[group]]
    count = max(1, round(share * len(line)))
    if count >= len(line):
        raise InputError(
            f"{len(line)} examples are too few to hold some out for validation. Give more, or "
            "name files with --validation."
        )
    chosen = {line[(2 * i + 1) * len(line) // (2 * count)] for i in range(count)}
    # What is held out whole cannot be learned.
    chosen -= {members[0] for members in by_group.values() if chosen.issuperset(members)}
    if not chosen:
        raise InputError(
            f"No group has more than one of the {len(line)} examples: none can be held out for "
            "validation. Give more, or name files with --validation."
        )
    return (
        [example for place, example in enumerate(examples) if place not in chosen],
        [example for place, example in enumerate(examples) if place in chosen],
    )
