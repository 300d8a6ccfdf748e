"""A feed-forward layer of which each step uses some of many parts."""

from typing import Literal

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.layers import draw, feed_forward, pointwise
from seqjax.core.types import Array, Initializer, Params


@factory
def mixture_of_experts(
    features: int,
    *,
    experts: int,
    chosen: int,
    hidden: int,
    shared: int,
    scores: Literal["softmax", "sigmoid"] = "softmax",
    correction: bool = False,
    groups: int = 1,
    chosen_groups: int = 1,
    normalized: bool = True,
    scale: float = 1.0,
    shared_gate: bool = True,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Experts with a gate each, of which a step uses the `chosen` likeliest, and one that all use.

        p = softmax(x @ router), over the experts, or sigmoid(x @ router)
        w = p where p + correction is among the largest, 0 for all others
        w = scale w, before that over their sum if they are normalized
        y = sum_e w_e (silu(x @ gate_e) * (x @ up_e)) @ down_e  +  sigmoid(x @ open) * shared(x)

    What is not chosen is not computed: steps are sorted by their experts, and each expert is one
    product with all of its steps.

    Args:
      features: width of the input and of the output.
      experts: number of them.
      chosen: how many a step uses.
      hidden: width inside an expert.
      shared: width inside the shared one, which is a `sj.feed_forward`.
      scores: of the experts: `"softmax"`, or `"sigmoid"` of each by itself.
      correction: whether there is one, an addend of the scores for the choice alone, which whoever
        trains the model moves so that all experts are used; no gradient reaches it.
      groups: number of groups of experts in a row of which a step uses some.
      chosen_groups: how many: those whose two best experts have the largest sum of scores.
      normalized: whether the weights of the chosen ones sum to `scale`.
      scale: a factor on the weights.
      shared_gate: whether the shared one has a gate, `open`.
      weight_init: initializer of all weights.

    Returns:
      A cell with parameters `router` `(features, experts)`; in `experts`, `gate` and `up`
      `(experts, features, hidden)` and `down` `(experts, hidden, features)`; `shared`, and `open`
      `(features, 1)` and `correction` `(experts,)`, which starts at 0, if there are these. Its
      carry is empty.

    Raises:
      ValueError: if more are to be chosen than there are, or the groups do not divide the experts.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from seqjax.core.mixture_of_experts import mixture_of_experts
      >>> cell = mixture_of_experts(4, experts=8, chosen=2, hidden=3, shared=3)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> params["experts"]["gate"].shape, cell.step(params, (), jnp.ones((2, 4)))[1].shape
      ((8, 4, 3), (2, 4))

    Source: Shazeer et al. 2017, arXiv:1701.06538; the shared expert with a gate: Qwen2-MoE, Yang et
    al. 2024, arXiv:2407.10671; sigmoid scores, their correction and the groups: DeepSeek-V3,
    DeepSeek-AI 2024, arXiv:2412.19437.
    """
    owner = "mixture_of_experts"
    experts, hidden = positive_int(owner, "experts", experts), positive_int(owner, "hidden", hidden)
    if experts % positive_int(owner, "groups", groups):
        raise ValueError(f"{owner}: `groups={groups}` must divide `experts`, which is {experts}.")
    if scores not in ("softmax", "sigmoid"):
        raise ValueError(f"{owner}: `scores` must be 'softmax' or 'sigmoid'; got {scores!r}.")
    if positive_int(owner, "chosen_groups", chosen_groups) > groups:
        raise ValueError(
            f"{owner}: `chosen_groups={chosen_groups}` must be at most `groups`, {groups}."
        )
    open_to_choice = experts // groups * chosen_groups
    if positive_int(owner, "chosen", chosen) > open_to_choice:
        where = "`experts`" if groups == chosen_groups else "the experts of the chosen groups"
        raise ValueError(f"{owner}: `chosen={chosen}` must be at most {where}, {open_to_choice}.")
    common = feed_forward(features, hidden=shared, weight_init=weight_init)

    def init(key, in_features):
        own, other = jax.random.split(key)
        recipes = {
            "router": (weight_init, (in_features, experts)),
            "open": (weight_init, (in_features, 1)),
            "gate": (weight_init, (in_features, experts, hidden)),
            "up": (weight_init, (in_features, experts, hidden)),
            "down": (weight_init, (hidden, experts, features)),
            "correction": (initializers.Constant(0.0), (experts,)),
        }
        absent = {"open": not shared_gate, "correction": not correction}
        drawn = draw(own, {name: recipes[name] for name in recipes if not absent.get(name)})
        each = {name: drawn.pop(name).swapaxes(0, 1) for name in ("gate", "up", "down")}
        return {**drawn, "experts": each, "shared": common.init(other, in_features)}

    def of_chosen(p: Params, x: Array) -> Array:
        score = (x @ p["router"]).astype(jnp.promote_types(x.dtype, jnp.float32))
        score = getattr(jax.nn, scores)(score)
        ranked = score + like_features(p["correction"], score) if correction else score
        names = jax.lax.top_k(_in_best_groups(ranked, groups, chosen_groups), chosen)[1]
        weights = jnp.take_along_axis(score, names, axis=-1)
        if normalized:
            # So that scores that are all 0 give weights that are.
            weights = weights / (weights.sum(-1, keepdims=True) + 1e-20)
        weights = scale * weights
        order = jnp.argsort(names.ravel())
        step, sizes = order // chosen, jnp.bincount(names.ravel(), length=experts)
        rows, each = x[step], p["experts"]
        inside = jax.nn.silu(jax.lax.ragged_dot(rows, each["gate"], sizes))
        inside = inside * jax.lax.ragged_dot(rows, each["up"], sizes)
        made = jax.lax.ragged_dot(inside, each["down"], sizes)
        made = made * weights.ravel()[order, None].astype(made.dtype)
        return jnp.zeros_like(x, shape=(x.shape[0], features)).at[step].add(made)

    def apply(p, x):
        expect_inputs(owner, p["router"].shape[0], x)
        y = of_chosen(p, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], features)
        own = common.step(p["shared"], (), x)[1]
        return y + (jax.nn.sigmoid(x @ p["open"]) * own if shared_gate else own)

    return pointwise(apply, features=features, init=init)


def _in_best_groups(ranked: Array, groups: int, chosen: int) -> Array:
    """The scores of experts of the best groups, and below all numbers those of the others."""
    if groups == chosen:
        return ranked
    grouped = ranked.reshape(*ranked.shape[:-1], groups, ranked.shape[-1] // groups)
    best = jax.lax.top_k(grouped, min(2, grouped.shape[-1]))[0].sum(-1)
    names = jax.lax.top_k(best, chosen)[1]
    kept = jax.nn.one_hot(names, groups, dtype=bool).any(-2)
    return jnp.where(kept[..., None], grouped, -jnp.inf).reshape(ranked.shape)
