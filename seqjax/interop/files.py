"""Files of weights: names with arrays, each read when it is asked for."""

import importlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError, MissingPackageError
from seqjax.core.extras import extra_module
from seqjax.interop.live import keras_config

EXTRA = "interop"
CONVERT = "safetensors.torch.save_file(torch.load(path, weights_only={}), 'model.safetensors')"
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
"""As safetensors spells them."""

SHARD_BYTES = 5 * 10**9
"""More than this goes into several files."""


class Tensor(NamedTuple):
    """An array that is yet to be read."""

    shape: tuple[int, ...]
    dtype: Any
    read: Callable[[], np.ndarray]


Tensors = dict[str, Tensor]


def read_tensors(path: Path) -> Tensors:
    """The arrays of a file or of the shards of an index, by name.

    Args:
      path: `.safetensors`, `.safetensors.index.json`, `.pth`, `.pt`, `.bin`, `.bin.index.json`,
        `.h5` or `.keras`.

    Raises:
      InputError: if the file is cut short, is of another kind or holds more than arrays.
      ImportError: if the package that reads such files is not installed.
    """
    for suffix, reader in READERS.items():
        if path.name.endswith(suffix):
            return reader(path)
    raise InputError(f"{path}: weights are in {', '.join(READERS)}; this is none of them.")


def find_weights(folder: Path) -> Path:
    """The file of a folder that has the weights or says where they are."""
    for name in (
        "model.safetensors.index.json",
        "model.safetensors",
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
    ):
        if (folder / name).exists():
            return folder / name
    alone = [path for path in sorted(folder.iterdir()) if path.name.endswith(tuple(READERS))]
    if len(alone) == 1:
        return alone[0]
    raise InputError(
        f"{folder}: expected model.safetensors, its index, or one file of weights; there are "
        f"{sorted(path.name for path in folder.iterdir())}."
    )


def write_safetensors(
    folder: Path, arrays: Iterable[tuple[str, np.ndarray]], shard_bytes: int = SHARD_BYTES
) -> list[Path]:
    """Writes `model.safetensors`, or shards of at most `shard_bytes` and their index.

    Returns:
      The files, the index last.
    """
    shards: list[tuple[Path, list[str]]] = []
    held: dict[str, np.ndarray] = {}
    total = 0

    def flush() -> None:
        path = folder / f"shard-{len(shards)}.part"
        write_file(path, held)
        shards.append((path, list(held)))
        held.clear()

    for name, array in arrays:
        if held and sum(one.nbytes for one in held.values()) + array.nbytes > shard_bytes:
            flush()
        held[name] = array
        total += array.nbytes
    flush()
    if len(shards) == 1:
        return [shards[0][0].replace(folder / "model.safetensors")]
    files, places = [], {}
    for number, (path, names) in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        files.append(path.replace(folder / name))
        places |= dict.fromkeys(names, name)
    index = folder / "model.safetensors.index.json"
    content = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    index.write_text(json.dumps(content, indent=2) + "\n")
    return [*files, index]


