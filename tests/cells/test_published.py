"""Cells against published packages, whose numbers are in golden files: see README.md here.

Each function below builds one cell with a package's weights, brought into our layout, and says
how our carry reads in the package's terms where the package gives its own.
"""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.shift import ConvolutionParameters
from tests.golden import make_cells
from tests.golden.compare import agree

F, H = make_cells.FEATURES, make_cells.HEADS


def convolution(p, name="conv1d"):
    kernel = p[f"{name}.weight"][:, 0].T
    return ConvolutionParameters(kernel, p.get(f"{name}.bias", np.zeros(kernel.shape[1])))


def joined(p, *names):
    """Dense weights that we keep as one matrix."""
    return {"weights": np.concatenate([p[f"{name}.weight"] for name in names]).T}


def scaled(state):
    """A log-scaled carry, multiplied out."""
    return [value * np.exp(state.maximum) for value in state.values]


def as_it_is(p, *names):
    return {name: p[name] for name in names}


def minimal_gru(p):
    candidate, z = p["to_hidden_and_gate.weight"].reshape(2, F, F)
    params = {"input": np.stack([z.T, candidate.T], 1), "bias": np.zeros((2, F))}
    return sj.minimal_gru(F, logarithmic=True), params


def minimal_lstm(p):
    candidate, f, i = p["to_hidden_and_f_i_gate.weight"].reshape(3, F, F)
    params = {"input": np.stack([f.T, i.T, candidate.T], 1), "bias": np.zeros((3, F))}
    return sj.minimal_lstm(F, logarithmic=True), params


def sru(p):
    weight = p["weight"].reshape(len(p["weight"]), F, -1).transpose(0, 2, 1).copy()
    if weight.shape[1] == 4:
        # The package starts this product larger instead of scaling what comes out.
        weight[:, 3] /= np.sqrt(1 + 2 * np.exp(0.5))
    params = {"input": weight, "bias": p["bias"].reshape(2, F)}
    if "weight_c" in p:
        params["peephole"] = p["weight_c"].reshape(2, F)
    cell = sj.sru(F, highway_bias=0.5, peepholes="weight_c" in p)
    return cell, params, lambda carry: {"end": carry}


def indrnn(p):
    params = {
        "input": p["weight_ih"].T[:, None],
        "recurrent": p["vector_u"].reshape(F, 1, 1, 1),
        "bias": (p["bias_ih"] + p["bias_hh"])[None],
    }
    return sj.indrnn(F, activation=jnp.tanh), params


def minimal_gated(p):
    params = {
        "input": p["weight_ih"].reshape(2, F, -1).transpose(2, 0, 1),
        "recurrent": p["weight_hh"].reshape(2, F, F).transpose(2, 0, 1),
        "bias": (p["bias_ih"] + p["bias_hh"]).reshape(2, F),
    }
    return sj.minimal_gated(F, reset="before"), params


def two_gates(p, order=(0, 1)):
    """Parameters of torchrecurrent, with the gates in our order."""
    gates = list(order)
    return {
        "input": p["weight_ih"].reshape(2, F, -1)[gates].transpose(2, 0, 1),
        "recurrent": p["weight_hh"].reshape(2, F, F)[gates].transpose(2, 0, 1),
        "bias": (p["bias_ih"] + p["bias_hh"]).reshape(2, F)[gates],
    }


def ugrnn(p):
    return sj.ugrnn(F), two_gates(p, (1, 0))


def janet(p):
    return sj.janet(F, beta=float(p["beta"])), two_gates(p), lambda h: {"end": h}


def li_gru(p):
    return sj.li_gru(F), two_gates(p)


def fast_grnn(p):
    gate, candidate = (p["bias_ih"] + p["bias_hh"]).reshape(2, F)
    params = {
        "input": p["weight_ih"].T[:, None],
        "recurrent": p["weight_hh"].T[:, None],
        "bias": gate[None],
        "candidate_bias": candidate - gate,
        "zeta": np.repeat(p["zeta"], F),
        "nu": np.repeat(p["nu"], F),
    }
    return sj.fast_grnn(F), params


def star(p):
    bias = p["bias_ih"].reshape(2, F)
    params = {
        "input": p["weight_ih"].reshape(2, F, -1)[::-1].transpose(2, 0, 1),
        "recurrent": p["weight_hh"].T[:, None],
        "bias": np.stack([bias[1] + p["bias_hh"], bias[0]]),
    }
    return sj.star(F), params


