"""Values and gradients equal PyTorch's in float64: packed, stacked, in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.bidirectional import BidirectionalParameters
from tests.golden import make

GATES = {"elman": 1, "lstm": 4, "lstm_projection": 4, "gru": 3}
KINDS = {
    "elman": sj.elman(make.FEATURES),
    "lstm": sj.lstm(make.FEATURES),
    "lstm_projection": sj.lstm(make.FEATURES, projection=2),
    "gru": sj.gru(make.FEATURES),
}


def convert(kind: str, found: dict, suffix: str, prefix: str = "") -> dict:
    """One layer's weights (or, with a prefix, their gradients) in our layout."""

    def matrix(name):
        weights = found[f"{prefix}{name}_{suffix}"]
        return weights.reshape(GATES[kind], make.FEATURES, -1).transpose(2, 0, 1)

    def vector(name):
        return found[f"{prefix}{name}_{suffix}"].reshape(GATES[kind], make.FEATURES)

    params = {"input": matrix("weight_ih"), "recurrent": matrix("weight_hh")}
    if kind == "gru":
        params |= {"bias": vector("bias_ih"), "recurrent_bias": vector("bias_hh")}
    elif prefix:
        # PyTorch's two biases always add up, so each has the gradient of our one.
        params["bias"] = vector("bias_ih")
    else:
        params["bias"] = vector("bias_ih") + vector("bias_hh")
    if kind == "lstm_projection":
        params["projection"] = found[f"{prefix}weight_hr_{suffix}"].T
    return params


def arrange(case: str, found: dict, prefix: str = "") -> object:
    kind, layers, direction = case.rsplit("_", 2)

    def layer(index):
        forward = convert(kind, found, f"l{index}", prefix)
        if direction == "forward":
            return forward
        backward = convert(kind, found, f"l{index}_reverse", prefix)
        return BidirectionalParameters(forward, backward)

    return {name: layer(index) for index, name in enumerate(names(kind, layers, direction))}


def names(kind: str, layers: str, direction: str) -> list[str]:
    name = KINDS[kind].name if direction == "forward" else "bidirectional"
    return [f"{name}_{index}" for index in range(int(layers))]


def states(case: str, found: dict, prefix: str) -> dict:
    kind, layers, direction = case.rsplit("_", 2)

    def one(index):
        hidden = found[f"{prefix}h"][index]
        if kind.startswith("lstm"):
            return sj.LSTMState(hidden, found[f"{prefix}c"][index])
        return hidden

    layer_names = enumerate(names(kind, layers, direction))
    if direction == "forward":
        return {name: one(i) for i, name in layer_names}
    return {name: sj.BidirectionalState(one(2 * i), one(2 * i + 1)) for i, name in layer_names}


@pytest.mark.parametrize("case", make.CASES)
def test_golden(case, x64):
    with np.load(make.FOLDER / f"{case}.npz") as file:
        found = dict(file)
    kind, layers, direction = case.rsplit("_", 2)
    cell = KINDS[kind] if direction == "forward" else sj.bidirectional(KINDS[kind])
    cell = sj.stack(*[cell] * int(layers))
    weights = states(case, found, "weight_")

    def loss(params, xs, start):
        end, ys = sj.scan(cell, params, xs, start, lengths=make.LENGTHS)
        total = (found["weight_ys"] * ys).sum()
        for weight, leaf in zip(jax.tree.leaves(weights), jax.tree.leaves(end), strict=True):
            total += (weight * leaf).sum()
        return total, (end, ys)

    arguments = (arrange(case, found), jnp.asarray(found["xs"]), states(case, found, "start_"))
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    (d_params, d_xs, d_start), (end, ys) = gradient(*arguments)
    for got, wanted in (
        (ys, found["ys"]),
        (end, states(case, found, "end_")),
        (d_xs, found["d_xs"]),
        (d_start, states(case, found, "d_start_")),
        (d_params, arrange(case, found, "d_")),
    ):
        assert jax.tree.structure(got) == jax.tree.structure(wanted)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), got, wanted
        )
