"""Pictures from files: modes, sizes, orientation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.formats.file_access import FlawError
from seqjax.data.formats.images import image_of
from seqjax.train.tasks.caption import CaptionConfig, Captioning


def saved(tmp_path, image, **options):
    image.save(tmp_path / "a.png", **options)
    return image_of("a.png", "image", tmp_path)


def picture(mode, colour):
    return Image.new(mode, (3, 2), colour)


MODES = {
    "grey": (picture("L", 51), [0.2]),
    "black and white": (picture("1", 1), [1]),
    "colours": (picture("RGB", (255, 51, 0)), [1, 0.2, 0]),
    "alpha over white": (picture("RGBA", (255, 0, 0, 51)), [1, 0.8, 0.8]),
    "grey with alpha": (picture("LA", (0, 51)), [0.8]),
    "palette": (picture("RGB", (255, 51, 0)).quantize(4), [1, 0.2, 0]),
    "16 bits": (Image.fromarray(np.full((2, 3), 13107, np.uint16)), [0.2]),
}


@pytest.mark.parametrize(("image", "wanted"), MODES.values(), ids=MODES)
def test_modes(image, wanted, tmp_path):
    found = saved(tmp_path, image)
    assert found.shape == (2, 3, len(wanted)) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, 0], wanted, atol=0.005)


def test_a_transparent_colour_of_a_palette(tmp_path):
    image = picture("RGB", (255, 51, 0)).quantize(4)
    np.testing.assert_allclose(saved(tmp_path, image, transparency=0)[0, 0], [1, 1, 1])


def test_sizes_and_orientation(tmp_path):
    image = Image.fromarray(np.repeat([[0], [255]], 4, 1).astype(np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # The camera was turned by a quarter.
    assert saved(tmp_path, image, exif=exif).shape == (4, 2, 1)
    image.save(tmp_path / "a.png")
    found = image_of("a.png", "image", tmp_path, (6, 2))
    assert found.shape == (6, 2, 1)
    assert found[0, 0, 0] == 0 and found[-1, 0, 0] == 1


def test_frames_of_several_sizes_and_modes(tmp_path):
    picture("L", 51).save(tmp_path / "1.png")
    picture("RGB", (255, 0, 0)).resize((5, 5)).save(tmp_path / "2.png")
    with pytest.raises(FlawError, match=r"differ in size \(--image-size\)"):
        image_of(str(tmp_path), "image", Path())
    clip = image_of(str(tmp_path), "image", Path(), (4, 4))
    assert clip.shape == (2, 4, 4, 3)
    np.testing.assert_allclose(clip[:, 0, 0], [[0.2] * 3, [1, 0, 0]], atol=1e-6)


def test_grey_pictures_among_colours():
    grey, colours = np.full((2, 2, 1), 0.5, np.float32), np.ones((2, 2, 3), np.float32)
    task = Captioning.fit(CaptionConfig(), [Example(grey, "grey"), Example(colours, "white")])
    np.testing.assert_array_equal(
        task.encode(Example(grey, "grey"))["inputs"], [[[0.5] * 3] * 2] * 2
    )
    with pytest.raises(InputError, match="--image-size resizes pictures"):
        task.encode(Example(np.ones((3, 2, 3), np.float32), "white"))
