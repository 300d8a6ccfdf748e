"""Sounds in a table of paths, as log-mel frames."""

import numpy as np
import pytest

from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.audio import Audio, log_mel, mel_filters, resampled
from seqjax.train.tasks.transcribe import TranscribeFields
from tests.data.formats.table import complaint

RATE = 8_000
soundfile = pytest.importorskip("soundfile")


def tone(frequency, rate=RATE, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def test_frames_by_their_definition():
    """One frame as the sum that it is: Fourier, triangles, logarithm."""
    samples = np.random.default_rng(0).normal(size=500)
    frames = log_mel(samples, RATE, 10)
    assert frames.shape == (4, 10) and frames.dtype == np.float32
    n = np.arange(200)
    windowed = np.sin(np.pi * n / 200) ** 2 * samples[80:280]
    spectrum = np.exp(-2j * np.pi * np.outer(np.arange(129), n) / 256) @ windowed
    mel = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 12)
    edges = 700 * (10 ** (mel / 2595) - 1)
    wanted = [
        np.log(
            np.interp(np.arange(129) * RATE / 256, edges[b : b + 3], [0, 1, 0]) @ abs(spectrum) ** 2
        )
        for b in range(10)
    ]
    np.testing.assert_allclose(frames[1], wanted, rtol=1e-5)


def test_a_tone_is_in_its_band_at_any_rate_of_the_file():
    filters = mel_filters(RATE, 256, 40)
    for frequency in (500, 1500, 3000):
        band = filters[:, round(frequency / RATE * 256)].argmax()
        for rate in (RATE, 16_000, 44_100):
            frames = log_mel(resampled(tone(frequency, rate), rate, RATE), RATE, 40)
            assert frames.shape == (48, 40)
            assert (frames[5:-5].argmax(-1) == band).all()
    # Above half the rate nothing is left, instead of an alias.
    assert log_mel(resampled(tone(6000, 16_000), 16_000, RATE), RATE, 40)[5:-5].max() < 0


def test_silence_and_less_than_a_frame():
    assert np.isfinite(log_mel(np.zeros(1000), RATE, 40)).all()
    assert log_mel(np.ones(3), RATE, 40).shape == (1, 40)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs" / "a.wav", tone(500), RATE)
    soundfile.write(tmp_path / "wavs" / "b.flac", np.stack([tone(500), tone(500)], 1), RATE)
    path = tmp_path / "table.csv"
    path.write_text("path,text\nwavs/a.wav,la\nwavs/b.flac,la la\n")
    return path


def test_a_table_of_paths(table):
    fields = TranscribeFields(audio="path", sample_rate=RATE, mel_bands=20).fields
    found = find_format(table).describe(table, fields)
    assert not found.choices and found.fields.values is None
    one, two = find_format(table).read(table, fields, Malformed(skip=False))
    assert one.inputs.shape == (48, 20) and (one.target, two.target) == ("la", "la la")
    np.testing.assert_allclose(np.exp(one.inputs), np.exp(two.inputs), rtol=1e-3, atol=1e-4)


def test_a_folder_of_its_own_and_names_without_ending(table):
    table.write_text("a|la\nb|la la\n")
    folder = str(table.parent / "wavs")
    fields = TranscribeFields(audio="id", audio_folder=folder, columns=("id", "text")).fields
    assert len(list(find_format(table).read(table, fields, Malformed(skip=False)))) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("wavs/c.wav", "line 2: 'path': there is no file"),
        ("table.csv", "line 2: 'path': cannot read"),
        ("", "line 2: 'path': expected the path of a file of sound, got ''"),
    ],
)
def test_what_is_no_sound(table, path, message):
    table.write_text(f"path,text\n{path},la\n")
    assert message in complaint(table, Fields(audio=Audio("path"), label="text"))
