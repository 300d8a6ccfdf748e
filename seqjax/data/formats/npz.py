"""Arrays as NumPy's `.npz`."""

import contextlib
import dataclasses
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format, stored
from seqjax.data.formats.description import listed
from seqjax.data.formats.fields import FIND, Fields
from seqjax.data.formats.file_access import FlawError, whole_file
from seqjax.data.formats.images import image_of
from seqjax.data.formats.predictions import plain
from seqjax.data.formats.tag_columns import found_columns
from seqjax.data.formats.values import LARGEST, label_of, numbers_in

WHAT = "an .npz file of numpy.savez"
INPUTS, LENGTHS = "inputs", "lengths"


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The examples of an `.npz` file, read a row of its arrays at a time.

    The series are the array `inputs`, or the one that `fields.values` names, `(n, time)` or
    `(n, time, channels)`; with an array `lengths`, `(n,)`, the steps from there on are padding.
    `fields.label`, `fields.number` and `fields.tag` name arrays with a row per series,
    `fields.text` one with texts instead of series, and `fields.image` one with vectors
    `(n, width)`, grey images `(n, height, width)`, images or clips `(n, [time,] height, width,
    channels)`.

    Args:
      path: of the file.
      fields: the roles of the arrays.
      malformed: collects malformed rows.

    Raises:
      InputError: if it is not an `.npz` file, an array is missing or has the wrong dtype or rank
        (pickled objects are never read), or a row is malformed and may not be skipped.
    """
    with _archive(path) as archive, contextlib.ExitStack() as stack:
        columns = {
            role: _Column(path, name, role, stack.enter_context(_member(archive, name)), archive)
            for role, name in _roles(path, _names(archive), fields).items()
        }
        counts = {column.name: column.rows for column in columns.values()}
        count = next(iter(counts.values()))
        if len(set(counts.values())) > 1:
            raise InputError(f"{path}: expected as many rows in every array, got {counts}.")
        if not count:
            raise InputError(f"{path} has no rows: its arrays have the first axis 0.")
        for number in range(count):
            where = f"{path}, row {number}"
            row = {role: column.next(number) for role, column in columns.items()}
            try:
                # Later read where the array stands on the disk as it is in memory.
                inputs = partial(_inputs, row, fields)
                mapped = columns[_role_of_inputs(fields)].mapped is not None
                inputs = stored(where, Path(path), inputs) if mapped else inputs()
                example = Example(inputs, _target(row, fields), where, number)
            except FlawError as flaw:
                malformed.report(where, str(flaw))
            else:
                yield example


def names_in(path: str | Path) -> list[str]:
    """The names of the arrays of a file.

    Raises:
      InputError: if it is no `.npz` file.
    """
    with _archive(path) as archive:
        return _names(archive)


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipExtFile:
    return cast(zipfile.ZipExtFile, archive.open(name + ".npy"))


def _roles(path: str | Path, names: list[str], fields: Fields) -> dict[str, str]:
    """The array of each role."""
    if fields.tag == FIND:
        fields = found_columns(path, fields.with_roles(tokens=None), names)
    if fields.values is not None and len(fields.values) != 1:
        raise InputError(f"{path}: expected one array of series, got {listed(fields.values)}.")
    inputs = fields.text or fields.image or (fields.values[0] if fields.values else INPUTS)
    roles = {_role_of_inputs(fields): inputs}
    for role, name in (("label", fields.label), ("number", fields.number), ("tag", fields.tag)):
        if name is not None and (fields.require_target or name in names):
            roles[role] = name
    for name in roles.values():
        if name not in names:
            raise InputError(
                f"{path}: there is no array {name!r}; the arrays are {listed(names) or 'none'}."
            )
    if LENGTHS in names and LENGTHS not in roles.values():
        roles[LENGTHS] = LENGTHS
    return roles


def _role_of_inputs(fields: Fields) -> str:
    return "text" if fields.text else "image" if fields.image else INPUTS


@contextlib.contextmanager
def _archive(path: str | Path) -> Iterator[zipfile.ZipFile]:
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected {WHAT}.")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty; expected {WHAT}.")
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not {WHAT}, or is damaged ({error}).") from None
    with archive:
        yield archive


DTYPES = {
    INPUTS: ("numbers", "iuf"),
    LENGTHS: ("whole numbers", "iu"),
    "text": ("texts", "U"),
    "image": ("numbers", "iuf"),
    "label": ("texts or whole numbers", "Uiub"),
    "number": ("numbers", "iuf"),
    "tag": ("texts or whole numbers", "Uiu"),
}
RANKS = {
    INPUTS: (2, 3),
    LENGTHS: (1,),
    "text": (1,),
    "image": (2, 3, 4, 5),
    "label": (1,),
    "number": (1, 2),
    "tag": (2,),
}


class _Column:
    """An array of the archive, streamed row by row, because it may not fit into memory.

    All of it is read once, and compared with its checksum. If it is an uncompressed one of inputs,
    its rows stay on the disk all the same.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        role: str,
        stream: zipfile.ZipExtFile,
        archive: zipfile.ZipFile,
    ):
        self.path, self.name, self.stream = path, name, stream
        reading = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        try:
            version = np.lib.format.read_magic(stream)
            shape, fortran, self.dtype = reading[version](stream)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: the array {name!r} is damaged ({error}).") from None
        if self.dtype.hasobject:
            raise InputError(
                f"{path}: the array {name!r} holds pickled Python objects, which are never read, "
                "because they can run programs. Save numbers, padded to one length, and an array "
                f"{LENGTHS!r}."
            )
        wanted, kinds = DTYPES[role]
        if self.dtype.kind not in kinds:
            raise InputError(
                f"{path}: expected {wanted} in the array {name!r}, got the dtype {self.dtype}."
            )
        if len(shape) not in RANKS[role]:
            ranks = " or ".join(map(str, RANKS[role]))
            raise InputError(
                f"{path}: expected {ranks} axes in the array {name!r}, got the shape {shape}."
            )
        if fortran and len(shape) > 1:
            raise InputError(
                f"{path}: the array {name!r} is in Fortran order, where rows are not together; "
                "save numpy.ascontiguousarray of it."
            )
        self.shape = tuple(shape[1:])
        self.rows = next(iter(shape))
        self.size = math.prod(self.shape) * self.dtype.itemsize
        self.mapped: np.ndarray | None = None
        about = archive.getinfo(name + ".npy")
        plain = about.compress_type == zipfile.ZIP_STORED and not about.flag_bits & ENCRYPTED
        if role in (INPUTS, "image") and plain and self.size * self.rows:
            begin = _begin_of(path, about) + stream.tell()
            if begin + self.size * self.rows <= Path(path).stat().st_size:
                self.mapped = np.memmap(path, self.dtype, "r", begin, shape)

    def next(self, row: int) -> np.ndarray:
        try:
            content = self.stream.read(self.size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise InputError(
                f"{self.path}, row {row}: the array {self.name!r} is damaged ({error})."
            ) from None
        if len(content) != self.size:
            raise InputError(
                f"{self.path}, row {row}: the array {self.name!r} ends too early; it should have "
                f"{self.rows} rows."
            )
        if self.mapped is not None:
            return self.mapped[row]
        return np.frombuffer(content, self.dtype).reshape(self.shape)


ENCRYPTED = 1
"""The flag of an encrypted file in an archive."""


def _begin_of(path: str | Path, about: zipfile.ZipInfo) -> int:
    """Where the content of a file in an archive begins: behind its name and what follows that."""
    with Path(path).open("rb") as file:
        file.seek(about.header_offset + 26)
        return about.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))


