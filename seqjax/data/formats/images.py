"""Vectors, images and clips, as numbers or as files."""

from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.extras import extra_module
from seqjax.data.formats.file_access import FlawError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def image_of(value: Any, name: str, folder: Path) -> np.ndarray:
    """A vector, an image or a clip as float32.

    Args:
      value: nested lists of numbers; or the path of an image, of a folder whose images in order of
        name are the frames of a clip, or of an `.npy` file.
      name: of the column.
      folder: that relative paths are relative to.

    Returns:
      `(width,)`, `(height, width, channels)` or `(time, height, width, channels)`. Greyscale images
      have one channel; images from files are in [0, 1].

    Raises:
      FlawError: if it cannot be read, or has another rank.
      ImportError: if Pillow, a dependency of matplotlib, is not installed.
    """
    if isinstance(value, str):
        found = _from_file(folder / value, name)
    else:
        try:
            found = np.asarray(value, np.float32)
        except (ValueError, TypeError, OverflowError):
            raise FlawError(
                f"{name!r}: expected numbers in lists of equal lengths, or a path"
            ) from None
    if found.ndim == 2:
        found = found[..., None]
    if found.ndim not in (1, 3, 4) or not found.size:
        raise FlawError(
            f"{name!r}: expected a vector, a picture (height, width, channels) or a clip (time, "
            f"height, width, channels), got the shape {found.shape}"
        )
    if not np.isfinite(found).all():
        raise FlawError(f"{name!r}: expected finite numbers in float32")
    return found


def _from_file(path: Path, name: str) -> np.ndarray:
    if path.is_dir():
        frames = sorted(item for item in path.iterdir() if item.suffix.lower() in PICTURES)
        if not frames:
            raise FlawError(f"{name!r}: the folder {path} holds no pictures")
        pictures = [_picture(frame, name) for frame in frames]
        if len({picture.shape for picture in pictures}) > 1:
            raise FlawError(f"{name!r}: the pictures in {path} differ in size or in channels")
        return np.stack(pictures)
    if not path.is_file():
        raise FlawError(f"{name!r}: there is no file {path}")
    if path.suffix.lower() != ".npy":
        return _picture(path, name)
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except (ValueError, OSError, EOFError) as error:
        raise FlawError(f"{name!r}: cannot read {path} ({error})") from None


def _picture(path: Path, name: str) -> np.ndarray:
    pillow = extra_module("PIL.Image", "plot")
    try:
        with pillow.open(path) as image:
            grey = image.mode in ("1", "L", "I;16", "LA")
            values = np.asarray(image.convert("L" if grey else "RGB"), np.float32) / 255
    except (OSError, ValueError) as error:
        raise FlawError(f"{name!r}: cannot read {path} ({error})") from None
    return values[..., None] if values.ndim == 2 else values
