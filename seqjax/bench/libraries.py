"""The libraries that are compared, each run the way its own users run it.

Every entry is a function `(layer) -> Program` that raises `ImportError` if the library is not
installed. All of them get the same weights and the same inputs.
"""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.layer import GATES, Layer, Program
from seqjax.cells.gru import gru
from seqjax.cells.lstm import LSTMState, lstm
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.engines.methods import Method
from seqjax.engines.scan import scan


def seqjax(layer: Layer, devices: int, method: Method | str = "auto") -> Program:
    """Ours."""
    return _ours(layer, lstm if layer.kind == "lstm" else gru, devices, method)


def user_cell(layer: Layer, devices: int, method: Method | str = "auto") -> Program:
    """The same LSTM, written by a user in a few lines."""
    if layer.kind != "lstm":
        raise ImportError("only an LSTM is written here")

    @factory
    def own(features: int) -> Cell:
        def update(state, x, r):
            i, f, g, o = x + r
            cell = jax.nn.sigmoid(f) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)

        return gated(update, features=features, gates=4, state=LSTMState)

    return _ours(layer, own, devices, method)


def _ours(
    layer: Layer, build: Callable[[int], Cell], devices: int, method: Method | str
) -> Program:
    cell = build(layer.features)
    params = dict(layer.weights)
    if layer.kind == "gru":
        params["recurrent_bias"] = np.zeros_like(params["bias"])
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, layer.dtype), params)
    xs = jnp.asarray(np.moveaxis(layer.xs, 0, 1), layer.dtype)

    def run(params, xs):
        return scan(cell, params, xs, method=method)[1]

    return layer.compile(run, params, xs, time_axis=1, devices=devices)


def flax_linen(layer: Layer, devices: int) -> Program:
    """`flax.linen.RNN` around `OptimizedLSTMCell` or `GRUCell`."""
    nn: Any = import_module("flax.linen")

    optimized = nn.OptimizedLSTMCell if layer.kind == "lstm" else nn.GRUCell
    dtype = jnp.dtype(layer.dtype)
    rnn = nn.RNN(optimized(layer.features, dtype=dtype, param_dtype=dtype))
    params: dict[str, Any] = {}
    for place, gate in enumerate(GATES[layer.kind]):
        bias = {"bias": layer.gate("bias", place)}
        own = {"kernel": layer.gate("input", place)}
        state = {"kernel": layer.gate("recurrent", place)}
        params[f"i{gate}"] = own | (bias if layer.kind == "gru" else {})
        params[f"h{gate}"] = state | (bias if layer.kind == "lstm" else {})
    if layer.kind == "gru":
        params["hn"]["bias"] = np.zeros(layer.features, np.float32)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    xs = jnp.asarray(np.moveaxis(layer.xs, 0, 1), dtype)
    return layer.compile(
        lambda params, xs: rnn.apply({"params": {"cell": params}}, xs),
        params,
        xs,
        time_axis=1,
        devices=devices,
    )


def flax_nnx(layer: Layer, devices: int) -> Program:
    """`flax.nnx.RNN` around `OptimizedLSTMCell` or `GRUCell`."""
    nnx: Any = import_module("flax.nnx")

    build: Any = nnx.OptimizedLSTMCell if layer.kind == "lstm" else nnx.GRUCell
    dtype = jnp.dtype(layer.dtype)
    cell = build(layer.inputs, layer.features, dtype=dtype, rngs=nnx.Rngs(0))
    for linear, name in ((cell.dense_i, "input"), (cell.dense_h, "recurrent")):
        linear.kernel.set_value(jnp.asarray(layer.flat(name), dtype))
    biased = cell.dense_i if layer.kind == "gru" else cell.dense_h
    biased.bias.set_value(jnp.asarray(layer.flat("bias"), dtype))
    graph, params, rest = nnx.split(nnx.RNN(cell), nnx.Param, ...)
    xs = jnp.asarray(np.moveaxis(layer.xs, 0, 1), dtype)

    def run(params, xs):
        # The RNN's own start draws from a stream of keys, which `grad` does not allow.
        zeros = jnp.zeros((layer.batch, layer.features), dtype)
        start = (zeros, zeros) if layer.kind == "lstm" else zeros
        return nnx.merge(graph, params, rest, copy=True)(xs, initial_carry=start)

    return layer.compile(run, params, xs, time_axis=1, devices=devices)


def haiku(layer: Layer, devices: int) -> Program:
    """`hk.dynamic_unroll` of `hk.LSTM`; Haiku's GRU is another function (it resets first)."""
    hk: Any = import_module("haiku")

    if layer.kind == "gru":
        raise ImportError("Haiku's GRU resets before the product, so its numbers are others")

    def net(xs):
        core = hk.LSTM(layer.features)
        return hk.dynamic_unroll(core, xs, core.initial_state(layer.batch))[0]

    apply = hk.without_apply_rng(hk.transform(net)).apply
    weights = layer.reordered("igfo")
    bias = weights["bias"].copy()
    bias[2] -= 1.0  # Haiku adds 1 to the forget gate by itself.
    joined = np.concatenate([weights["input"], weights["recurrent"]])
    linear = {"w": joined.reshape(joined.shape[0], -1), "b": bias.reshape(-1)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, layer.dtype), {"lstm/linear": linear})
    xs = jnp.asarray(layer.xs, layer.dtype)
    return layer.compile(
        lambda params, xs: apply(params, xs), params, xs, time_axis=0, devices=devices
    )


