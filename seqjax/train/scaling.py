"""Channels of numbers, brought to mean 0 and standard deviation 1."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.moments import Moments
from seqjax.data.windows import location_and_scale, varying
from seqjax.train.stored_inputs import moments_of


@dataclasses.dataclass(frozen=True)
class Standardizer:
    """Mean and standard deviation of each channel of the training data.

    Args:
      location, scale: mean and standard deviation of each channel.
      masked: the channels that had missing values. For each, one more channel is 1 where it is
        missing, so that the imputed mean is not taken for a value.
    """

    location: tuple[float, ...]
    scale: tuple[float, ...]
    masked: tuple[int, ...] = ()

    @property
    def features(self) -> int:
        """The number of channels of the encoded series."""
        return len(self.location) + len(self.masked)

    @classmethod
    def of(cls, examples: Sequence[Example]) -> "Standardizer":
        """Those of these series, NaN left out; 1 for the deviation of what never varies.

        Raises:
          InputError: if the series differ in the number of channels, or one is no series.
        """
        first = examples[0]
        channels = channels_of(first)
        for example in examples:
            if channels_of(example) != channels:
                raise InputError(
                    f"{example.where}: expected {channels} channels as in {first.where}, got "
                    f"{channels_of(example)}."
                )
        if any(example.stored is not None for example in examples):
            return cls.of_moments(moments_of(examples))
        return cls.of_values(
            np.concatenate([example.inputs.reshape(-1, channels) for example in examples])
        )

    @classmethod
    def of_values(cls, values: np.ndarray) -> "Standardizer":
        """Those of `(time, channels)`, NaN left out; 1 for the deviation of what never varies."""
        values = values.astype(np.float64)
        location, scale = location_and_scale(values)
        masked = np.flatnonzero(np.isnan(values).any(0))
        return cls(tuple(location.tolist()), tuple(scale.tolist()), tuple(masked.tolist()))

    @classmethod
    def of_moments(cls, moments: Moments) -> "Standardizer":
        """As `of_values`, of values that are not in memory."""
        count = np.maximum(moments.count, 1)
        location, scale = moments.mean, varying(moments.mean, np.sqrt(moments.squares / count))
        masked = np.flatnonzero(moments.missing)
        return cls(tuple(location.tolist()), tuple(scale.tolist()), tuple(masked.tolist()))

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> "Standardizer":
        """From what `saved` gave, by way of JSON."""
        return cls(tuple(saved["location"]), tuple(saved["scale"]), tuple(saved.get("masked", ())))

    def saved(self) -> dict[str, Any]:
        """What `restore` takes; hashed with the data, so without masks as before there were any."""
        found = dataclasses.asdict(self)
        return found if self.masked else {name: found[name] for name in ("location", "scale")}

    def encode(self, example: Example) -> np.ndarray:
        """The series `(time, ..., features)` float32, mean-imputed: what is missing is 0.

        Raises:
          InputError: if it is no series, or has another number of channels.
        """
        if channels_of(example) != len(self.location):
            raise InputError(
                f"{example.where}: expected {len(self.location)} channels as in training, got "
                f"{channels_of(example)}."
            )
        return self.scaled(example.inputs)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """The values `(..., channels)` as `(..., features)` float32: standardized in float64,
        mean-imputed where they are missing, and the masks of channels that may be missing."""
        values = (values - np.array(self.location)) / np.array(self.scale)
        known = np.nan_to_num(values, nan=0.0).astype(np.float32)
        if not self.masked:
            return known
        masks = np.isnan(values[..., list(self.masked)]).astype(np.float32)
        return np.concatenate([known, masks], axis=-1)


def rows_of_picture(example: Example) -> Example:
    """A picture `(height, width, channels)` as a series of its rows; others unchanged."""
    shape = example.shape
    if shape is None or len(shape) != 3:
        return example
    if example.stored is None:
        return example._replace(inputs=example.inputs.reshape(len(example.inputs), -1))
    return example._replace(inputs=example.stored.as_rows())


def channels_of(example: Example) -> int:
    """The number of channels of a series; `InputError` if it is a text."""
    if example.shape is None:
        raise InputError(f"{example.where}: expected a series of numbers, got a text.")
    return example.shape[-1]


def space_of(examples: Sequence[Example]) -> tuple[int, ...]:
    """The size of the images of clips, `()` for series without images; one for all.

    Raises:
      InputError: if it is neither, or not one for all.
    """
    space = (examples[0].shape or ())[1:-1]
    for example in examples:
        check_space(example, space)
    return space


def check_space(example: Example, space: tuple[int, ...]) -> None:
    """Raises `InputError` unless an example is `(time, *space, channels)`."""
    shape = example.shape or ()
    if len(shape) not in (2, 4):
        raise InputError(
            f"{example.where}: expected a series (time, channels) or a clip (time, height, width, "
            f"channels), got the shape {shape}."
        )
    if shape[1:-1] != space:
        raise InputError(
            f"{example.where}: expected {_images(space)} as in training, got "
            f"{_images(shape[1:-1])}."
        )


def _images(space: tuple[int, ...]) -> str:
    return f"images of {space[0]} x {space[1]}" if space else "a series without images"
