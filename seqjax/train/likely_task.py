"""Which task a file is likely for, and the options with which `seqjax train` would read it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Column, Description, Fields, Format, find_format
from seqjax.data.formats.audio import SOUNDS
from seqjax.data.formats.column_choice import steps_of
from seqjax.data.formats.conllu import CONLLU
from seqjax.data.formats.csv_files import CSV
from seqjax.data.formats.folders import FOLDER
from seqjax.data.formats.images import PICTURES
from seqjax.data.formats.npy import NPY, load_array
from seqjax.data.formats.npz import INPUTS, NPZ, names_in
from seqjax.data.formats.text_files import TEXT
from seqjax.data.formats.time_formats import is_time
from seqjax.data.formats.token_tables import TOKENS
from seqjax.data.formats.ts import TS
from seqjax.data.formats.tsf import TSF
from seqjax.train.tag_options import TagFields

Roles = Mapping[str, str | None]
"""Options by their names with underscores; None for one without a value."""

NAMES = {
    "text": (
        "text", "sentence", "review", "content", "message", "comment", "tweet", "source",
        "question",
    ),
    "label": (
        "label", "class", "target", "category", "sentiment", "labels", "y", "rating", "stars",
        "score", "species", "intent", "emotion", "topic", "activity", "outcome",
    ),
    "time": ("time", "date", "timestamp", "datetime", "date_time", "ds", "year"),
    "series": ("series", "series_id", "unique_id", "item_id"),
}  # fmt: skip
"""Names by which a column is found, the likeliest first."""

PIXELS = 12
"""Columns of numbers without names from which on a row is a series, and one its class."""


def likely_task(path: Path, given: Mapping[str, Sequence[str]]) -> tuple[str, Roles]:
    """The task that a file is likely for, and further options that name its columns.

    Args:
      path: of the file or folder.
      given: the options that the user gave, by name, and their values.

    Raises:
      InputError: if the file cannot be read.
    """
    if "tag" in given or _is_tagged(path):
        return "tag", {}
    file_format = find_format(path, Fields(columns=tuple(given.get("columns", ()))))
    if file_format is FOLDER:
        return _of_folder(path)
    if file_format in (TS, TEXT, TSF, NPY, NPZ):
        return _of_series(path, file_format)
    fields = Fields(values=(), columns=tuple(given.get("columns", ())), missing=True)
    bare = file_format.describe(path, fields)
    if not bare.columns:
        raise InputError(f"{path} has only a header; expected at least one row below it.")
    taken = {value for values in given.values() for value in values}
    return _of_table(bare, taken, given)


def _is_tagged(path: Path) -> bool:
    """Whether a file holds words with tags, as `seqjax train tag` finds them by itself."""
    fields = TagFields().fields
    if not path.is_file():
        return False
    with contextlib.suppress(InputError):
        found = find_format(path, fields)
        if found in (NPZ, NPY, TS, TSF, TEXT):
            return False
        resolved = found.describe(path, fields).fields
        if found is CONLLU or resolved.tokens is None:
            return found is CONLLU
        first = next(found.read(path, resolved, Malformed(skip=True)), None)
        if first is None:
            return False
        if found is TOKENS:
            # Lines of a text may be short too, and translations stand side by side.
            cells = [*first.inputs, *(first.target or ())]
            one = resolved.tokens == resolved.tag
            return not one and 5 * sum(" " in cell for cell in cells) <= len(cells)
        # A word with a class in every row is no sentence.
        return found is not CSV or resolved.series is not None or len(first.inputs) > 1
    return False


def _of_folder(path: Path) -> tuple[str, Roles]:
    suffixes = [file.suffix.lower() for file in path.rglob("*") if file.is_file()]
    for kinds, role in ((PICTURES, "frames"), (SOUNDS, "audio")):
        if 2 * sum(suffix in kinds for suffix in suffixes) > len(suffixes):
            return "classify", {role: "file"}
    return ("classify" if any(item.is_dir() for item in path.iterdir()) else "lm"), {}


def _of_series(path: Path, file_format: Format) -> tuple[str, Roles]:
    """The task of a file whose series or texts are in no columns with names."""
    if file_format is NPZ:
        names = names_in(path)
        found = next((name for name in NAMES["label"] if name in names), None)
        if {"image", "caption"} <= set(names):
            return "caption", {}
        if "tags" in names:
            return "tag", {}
        if "text" in names:
            return ("transcribe", {}) if INPUTS in names else ("classify", {"text": "text"})
        return "classify", {"label": found}
    if file_format is NPY:
        return "forecast", {} if load_array(path).ndim == 1 else {"series_in_rows": None}
    return {TS: "classify", TSF: "forecast"}.get(file_format, "lm"), {}


def _of_table(
    bare: Description, taken: set[str], given: Mapping[str, Sequence[str]]
) -> tuple[str, Roles]:
    """The task of a table by the names of its columns and what they hold."""
    columns = {column.name: column for column in bare.columns if column.name not in taken}
    numbers = [c for c in bare.columns if c.kind in ("numbers", "lists") and not c.note]
    words = [column for column in columns.values() if column.kind == "words"]
    lists = any(column.kind == "lists" for column in bare.columns)
    files = _of_files(words)
    if files:
        return files
    by_name = {name.strip().lower(): column for name, column in columns.items()}
    pair = [by_name[name].kind for name in ("source", "target") if name in by_name]
    if len(pair) == 2 and not {"numbers", "lists"} & set(pair):
        return "translate", {}
    times = _times(by_name, words)
    nameless = [column.name for column in bare.columns[:2]] == ["column_1", "column_2"]
    if nameless and not times and (words or len(bare.columns) > PIXELS):
        # What columns without names hold tells the text and the class.
        texts = len(numbers) < 2 or any(map(_is_sentence, words))
        return "classify", {"text": "text"} if texts else {}
    found = {role: _named(by_name, role) for role in ("series", "label", "text")}
    if found["text"] is None and "text" not in given and not times:
        others = [column for column in words if column.name != found["label"]]
        others = [column for column in others if not numbers or _is_sentence(column)]
        found["text"] = max(others, key=lambda c: len(c.sample)).name if others else None
    if found["text"] is not None or "text" in given:
        return "classify", {
            "text": found["text"],
            "label": found["label"] or _other(columns, found),
        }
    if lists:
        label = found["label"] if found["label"] not in {c.name for c in numbers} else None
        return ("forecast", {}) if label is None and "label" not in given else _classes(label)
    if times and not (found["series"] and found["label"]):
        # What there is to forecast is called like a label in files for Prophet.
        return "forecast", {"time": times, "series": found["series"]}
    if found["series"] is not None and found["label"] is not None:
        return "classify", {**found, "text": None, "time": times}
    wide = len(steps_of([column.name for column in bare.columns])) > 2
    ends = [c for c in (bare.columns[0], bare.columns[-1]) if c in words and len(numbers) > 1]
    label = found["label"] or (ends[0].name if len(words) == 1 and ends and not wide else None)
    if (label is None and "label" not in given) or "covariates" in given:
        return "forecast", {"series_in_rows": None} if wide else {"series": found["series"]}
    return _classes(label)


def _is_sentence(column: Column) -> bool:
    return column.sample.count(" ") > 1 and not is_time(column.sample)


def _classes(label: str | None) -> tuple[str, Roles]:
    return "classify", {"label": label}


def _of_files(words: Sequence[Column]) -> tuple[str, Roles] | None:
    """The task of a table with the paths of pictures or sounds; None if there are none."""
    by_name = {column.name.strip().lower(): column for column in words}
    if {"image", "caption"} <= set(by_name):
        return "caption", {}
    for column in words:
        suffix = Path(column.sample).suffix.lower()
        if suffix in SOUNDS or suffix in PICTURES:
            text = next((n for n in ("caption", "text", "transcript") if n in by_name), None)
            text = None if text is None else by_name[text].name
            label = _named(by_name, "label")
            role = "audio" if suffix in SOUNDS else "frames"
            if text is None or label is not None:
                return "classify", {role: column.name, "label": label}
            if suffix in SOUNDS:
                return "transcribe", {"audio": column.name, "text": text}
            return "caption", {"image": column.name, "caption": text}
    return None


def _named(by_name: Mapping[str, Column], role: str) -> str | None:
    """The column whose name is usual for a role, if what it holds suits it."""
    column = next((by_name[name] for name in NAMES[role] if name in by_name), None)
    if column is None or column.kind == "nothing" or (role == "text" and column.kind != "words"):
        return None
    return column.name


def _times(by_name: Mapping[str, Column], words: Sequence[Column]) -> str | None:
    """The column of times, or two of them joined."""
    if "date" in by_name and "time" in by_name:
        return f"{by_name['date'].name}+{by_name['time'].name}"
    dates = [column.name for column in words if is_time(column.sample)]
    return _named(by_name, "time") or (dates[0] if dates else None)


def _other(columns: Mapping[str, Column], found: Roles) -> str | None:
    """The one column besides the text, if there is one alone."""
    others = [name for name in columns if name != found["text"]]
    return others[0] if len(others) == 1 else None


def as_options(roles: Roles) -> Iterator[str]:
    """Options as words of a command; those whose column is not known are left out."""
    for name, value in roles.items():
        option = f"--{name.replace('_', '-')}"
        if name == "series_in_rows":
            yield option
        elif value is not None:
            yield from (option, value)
