"""Speech and other sound, as log-mel frames."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.extras import extra_module
from seqjax.data.formats.file_access import FlawError

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus")
WINDOW, HOP = 0.025, 0.01
"""Length of a frame and distance of two, in seconds."""

SILENCE = 1e-10
"""The smallest power whose logarithm is taken."""


@dataclasses.dataclass(frozen=True)
class Audio:
    """How the sounds that a column names are read.

    Args:
      column: of the paths.
      folder: that the paths are relative to; by default that of the file.
      sample_rate: to which sounds are resampled, in Hz.
      mel_bands: number of bands of a frame.
    """

    column: str
    folder: str | None = None
    sample_rate: int = 16_000
    mel_bands: int = 40


def audio_of(value: Any, audio: Audio, folder: Path) -> np.ndarray:
    """The log-mel frames of a file of sound, `(time, mel_bands)` float32.

    Args:
      value: the path; `.wav`, `.flac`, ... may be left out.
      audio: how it is read.
      folder: that relative paths are relative to.

    Raises:
      FlawError: if it is no path, or cannot be read.
      ImportError: if soundfile is not installed.
    """
    path, name = sound_at(value, audio, folder), audio.column
    soundfile = extra_module("soundfile", "audio")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (RuntimeError, OSError) as error:
        raise FlawError(f"{name!r}: cannot read {path} ({error})") from None
    if not len(samples):
        raise FlawError(f"{name!r}: {path} has no samples")
    samples = resampled(samples.mean(1), rate, audio.sample_rate)
    return log_mel(samples, audio.sample_rate, audio.mel_bands)


def sound_at(value: Any, audio: Audio, folder: Path) -> Path:
    """The file of a sound; arguments and errors as for `audio_of`."""
    name = audio.column
    if not isinstance(value, str) or not value.strip():
        raise FlawError(f"{name!r}: expected the path of a file of sound, got {value!r}"[:200])
    path = (folder if audio.folder is None else Path(audio.folder)) / value.strip()
    if not path.is_file():
        with_suffix = (path.with_name(path.name + suffix) for suffix in SOUNDS)
        path = next((other for other in with_suffix if other.is_file()), path)
    if not path.is_file():
        raise FlawError(f"{name!r}: there is no file {path}")
    return path


def resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Samples at another rate, filtered against aliases."""
    if rate == to:
        return samples
    from scipy.signal import resample_poly

    common = int(np.gcd(rate, to))
    return np.asarray(resample_poly(samples, to // common, rate // common))


def log_mel(samples: np.ndarray, rate: int, bands: int) -> np.ndarray:
    """Log-mel frames: the power of a windowed Fourier transform in bands of the mel scale.

        power[t, f] = |sum_n hann[n] samples[t hop + n] exp(-2 pi i f n / size)|^2
        frames[t, b] = log(sum_f filters[b, f] power[t, f])

    Frames are 25 ms long, 10 ms apart, and lie within the samples, which are padded to one frame.

    Args:
      samples: `(samples,)`.
      rate: in Hz.
      bands: of the mel scale, from 0 to half the rate.

    Returns:
      `(time, bands)` float32.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.formats.audio import log_mel
      >>> second = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
      >>> frames = log_mel(second, 16_000, 40)
      >>> frames.shape, int(frames[50].argmax())
      ((98, 40), 7)

    Source: Davis and Mermelstein 1980, with the mel scale 2595 log10(1 + f / 700) of HTK.
    """
    length, hop = round(WINDOW * rate), round(HOP * rate)
    samples = np.pad(samples, (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    # Periodic, as for spectra.
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    size = 1 << (length - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(frames * hann, size)))
    return np.log(np.maximum(power @ mel_filters(rate, size, bands).T, SILENCE)).astype(np.float32)


@functools.cache
def mel_filters(rate: int, size: int, bands: int) -> np.ndarray:
    """Triangles over the frequencies of a transform, `(bands, size // 2 + 1)`.

    The peak of each is 1, where its neighbours begin and end; the peaks are equally far apart on
    the mel scale.
    """
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, bands + 2) / 2595) - 1)
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    triangles = np.minimum((frequencies - low) / (peak - low), (high - frequencies) / (high - peak))
    return np.maximum(triangles, 0)
