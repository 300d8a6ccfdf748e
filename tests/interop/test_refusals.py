"""One clear error for weights that do not fit, and nothing half-loaded."""

import dataclasses
import json
import pickle
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import seqjax as sj
from seqjax.core.errors import InputError
from seqjax.interop.table import to_load, to_save
from tests.golden.make_published import FOLDER

MAMBA = FOLDER / "mamba_untied"
CONFIG = json.loads((MAMBA / "config.json").read_text())
NORM = "backbone.layers.1.norm.weight"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(MAMBA, tmp_path / "mamba")


@pytest.fixture
def arrays():
    return load_file(MAMBA / "model.safetensors")


def refused(source, message, **options):
    with pytest.raises(InputError, match=message):
        sj.interop.load(source, **options)


def test_names(arrays):
    refused(arrays | {"extra.weight": np.ones(2)}, "no place for extra.weight", config=CONFIG)
    one_layer = CONFIG | {"num_hidden_layers": 1}
    refused(arrays, rf"no place for .*{NORM}|no place for backbone.layers.1", config=one_layer)
    del arrays[NORM]
    refused(arrays, f"missing are {NORM}", config=CONFIG)
    refused({}, r"missing are .* and \d+ more", config=CONFIG)
    refused({}, "There are no arrays among these weights: expected names with arrays")


def test_shapes(arrays):
    arrays[NORM] = np.ones(5)
    refused(arrays, rf"{NORM} \(5,\) come .*\(5,\).*norm.gain \(6,\)", config=CONFIG)
    arrays[NORM] = np.ones(6)
    arrays["backbone.layers.0.mixer.in_proj.weight"] = np.ones((25, 6))
    refused(arrays, r"in_proj.weight \(25, 6\).*equal division", config=CONFIG)


def test_numbers_that_are_no_weights(arrays, tmp_path):
    whole = {name: array.astype(np.int32) for name, array in arrays.items()}
    save_file(whole, tmp_path / "model.safetensors")
    message = "holds int32 numbers, and weights are floating .* not quantized, or convert it"
    refused(tmp_path / "model.safetensors", message, config=CONFIG)
    refused(arrays | {NORM: whole[NORM]}, f"{NORM} holds int32", config=CONFIG)


def test_a_tied_head_that_differs():
    arrays = load_file(FOLDER / "mamba" / "model.safetensors")
    config = json.loads((FOLDER / "mamba" / "config.json").read_text())
    arrays["lm_head.weight"] = arrays["backbone.embeddings.weight"]
    sj.interop.load(arrays, config=config)
    refused(arrays | {"lm_head.weight": np.ones((13, 6))}, "ties lm_head.weight", config=config)


def test_files(folder):
    refused(folder / "nothing.safetensors", "There is no .*Fetch a model")
    weights = folder / "model.safetensors"
    good = weights.read_bytes()
    assert b'"F32"' in good
    size = int.from_bytes(good[:8], "little")
    eighths = good[8 : 8 + size].replace(b'"F32"', b'"U32"')
    weights.write_bytes(good[:8] + eighths + good[8 + size :])
    refused(folder, "holds U32 numbers; expected F64, F32")
    weights.write_bytes(good[:-40])
    refused(folder, "model.safetensors is not a whole .safetensors file")
    weights.write_bytes(b"123")
    refused(folder, "model.safetensors is not a whole .safetensors file")
    weights.unlink()
    refused(folder, r"expected model.safetensors.*'config.json'")
    (folder / "weights.txt").write_text("")
    refused(folder / "weights.txt", "this is none of them")
    (folder / "model.keras").write_text("")
    refused(folder / "model.keras", "not a whole Keras file")
    (folder / "model.weights.h5").write_text("no")
    refused(folder / "model.weights.h5", "not a whole Keras file")


