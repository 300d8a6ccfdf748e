"""Published layouts of weights: what the models compute, and byte by byte back."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import seqjax as sj
from tests.golden.make_published import FOLDER
from tests.interop import published_sizes
from tests.interop.caches import expect_cache

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


@pytest.mark.parametrize("name", ["mamba-130m", "mamba2-130m", "rwkv4-169m", "rwkv7-0.1b"])
def test_number_of_parameters(name):
    published_sizes.check(name)