def equinox(layer: Layer, devices: int) -> Program:
    """`lax.scan` over a `vmap` of `eqx.nn.LSTMCell` or `GRUCell`."""
    eqx: Any = import_module("equinox")

    build: Any = eqx.nn.LSTMCell if layer.kind == "lstm" else eqx.nn.GRUCell
    cell = build(layer.inputs, layer.features, dtype=jnp.dtype(layer.dtype), key=jax.random.key(0))
    transposed = {name: jnp.asarray(layer.flat(name).T, layer.dtype) for name in layer.weights}
    values = [transposed["input"], transposed["recurrent"], transposed["bias"]]
    cell = eqx.tree_at(lambda c: [c.weight_ih, c.weight_hh, c.bias], cell, values)
    if layer.kind == "gru":
        cell = eqx.tree_at(lambda c: c.bias_n, cell, jnp.zeros(layer.features, layer.dtype))
    params, static = eqx.partition(cell, eqx.is_array)

    def run(params, xs):
        step = jax.vmap(eqx.combine(params, static))
        zeros = jnp.zeros((layer.batch, layer.features), xs.dtype)

        def body(carry, x):
            carry = step(x, carry)
            return carry, carry[0] if layer.kind == "lstm" else carry

        return jax.lax.scan(body, (zeros, zeros) if layer.kind == "lstm" else zeros, xs)[1]

    xs = jnp.asarray(layer.xs, layer.dtype)
    return layer.compile(run, params, xs, time_axis=0, devices=devices)


def keras(layer: Layer, devices: int) -> Program:
    """`keras.layers.LSTM` or `GRU` on the JAX backend, called without state."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras: Any = import_module("keras")

    if keras.backend.backend() != "jax":
        raise ImportError("Keras runs on another backend; set KERAS_BACKEND=jax")
    build: Any = keras.layers.LSTM if layer.kind == "lstm" else keras.layers.GRU
    keras_layer = build(
        layer.features,
        return_sequences=True,
        dtype=layer.dtype,
        # The default, orthogonal, cannot be drawn in bfloat16; these weights are not used.
        recurrent_initializer="zeros",
    )
    keras_layer.build((None, layer.time, layer.inputs))
    weights = layer.reordered("ifgo" if layer.kind == "lstm" else "zrn")
    bias = weights["bias"].reshape(-1)
    if layer.kind == "gru":
        bias = np.stack([bias, np.zeros_like(bias)])
    flat = [weights[name].reshape(weights[name].shape[0], -1) for name in ("input", "recurrent")]
    params = [jnp.asarray(value, layer.dtype) for value in (*flat, bias)]
    state = [variable.value for variable in keras_layer.non_trainable_variables]

    def run(params, xs):
        return keras_layer.stateless_call(params, state, xs)[0]

    xs = jnp.asarray(np.moveaxis(layer.xs, 0, 1), layer.dtype)
    return layer.compile(run, params, xs, time_axis=1, devices=devices)


def torch(layer: Layer, devices: int) -> Program:
    """`torch.nn.LSTM` or `GRU`, on the GPU (by cuDNN) if JAX runs on one, else on all cores."""
    torch: Any = import_module("torch")

    build: Any = torch.nn.LSTM if layer.kind == "lstm" else torch.nn.GRU
    place = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, layer.dtype)
    torch.set_num_threads(os.cpu_count() or 1)
    rnn = build(layer.inputs, layer.features).to(place, dtype)
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(torch.tensor(layer.flat("input").T))
        rnn.weight_hh_l0.copy_(torch.tensor(layer.flat("recurrent").T))
        rnn.bias_ih_l0.copy_(torch.tensor(layer.flat("bias")))
        rnn.bias_hh_l0.zero_()
    xs = torch.tensor(layer.xs).to(place, dtype).requires_grad_()

    def wait():
        if place == "cuda":
            torch.cuda.synchronize()

    def forward():
        with torch.no_grad():
            ys = rnn(xs)[0]
        wait()
        return ys

    def train():
        rnn.zero_grad()
        xs.grad = None
        loss = rnn(xs)[0].float().square().mean()
        loss.backward()
        wait()
        return loss

    return Program(
        forward=forward,
        train=train,
        outputs_of=lambda ys: ys.float().cpu().numpy(),
        loss_of=lambda loss: loss.item(),
        gradient_of_input=lambda _: xs.grad.float().cpu().numpy(),
    )


def cudnn(layer: Layer, devices: int) -> Program:
    """`jax.experimental.rnn`: cuDNN's LSTM called from JAX, on NVIDIA GPUs only."""
    if jax.default_backend() != "gpu" or layer.kind != "lstm":
        raise ImportError("cuDNN's LSTM needs an NVIDIA GPU")
    rnn: Any = import_module("jax.experimental.rnn")

    bias = layer.flat("bias")
    parts = [layer.flat("input").T, layer.flat("recurrent").T, bias, np.zeros_like(bias)]
    weights = jnp.asarray(np.concatenate([part.reshape(-1) for part in parts]), layer.dtype)
    xs = jnp.asarray(np.moveaxis(layer.xs, 0, 1), layer.dtype)

    def run(weights, xs):
        zeros = jnp.zeros((1, layer.batch, layer.features), xs.dtype)
        lengths = jnp.full((layer.batch,), layer.time, jnp.int32)
        return rnn.lstm(
            xs, zeros, zeros, weights, lengths, layer.inputs, layer.features, 1, 0.0, False
        )[0]

    return layer.compile(run, weights, xs, time_axis=1, devices=devices)


LIBRARIES: dict[str, Callable[[Layer, int], Program]] = {
    "seqjax": seqjax,
    "user cell": user_cell,
    "flax linen": flax_linen,
    "flax nnx": flax_nnx,
    "haiku": haiku,
    "equinox": equinox,
    "keras": keras,
    "torch": torch,
    "cudnn": cudnn,
}
