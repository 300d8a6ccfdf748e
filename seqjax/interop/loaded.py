"""Models from the weights of other libraries, and back."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.core.types import DTypeLike
from seqjax.interop.conversion import (
    Sharding,
    expect_same,
    explained_config,
    load_module,
    save_arrays,
)
from seqjax.interop.families import FAMILIES
from seqjax.interop.files import SHARD_BYTES, write_file, write_safetensors
from seqjax.interop.origin import choose_family, open_source
from seqjax.interop.table import Family


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with what is needed to write it as it came.

    Args:
      model: an `sj.nn.LanguageModel` or `sj.nn.RNN`.
      family: its table.
      config: what `config.json` said, as it was.
      folder: where it came from, with the tokenizer; None if it was no folder.
      arrays: shapes and dtypes of their arrays by name, with which they are written.
      unused: arrays that the model does not need; they are written too.
    """

    model: Any
    family: Family
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: Path | None = None
    arrays: Mapping[str, jax.ShapeDtypeStruct] = dataclasses.field(default_factory=dict)
    unused: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def families() -> dict[str, Family]:
    """All families by name.

    Example:
      >>> import seqjax as sj
      >>> sj.interop.families()["mamba"]
      <family mamba>
    """
    return {family.name: family for family in FAMILIES}


def load(
    source: Any,
    *,
    family: str | Family | None = None,
    config: Mapping[str, Any] | None = None,
    prefix: str = "",
    dtype: DTypeLike | None = None,
    sharding: Sharding | None = None,
) -> Loaded:
    """A model with published weights, or with those of another library.

    Nothing is fetched: the files are on the disk already. Arrays are read one after the other.

    Args:
      source: a folder with `config.json` and weights as on the Hugging Face Hub; a file of weights
        (`.safetensors`, `.pth`, `.bin`, `.h5`, `.keras`); a recurrent layer of PyTorch, Keras,
        Flax NNX or Equinox; or its weights: arrays by name, also in dicts of dicts, or the list of
        Keras.
      family: one of `sj.interop.families()`, or a table of your own; by default the one that the
        config or the names of the weights tell.
      config: what is to be added to `config.json`, or stands for it where there is none.
      prefix: what stands before all names of the part that is wanted, `"encoder.rnn."`; the rest is
        left alone.
      dtype: of the parameters, such as `jnp.bfloat16`; by default that of each array in the file.
        What a table marks, decays and step sizes, is kept in float32 at least.
      sharding: where the parameters go: one sharding for all, or a function
        `(path, shape) -> sharding`.

    Returns:
      A `Loaded` with the `model` and all that `sj.interop.save` needs.

    Raises:
      InputError: with the names and shapes that do not fit; there is no half-loaded model.
      ImportError: if the package that reads such files is not installed.

    Example:
      >>> import tempfile
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "state_size": 2}
      >>> fresh = sj.interop.build({"model_type": "mamba", **sizes}, rngs=nnx.Rngs(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     paths = sj.interop.save(fresh, folder)
      ...     loaded = sj.interop.load(folder)
      >>> loaded.family, loaded.model.embedding.embedding.shape
      (<family mamba>, (11, 4))
    """
    _expect_floating(dtype)
    found, tensors, folder = open_source(source, prefix)
    found = {**found, **(config or {})}
    shapes = {name: one.shape for name, one in tensors.items()}
    table = choose_family(family, FAMILIES, found, shapes, folder)
    module = load_module(table, table.complete(found, shapes), tensors, dtype, sharding)
    return Loaded(
        model=module,
        family=table,
        config=found,
        folder=folder,
        arrays={name: jax.ShapeDtypeStruct(one.shape, one.dtype) for name, one in tensors.items()},
        unused={name: tensors[name].read() for name in table.ignored_of(tensors)},
    )


def build(
    config: Mapping[str, Any], *, family: str | Family | None = None, rngs: nnx.Rngs
) -> Loaded:
    """A new model of a published configuration, which `sj.interop.save` can write.

    Args:
      config: what `config.json` would say.
      family: as for `sj.interop.load`.
      rngs: the source of the parameters' keys.

    Raises:
      InputError: if no family has such models.

    Example:
      The parameters of the smallest published Mamba, without drawing any:

      >>> import jax
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> config = {"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24}
      >>> model = nnx.eval_shape(lambda: sj.interop.build(config, rngs=nnx.Rngs(0)).model)
      >>> sum(leaf.size for leaf in jax.tree.leaves(model))
      129135360
    """
    table = choose_family(family, FAMILIES, config, {}, None)
    with explained_config(table):
        module = table.build(table.complete(config, {}), {}, rngs)
    return Loaded(module, table, dict(config))


