"""Experts against all of them written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.mixture_of_experts import mixture_of_experts
from tests.parameters import drawn

CELL = mixture_of_experts(4, experts=3, chosen=2, hidden=5, shared=2, normalized=False)


def everything(p, x):
    """Every expert for every step, weighted by 0 where it is not among the two likeliest."""
    share = jax.nn.softmax(x @ p["router"])
    least = jnp.sort(share, axis=-1)[..., 1:2]
    weights = jnp.where(share >= least, share, 0)
    each = p["experts"]
    inside = jax.nn.silu(jnp.einsum("...m,emh->...eh", x, each["gate"]))
    inside = inside * jnp.einsum("...m,emh->...eh", x, each["up"])
    y = jnp.einsum("...e,...eh,ehm->...m", weights, inside, each["down"])
    own = p["shared"]
    common = (jax.nn.silu(x @ own["gate"]) * (x @ own["up"])) @ own["down"]
    return y + jax.nn.sigmoid(x @ p["open"]) * common


def test_values_and_gradients():
    params = CELL.init(jax.random.key(0), 4)
    xs = jax.random.normal(jax.random.key(1), (2, 6, 4))

    def run(function):
        def loss(params, xs):
            ys = function(params, xs)
            return jnp.sin(ys).sum(), ys

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, xs)

    found = run(lambda params, xs: sj.scan(CELL, params, xs)[1])
    wanted = run(everything)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-5)
    _, y = CELL.step(params, (), xs[0, 0])
    np.testing.assert_allclose(y, found[0][1][0, 0], 1e-5, 1e-6)


def test_scores_of_each_alone_in_groups():
    """Step by step: what is chosen, by corrected scores, and what it weighs, by those without."""
    cell = mixture_of_experts(
        4, experts=6, chosen=3, hidden=5, shared=2, scores="sigmoid", correction=True, groups=3,
        chosen_groups=2, scale=2.5, shared_gate=False,
    )  # fmt: skip
    params = drawn(cell, 4)
    params["correction"] = 0.2 * jax.random.normal(jax.random.key(3), (6,))
    xs = np.asarray(jax.random.normal(jax.random.key(1), (8, 4)))
    p = jax.tree.map(np.asarray, params)
    silu = lambda x: x / (1 + np.exp(-x))  # noqa: E731
    layer = lambda p, x: (silu(x @ p["gate"]) * (x @ p["up"])) @ p["down"]  # noqa: E731
    wanted, choices = [], set()
    for x in xs:
        score = 1 / (1 + np.exp(-x @ p["router"]))
        ranked = score + p["correction"]
        sums = [ranked[2 * group : 2 * group + 2].sum() for group in range(3)]
        worst = int(np.argmin(sums))
        rest = [one for one in range(6) if one // 2 != worst]
        chosen = sorted(rest, key=lambda one: -ranked[one])[:3]
        total = score[chosen].sum()
        y = layer(p["shared"], x)
        for one in chosen:
            expert = {name: each[one] for name, each in p["experts"].items()}
            y = y + 2.5 * score[one] / total * layer(expert, x)
        wanted.append(y)
        choices.add(tuple(sorted(chosen)))
    assert len(choices) > 2

    def loss(params):
        ys = sj.scan(cell, params, xs)[1]
        return jnp.sin(ys).sum(), ys

    gradient, ys = jax.jit(jax.grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(ys, wanted, 1e-4, 1e-5)
    assert not gradient["correction"].any() and gradient["router"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chosen": 7}, "`chosen=7` must be at most `experts`, 6"),
        ({"groups": 4}, "`groups=4` must divide `experts`, which is 6"),
        ({"groups": 2, "chosen_groups": 3}, "`chosen_groups=3` must be at most `groups`, 2"),
        ({"groups": 3, "chosen": 3}, "at most the experts of the chosen groups, 2"),
        ({"scores": "relu"}, "`scores` must be 'softmax' or 'sigmoid'; got 'relu'"),
    ],
    ids=str,
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        mixture_of_experts(4, **{"experts": 6, "chosen": 2, "hidden": 5, "shared": 2, **options})