def diagonal_weights(p, *gates):
    """Input weights, biases and recurrent weights of pararnn-torch, gate by gate."""
    order = {"z": 0, "r": 1, "n": 2} if "n" in gates else {"f": 0, "z": 1, "o": 2}
    take = [order[gate] for gate in gates]
    return {
        "input": p["W_x.weight"].reshape(3, F, -1)[take].transpose(2, 0, 1),
        "recurrent": np.stack([p[f"a_{gate}"] for gate in gates], -1)[:, None, :, None],
        "bias": p["W_x.bias"].reshape(3, F)[take],
    }


def para_gru(p):
    params = diagonal_weights(p, "r", "z", "n")
    # The package's z is our 1 - z; gates are the last axis but one.
    sign = np.array([[1.0], [-1.0], [1.0]])
    return sj.para_gru(F), {name: sign * leaf for name, leaf in params.items()}


def para_lstm(p):
    params = diagonal_weights(p, "f", "z", "o")
    params |= {"peephole_forget": p["c_f"], "peephole_output": p["c_o"]}
    return sj.para_lstm(F), params, lambda carry: {"end": carry.cell}


def multiplicative_lstm(p):
    # The package stores the product with h apart from those with m.
    recurrent = np.concatenate([p["weight_hh"], p["weight_mh"]]).reshape(5, F, F)
    params = {
        "input": p["weight_ih"].reshape(5, F, -1).transpose(2, 0, 1),
        "recurrent": recurrent.transpose(2, 0, 1),
        "bias": (p["bias_ih"] + np.concatenate([np.zeros(F), p["bias_mh"]])).reshape(5, F),
    }
    return sj.multiplicative_lstm(F), params, lambda carry: {"end": carry.cell}


def cornn(p):
    params = {
        "input": p["weight_ih"].T,
        "recurrent": p["weight_hh"].T,
        "velocity": p["weight_ch"].T,
        "bias": p["bias_ih"] + p["bias_hh"] + p["bias_ch"],
    }
    return sj.cornn(F, dt=0.1), params, lambda carry: {"end": carry.velocity}


def antisymmetric(p):
    params = {
        "input": p["weight_ih"].T[:, None],
        "recurrent": p["weight_hh"].T,
        "bias": (p["bias_ih"] + p["bias_hh"])[None],
    }
    return sj.antisymmetric(F, epsilon=0.3, gamma=0.2), params


def antisymmetric_gated(p):
    gate, candidate = p["bias_ih"].reshape(2, F)
    params = {
        "input": p["weight_ih"].reshape(2, F, -1)[::-1].transpose(2, 0, 1),
        "recurrent": p["weight_hh"].T,
        "bias": np.stack([candidate + p["bias_hh"], gate]),
    }
    return sj.antisymmetric(F, gate=True, epsilon=0.3, gamma=0.2), params


def cfc(p):
    heads = ("ff1", "ff2", "time_a", "time_b")
    inward, recurrent = np.split(p["backbone.0.weight"].T, [make_cells.INPUTS])
    params = {
        "input": inward,
        "recurrent": recurrent,
        "bias": p["backbone.0.bias"],
        "gates": np.stack([p[f"{name}.weight"].T for name in heads], 1),
        "gate_bias": np.stack([p[f"{name}.bias"] for name in heads]),
    }
    return sj.cfc(F, backbone=5), params


def ltc(p):
    names = {"weight": "w", "sigma": "sigma", "mu": "mu", "reversal": "erev"}
    params = {
        ours: np.concatenate([p[f"sensory_{theirs}"], p[theirs]]) for ours, theirs in names.items()
    }
    params |= {"capacitance": p["cm"], "leak": p["gleak"], "rest": p["vleak"]}
    return sj.ltc(F), params


def lru(p):
    params = {
        "nu": p["nu_log"],
        "theta": p["theta_log"],
        "gamma": p["gamma_log"],
        "b_real": p["B"].real.T,
        "b_imaginary": p["B"].imag.T,
        "c_real": p["C"].real.T,
        "c_imaginary": p["C"].imag.T,
        "skip": p["D"].T,
    }
    return sj.lru(F, state=5), params


def s4d(p):
    names = ("a_real", "a_imaginary", "c_real", "c_imaginary", "step_size", "skip")
    return sj.s4d(make_cells.INPUTS, state=6), as_it_is(p, *names)