def test_shards(folder, arrays, tmp_path):
    with pytest.raises(InputError, match="shard_bytes: expected at least 1 byte a file, got 0"):
        sj.interop.save(sj.interop.load(folder), tmp_path / "none", shard_bytes=0)
    assert not (tmp_path / "none").exists()
    files = sj.interop.save(sj.interop.load(folder), tmp_path, shard_bytes=2000)
    assert files[0].name == "model-00001-of-00003.safetensors"
    back = sj.interop.weights(sj.interop.load(tmp_path))
    assert back.keys() == arrays.keys()
    assert all((back[name] == array).all() for name, array in arrays.items())
    last = load_file(files[2])
    save_file(last | {"more": np.ones(2)}, files[2])
    refused(tmp_path, "the index and its files differ in more")
    files[2].unlink()
    refused(tmp_path, "names model-00003-of-00003.safetensors, which is not there")


def test_configs(folder):
    config = folder / "config.json"
    refused(
        folder, "config is one of the family mamba, not of mamba_original", family="mamba_original"
    )
    refused(folder, "no family 'mambo'; there are .*mamba", family="mambo")
    refused(
        folder,
        "hidden_act can be 'silu' here; this model has 'gelu'",
        config={"hidden_act": "gelu"},
    )
    for size in ("a", None):
        refused(folder, "mamba: its config makes no model", config={"hidden_size": size})
    refused(folder, "config has no `model_type`", config={"model_type": None})
    config.write_text(json.dumps(CONFIG | {"model_type": "llama"}))
    refused(folder, r"models with model_type 'llama'; there are mamba, (?!.*(torch|nnx|keras)_)")
    config.write_text("{")
    refused(folder, "config.json is not JSON")
    config.unlink()
    refused(folder, "has no config.json, and the names of the weights tell no family")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "kimi_linear", "moe_router_activation_func": "softmax"},
            "moe_router_activation_func can be 'sigmoid' here; this model has 'softmax'",
        ),
        ({"model_type": "kimi_linear", "mla_use_nope": False}, "mla_use_nope can be True here"),
        (
            {"model_type": "qwen3_5_text", "rope_parameters": {"rope_type": "yarn"}},
            "rope_type can be 'default' here; this model has 'yarn'",
        ),
        (
            {"model_type": "qwen3_5", "text_config": {"hidden_act": "gelu"}},
            "hidden_act can be 'silu' here; this model has 'gelu'",
        ),
        ({"model_type": "qwen3_5"}, "the config or the weights say nothing of 'text_config'"),
        ({"model_type": "hgrn2", "use_lower_bound": False}, "use_lower_bound can be True here"),
    ],
    ids=str,
)
def test_layers_without_a_cell(config, message):
    refused({"lm_head.weight": np.zeros((3, 2))}, message, config=config)


def test_pickles(folder, monkeypatch):
    """Without PyTorch, and with what PyTorch raises."""
    path = folder / "model.pth"
    path.write_bytes(pickle.dumps(print))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install torch, or convert it .*save_file"):
        sj.interop.load(path)

    def load(path, **options):
        assert options["weights_only"]
        raise pickle.UnpicklingError("Weights only load failed.\nGLOBAL builtins.print")

    torch = types.SimpleNamespace(load=load, is_tensor=lambda value: isinstance(value, np.ndarray))
    monkeypatch.setitem(sys.modules, "torch", torch)
    refused(path, "pickle with more than tensors in it.*left alone")
    torch.load = lambda path, **options: {"epoch": 3, "state": {}}
    refused(path, r"expected names with tensors.*got epoch: int, state: dict")
    torch.load = lambda path, **options: load_file(MAMBA / "model.safetensors")
    assert sj.interop.load(path, config=CONFIG).family.name == "mamba"


def test_what_a_family_has_no_place_for(tmp_path):
    table = sj.interop.families()["mamba"]

    def build(config, shapes, rngs):
        model = table.build(config, shapes, rngs)
        model.head = nnx.Linear(6, 13, rngs=rngs)
        return model

    constant = sj.interop.Rule((), "head.bias", constant=0.0)
    biased = dataclasses.replace(
        table, build=build, rules=lambda config: (*table.rules(config), constant)
    )
    loaded = sj.interop.load(MAMBA, family=biased)
    loaded.model.head.bias.set_value(jnp.ones(13))
    with pytest.raises(InputError, match=r"no place for our head.bias: .* 0.0"):
        sj.interop.save(loaded, tmp_path)
    model = nnx.eval_shape(
        lambda: sj.nn.LanguageModel(13, sj.gru(6), embedding_size=6, rngs=nnx.Rngs(0))
    )
    with pytest.raises(
        InputError, match=r"mamba has no place for our head.bias, rnn.bias, rnn.input"
    ):
        sj.interop.save(model, tmp_path, family="mamba", config=CONFIG)
    assert not list(tmp_path.iterdir())


