"""What a run keeps of a published model, and its tokenizer, from JSON alone."""

import json

import jax
import pytest
from flax import nnx

import seqjax as sj
from seqjax.core.errors import InputError
from seqjax.interop import Published, read_tokenizer
from tests.golden.make_published import FOLDER
from tests.interop.test_published_models import MODELS

BYTES = {
    "version": "1.0",
    "model": {"type": "WordLevel", "vocab": {"<s>": 3, "</s>": 5, "a": 0}, "unk_token": "a"},
    "added_tokens": [],
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_without_its_folder(name, dtype):
    """It is built as it was loaded: the same program, and the same leaves in float32."""
    loaded = sj.interop.load(FOLDER / name, dtype=dtype)
    published = Published.from_json(json.loads(json.dumps(Published.of(loaded).to_json())))
    again = jax.eval_shape(lambda: published.cast(published.build(nnx.Rngs(0)), dtype))
    assert jax.tree.structure(again) == jax.tree.structure(loaded.model)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(loaded.model), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    back = sj.interop.weights(published.with_weights(loaded.model))
    for key, array in sj.interop.weights(loaded).items():
        if key not in loaded.unused:
            assert back[key].tobytes() == array.tobytes() and back[key].dtype == array.dtype


def test_a_family_that_is_gone():
    saved = Published.of(sj.interop.load(FOLDER / "mamba")).to_json() | {"family": "llama"}
    with pytest.raises(InputError, match="the family 'llama' .* does not have; it has .*mamba"):
        Published.from_json(saved)


@pytest.mark.parametrize(
    ("own", "config", "ends"),
    [
        ({"bos_token": "<s>", "eos_token": "</s>"}, {"eos_token_id": 0}, (3, 5)),
        ({"bos_token": {"content": "<s>"}, "eos_token": None}, {"eos_token_id": [5, 0]}, (3, 5)),
        ({"eos_token": "</s>"}, {}, (5, None)),
        ({"bos_token": "gone"}, {"bos_token_id": 3, "eos_token_id": 3}, (3, None)),
        (None, {"bos_token_id": 77, "eos_token_id": 5}, (5, None)),
    ],
)
def test_which_token_begins_and_which_ends_a_text(own, config, ends, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(BYTES))
    if own is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(own))
    tokenizer = read_tokenizer(tmp_path, config)
    assert (tokenizer.boundary, tokenizer.stop) == ends
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_text(content)
    assert read_tokenizer(tmp_path) == tokenizer
    named = read_tokenizer(tmp_path / "tokenizer.json", config, boundary="a")
    assert (named.boundary, named.stop) == (0, None)


def test_no_tokenizer(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"no tokenizer: fetch .* There is tokenizer.model: tran"):
        read_tokenizer(tmp_path)
    with pytest.raises(InputError, match="the tokenizer cannot be read"):
        read_tokenizer(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="not a whole tokenizer.json"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(BYTES))
    with pytest.raises(InputError, match=r"Neither .* says which token begins or ends a text"):
        read_tokenizer(tmp_path, {})
    with pytest.raises(InputError, match="no token '<end>', which should be the boundary"):
        read_tokenizer(tmp_path, {}, boundary="<end>")
    (tmp_path / "tokenizer_config.json").write_text("[1")
    with pytest.raises(InputError, match="tokenizer_config.json is not JSON"):
        read_tokenizer(tmp_path, {})