def s5(p):
    params = {
        "a_real": p["Lambda"].real,
        "a_imaginary": p["Lambda"].imag,
        "step_size": p["log_step"],
        "b_real": p["B"][..., 0].T,
        "b_imaginary": p["B"][..., 1].T,
        # The package keeps both modes of a pair; we keep one, and count it twice.
        "c_real": p["C"].real.T / 2,
        "c_imaginary": p["C"].imag.T / 2,
        "skip": p["D"],
    }
    end = lambda carry: {"end": carry.real + 1j * carry.imaginary}  # noqa: E731
    return sj.s5(F, state=6), params, end


def lmu(p):
    encode, inward = np.split(p["kernel"][:, 0], [3]), np.split(p["hidden.kernel"], [3])
    params = {
        "encode_input": encode[0],
        "encode_hidden": encode[1],
        "encode_memory": p["recurrent_kernel"][:, 0],
        "read": inward[0],
        "input": inward[1],
        "recurrent": p["hidden.recurrent_kernel"],
    }
    return sj.lmu(F, memory=3, window=5.0), params


def rg_lru(p):
    params = {
        "input": np.stack([p["recurrent_gate_weight"], p["input_gate_weight"]], 2),
        "bias": np.stack([p["recurrent_gate_bias"].ravel(), p["input_gate_bias"].ravel()]),
        "decay": p["recurrent_param"],
    }
    return sj.rg_lru(F, blocks=2), params, lambda carry: {"end": carry}


def mamba(p):
    recurrence = {
        "selection": p["x_proj.weight"].T,
        "step_weights": p["dt_proj.weight"].T,
        "step_bias": p["dt_proj.bias"],
        "a": p["A_log"],
        "skip": p["D"],
    }
    inward, gate = np.split(p["in_proj.weight"].T, 2, axis=1)
    memory = {"project": {"weights": inward}, "convolve": convolution(p), "memory": recurrence}
    params = {
        "branches": {"recurrent": memory, "gate": {"weights": gate}},
        "output": {"weights": p["out_proj.weight"].T},
    }
    return sj.mamba(F, state=3, rank=2), params


def mamba2(p):
    gate, convolved, step = np.split(p["in_proj.weight"].T, [8, 28], axis=1)
    memory = {
        "A_log": p["A_log"],
        "step_bias": p["dt_bias"],
        "D": p["D"],
        "norm_gain": p["norm.weight"],
        "output": p["out_proj.weight"].T,
    }
    params = {
        "project": {"weights": np.concatenate([convolved, step, gate], 1)},
        "convolve": convolution(p),
        "memory": memory,
    }
    return sj.mamba2(F, heads=4, groups=2, states=3), params


def mlstm(p):
    heads = lambda name: p[f"{name}.weight"].T.reshape(F, H, -1)  # noqa: E731
    params = {
        "query": heads("q"),
        "key": heads("k"),
        "value": heads("v"),
        "input": p["igate_preact.weight"].T,
        "input_bias": p["igate_preact.bias"],
        "forget": p["fgate_preact.weight"].T,
        "forget_bias": p["fgate_preact.bias"],
        "gate": p["ogate_preact.weight"].T,
        "norm_gain": p["multihead_norm.weight"],
        "output": p["out_proj.weight"].T,
    }
    scale = np.exp(p["maximum"][..., None])
    p["end"] = np.concatenate([p["memory"], p["normalizer"][..., None]], -1) * scale
    cell = sj.mlstm(F, heads=H, key_features=F, epsilon=0.0, soft_cap=2.0)
    return cell, params, lambda c: {"end": c.memory * np.exp(c.log_scale)[..., None, None]}


def mlstm_sigmoid(p):
    names = ("query", "key", "value", "input", "forget", "gate", "output")
    biases = {"input_bias": np.zeros(H), "forget_bias": np.zeros(H), "norm_gain": np.ones(F)}
    cell = sj.mlstm(F, heads=H, key_features=F, input_gate="sigmoid")
    return cell, as_it_is(p, *names) | biases


def mlstm_layer(p):
    cell = lambda name: p[f"mlstm_cell.{name}"]  # noqa: E731
    blocks = lambda name: p[f"{name}_proj.weight"].transpose(0, 2, 1)  # noqa: E731
    memory = {
        "query": blocks("q"),
        "key": blocks("k"),
        "value": blocks("v"),
        "input": cell("igate.weight").T,
        "input_bias": cell("igate.bias"),
        "forget": cell("fgate.weight").T,
        "forget_bias": cell("fgate.bias"),
        "norm_gain": 1 + cell("outnorm.weight"),
        "skip": p["learnable_skip"],
        "output": p["proj_down.weight"].T,
    }
    params = {
        "project": {"weights": p["proj_up.weight"].T},
        "convolve": convolution(p, "conv1d.conv"),
        "memory": memory,
    }
    return sj.mlstm_layer(F, heads=H, block=2, epsilon=0.0), params


