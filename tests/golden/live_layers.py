"""Layers of other libraries beside ours, in both directions, in float64 and with lengths.

    pip install -r tests/golden/requirements.txt
    pip install .
    python -m tests.golden.live_layers [library ...]

in an environment of its own. Each layer has random weights. `sj.interop.load` reads it, and outputs
and final states must agree to 1e-10; then its family's weights are made of another model of ours,
put into the layer, and both must agree again. CI runs it.
"""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the others compute in float32

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj

BATCH, TIME, INPUTS, FEATURES = 3, 5, 3, 4
LENGTHS = np.array([5, 3, 1])
RANDOM = np.random.default_rng(0)
XS = RANDOM.standard_normal((BATCH, TIME, INPUTS))

States = list[np.ndarray]


class Layer(NamedTuple):
    """A layer of another library: itself, how it runs, and how weights are put into it.

    `run(layer)` returns outputs, zero after the length, and final states: hidden before cell, the
    forward one before the backward one, layer by layer.
    """

    layer: Any
    run: Callable[[Any], tuple[np.ndarray, States]]
    put: Callable[[Any, Any], Any]


def draw(shape: tuple[int, ...]) -> np.ndarray:
    return RANDOM.standard_normal(shape) * 0.6


def torch_layers() -> Iterator[tuple[str, Layer]]:
    import torch

    def run(layer: Any) -> tuple[np.ndarray, States]:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        packed = pack(torch.tensor(XS), torch.tensor(LENGTHS), batch_first=True)
        with torch.no_grad():
            out, end = layer(packed)
        ys, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        ends = end if isinstance(end, tuple) else (end,)
        return ys.numpy(), [part[at].numpy() for at in range(len(ends[0])) for part in ends]

    def put(layer: Any, weights: Any) -> Any:
        layer.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        return layer

    cases = {
        "rnn": (torch.nn.RNN, {}),
        "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
        "lstm": (torch.nn.LSTM, {"num_layers": 2}),
        "lstm_projected_both": (
            torch.nn.LSTM,
            {"proj_size": 2, "num_layers": 2, "bidirectional": True},
        ),
        "lstm_both": (torch.nn.LSTM, {"bidirectional": True}),
        "lstm_no_bias": (torch.nn.LSTM, {"bias": False}),
        "gru": (torch.nn.GRU, {}),
        "gru_both": (torch.nn.GRU, {"num_layers": 2, "bidirectional": True}),
        "gru_no_bias": (torch.nn.GRU, {"bias": False}),
    }
    for name, (make, options) in cases.items():
        layer = make(INPUTS, FEATURES, batch_first=True, dtype=torch.float64, **options)
        for parameter in layer.parameters():
            parameter.data = torch.tensor(draw(tuple(parameter.shape)))
        yield f"torch_{name}", Layer(layer, run, put)


def keras_layers() -> Iterator[tuple[str, Layer]]:
    import keras

    keras.config.set_floatx("float64")
    layers = keras.layers
    options = {"return_sequences": True, "return_state": True}
    mask = np.arange(TIME) < LENGTHS[:, None]

    def run(layer: Any) -> tuple[np.ndarray, States]:
        ys, *ends = map(keras.ops.convert_to_numpy, layer(XS, mask=mask))
        # A layer in one direction repeats its last output where it is masked.
        return ys * mask[..., None], ends

    def put(layer: Any, weights: Any) -> Any:
        layer.set_weights(weights)
        return layer

    cases = {
        "simple_rnn": layers.SimpleRNN(FEATURES, **options),
        "simple_rnn_relu": layers.SimpleRNN(FEATURES, activation="relu", **options),
        "lstm": layers.LSTM(FEATURES, **options),
        "lstm_no_bias": layers.LSTM(FEATURES, use_bias=False, **options),
        "lstm_both": layers.Bidirectional(layers.LSTM(FEATURES, **options)),
        "gru_after": layers.GRU(FEATURES, **options),
        "gru_before": layers.GRU(FEATURES, reset_after=False, **options),
        "gru_after_no_bias": layers.GRU(FEATURES, use_bias=False, **options),
        "gru_before_no_bias": layers.GRU(FEATURES, reset_after=False, use_bias=False, **options),
        "gru_both_sum": layers.Bidirectional(layers.GRU(FEATURES, **options), merge_mode="sum"),
    }
    for name, layer in cases.items():
        layer(XS)
        layer.set_weights([draw(array.shape) for array in layer.get_weights()])
        yield f"keras_{name}", Layer(layer, run, put)


