"""Cells over images: against cells over vectors, and against the equations in NumPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core import over_space
from seqjax.testing import check_cell
from tests.parameters import drawn


def images(space):
    def draw(key, shape):
        return jax.random.normal(key, (*shape, *space, 2))

    return draw


@pytest.mark.parametrize(
    ("cell", "space"),
    [
        (sj.conv_lstm(2, space=(5, 4), stride=2, padding="valid"), (5, 4)),
        (
            sj.stack(
                sj.dense(2),
                sj.dropout(sj.conv_gru(2, space=(2, 1, 2), kernel=1), 0.4),
                sj.dropout(sj.rms_norm(2), 0.4, variational=True),
                sj.zoneout(sj.conv_lstm(1, space=(2, 1, 2), kernel=1), 0.4),
            ),
            (2, 1, 2),
        ),
        (
            sj.stack(sj.convolution(2, space=(3, 2), stride=2), sj.conv_gru(1, space=(2, 1))),
            (3, 2),
        ),
    ],
)
def test_laws(cell, space):
    check_cell(cell, 2, inputs=images(space), methods=("auto",), thorough=False)


def test_without_neighbours_every_pixel_is_an_lstm():
    """A kernel of 1 is the same LSTM at every place."""
    cell, pixel = sj.conv_lstm(3, space=(4, 5), kernel=1), sj.lstm(3)
    params = drawn(cell, 2)
    xs = np.random.default_rng(1).standard_normal((2, 6, 4, 5, 2)).astype(np.float32)
    _, ys = sj.scan(cell, params, xs)
    own = {
        name: value.reshape(-1, 4, 3) if name != "bias" else value.reshape(4, 3)
        for name, value in params.items()
    }
    alone = np.moveaxis(xs, 1, 3)
    _, expected = sj.scan(pixel, own, alone)
    np.testing.assert_allclose(ys, np.moveaxis(expected, 3, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_equations(name, x64):
    """Convolutions as loops over windows."""
    make = {"lstm": sj.conv_lstm, "gru": sj.conv_gru}[name]
    cell = make(2, space=(3, 4), kernel=3)
    params = drawn(cell, 2)
    xs = np.random.default_rng(0).standard_normal((5, 3, 4, 2))

    def convolve(image, weights):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        out = np.zeros((3, 4, weights.shape[-1]))
        for i, j in np.ndindex(3, 4):
            out[i, j] = np.einsum("ijc,ijco->o", padded[i : i + 3, j : j + 3], weights)
        return out

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h = c = np.zeros((3, 4, 2))
    _, ys = sj.scan(cell, params, jnp.asarray(xs))
    for x, y in zip(xs, ys, strict=True):
        seen = convolve(x, params["input"]) + params["bias"]
        if name == "lstm":
            i, f, g, o = np.split(seen + convolve(h, params["recurrent"]), 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            gates = convolve(h, params["recurrent"][..., :4])
            r, z = np.split(sigmoid(seen[..., :4] + gates), 2, -1)
            new = np.tanh(seen[..., 4:] + convolve(r * h, params["recurrent"][..., 4:]))
            h = (1 - z) * new + z * h
        np.testing.assert_allclose(y, h, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": ()}, "one to three sizes"),
        ({"space": (1, 2, 3, 4)}, "one to three sizes"),
        ({"space": (0,)}, "`space` must be a positive"),
        ({"space": (4,), "kernel": 2}, "must be odd"),
        ({"space": (4,), "stride": 0}, "`stride` must be a positive"),
        ({"space": (4,), "padding": "full"}, "must be 'same' or 'valid', got 'full'"),
        ({"space": (9, 4), "dilation": 2, "padding": "valid"}, "window of 5 pixels does not fit"),
    ],
)
def test_sizes_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        sj.conv_lstm(2, **options)


@pytest.mark.parametrize("space", [(3, 3), (6, 6)])
@pytest.mark.parametrize("make", [sj.convolution, sj.conv_lstm])
def test_images_of_another_size(make, space):
    cell = make(2, space=(4, 4))
    params = cell.init(jax.random.key(0), 1)
    with pytest.raises(ValueError, match=rf"\(4, 4\) pixels.*; got {re.escape(str(space))}"):
        sj.scan(cell, params, jnp.ones((5, *space, 1)))


WINDOWS = [
    ((5,), 1, 1, "same"),
    ((5,), 3, 2, "valid"),
    ((3, 4), 2, 1, "same"),
    ((3, 4), 1, 2, "same"),
    ((7, 6), 2, 2, "valid"),
    ((2, 3, 4), 3, 1, "same"),
    ((4, 3, 5), 2, 1, "valid"),
]
"""Space, stride, dilation and padding."""


@pytest.mark.parametrize(("space", "stride", "dilation", "padding"), WINDOWS)
def test_a_product_of_windows_is_the_convolution(space, stride, dilation, padding, x64):
    """The two forms, for different devices, are one function, of the size that is said."""
    of = over_space.Convolution(3, space, 3, stride, dilation, padding)
    x = jax.random.normal(jax.random.key(0), (2, 6, *space, 2))
    weights = jax.random.normal(jax.random.key(1), (*(3,) * len(space), 2, 3))
    ours = over_space.as_product(x, weights, of)
    np.testing.assert_allclose(ours, over_space.as_convolution(x, weights, of), atol=1e-12)
    assert ours.shape[2:-1] == sj.strided(space, stride, dilation=dilation, padding=padding)
