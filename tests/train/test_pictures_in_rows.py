"""A picture is classified as the series of its rows."""

import numpy as np

from seqjax.data.examples import Example
from seqjax.train.classify_options import ClassifyConfig
from seqjax.train.tasks.classify import Classification


def test_rows_are_steps():
    pixels = np.arange(24, dtype=np.float32).reshape(2, 4, 3, 1)
    examples = [Example(picture, label) for picture, label in zip(pixels, "ab", strict=True)]
    task = Classification.fit(ClassifyConfig(), examples[:1], examples[1:])
    assert task.space == () and task.input_vocabulary is None
    found = task.encode(examples[1])["inputs"]
    assert found.shape == (4, 3)
    # Each column of pixels is a channel, standardized by those of the training data.
    np.testing.assert_allclose(
        found, (pixels[1, ..., 0] - pixels[0, ..., 0].mean(0)) / 3.354102, 1e-5
    )