def nnx_layers() -> Iterator[tuple[str, Layer]]:
    from flax import nnx

    def run(layer: Any) -> tuple[np.ndarray, States]:
        rnn = nnx.RNN(layer, return_carry=True)
        carry, ys = rnn(jnp.asarray(XS), seq_lengths=jnp.asarray(LENGTHS))
        return by_flax(carry, ys)

    def put(layer: Any, weights: Any) -> Any:
        nnx.update(layer, weights)
        return layer

    options = {"param_dtype": jnp.float64, "dtype": jnp.float64, "rngs": nnx.Rngs(0)}
    cases = {
        "simple": nnx.SimpleCell(INPUTS, FEATURES, **options),
        "simple_relu": nnx.SimpleCell(INPUTS, FEATURES, activation_fn=jax.nn.relu, **options),
        "gru": nnx.GRUCell(INPUTS, FEATURES, **options),
        "lstm": nnx.LSTMCell(INPUTS, FEATURES, **options),
        "optimized_lstm": nnx.OptimizedLSTMCell(INPUTS, FEATURES, **options),
    }
    for name, layer in cases.items():
        nnx.update(
            layer, jax.tree.map(lambda leaf: jnp.asarray(draw(leaf.shape)), nnx.state(layer))
        )
        yield f"nnx_{name}", Layer(layer, run, put)


def by_flax(carry: Any, ys: Any) -> tuple[np.ndarray, States]:
    """Flax carries an LSTM's cell before its hidden state, and runs on after the length."""
    ends = list(reversed(carry)) if isinstance(carry, tuple) else [carry]
    valid = np.arange(TIME) < LENGTHS[:, None]
    return np.where(valid[..., None], ys, 0), ends


def linen_layers() -> Iterator[tuple[str, Layer]]:
    from flax import linen

    for name, cell in {
        "simple": linen.SimpleCell(FEATURES, param_dtype=jnp.float64),
        "gru": linen.GRUCell(FEATURES, param_dtype=jnp.float64),
        "lstm": linen.LSTMCell(FEATURES, param_dtype=jnp.float64),
        "optimized_lstm": linen.OptimizedLSTMCell(FEATURES, param_dtype=jnp.float64),
    }.items():
        rnn = linen.RNN(cell, return_carry=True)
        variables = rnn.init(jax.random.key(0), XS)["params"]["cell"]

        def run(params: Any, rnn: Any = rnn) -> tuple[np.ndarray, States]:
            return by_flax(*rnn.apply({"params": {"cell": params}}, XS, seq_lengths=LENGTHS))

        params = jax.tree.map(lambda leaf: draw(leaf.shape), variables)
        yield f"linen_{name}", Layer(params, run, lambda _, weights: weights)


