"""Layers in files of Keras."""

import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.errors import InputError
from tests.golden.make_keras import FOLDER

MODEL = FOLDER / "model.keras"
LAYERS = ("lstm", "bidirectional", "gru", "rnn")


def test_a_model_layer_by_layer():
    """With their activations, merges and forms of the reset gate, as its config says."""
    layers = {name: sj.interop.load(MODEL, prefix=f"layers/{name}/").model for name in LAYERS}
    assert [repr(layer.cell) for layer in layers.values()] == [
        "lstm(3)", "bidirectional(gru(2, reset='before'), merge='sum')", "gru(3)",
        "elman(2, activation=relu)",
    ]  # fmt: skip
    cell = sj.stack(**{name: layer.cell for name, layer in layers.items()})
    params = {name: layer.params for name, layer in layers.items()}
    with np.load(FOLDER / "expected.npz") as file:
        _, ys = jax.jit(lambda xs: sj.scan(cell, params, xs))(jnp.asarray(file["xs"]))
        np.testing.assert_allclose(ys, file["ys"], rtol=1e-5, atol=1e-6)


def test_weights_alone(tmp_path):
    with zipfile.ZipFile(MODEL) as archive:
        path = archive.extract("model.weights.h5", tmp_path)
    loaded = sj.interop.load(path, prefix="layers/rnn/")
    assert repr(loaded.model.cell) == "elman(2)"
    relu = sj.interop.load(path, prefix="layers/rnn/", config={"activation": "relu"})
    assert repr(relu.model.cell) == "elman(2, activation=relu)"
    kernel, recurrent, bias = sj.interop.weights(relu)
    assert (kernel.shape, recurrent.shape, bias.shape) == ((3, 2), (2, 2), (2,))
    np.testing.assert_array_equal(kernel, relu.model.params["input"][:, 0])
    with pytest.raises(InputError, match=r"There is one below prefix='layers/bidirectional/' or"):
        sj.interop.load(path)