def slstm(p):
    params = {"input": p["input"], "bias": p["_bias_"].reshape(4, F)}
    h, c, n, m = p["end"]
    p["end"] = np.stack([c, n]) * np.exp(m)
    if "_recurrent_kernel_" not in p:
        cell = sj.slstm(F, recurrent=False)
        return cell, params, lambda carry: {"end": np.stack(scaled(carry))}
    kernel = p["_recurrent_kernel_"].reshape(H, 4, F // H, F // H)
    params["recurrent"] = kernel.transpose(0, 3, 1, 2)
    p["hidden"] = h

    def end(s):
        return {"hidden": s.hidden, "end": np.stack([s.cell, s.normalizer]) * np.exp(s.maximum)}

    return sj.slstm(F, heads=H), params, end


def linear_attention(p):
    params = as_it_is(p, "query", "key", "value", "output")
    cell = sj.linear_attention(F, heads=H, epsilon=1e-10)
    return cell, params, lambda carry: {"end": carry.memory}


def gated_linear_attention(p):
    names = ("query", "key", "value", "decay_down", "decay_up", "decay_bias", "gate", "norm_gain")
    cell = sj.gated_linear_attention(F, heads=H, rank=2)
    return cell, as_it_is(p, *names, "output"), lambda carry: {"end": carry.memory}


def hgrn2(p):
    params = as_it_is(p, "query", "forget", "input", "norm_gain", "output")
    return sj.hgrn2(F, heads=H, lower_bound=0.3), params, lambda carry: {"end": carry.memory}


def retention(p):
    features = 2 * F
    width = features // H
    names = [f"{name}_proj.weight" for name in "qkvg"]
    # Neighbours turn together in the package, halves of a head here.
    for name in names[:2]:
        pairs = p[name].reshape(H, width // 2, 2, features)
        p[name] = pairs.swapaxes(1, 2).reshape(features, features)
    params = {
        "project": {"weights": np.concatenate([p[name] for name in names]).T},
        "rotate": (),
        "memory": {"output": p["out_proj.weight"].T},
    }
    # The slowest angle of the package is 1 / 10000 at any width.
    base = 10000 ** (width / (width - 2))
    return sj.retention(features, heads=H, base=base, epsilon=0.0), params


def delta_net(p):
    params = {
        "project": {"weights": p["project"]},
        "convolve": ConvolutionParameters(p["kernel"], np.zeros(3 * F)),
        "memory": as_it_is(p, "norm_gain", "output"),
    }
    return sj.delta_net(F, heads=H), params, lambda carry: {"end": carry["memory"].memory}


def gated_delta_net(p, *, negative=False):
    memory = {
        "A_log": p["A_log"],
        "decay_bias": p["dt_bias"],
        "norm_gain": p["o_norm.weight"],
        "output": p["o_proj.weight"].T,
    }
    names = ("q_proj", "k_proj", "v_proj", "b_proj", "a_proj", "g_proj")
    params = {"project": joined(p, *names), "convolve": convolution(p), "memory": memory}
    cell = sj.gated_delta_net(F, heads=H, key_width=3, value_width=2, negative_eigenvalues=negative)
    return cell, params


def kimi_delta_attention(p):
    memory = {
        "A_log": p["forget_gate.A_log"].ravel(),
        "decay_bias": p["forget_gate.dt_bias"],
        "decay_up": p["forget_gate.f_b_proj.weight"].T,
        "gate_up": p["g_b_proj.weight"].T,
        "norm_gain": p["o_norm.weight"],
        "output": p["o_proj.weight"].T,
    }
    names = ("q_proj", "k_proj", "v_proj", "b_proj", "forget_gate.f_a_proj", "g_a_proj")
    params = {"project": joined(p, *names), "convolve": convolution(p), "memory": memory}
    return sj.kimi_delta_attention(F, heads=H), params


def corrected(make, p, **options):
    cell = make(F, heads=H, convolution_bias=False, **options)
    others = ("xs", "ys", "end", "direction", "d_xs", "project", "kernel")
    params = {
        "project": {"weights": p["project"]},
        "convolve": ConvolutionParameters(p["kernel"], None),
        "memory": {name: weight for name, weight in p.items() if name not in others},
    }
    return cell, params, lambda carry: {"end": carry["memory"].memory}


def gated_delta_product(p):
    return corrected(sj.gated_delta_product, p, key_width=2, value_width=2)


def gated_delta_net2(p):
    return corrected(sj.gated_delta_net2, p, gate_bias=False)


def comba(p):
    return corrected(sj.comba, p, key_width=2, value_width=2)


def rwkv4_time_mix(p):
    mixed = {
        "mu": np.stack([p[f"time_mix_{n}"].ravel() for n in ("receptance", "key", "value")]),
        "weights": np.stack([p[f"{n}.weight"].T for n in ("receptance", "key", "value")]),
    }
    attention = {
        "decay": p["time_decay"],
        "bonus": p["time_first"],
        "output": p["output.weight"].T,
    }
    return sj.rwkv4_time_mix(F), {"mix": mixed, "memory": attention}


def rwkv4_channel_mix(p):
    params = {
        "mu": np.stack([p[f"time_mix_{n}"].ravel() for n in ("receptance", "key")]),
        **{n: p[f"{n}.weight"].T for n in ("receptance", "key", "value")},
    }
    return sj.rwkv4_channel_mix(F, hidden=5), params


def rwkv6_block(p):
    time, channel = (
        {name.removeprefix(f"{part}."): value for name, value in p.items() if part in name}
        for part in ("time", "channel")
    )
    norms = [{"gain": part["ln_w"], "bias": part["ln_b"]} for part in (time, channel)]
    mix = {
        "mu": time["x_maa"],
        **{f"mu_{n}": time[f"{n}_maa"] for n in "wkvrg"},
        "mix_down": time["tm_w1"],
        "mix_up": time["tm_w2"],
        "decay": time["t_decay"].ravel(),
        "decay_down": time["td_w1"],
        "decay_up": time["td_w2"],
        "receptance": time["rw"],
        "key": time["kw"],
        "value": time["vw"],
        "gate": time["gw"],
    }
    memory = {
        "bonus": time["t_first"].ravel(),
        "norm_gain": time["lx_w"],
        "norm_bias": time["lx_b"],
        "output": time["ow"],
    }
    channel = {
        "mu_k": channel["k_maa"],
        "mu_r": channel["r_maa"],
        "key": channel["kw"],
        "receptance": channel["rw"],
        "value": channel["vw"],
    }
    params = {
        "time": {"norm": norms[0], "cell": {"mix": mix, "memory": memory}},
        "channel": {"norm": norms[1], "cell": channel},
    }
    return sj.rwkv6_block(F, heads=H), params


def rwkv7_model(p):
    def layer(index):
        q = {n[2:]: value for n, value in p.items() if n.startswith(f"{index}.")}
        norm = lambda name: {"gain": q[f"{name}.weight"], "bias": q[f"{name}.bias"]}  # noqa: E731
        mix = {f"mu_{z}": q[f"attn.x_{z}"].ravel() for z in "rwkvag"}
        mix |= {n: q[f"attn.{n[0]}_proj.weight"].T for n in ("receptance", "key", "value")}
        for ours, theirs in (("decay", "w"), ("rate", "a"), ("gate", "g"), ("first", "v")):
            if f"attn.{theirs}_lora.lora.0.weight" in q:
                mix[f"{ours}_down"] = q[f"attn.{theirs}_lora.lora.0.weight"].T
                mix[f"{ours}_up"] = q[f"attn.{theirs}_lora.lora.2.weight"].T
            if f"attn.{theirs}_lora.lora.2.bias" in q:
                mix[ours] = q[f"attn.{theirs}_lora.lora.2.bias"]
        memory = {
            "key_norm": q["attn.k_k"],
            "key_rate": q["attn.k_a"],
            "bonus": q["attn.r_k"].ravel(),
            "norm_gain": q["attn.g_norm.weight"],
            "norm_bias": q["attn.g_norm.bias"],
            "output": q["attn.o_proj.weight"].T,
        }
        channel = {
            "mu": q["ffn.x_k"],
            "key": q["ffn.key.weight"].T,
            "value": q["ffn.value.weight"].T,
        }
        block = {
            "time": {"norm": norm("attn_norm"), "cell": {"mix": mix, "memory": memory}},
            "channel": {"norm": norm("ffn_norm"), "cell": channel},
        }
        return block

    blocks = [sj.rwkv7_block(F, heads=H, layer=n, layers=2) for n in range(2)]
    first = {"gain": p["0.pre_norm.weight"], "bias": p["0.pre_norm.bias"]}
    params = {"layer_norm_0": first, "rwkv7_block_1": layer(0), "rwkv7_block_2": layer(1)}
    return sj.stack(sj.layer_norm(F), *blocks), params


def window_attention_gemma(p):
    params = window_attention(p) | {"output_bias": p["o_proj.bias"]}
    options = {"rotary": 0.5, "output_bias": True}
    return sj.sliding_window_attention(2 * F, window=4, heads=H, key_heads=1, **options), params


def window_attention_qwen(p):
    # A head's query and its gate stand together.
    for kind in ("weight", "bias"):
        both = p[f"q_proj.{kind}"].reshape(H, 2, 8, -1).swapaxes(0, 1)
        p[f"q_proj.{kind}"], p[f"g_proj.{kind}"] = both.reshape(
            2, 8 * H, *p[f"q_proj.{kind}"].shape[1:]
        )
    params = window_attention(p) | {"output_bias": p["o_proj.bias"]}
    for name in ("query", "key", "value", "gate"):
        params[f"{name}_bias"] = p[f"{name[0]}_proj.bias"].reshape(-1, 8)
    for name in ("query", "key"):
        params[f"{name}_gain"] = 1 + p[f"{name[0]}_norm.weight"]
    options = {"width": 8, "rotary": 0.5, "base": 100.0, "norm": "head", "gate": True}
    options |= {"bias": True, "output_bias": True}
    return sj.sliding_window_attention(F, window=4, heads=H, key_heads=1, **options), params


def window_attention_olmo(p):
    params = window_attention(p)
    for name in ("query", "key"):
        params[f"{name}_gain"] = p[f"{name[0]}_norm.weight"].reshape(-1, F)
    options = {"base": 100.0, "norm": "all"}
    return sj.sliding_window_attention(2 * F, window=4, heads=H, key_heads=1, **options), params


def window_attention(p):
    """The products alone; a head is as wide as it is in all three."""
    names = [name for name in ("query", "key", "value", "gate") if f"{name[0]}_proj.weight" in p]
    width = p["k_proj.weight"].shape[0]
    params = {}
    for name in names:
        weight = p[f"{name[0]}_proj.weight"].T
        params[name] = weight.reshape(len(weight), -1, width)
    return params | {"output": p["o_proj.weight"].T}


LATENT = {"heads": H, "window": 4, "rank": 5, "width": 3, "value_width": 2, "shared": 4}


def latent_attention_kimi(p):
    params = latent_attention(p) | {"query": p["q_proj.weight"].T.reshape(F, H, -1)}
    return sj.latent_attention(F, rotary=False, **LATENT), params


def latent_attention_deepseek(p):
    params = latent_attention(p) | {
        "query_down": p["q_a_proj.weight"].T,
        "query_gain": p["q_a_layernorm.weight"],
        "query": p["q_b_proj.weight"].T.reshape(3, H, -1),
    }
    return sj.latent_attention(F, query_rank=3, base=100.0, **LATENT), params


def latent_attention(p):
    latent, shared = np.split(p["kv_a_proj_with_mqa.weight"].T, [5], axis=1)
    key, value = np.split(p["kv_b_proj.weight"].T.reshape(5, H, -1), [3], axis=2)
    return {
        "latent": latent,
        "latent_gain": p["kv_a_layernorm.weight"],
        "shared": shared,
        "key": key,
        "value": value,
        "output": p["o_proj.weight"].T,
    }


CASES = {
    name: globals()[re.sub("_(linear|negative)$", "", name)]
    for name in make_cells.CASES
    if name != "gated_delta_net_negative"
}
CASES["gated_delta_net_negative"] = lambda p: gated_delta_net(p, negative=True)


@pytest.mark.parametrize("case", make_cells.CASES)
def test_golden(case, x64):
    agree(case, CASES[case])


def test_the_table_of_references_is_up_to_date():
    """It names every cell with golden numbers, and no cell that is gone."""
    rows = (Path(__file__).parent / "README.md").read_text().splitlines()
    named = {name for row in rows for name in re.findall("`([a-z0-9_]+)`", row.split(" | ")[0])}
    assert {re.sub("_(linear|negative|sigmoid)$", "", case) for case in CASES} - named == {
        "antisymmetric_gated",
        "rwkv7_model",
        *(f"window_attention_{model}" for model in ("gemma", "olmo", "qwen")),
        *(f"latent_attention_{model}" for model in ("deepseek", "kimi")),
    }
    assert not [name for name in named if not hasattr(sj, name)]