def haiku_layers() -> Iterator[tuple[str, Layer]]:
    import haiku

    cases = {
        "vanilla_rnn": lambda: haiku.VanillaRNN(FEATURES),
        "vanilla_rnn_one_bias": lambda: haiku.VanillaRNN(FEATURES, double_bias=False),
        "gru": lambda: haiku.GRU(FEATURES),
        "lstm": lambda: haiku.LSTM(FEATURES),
    }
    for name, make in cases.items():

        def unroll(xs: Any, make: Callable = make) -> Any:
            core = make()
            state, ys, states = core.initial_state(BATCH), [], []
            for x in xs.swapaxes(0, 1):
                y, state = core(x, state)
                ys.append(y)
                states.append(state)
            return jnp.stack(ys, 1), jax.tree.map(lambda *each: jnp.stack(each, 1), *states)

        function = haiku.without_apply_rng(haiku.transform(unroll))

        def run(params: Any, function: Any = function) -> tuple[np.ndarray, States]:
            ys, states = function.apply(params, XS)
            return cut(ys, jax.tree.leaves(states))

        drawn = jax.tree.map(
            lambda leaf: draw(leaf.shape), function.init(jax.random.key(0), jnp.asarray(XS))
        )
        yield f"haiku_{name}", Layer(drawn, run, lambda _, weights: weights)


def cut(ys: Any, states: list[Any]) -> tuple[np.ndarray, States]:
    """Outputs up to the lengths, and the states there, of those at every step."""
    valid = np.arange(TIME) < LENGTHS[:, None]
    rows = np.arange(BATCH)
    ends = [np.asarray(state)[rows, LENGTHS - 1] for state in states]
    return np.where(valid[..., None], ys, 0), ends


def equinox_layers() -> Iterator[tuple[str, Layer]]:
    import equinox

    def run(cell: Any) -> tuple[np.ndarray, States]:
        is_lstm = isinstance(cell, equinox.nn.LSTMCell)
        zeros = jnp.zeros(FEATURES)

        def row(xs: Any) -> Any:
            step = lambda state, x: (cell(x, state),) * 2  # noqa: E731
            return jax.lax.scan(step, (zeros, zeros) if is_lstm else zeros, xs)[1]

        states = jax.tree.leaves(jax.vmap(row)(XS))
        return cut(states[0], states)

    def put(cell: Any, weights: Any) -> Any:
        where = lambda cell: [getattr(cell, name) for name in weights]  # noqa: E731
        return equinox.tree_at(where, cell, list(weights.values()))

    for kind, make in {"gru": equinox.nn.GRUCell, "lstm": equinox.nn.LSTMCell}.items():
        for bias in (True, False):
            cell = make(INPUTS, FEATURES, use_bias=bias, key=jax.random.key(0))
            cell = jax.tree.map(lambda leaf: jnp.asarray(draw(leaf.shape)), cell)
            yield f"equinox_{kind}" + "_no_bias" * (not bias), Layer(cell, run, put)


def agree(name: str, model: sj.nn.RNN, layer: Layer, wrapped: Any) -> None:
    """Outputs and final states."""
    ys, ends = layer.run(wrapped)
    carry, found = model(jnp.asarray(XS), lengths=LENGTHS)
    np.testing.assert_allclose(found, ys, 1e-10, 1e-10, err_msg=name)
    states = jax.tree.leaves(carry)
    assert len(states) == len(ends), name
    for state, end in zip(states, ends, strict=True):
        np.testing.assert_allclose(state, end, 1e-10, 1e-10, err_msg=name)


def both_ways(name: str, layer: Layer) -> None:
    loaded = sj.interop.load(layer.layer)
    agree(name, loaded.model, layer, layer.layer)
    # Halved, so that what has no place there, zeros, stays.
    loaded.model.set_params(jax.tree.map(lambda leaf: leaf / 2, loaded.model.params))
    weights = sj.interop.weights(loaded)
    agree(f"{name}, back", loaded.model, layer, layer.put(layer.layer, weights))


LIBRARIES = {
    "torch": torch_layers,
    "keras": keras_layers,
    "nnx": nnx_layers,
    "linen": linen_layers,
    "haiku": haiku_layers,
    "equinox": equinox_layers,
}

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for library in sys.argv[1:] or LIBRARIES:
        for name, layer in LIBRARIES[library]():
            both_ways(name, layer)
            print(name, "good")