def _inputs(row: Mapping[str, np.ndarray], fields: Fields) -> Any:
    if "text" in row:
        text = str(row["text"])
        if not text.strip():
            raise FlawError("expected a text, got an empty one")
        return text
    if "image" in row:
        image = np.array(row["image"])
        if LENGTHS in row and image.ndim == 4:
            image = image[: int(row[LENGTHS])]
        return image_of(image, "image", Path())
    series = row[INPUTS]
    length = int(row[LENGTHS]) if LENGTHS in row else len(series)
    if not 0 < length <= len(series):
        raise FlawError(f"expected a length from 1 to {len(series)}, got {length}")
    series = series[:length].astype(np.float64)
    series[np.isin(series, list(numbers_in(fields.missing_names)))] = np.nan
    finite = (np.abs(series) <= LARGEST) | (np.isnan(series) & fields.missing)
    if not finite.all():
        step = int(np.argwhere(~finite)[0][0])
        raise FlawError(
            f"expected finite numbers in float32, got {row[INPUTS][step]} at step {step}"
        )
    return series if series.ndim == 2 else series[:, None]


def _target(row: Mapping[str, np.ndarray], fields: Fields) -> Any:
    if "label" in row:
        label = label_of(row["label"].item(), fields.label or "", fields.label_separator)
        if label is None and fields.require_target:
            raise FlawError(f"{fields.label!r}: expected a label, got nothing")
        return label
    if "number" in row:
        number = row["number"].astype(np.float32)
        if not np.isfinite(number).all():
            if not fields.require_target:
                return None
            raise FlawError(f"{fields.number!r}: expected a finite number, got {number}")
        return float(number) if number.ndim == 0 else number
    if "tag" in row:
        length = int(row[LENGTHS]) if LENGTHS in row else len(row["tag"])
        tags = tuple(map(str, row["tag"][:length].tolist()))
        if INPUTS in row and len(row["tag"]) != len(row[INPUTS]):
            raise FlawError(f"expected {len(row[INPUTS])} tags, one a step, got {len(row['tag'])}")
        if not all(tags) and fields.require_target:
            raise FlawError(f"{fields.tag!r}: expected a tag at every step, got an empty one")
        return tags if all(tags) else None
    return None


