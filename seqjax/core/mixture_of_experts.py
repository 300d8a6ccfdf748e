"""A feed-forward layer of which each step uses some of many parts."""

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, factory, positive_int
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
    normalized: bool = True,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """Experts with a gate each, of which a step uses the `chosen` likeliest, and one that all use.

        p = softmax(x @ router), over the experts
        w = p for the likeliest, 0 for all others; over their sum if it is normalized
        y = sum_e w_e (silu(x @ gate_e) * (x @ up_e)) @ down_e  +  sigmoid(x @ open) * shared(x)

    What is not chosen is not computed: steps are sorted by their experts, and each expert is one
    product with all of its steps.

    Args:
      features: width of the input and of the output.
      experts: number of them.
      chosen: how many a step uses.
      hidden: width inside an expert.
      shared: width inside the shared one, which is a `sj.feed_forward`.
      normalized: whether the weights of the chosen ones sum to 1.
      weight_init: initializer of all weights.

    Returns:
      A cell with parameters `router` `(features, experts)`; in `experts`, `gate` and `up`
      `(experts, features, hidden)` and `down` `(experts, hidden, features)`; `shared`, and `open`
      `(features, 1)`. Its carry is empty.

    Raises:
      ValueError: if more are to be chosen than there are.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from seqjax.core.mixture_of_experts import mixture_of_experts
      >>> cell = mixture_of_experts(4, experts=8, chosen=2, hidden=3, shared=3)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> params["experts"]["gate"].shape, cell.step(params, (), jnp.ones((2, 4)))[1].shape
      ((8, 4, 3), (2, 4))

    Source: Shazeer et al. 2017, arXiv:1701.06538; the shared expert with a gate: Qwen2-MoE, Yang et
    al. 2024, arXiv:2407.10671.
    """
    owner = "mixture_of_experts"
    experts, hidden = positive_int(owner, "experts", experts), positive_int(owner, "hidden", hidden)
    if positive_int(owner, "chosen", chosen) > experts:
        raise ValueError(f"{owner}: `chosen={chosen}` must be at most `experts`, {experts}.")
    common = feed_forward(features, hidden=shared, weight_init=weight_init)

    def init(key, in_features):
        own, other = jax.random.split(key)
        drawn = draw(
            own,
            {
                "router": (weight_init, (in_features, experts)),
                "open": (weight_init, (in_features, 1)),
                "gate": (weight_init, (in_features, experts, hidden)),
                "up": (weight_init, (in_features, experts, hidden)),
                "down": (weight_init, (hidden, experts, features)),
            },
        )
        each = {name: drawn.pop(name).swapaxes(0, 1) for name in ("gate", "up", "down")}
        return {**drawn, "experts": each, "shared": common.init(other, in_features)}

    def of_chosen(p: Params, x: Array) -> Array:
        share = jax.nn.softmax((x @ p["router"]).astype(jnp.promote_types(x.dtype, jnp.float32)))
        weights, names = jax.lax.top_k(share, chosen)
        if normalized:
            weights = weights / weights.sum(-1, keepdims=True)
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
        return y + jax.nn.sigmoid(x @ p["open"]) * common.step(p["shared"], (), x)[1]

    return pointwise(apply, features=features, init=init)
