"""Recurrent layers of other libraries; `tests/golden/live_layers.py` runs beside the libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.core.errors import InputError
from seqjax.interop.conversion import leaves
from tests.cells.test_torch import arrange
from tests.golden import make


def same(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 0, 1e-15), got, wanted)


@pytest.mark.parametrize("case", [case for case in make.CASES if "1_b" in case or "2_f" in case])
def test_torch(case, x64):
    """The parameters with which `tests/cells/test_torch.py` computes what PyTorch does."""
    with np.load(make.FOLDER / f"{case}.npz") as file:
        found = {name: file[name] for name in file if name.startswith(("weight_hh", "weight_ih",
                 "weight_hr", "bias"))}  # fmt: skip
    loaded = sj.interop.load(found)
    kind, layers, _ = case.rsplit("_", 2)
    params = arrange(case, found)
    same(loaded.model.params, next(iter(params.values())) if layers == "1" else params)
    assert loaded.model.in_features == make.INPUTS
    back = sj.interop.weights(loaded)
    assert {name: array.shape for name, array in back.items()} == {
        name: array.shape for name, array in found.items()
    }
    for name, array in found.items():
        if kind == "gru" or name.startswith("weight"):
            np.testing.assert_array_equal(back[name], array)
    same(sj.interop.load(back).model.params, loaded.model.params)
    if kind == "gru":
        bare = sj.interop.weights(loaded.model, family="torch_gru")
        assert bare.keys() == back.keys()


DRAWN = np.random.default_rng(0)


def drawn(*shape):
    return DRAWN.standard_normal(shape)


X, H, C = drawn(2, 3), drawn(2, 4), drawn(2, 4)
sigmoid = jax.nn.sigmoid


def keras_lstm(w):
    i, f, g, o = np.split(X @ w[0] + H @ w[1] + w[2], 4, 1)
    c = sigmoid(f) * C + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def keras_gru(w):
    """Either form, by the shape of the bias."""
    x = X @ w[0] + w[2].reshape(-1, 12)[0]
    after = w[2].ndim == 2
    h = H @ w[1] + (w[2][1] if after else 0)
    z, r = sigmoid(x[:, :4] + h[:, :4]), sigmoid(x[:, 4:8] + h[:, 4:8])
    n = np.tanh(x[:, 8:] + (r * h[:, 8:] if after else (r * H) @ w[1][:, 8:]))
    return (z * H + (1 - z) * n,)


def haiku_lstm(w):
    i, g, f, o = np.split(np.concatenate([X, H], 1) @ w["w"] + w["b"], 4, 1)
    c = sigmoid(f + 1) * C + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def haiku_gru(w):
    x, h = X @ w["w_i"] + w["b"], H @ w["w_h"]
    z, r = sigmoid(x[:, :4] + h[:, :4]), sigmoid(x[:, 4:8] + h[:, 4:8])
    a = np.tanh(x[:, 8:] + (r * H) @ w["w_h"][:, 8:])
    return ((1 - z) * H + z * a,)


def haiku_rnn(w):
    ahead, back = (w[f"vanilla_rnn/linear{end}"] for end in ("", "_1"))
    return (np.maximum(X @ ahead["w"] + ahead["b"] + H @ back["w"] + back["b"], 0),)


def equinox_gru(w):
    x, h = X @ w["weight_ih"].T + w["bias"], H @ w["weight_hh"].T
    r, z = sigmoid(x[:, :4] + h[:, :4]), sigmoid(x[:, 4:8] + h[:, 4:8])
    n = np.tanh(x[:, 8:] + r * (h[:, 8:] + w["bias_n"]))
    return (n + z * (H - n),)


def equinox_lstm(w):
    i, f, g, o = np.split(X @ w["weight_ih"].T + H @ w["weight_hh"].T + w["bias"], 4, 1)
    c = sigmoid(f) * C + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def linen_gru(w):
    side = lambda name, x: x @ w[name]["kernel"] + w[name].get("bias", 0)  # noqa: E731
    r, z = (sigmoid(side("i" + gate, X) + side("h" + gate, H)) for gate in "rz")
    n = np.tanh(side("in", X) + r * side("hn", H))
    return ((1 - z) * n + z * H,)


CELLS = {
    "keras_lstm": (keras_lstm, [drawn(3, 16), drawn(4, 16), drawn(16)]),
    "keras_gru after": (keras_gru, [drawn(3, 12), drawn(4, 12), drawn(2, 12)]),
    "keras_gru before": (keras_gru, [drawn(3, 12), drawn(4, 12), drawn(12)]),
    "haiku_lstm": (
        lambda w: haiku_lstm(w["lstm/linear"]),
        {"lstm/linear": {"w": drawn(7, 16), "b": drawn(16)}},
    ),
    "haiku_gru": (
        lambda w: haiku_gru(w["gru"]),
        {"gru": {"w_i": drawn(3, 12), "w_h": drawn(4, 12), "b": drawn(12)}},
    ),
    "haiku_vanilla_rnn": (
        haiku_rnn,
        {
            "vanilla_rnn/linear": {"w": drawn(3, 4), "b": drawn(4)},
            "vanilla_rnn/linear_1": {"w": drawn(4, 4), "b": drawn(4)},
        },
    ),
    "equinox_gru": (
        equinox_gru,
        {
            "weight_ih": drawn(12, 3),
            "weight_hh": drawn(12, 4),
            "bias": drawn(12),
            "bias_n": drawn(4),
        },
    ),
    "equinox_lstm": (
        equinox_lstm,
        {"weight_ih": drawn(16, 3), "weight_hh": drawn(16, 4), "bias": drawn(16)},
    ),
    "linen_gru": (
        linen_gru,
        {
            **{f"i{gate}": {"kernel": drawn(3, 4), "bias": drawn(4)} for gate in "rzn"},
            **{f"h{gate}": {"kernel": drawn(4, 4)} for gate in "rz"},
            "hn": {"kernel": drawn(4, 4), "bias": drawn(4)},
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_one_step(name, x64):
    """Their equations in NumPy, from a state that is not 0; and the weights come back."""
    function, weights = CELLS[name]
    loaded = sj.interop.load(weights)
    assert loaded.family.name == name.split()[0]
    carry = sj.LSTMState(H, C) if "lstm" in name else H
    carry, _ = loaded.model.step(jax.tree.map(jnp.asarray, carry), jnp.asarray(X))
    for got, wanted in zip(jax.tree.leaves(carry), function(weights), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
    back = sj.interop.weights(loaded)
    if "vanilla" in name:
        # The two biases add up.
        back["vanilla_rnn/linear_1"]["b"] += weights["vanilla_rnn/linear_1"]["b"]
        back["vanilla_rnn/linear"]["b"] -= weights["vanilla_rnn/linear_1"]["b"]
    same(back, weights)


def nnx_cells():
    make = {"in_features": 3, "hidden_features": 4, "param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
    simple = {"activation_fn": jax.nn.relu, "dtype": jnp.float64}
    return {
        "simple": nnx.SimpleCell(**simple, **make),
        "gru": nnx.GRUCell(**make),
        "lstm": nnx.LSTMCell(**make),
        "optimized_lstm": nnx.OptimizedLSTMCell(**make),
    }


def test_nnx(x64):
    """All of them in one program."""
    cells = nnx.eval_shape(nnx_cells)
    state = nnx.state(cells)
    nnx.update(cells, jax.tree.map(lambda leaf: jnp.asarray(drawn(*leaf.shape)), state))
    loaded = {name: sj.interop.load(cell) for name, cell in cells.items()}
    h, c, x = map(jnp.asarray, (H, C, X))

    @jax.jit
    def run(theirs, ours):
        lstm = {name: "lstm" in name for name in theirs}
        return (
            {name: cell((c, h) if lstm[name] else h, x)[0] for name, cell in theirs.items()},
            {
                name: model.step(sj.LSTMState(h, c) if lstm[name] else h, x)[0]
                for name, model in ours.items()
            },
        )

    theirs, ours = run(cells, {name: one.model for name, one in loaded.items()})
    for name, cell in cells.items():
        ends = theirs[name][::-1] if "lstm" in name else theirs[name]
        for got, wanted in zip(jax.tree.leaves(ours[name]), jax.tree.leaves(ends), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)
        before = jax.tree.leaves(cell)
        nnx.update(cell, jax.tree.map(jnp.asarray, sj.interop.weights(loaded[name])))
        same(jax.tree.leaves(cell), before)


def refused(message, call, *arguments, **options):
    with pytest.raises(InputError, match=message):
        call(*arguments, **options)


def rnn(cell):
    """With zeros, which is cheaper than to draw."""
    model = nnx.eval_shape(lambda: sj.nn.RNN(cell, 3, rngs=nnx.Rngs(0)))
    for leaf in leaves(model).values():
        leaf.set_value(np.zeros(leaf.shape, np.float32))
    return model


def test_what_cannot_be_held():
    load, weights = sj.interop.load, sj.interop.weights
    gru = rnn(sj.gru(4))
    weights(gru, family="nnx_gru")
    gru.set_params({**gru.params, "recurrent_bias": jnp.ones((3, 4))})
    refused("nnx_gru has no place for our recurrent_bias: .* 0.0", weights, gru, family="nnx_gru")
    weights(gru, family="linen_gru")
    before = rnn(sj.gru(4, reset="before"))
    weights(before, family="haiku_gru")
    refused("torch_gru", weights, before, family="torch_gru")
    weights(before, family="keras_gru", config={"reset_after": False})
    refused("keras_gru needs our recurrent_bias", weights, before, family="keras_gru")
    refused(r"haiku_gru has no place for our recurrent_bias", weights, gru, family="haiku_gru")
    relu = rnn(sj.elman(4, activation=jax.nn.relu))
    weights(relu, family="torch_rnn", config={"nonlinearity": "relu"})
    refused(r"no place for elman\(4, activation=relu\)", weights, relu, family="torch_rnn")
    refused("no place for our peephole_forget", weights, rnn(sj.lstm(4, peepholes=True)),
            family="torch_lstm")  # fmt: skip
    refused(
        r"torch_lstm has no place for our input \(3, 3, 4\)",
        weights,
        rnn(sj.lstm(4, coupled=True)),
        family="torch_lstm",
    )

    keras = CELLS["keras_lstm"][1]
    refused("recurrent_activation can be 'sigmoid'", load, keras,
            config={"recurrent_activation": "hard_sigmoid"})  # fmt: skip
    refused("go_backwards can be False", load, keras, config={"go_backwards": True})
    elu = {"weight_ih_l0": drawn(4, 3), "weight_hh_l0": drawn(4, 4)}
    refused("activation can be tanh, relu", load, elu, config={"nonlinearity": "elu"})
    with pytest.raises(TypeError, match="two or three arrays in each direction; got 5"):
        load([drawn(1)] * 5)
    with pytest.raises(TypeError, match="expected a path, a layer .* got int"):
        load(3)


def test_a_part_of_a_model():
    lstm = {"weight_ih_l0": drawn(16, 3), "weight_hh_l0": drawn(16, 4)}
    whole = {f"encoder.rnn.{name}": array for name, array in lstm.items()} | {
        "head.weight": drawn(2, 4)
    }
    refused(r"There is one below prefix='encoder.rnn.'.", sj.interop.load, whole)
    refused("No name begins with 'rnn.'; there are encoder", sj.interop.load, whole, prefix="rnn.")
    assert sj.interop.load(whole, prefix="encoder.rnn.").model.cell == sj.lstm(4)
