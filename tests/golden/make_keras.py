"""Writes a file of Keras, a small model with its weights, and what it computes.

    pip install -r tests/golden/requirements.txt
    python -m tests.golden.make_keras [--check]

in an environment of its own. With `--check` nothing is written: the model that Keras reads must
compute what `keras/expected.npz` holds.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np

FOLDER = Path(__file__).parent / "keras"
TIME, INPUTS = 4, 2


def model():
    import keras

    layers = keras.layers
    each = {"return_sequences": True}
    made = keras.Sequential(
        [
            layers.Input((TIME, INPUTS)),
            layers.LSTM(3, **each),
            layers.Bidirectional(layers.GRU(2, reset_after=False, **each), merge_mode="sum"),
            layers.GRU(3, **each),
            layers.RNN(layers.SimpleRNNCell(2, activation="relu"), **each),
        ]
    )
    draw = np.random.default_rng(0).standard_normal
    made.set_weights([0.5 * draw(array.shape) for array in made.get_weights()])
    return made


def outputs(made) -> dict[str, np.ndarray]:
    import keras

    xs = np.random.default_rng(1).standard_normal((2, TIME, INPUTS)).astype(np.float32)
    return {"xs": xs, "ys": keras.ops.convert_to_numpy(made(xs))}


if __name__ == "__main__":
    if "--check" in sys.argv:
        import keras

        found = outputs(keras.saving.load_model(FOLDER / "model.keras"))
        with np.load(FOLDER / "expected.npz") as file:
            for name, array in found.items():
                np.testing.assert_allclose(array, file[name], 1e-5, 1e-6)
    else:
        made = model()
        made.save(FOLDER / "model.keras")
        np.savez_compressed(FOLDER / "expected.npz", **outputs(made))
    print("keras")