def write_file(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes one `.safetensors` file, whatever it is called."""
    package = extra_module("safetensors.numpy", EXTRA)
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    part = path.with_name(path.name + ".part")
    package.save_file(whole, part, metadata={"format": "pt"})
    os.replace(part, path)


def _read_safetensors(path: Path) -> Tensors:
    package = extra_module("safetensors", EXTRA)
    try:
        file = package.safe_open(path, framework="np")
    except package.SafetensorError as error:
        raise InputError(_broken(path, ".safetensors", error)) from None

    def lazy(name: str) -> Tensor:
        part = file.get_slice(name)
        if part.get_dtype() not in DTYPES:
            raise InputError(
                f"{path}: {name} holds {part.get_dtype()} numbers; expected {', '.join(DTYPES)}. "
                "Convert the weights first, say to bfloat16."
            )
        dtype = jnp.dtype(DTYPES[part.get_dtype()])
        return Tensor(tuple(part.get_shape()), dtype, lambda: file.get_tensor(name))

    return {name: lazy(name) for name in file.keys()}  # noqa: SIM118


def _read_index(path: Path) -> Tensors:
    """Of every shard what the index says it has."""
    try:
        places = dict(json.loads(path.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected an object with a `weight_map` from names to files; fetch it again. "
            f"({type(error).__name__}: {error})"
        ) from None
    found: Tensors = {}
    for name in sorted(set(places.values())):
        shard = path.parent / name
        if not shard.exists():
            raise InputError(f"{path} names {name}, which is not there: download it too.")
        found |= read_tensors(shard)
    if set(found) != set(places):
        differing = sorted(set(found) ^ set(places))
        raise InputError(f"{path}: the index and its files differ in {', '.join(differing[:8])}.")
    return found


def _read_torch(path: Path) -> Tensors:
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"{path} is a file of PyTorch, which is not installed: pip install torch, or convert "
            f"it where PyTorch is: {CONVERT.format('True')}",
            name="torch",
        ) from None
    try:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            # Files from before PyTorch 1.6 cannot be mapped.
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is a pickle with more than tensors in it, and reading it would run code from "
            "the file, so it is left alone. If you trust it, convert it: "
            f"{CONVERT.format('False')}"
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise InputError(_broken(path, "PyTorch", error)) from None
    if not isinstance(found, Mapping) or not all(map(torch.is_tensor, found.values())):
        raise InputError(
            f"{path}: expected names with tensors, as of `module.state_dict()`; got "
            f"{_contents(found)}. Save that part of it alone."
        )
    return tensors_of(found)


def tensors_of(arrays: Mapping[str, Any]) -> Tensors:
    """Arrays of any library, by name; those of PyTorch too."""

    def lazy(array: Any) -> Tensor:
        dtype = jnp.dtype(str(array.dtype).removeprefix("torch."))
        return Tensor(tuple(array.shape), dtype, lambda: to_numpy(array))

    return {name: lazy(array) for name, array in arrays.items()}


def to_numpy(array: Any) -> np.ndarray:
    """An array of NumPy; bfloat16 of PyTorch has no such form and goes by way of its bits."""
    if not hasattr(array, "detach"):
        return np.asarray(array)
    array = array.detach().cpu()
    if str(array.dtype) != "torch.bfloat16":
        return array.numpy()
    bits = array.view(importlib.import_module("torch").int16).numpy()
    return bits.view(jnp.bfloat16)


def _read_keras(path: Path) -> Tensors:
    package = extra_module("h5py", EXTRA)
    try:
        if path.suffix == ".keras":
            file = package.File(_member(path, "model.weights.h5"))
        else:
            file = package.File(path)
    except OSError as error:
        raise InputError(_broken(path, "Keras", error)) from None
    found: dict[str, Any] = {}
    file.visititems(
        lambda name, item: found.update({name: item}) if hasattr(item, "shape") else None
    )
    return {
        name: Tensor(item.shape, item.dtype, lambda item=item: np.asarray(item))
        for name, item in found.items()
    }


def keras_layer_config(path: Path, prefix: str) -> dict[str, Any]:
    """What a `.keras` file says of the layer whose weights have a prefix, `"layers/lstm/"`."""
    package = extra_module("h5py", EXTRA)
    described = json.load(_member(path, "config.json"))
    with package.File(_member(path, "model.weights.h5")) as file:
        group = file.get(f"{prefix}vars")
        name = None if group is None else group.attrs.get("name")
    layers = described["config"].get("layers", [described])
    found = [layer["config"] for layer in layers if layer["config"].get("name") == name]
    return keras_config(found[0]) if found else {}


def _member(path: Path, name: str) -> Any:
    """A file in a `.keras` archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(archive.read(name))
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(_broken(path, "Keras", error)) from None


def _broken(path: Path, kind: str, error: Exception) -> str:
    return (
        f"{path} is not a whole {kind} file; it may have been cut short on its way, so fetch it "
        f"again. ({' '.join(str(error).split())[:100] or type(error).__name__})"
    )


def _contents(found: Any) -> str:
    if not isinstance(found, Mapping):
        return type(found).__name__
    return ", ".join(f"{name}: {type(item).__name__}" for name, item in list(found.items())[:5])


READERS: dict[str, Callable[[Path], Tensors]] = {
    ".safetensors.index.json": _read_index,
    ".bin.index.json": _read_index,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".h5": _read_keras,
    ".keras": _read_keras,
}
"""By the end of the file's name."""
