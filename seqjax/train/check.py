"""`seqjax check`: how a file would be read, before anything trains."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import BINARY, Column, Description, Fields, Format, find_format
from seqjax.data.formats.audio import Audio
from seqjax.data.formats.fields import FIND
from seqjax.data.formats.json_lines import JSON_LINES
from seqjax.data.formats.npy import NPY, load_array
from seqjax.data.formats.regular_series import GridReport, on_grid
from seqjax.data.formats.token_tables import TOKENS
from seqjax.data.survey import Survey
from seqjax.train.short_runs import notes_on_groups

SHOWN = 30
"""Number of columns that are listed."""

NAMES = {
    "text": ("text", "sentence", "review", "content", "message", "comment", "source", "question"),
    "label": ("label", "class", "target", "category", "sentiment", "labels", "y"),
    "time": ("time", "date", "timestamp", "datetime", "ds"),
    "series": ("series", "series_id", "unique_id", "item_id"),
}
"""Names by which a column is found, the likeliest first."""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Says how a file would be read: its columns, lengths, labels, and what looks odd.

    The options name columns as those of `seqjax train` do; without any, columns of usual names are
    taken.
    """

    file: Path
    """The file or folder."""
    text: str | None = None
    """Column of the text."""
    tokens: str | None = None
    """Column of the tokens."""
    image: str | None = None
    """Column of a picture or a clip."""
    audio: str | None = None
    """Column with the path of a file of sound."""
    label: str | None = None
    """Column of the class, of the labels, or of the text to write."""
    number: str | None = None
    """Column of the number to predict."""
    tag: str | None = None
    """Column of the tags."""
    series: str | None = None
    """Column with the name of the series, for files with one row per time step."""
    time: str | None = None
    """Column of the time, for files with one row per time step."""
    values: tuple[str, ...] = ()
    """Columns of numbers."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table whose first line does not name them."""
    separator: str | None = None
    """Separates the labels of an example."""
    missing: tuple[str, ...] = ()
    """Further signs of a missing value."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        return Fields(
            text=self.text,
            tokens=self.tokens,
            image=self.image,
            audio=None if self.audio is None else Audio(self.audio),
            label=self.label,
            label_separator=self.separator,
            number=self.number,
            tag=self.tag,
            series=self.series,
            time=self.time,
            values=self.values or None,
            columns=self.columns,
            missing=True,
            missing_names=self.missing,
        )


def check(config: CheckConfig) -> Iterator[str]:
    """The lines of the report on a file.

    Raises:
      InputError: if it cannot be read at all.
    """
    path, fields = config.file, config.fields
    fields = with_tags(path, fields)
    file_format = find_format(path, fields)
    yield f"{'file':11} {path}: {file_format.name}"
    fields = with_usual_names(path, file_format, fields)
    description = file_format.describe(path, fields)
    yield from _columns(description)
    for line in description.lines():
        yield line.removeprefix(f"{path}: ")
    malformed, survey = Malformed(skip=True), Survey()
    report = GridReport(fields.time or "")
    examples = file_format.read(path, description.fields, malformed)
    if fields.time is not None:
        examples = on_grid(examples, description.fields, malformed, report)
    for example in examples:
        survey.add(example)
    yield from survey.lines()
    yield from (line.removeprefix(f"{path}: ") for line in report.lines(path))
    labels = [name for name, count in survey.labels.items() for _ in range(min(count, 2))]
    found = [*survey.odd(), *notes_on_groups(labels, labels)]
    if malformed.count:
        found += malformed.summary().splitlines()
    if found:
        yield "odd"
        yield from (f"  {line}" for line in found)


def with_tags(path: Path, fields: Fields) -> Fields:
    """The fields; where none is named, with words and tags to be found if the file has them."""
    if fields.meant or fields.values or not path.is_file() or find_format(path, fields) in BINARY:
        return fields
    tagged = dataclasses.replace(fields, tokens=FIND, tag=FIND)
    found = find_format(path, tagged)
    if found is TOKENS:
        resolved = found.describe(path, tagged).fields
        first = next(iter(found.read(path, resolved, Malformed(skip=True))), None)
        # Lines of a text may be short too, and translations stand side by side.
        cells = [] if first is None else [*first.inputs, *(first.target or ())]
        one = resolved.tokens == resolved.tag
        return fields if one or 5 * sum(" " in cell for cell in cells) > len(cells) else tagged
    if found is JSON_LINES:
        with contextlib.suppress(InputError):
            return found.describe(path, tagged).fields
    return fields


def with_usual_names(path: Path, file_format: Format, fields: Fields) -> Fields:
    """The fields; where none is named, with the columns of the file that have usual names.

    Raises:
      InputError: if the file cannot be read.
    """
    if fields.meant or fields.values or fields.columns:
        return fields
    bare = file_format.describe(path, dataclasses.replace(fields, values=()))
    if not bare.columns:
        # Folders and archives have no columns; their labels need no name.
        labelled = path.is_dir() and any(item.is_dir() for item in path.iterdir())
        one = file_format is NPY and load_array(path).ndim == 1
        return dataclasses.replace(fields, label="label" if labelled else None, one_series=one)
    words = [column for column in bare.columns if column.kind == "words"]
    if words and [c.name for c in bare.columns[:2]] == ["column_1", "column_2"]:
        return dataclasses.replace(fields, text="text", label="label")
    by_name = {column.name.strip().lower(): column for column in bare.columns}
    found: dict[str, str] = {}
    for role, names in NAMES.items():
        column = next((by_name[name] for name in names if name in by_name), None)
        if column is not None and _suits(role, column):
            found[role] = column.name
    if "date" in by_name and "time" in by_name:
        found["time"] = f"{by_name['date'].name}+{by_name['time'].name}"
    kinds = {column.kind for column in bare.columns}
    if "lists" in kinds and "text" not in found:
        # A row is a series then, and a list is no label.
        lists = [column.name for column in bare.columns if column.kind == "lists"]
        found = {
            role: name for role, name in found.items() if role == "label" and name not in lists
        }
    others = [column for column in words if column.name not in found.values()]
    if "text" not in found and others and not kinds & {"numbers", "lists"}:
        found["text"] = max(others, key=lambda column: len(column.sample)).name
    label = found.get("label")
    numbers = [c.name for c in bare.columns if c.kind in ("numbers", "lists") and not c.note]
    if "time" in found and set(numbers) <= {label, found["time"]}:
        # What there is to forecast, as in files for Prophet.
        found.pop("label", None)
    if "text" in found:
        found = {role: name for role, name in found.items() if role in ("text", "label")}
    elif not any(column.kind in ("numbers", "lists") for column in bare.columns):
        names = ", ".join(column.name for column in bare.columns)
        raise InputError(f"{path}: name the column of the text with --text; there are {names}.")
    return dataclasses.replace(fields, **found)


def _suits(role: str, column: Column) -> bool:
    return column.kind == "words" if role == "text" else column.kind != "nothing"


def _columns(description: Description) -> Iterator[str]:
    if not description.columns:
        return
    yield f"{'columns':11} {len(description.columns):,}, in the first {description.rows:,} rows:"
    roles = _roles(description.fields)
    width = max(len(column.name) for column in description.columns[:SHOWN])
    for column in itertools.islice(description.columns, SHOWN):
        facts = [
            roles.get(column.name, ""),
            f"{column.missing:,} missing" if column.missing else "",
            column.note,
        ]
        said = ", ".join(filter(None, facts))
        yield f"  {column.name:{width}}  {column.kind:13}  {column.sample!r}" + (
            f"  ({said})" if said else ""
        )
    if len(description.columns) > SHOWN:
        yield f"  and {len(description.columns) - SHOWN:,} more"


def _roles(fields: Fields) -> dict[str, str]:
    """The role of each column that has one."""
    names = ("text", "tokens", "image", "label", "number", "series", "time", "tag")
    found = dict.fromkeys(fields.values or (), "a value")
    return found | {getattr(fields, role): f"the {role}" for role in names if getattr(fields, role)}
