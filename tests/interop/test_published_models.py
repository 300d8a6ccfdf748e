"""Published layouts of weights: what the models compute, and byte by byte back."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import seqjax as sj
from seqjax.interop.conversion import leaves, shapes_alone
from seqjax.interop.table import to_save
from tests.golden.make_published import FOLDER, kimi_linear_names
from tests.interop import published_sizes
from tests.interop.caches import expect_cache

WEIGHTS = ("w1", "w2", "w3")
MODELS = sorted(folder.name for folder in FOLDER.iterdir())


@pytest.mark.parametrize("name", MODELS)
def test_logits_in_two_halves(name):
    """The second half goes on from the state after the first."""
    with np.load(FOLDER / name / "expected.npz") as file:
        tokens, logits = jnp.asarray(file["tokens"]), file["logits"]
    model = sj.interop.load(FOLDER / name).model
    run = jax.jit(lambda carry, tokens: model(tokens, carry))
    half = tokens.shape[1] // 2
    carry, first = run(model.initial_carry((len(tokens),)), tokens[:, :half])
    expect_cache(name, carry, FOLDER / name / "expected.npz")
    _, second = run(carry, tokens[:, half:])
    found = jnp.concatenate([first, second], 1)
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5 * np.abs(logits).max())


@pytest.mark.parametrize("name", MODELS)
def test_byte_by_byte_back(name, tmp_path):
    """Also by way of bfloat16 from a file in bfloat16, with decays in float32 between."""
    sj.interop.save(sj.interop.load(FOLDER / name), tmp_path)
    config = json.loads((FOLDER / name / "config.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text()) == config
    given, back = (load_file(folder / "model.safetensors") for folder in (FOLDER / name, tmp_path))
    assert given.keys() == back.keys()
    for key, array in given.items():
        assert (back[key].dtype, back[key].tobytes()) == (array.dtype, array.tobytes()), key

    narrow = {key: array.astype(jnp.bfloat16) for key, array in given.items()}
    loaded = sj.interop.load(narrow, config=config)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(loaded.model)}
    assert dtypes - {"float32"} == {"bfloat16"}
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    assert jax.eval_shape(lambda tokens: loaded.model(tokens)[1], tokens).dtype == jnp.bfloat16
    for key, array in sj.interop.weights(loaded).items():
        assert (array.dtype, array.tobytes()) == (jnp.bfloat16, narrow[key].tobytes()), key


def test_kimi_linear_under_other_names():
    """Those that transformers holds in memory, and those that it writes into a file."""
    given = load_file(FOLDER / "kimi_linear" / "model.safetensors")
    config = json.loads((FOLDER / "kimi_linear" / "config.json").read_text())
    attention, experts = "model.layers.0.self_attn.", "model.layers.1.block_sparse_moe.experts."
    stacks = {w: np.stack([given[f"{experts}{n}.{w}.weight"] for n in range(6)]) for w in WEIGHTS}
    held = {name: array for name, array in given.items() if experts not in name}
    kernels = [held.pop(f"{attention}{z}_conv1d.weight") for z in "qkv"]
    for name in ("f_a_proj.weight", "f_b_proj.weight", "A_log", "dt_bias"):
        held[f"{attention}forget_gate.{name}"] = held.pop(attention + name)
    held[f"{attention}conv1d.weight"] = np.concatenate(kernels)
    held[f"{experts}gate_up_proj"] = np.concatenate([stacks["w1"], stacks["w3"]], 1)
    held[f"{experts}down_proj"] = stacks["w2"]
    held = {name.replace("block_sparse_moe", "mlp"): array for name, array in held.items()}
    assert kimi_linear_names(held).keys() == given.keys()
    saved = {name.replace("0.mlp", "0.block_sparse_moe"): array for name, array in given.items()}
    wanted = jax.tree.leaves(sj.interop.load(FOLDER / "kimi_linear").model)
    for arrays in (held, saved):
        loaded = sj.interop.load(arrays, config=config)
        for leaf, other in zip(jax.tree.leaves(loaded.model), wanted, strict=True):
            assert leaf.tobytes() == other.tobytes()
        back = sj.interop.weights(loaded)
        assert back.keys() == arrays.keys()
        assert all(back[name].tobytes() == array.tobytes() for name, array in arrays.items())


def test_kimi_linear_with_a_latent_of_queries():
    table = sj.interop.families()["kimi_linear"]
    config = json.loads((FOLDER / "kimi_linear" / "config.json").read_text())
    names = []
    for rank in (None, 3):
        complete = table.complete({**config, "q_lora_rank": rank}, {})
        module = shapes_alone(table, complete, {})
        placed = to_save(table, complete, leaves(module))
        names.append({name for one in placed for name in one.theirs if "layers.1.self" in name})
    attention = "model.layers.1.self_attn."
    assert names[0] - names[1] == {f"{attention}q_proj.weight"}
    assert names[1] - names[0] == {
        f"{attention}q_{part}.weight" for part in ("a_proj", "a_layernorm", "b_proj")
    }


@pytest.mark.parametrize("name", ["mamba-130m", "mamba2-130m", "rwkv4-169m", "rwkv7-0.1b"])
def test_number_of_parameters(name):
    published_sizes.check(name)
