"""An array as NumPy's `.npy`: a row for each series."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format, stored
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError
from seqjax.data.formats.json_lines import writer
from seqjax.data.formats.values import LARGEST, numbers_in

WHAT = "an .npy file of numpy.save"


def load_array(path: str | Path) -> np.ndarray:
    """The array of a file, which stays on the disk until it is used.

    Raises:
      InputError: if it is none; pickled objects are never read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}; expected {WHAT}.")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        if "Python objects" in str(error):
            raise InputError(
                f"{path} holds Python objects, such as series of different lengths: expected an "
                "array of numbers. Pad the series, and give their `lengths` in an .npz file; or "
                "write each as a list in a line of a .jsonl file."
            ) from None
        raise InputError(f"{path} is not {WHAT} ({error}).") from None
    if found.ndim == 0 or not len(found):
        raise InputError(f"{path}: expected a row for each example, got the shape {found.shape}.")
    return found


def series_in(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The series of an array `(n, time)` or `(n, time, channels)`.

    With `fields.one_series`, it is one series `(time,)` or `(time, channels)`.

    Args:
      path: of the file.
      fields: `one_series`, `missing`, `missing_names` and `require_target` are used.
      malformed: collects rows with infinite or, unless they may be missing, NaN values.

    Raises:
      InputError: if it is no such file, or targets are required.
    """
    if fields.require_target and (fields.label or fields.number or fields.tag):
        raise InputError(
            f"{path}: an .npy file has no targets. --train-targets names a file with one in a "
            "line or a row; an .npz file holds both."
        )
    array = load_array(path)
    if array.dtype.kind not in "iuf" or array.ndim not in ((1, 2) if fields.one_series else (2, 3)):
        wanted = "(series, time) or (series, time, channels)"
        if fields.one_series:
            wanted = "(time,) or (time, channels); or, with --series-in-rows, " + wanted
        raise InputError(
            f"{path}: expected numbers {wanted}, got {array.dtype} of the shape {array.shape}."
        )
    for number, row in enumerate([array] if fields.one_series else array):
        where = f"{path}, row {number}"
        steps = tuple({"step": step} for step in range(len(row)))
        raw = steps if fields.one_series else {"row": number}
        yield Example(stored(where, Path(path), partial(_series, row, fields)), None, where, raw)


def _series(row: np.ndarray, fields: Fields) -> np.ndarray:
    series = np.array(row, np.float64)
    series[np.isin(series, list(numbers_in(fields.missing_names)))] = np.nan
    known = ~np.isnan(series) if fields.missing else np.ones(series.shape, bool)
    if not (np.abs(series[known]) <= LARGEST).all():
        raise FlawError("expected finite numbers in float32")
    return series if series.ndim == 2 else series[:, None]


NPY = Format(".npy", (".npy",), series_in, writer, written_as=".jsonl")
"""An array with a row for each series."""
