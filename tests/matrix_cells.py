"""Matrix-state cells: every form that the engine knows, small, and the built-in ones."""

import functools

import jax
import jax.numpy as jnp

import seqjax as sj

HEADS, KEYS, VALUES = 2, 3, 2


@functools.cache
def form(decay="none", write="add", *, bonus=False, stabilized=False, bounded=False, gain=1.0):
    """A cell with the parts named.

    Args:
      decay: "none", "head" or "channel".
      write: "add", "delta", "erase" or "low_rank".
      bonus: read before the write.
      stabilized: exponential input gates, and a normaliser.
      bounded: decays stay above a bound that the engine knows.
      gain: factor on the pre-activations of all gates.
    """
    shapes = {"query": (HEADS, KEYS), "key": (HEADS, KEYS), "value": (HEADS, VALUES)}
    shapes["decay"] = (HEADS, KEYS) if decay == "channel" else (HEADS, 1)
    shapes |= {"rate": (HEADS, 1), "rates": (HEADS, KEYS), "bonus": (HEADS, KEYS)}

    def access(p, x):
        q, k, v, g, rate, rates, u = (sj.to_heads(x, p[name]) for name in shapes)
        k = k / jnp.sqrt(jnp.square(k).sum(-1, keepdims=True) + 1e-6)
        g, rate, rates = gain * g, gain * rate[..., 0], gain * rates
        g = -0.6 * jax.nn.sigmoid(g) if bounded else jax.nn.log_sigmoid(g)
        if stabilized:
            v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
        return sj.Access(
            query=q,
            key=k,
            value=v,
            log_decay={"none": None, "head": g[..., 0], "channel": g}[decay],
            rate=2 * jax.nn.sigmoid(rate) if write == "delta" else None,
            erase=k * 2 * jax.nn.sigmoid(rates) if write == "erase" else None,
            low_rank=(-k, k * jax.nn.sigmoid(rates)) if write == "low_rank" else None,
            bonus=u if bonus else None,
            log_input=rate if stabilized else None,
        )

    def read_out(p, o, x):
        if stabilized:
            floor = jnp.exp(-o.log_scale)[..., None]
            o = o.values[..., :-1] / jnp.maximum(jnp.abs(o.values[..., -1:]), floor)
        return o.reshape(*o.shape[:-2], HEADS * VALUES)

    return sj.matrix_state(
        access,
        heads=HEADS,
        keys=KEYS,
        values=VALUES + stabilized,
        init=shapes,
        read_out=read_out,
        features=HEADS * VALUES,
        stabilized=stabilized,
        least_log_decay=-0.6 if bounded else None,
    )


FORMS = {
    "add": dict(),
    "head-add": dict(decay="head"),
    "head-add-before": dict(decay="head", bonus=True),
    "channel-add": dict(decay="channel"),
    "channel-add-before": dict(decay="channel", bonus=True),
    "bounded-add-before": dict(decay="channel", bonus=True, bounded=True),
    "delta": dict(write="delta"),
    "head-delta": dict(decay="head", write="delta"),
    "channel-delta": dict(decay="channel", write="delta"),
    "channel-erase": dict(decay="channel", write="erase"),
    "low_rank": dict(write="low_rank"),
    "head-low_rank-before": dict(decay="head", write="low_rank", bonus=True),
    "channel-low_rank": dict(decay="channel", write="low_rank"),
    "bounded-low_rank": dict(decay="channel", write="low_rank", bounded=True),
    "stabilized": dict(stabilized=True),
    "head-stabilized": dict(decay="head", stabilized=True),
}

CELLS = {
    "linear_attention": sj.linear_attention(4, heads=2),
    "gated_linear_attention": sj.gated_linear_attention(4, heads=2, rank=2),
    "hgrn2": sj.hgrn2(4, heads=2, lower_bound=0.3),
    "retention": sj.retention(4, heads=2),
    "delta_net": sj.delta_net(4, heads=2, convolution=2, negative_eigenvalues=True),
    "gated_delta_net": sj.gated_delta_net(4, heads=2, convolution=2, key_width=2),
    "kimi_delta_attention": sj.kimi_delta_attention(4, heads=2, convolution=2),
    "gated_delta_product": sj.gated_delta_product(4, heads=2, convolution=2, key_width=2),
    "gated_delta_net2": sj.gated_delta_net2(4, heads=2, convolution=2),
    "comba": sj.comba(4, heads=2, convolution=2, key_width=2),
    "mamba2": sj.mamba2(4, heads=4, groups=2, states=2, convolution=2),
    "mamba3": sj.mamba3(4, heads=2, states=4),
    "mamba3_inputs": sj.mamba3(4, heads=4, groups=2, states=2, inputs=2, turning=1.0),
    "mlstm": sj.mlstm(4, heads=2),
    "mlstm_sigmoid": sj.mlstm(4, heads=2, input_gate="sigmoid", soft_cap=15.0),
    "mlstm_layer": sj.stack(sj.dense(4), sj.mlstm_layer(4, heads=2, block=2, convolution=2)),
    "rwkv6": sj.stack(sj.dense(4), sj.rwkv6_time_mix(4, heads=2, mix_rank=2, decay_rank=2)),
    "rwkv7_model": sj.stack(
        sj.dense(4), *[sj.rwkv7_block(4, heads=2, layer=n, layers=2) for n in range(2)]
    ),
    "mlstm_block": sj.stack(sj.dense(4), sj.mlstm_block(4, heads=2)),
}