def test_another_model_with_the_same_parameters():
    loaded = sj.interop.load(MAMBA)
    other = dataclasses.replace(loaded, config=CONFIG | {"layer_norm_epsilon": 0.1})
    with pytest.raises(
        InputError, match="mamba has no place for stack.* epsilon=1e-05.*epsilon=0.1"
    ):
        sj.interop.weights(other)


def test_tables():
    rule = sj.interop.Rule
    with pytest.raises(ValueError, match="names with the same places"):
        rule("a.{layer}", "b")
    with pytest.raises(ValueError, match="theirs or a constant"):
        rule((), "b")
    table = sj.interop.Family(
        "twice",
        lambda *_: True,
        lambda *_: nnx.Module(),
        lambda _: (rule("a", "c"), rule(("a", "b"), "d")),
    )
    with pytest.raises(ValueError, match="twice: two rules use a"):
        to_load(table, {}, ["a", "b"], ["c", "d"])
    other = dataclasses.replace(table, rules=lambda _: (rule("a", "c"), rule(("b", "d"), "c")))
    for names in (["a"], ["b", "d"]):
        assert [one.theirs for one in to_load(other, {}, names, ["c"])] == [tuple(names)]
        assert [one.theirs for one in to_save(other, {}, ["c"], names)] == [tuple(names)]
    assert to_save(other, {}, ["c"])[0].theirs == ("a",)
    for names, message in ((["a", "b"], "no place for b"), (["b"], "missing are d")):
        with pytest.raises(InputError, match=message):
            to_load(other, {}, names, ["c"])


@pytest.mark.parametrize("dtype", ["int8", "nonsense"])
def test_dtypes_that_hold_no_weights(dtype, tmp_path):
    message = f"dtype: expected a floating dtype .* got '{dtype}'"
    refused(MAMBA, message, dtype=dtype)
    with pytest.raises(InputError, match=message):
        sj.interop.save(sj.interop.load(MAMBA), tmp_path / "mine", dtype=dtype)
    assert not (tmp_path / "mine").exists()


def test_written_as_another_family():
    loaded = sj.interop.load(MAMBA)
    with pytest.raises(InputError, match="of the family mamba, .* as 'rwkv4'"):
        sj.interop.weights(loaded, family="rwkv4")
    with pytest.raises(InputError, match="say `family=` or `config=`"):
        sj.interop.weights(loaded.model)
    assert sj.interop.weights(loaded, family="mamba").keys() == loaded.arrays.keys()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 3}'])
def test_a_broken_index(folder, text):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)
    refused(folder, "index.json: expected an object with a `weight_map`")


def test_dtype_and_sharding():
    seen = {}
    where = jax.sharding.SingleDeviceSharding(jax.devices()[1])

    def sharding(path, shape):
        seen[path] = shape
        return where

    model = sj.interop.load(MAMBA, dtype=jnp.bfloat16, sharding=sharding).model
    memory = model.rnn.params["blocks"]["block_0"]["cell"]["branches"]["recurrent"]["memory"]
    assert {name: str(leaf.dtype) for name, leaf in memory.items()} == {
        "a": "float32", "selection": "bfloat16", "skip": "bfloat16", "step_bias": "float32",
        "step_weights": "bfloat16",
    }  # fmt: skip
    assert all(leaf.sharding == where for leaf in jax.tree.leaves(model))
    assert seen["head.kernel"] == (6, 13) and len(seen) == len(jax.tree.leaves(model))


def test_a_live_array_may_change(arrays):
    """Arrays of other libraries are aligned in memory, and JAX would take those as they are."""
    memory = np.empty(6 * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    gain = memory[start : start + 6 * 4].view(np.float32)
    gain[:] = 1
    model = sj.interop.load(arrays | {NORM: gain}, config=CONFIG).model
    gain[:] = 0
    assert model.rnn.params["blocks"]["block_1"]["norm"]["gain"].all()