def weights(
    model: Loaded | nnx.Module,
    *,
    family: str | Family | None = None,
    config: Mapping[str, Any] | None = None,
    dtype: DTypeLike | None = None,
) -> Any:
    """The weights of a model in the form in which another library takes them.

    Args:
      model: what `sj.interop.load` or `sj.interop.build` returned; or a module of `sj.nn`, with
        its `family` and, where that has one, its `config`.
      family, config: as for `sj.interop.load`, if `model` is a module.
      dtype: of all arrays; by default as they came, else as they are.

    Returns:
      NumPy arrays: by name for PyTorch, and what the table of each family says for others.

    Raises:
      InputError: if the family has no place for a leaf, or the model is not that of the config.

    Example:
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "state_size": 2}
      >>> fresh = sj.interop.build({"model_type": "mamba", **sizes}, rngs=nnx.Rngs(0))
      >>> sj.interop.weights(fresh)["backbone.layers.0.mixer.A_log"].shape
      (8, 2)
    """
    loaded = _with_family(model, family, config)
    return loaded.family.arrange(_by_name(loaded, dtype))


def save(
    model: Loaded | nnx.Module,
    path: str | Path,
    *,
    family: str | Family | None = None,
    config: Mapping[str, Any] | None = None,
    dtype: DTypeLike | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """Writes a model as its family publishes it.

    Args:
      model, family, config, dtype: as for `sj.interop.weights`. For other parameters than came,
        pass `dataclasses.replace(loaded, model=...)`.
      path: a folder, for weights in `.safetensors` and `config.json`; or one file `.safetensors`.
      shard_bytes: more than this goes into several files with an index.

    Returns:
      The files.

    Raises:
      InputError: as from `sj.interop.weights`.

    Example:
      >>> import tempfile
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> sizes = {"vocab_size": 11, "hidden_size": 4, "num_hidden_layers": 1, "state_size": 2}
      >>> fresh = sj.interop.build({"model_type": "mamba", **sizes}, rngs=nnx.Rngs(0))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     [path.name for path in sj.interop.save(fresh, folder)]
      ['model.safetensors', 'config.json']
    """
    if shard_bytes < 1:
        raise InputError(f"shard_bytes: expected at least 1 byte a file, got {shard_bytes}.")
    loaded, path = _with_family(model, family, config), Path(path)
    arrays = _by_name(loaded, dtype)
    if path.suffix == ".safetensors":
        write_file(path, arrays)
        return [path]
    path.mkdir(parents=True, exist_ok=True)
    files = write_safetensors(path, arrays.items(), shard_bytes)
    description = path / "config.json"
    description.write_text(json.dumps(dict(loaded.config), indent=2) + "\n")
    return [*files, description]


def _with_family(
    model: Loaded | nnx.Module,
    family: str | Family | None,
    config: Mapping[str, Any] | None,
) -> Loaded:
    if isinstance(model, Loaded):
        if family is not None and family not in (model.family, model.family.name):
            raise InputError(
                f"This model is one of the family {model.family.name}, and was to be written as "
                f"{family!r}: leave out `family`, or give its `.model` alone."
            )
        return model
    if family is None and not config:
        raise InputError("A module does not say how it is published: say `family=` or `config=`.")
    table = choose_family(family, FAMILIES, config or {}, {}, None)
    return Loaded(model, table, config or {})


def _expect_floating(dtype: DTypeLike | None) -> None:
    """Integers would hold zero instead of most weights."""
    try:
        fits = dtype is None or jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        fits = False
    if not fits:
        raise InputError(f"dtype: expected a floating dtype such as 'bfloat16', got {dtype!r}.")


def _by_name(loaded: Loaded, dtype: DTypeLike | None) -> dict[str, np.ndarray]:
    _expect_floating(dtype)
    shapes = {name: array.shape for name, array in loaded.arrays.items()}
    config = loaded.family.complete(loaded.config, shapes)
    arrays = dict(save_arrays(loaded.family, config, loaded.model, loaded.arrays))
    expect_same(loaded.family, loaded.config, loaded.model, arrays)

    def convert(name: str, array: np.ndarray) -> np.ndarray:
        if not jnp.issubdtype(array.dtype, jnp.floating):
            return array
        own = loaded.arrays[name].dtype if name in loaded.arrays else array.dtype
        return array.astype(own if dtype is None else dtype)

    # An array that repeats another one is written if it came.
    repeated = {
        name: arrays[other]
        for name, other in loaded.family.tied.items()
        if name in loaded.arrays and name not in arrays
    }
    arrays |= repeated
    return {name: convert(name, array) for name, array in arrays.items()} | dict(loaded.unused)
