"""Vectors, images and clips, as numbers or as files."""

from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.extras import extra_module
from seqjax.data.formats.file_access import FlawError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def image_of(
    value: Any, name: str, folder: Path, size: tuple[int, int] | None = None
) -> np.ndarray:
    """A vector, an image or a clip as float32.

    Args:
      value: nested lists of numbers; or the path of an image, of a folder whose images in order of
        name are the frames of a clip, or of an `.npy` file.
      name: of the column.
      folder: that relative paths are relative to.
      size: height and width to which images from files are resized.

    Returns:
      `(width,)`, `(height, width, channels)` or `(time, height, width, channels)`. Greyscale images
      have one channel, all others three; images from files are in [0, 1], upright, and white where
      they are transparent.

    Raises:
      FlawError: if it cannot be read, or has another rank.
      ImportError: if Pillow, a dependency of matplotlib, is not installed.
    """
    if isinstance(value, str):
        found = _from_file(image_at(value, name, folder), name, size)
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


def image_at(value: str, name: str, folder: Path) -> Path:
    """The file or the folder that a path names; `FlawError` if there is none."""
    path = folder / value
    if not path.is_dir() and not path.is_file():
        raise FlawError(f"{name!r}: there is no file {path}")
    return path


def _from_file(path: Path, name: str, size: tuple[int, int] | None) -> np.ndarray:
    if path.is_dir():
        frames = sorted(item for item in path.iterdir() if item.suffix.lower() in PICTURES)
        if not frames:
            raise FlawError(f"{name!r}: the folder {path} holds no pictures")
        pictures = [_picture(frame, name, size) for frame in frames]
        if len({picture.shape[:2] for picture in pictures}) > 1:
            raise FlawError(f"{name!r}: the pictures in {path} differ in size (--image-size)")
        channels = max(picture.shape[2] for picture in pictures)
        return np.stack([in_channels(picture, channels) for picture in pictures])
    if path.suffix.lower() != ".npy":
        return _picture(path, name, size)
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except (ValueError, OSError, EOFError) as error:
        raise FlawError(f"{name!r}: cannot read {path} ({error})") from None


def in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey images `(..., 1)` in three equal channels if these are wanted; others as they are."""
    if images.shape[-1] == 1 and channels == 3:
        return np.repeat(images, 3, axis=-1)
    return images


def _picture(path: Path, name: str, size: tuple[int, int] | None) -> np.ndarray:
    pillow = extra_module("PIL.Image", "plot")
    try:
        with pillow.open(path) as image:
            values = _values(image, pillow, size)
    except (OSError, ValueError) as error:
        raise FlawError(f"{name!r}: cannot read {path} ({error})") from None
    return values[..., None] if values.ndim == 2 else values


def _values(image: Any, pillow: Any, size: tuple[int, int] | None) -> np.ndarray:
    """The pixels of a picture of any mode, grey or in colours, in [0, 1]."""
    grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
    image = extra_module("PIL.ImageOps", "plot").exif_transpose(image)
    highest = 255.0
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # These have 16 bits, of which a conversion to 8 would cut the upper half.
        image, highest = image.convert("F"), 1.0 if image.mode == "F" else 65535.0
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image).convert("L" if grey else "RGB")
    else:
        image = image.convert("L" if grey else "RGB")
    if size is not None:
        image = image.resize(size[::-1], pillow.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / highest