@contextlib.contextmanager
def writer(path: str | Path, like: str | Path, fields: Fields) -> Iterator["NpzWriter"]:
    """Writes the arrays of an `.npz` file and additional ones with the predictions.

    The predictions of skipped rows are NaN, the empty text, or -1 for integers.
    """
    with _archive(like) as archive:
        names = _names(archive)
        source = next(
            iter(_roles(like, names, dataclasses.replace(fields, require_target=False)).values())
        )
        with _member(archive, source) as stream:
            rows = _Column(like, source, _role_of_inputs(fields), stream, archive).rows
        with whole_file(path, "wb") as file:
            writer = NpzWriter(rows)
            yield writer
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
                for name in names:
                    with archive.open(name + ".npy") as old, out.open(name + ".npy", "w") as new:
                        while block := old.read(1 << 20):
                            new.write(block)
                for name, array in writer.arrays().items():
                    if name in names:
                        raise InputError(
                            f"{like} has {name!r} already, the name of an array to be added. "
                            "Rename or remove it."
                        )
                    with out.open(name + ".npy", "w") as new:
                        np.lib.format.write_array(new, array, allow_pickle=False)


class NpzWriter:
    """See `writer`. Predictions, small beside the series, are buffered until the end."""

    def __init__(self, rows: int):
        self._rows = rows
        self._found: dict[str, dict[int, np.ndarray]] = {}

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Buffers the predictions for a row.

        Args:
          example: from `read`.
          prediction: values or arrays; arrays of different lengths are padded.
        """
        for name, value in prediction.items():
            self._found.setdefault(name, {})[example.raw] = np.asarray(plain(value))

    def arrays(self) -> dict[str, np.ndarray]:
        """For each name an array with a row per row of the file."""
        arrays = {}
        for name, found in self._found.items():
            dtype = np.result_type(*{value.dtype for value in found.values()})
            shapes = np.array([list(value.shape) for value in found.values()])
            shape = tuple(shapes.max(0).astype(int))
            empty = {"U": "", "f": np.nan}.get(dtype.kind, -1)
            array = np.full((self._rows, *shape), empty, dtype)
            for row, value in found.items():
                array[(row, *map(slice, value.shape))] = value
            arrays[name] = array.astype(np.float32) if dtype == np.float64 else array
        return arrays


NPZ = Format(".npz", (".npz",), read, writer)
"""Arrays with a row per example."""
