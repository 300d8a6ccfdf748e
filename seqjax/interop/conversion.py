"""From their arrays to a module of ours and back, by the table of a family."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.core.types import DTypeLike
from seqjax.interop.files import Tensors
from seqjax.interop.operations import Arrays
from seqjax.interop.table import Family, Placed, to_load, to_save
from seqjax.nn.rnn import RNN

Sharding = jax.sharding.Sharding | Callable[[str, tuple[int, ...]], jax.sharding.Sharding]
"""One for all, or `(path, shape) -> sharding`."""


def leaves(module: nnx.Module) -> dict[str, nnx.Variable]:
    """The variables of a module by path, `"rnn.blocks.mamba_block_0.norm.gain"`.

    The parameters of a cell are in the path of the `sj.nn.RNN` that holds them.
    """
    state = nnx.to_flat_state(nnx.state(module))
    return {
        ".".join(str(part) for part in path if part != "variables"): leaf for path, leaf in state
    }


def shapes_alone(
    family: Family, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> nnx.Module:
    """The module of a config with shapes in the place of arrays; nothing is drawn."""
    with explained_config(family):
        return nnx.eval_shape(lambda: family.build(config, shapes, nnx.Rngs(0)))


@contextlib.contextmanager
def explained_config(family: Family) -> Iterator[None]:
    """An error of what is built inside names the config."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(
            f"{family.name}: the config or the weights say nothing of {error}, which tells what "
            "model it is."
        ) from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{family.name}: its config makes no model ({error}). Compare its values with those of "
            "a published config.json."
        ) from error


def load_module(
    family: Family,
    config: Mapping[str, Any],
    tensors: Tensors,
    dtype: DTypeLike | None = None,
    sharding: Sharding | None = None,
) -> nnx.Module:
    """A module with their arrays, which are read one rule after the other.

    Raises:
      InputError: if names or shapes do not fit.
    """
    module = shapes_alone(family, config, {name: one.shape for name, one in tensors.items()})
    targets = leaves(module)
    placed = to_load(family, config, tensors, targets)
    used = {name for one in placed for name in one.theirs}
    _expect_floating(tensors, used)
    for name, other in family.tied.items():
        if name in tensors and name not in used:
            _expect_equal(tensors, name, other)
    filled = {}
    for one in placed:
        for path, array in zip(one.ours, _loaded(one, tensors, targets), strict=True):
            filled[path] = _put(path, array, dtype, one.rule.float32, sharding)
    for path, leaf in targets.items():
        leaf.set_value(filled[path])
    return module


def save_arrays(
    family: Family, config: Mapping[str, Any], module: nnx.Module, names: Iterable[str] = ()
) -> Iterator[tuple[str, np.ndarray]]:
    """Their arrays of a module, by name; under those of `names` that they came with.

    Raises:
      InputError: if the family has no place for a leaf or for its values.
    """
    sources = leaves(module)
    for one in to_save(family, config, sources, names):
        arrays = tuple(np.asarray(sources[path].get_value()) for path in one.ours)
        if one.rule.constant is not None:
            _expect_constant(family, one, arrays)
            continue
        try:
            saved = one.rule.save(arrays)
        except ValueError as error:
            shapes = ", ".join(f"{path} {sources[path].shape}" for path in one.ours)
            raise InputError(f"{family.name} has no place for our {shapes}: {error}.") from None
        yield from zip(one.theirs, saved, strict=True)


def _loaded(one: Placed, tensors: Tensors, targets: Mapping[str, nnx.Variable]) -> Arrays:
    shapes = tuple(tuple(targets[path].shape) for path in one.ours)
    if one.rule.constant is not None:
        dtype = next(iter(tensors.values())).dtype
        return tuple(np.full(shape, one.rule.constant, dtype) for shape in shapes)
    try:
        arrays = one.rule.load(tuple(tensors[name].read() for name in one.theirs))
        got: Any = tuple(array.shape for array in arrays)
    except ValueError as error:
        arrays, got = (), str(error).splitlines()[0]
    if got != shapes:
        theirs = ", ".join(f"{name} {tensors[name].shape}" for name in one.theirs)
        ours = ", ".join(f"{path} {shape}" for path, shape in zip(one.ours, shapes, strict=True))
        raise InputError(
            f"The shapes differ: of their {theirs} come {got}, our model of this config has {ours}."
        )
    return arrays


def _put(
    path: str,
    array: np.ndarray,
    dtype: DTypeLike | None,
    float32: bool,
    sharding: Sharding | None,
) -> jax.Array:
    wanted = array.dtype
    if jnp.issubdtype(wanted, jnp.floating):
        wanted = jnp.dtype(wanted if dtype is None else dtype)
        wanted = jnp.promote_types(wanted, jnp.float32) if float32 else wanted
    # A copy: what it was made of may change later, as the weights of a live layer do, and JAX takes
    # an aligned array of NumPy as it is, even when told not to.
    own = np.array(array, jax.dtypes.canonicalize_dtype(wanted), order="C")
    return jax.device_put(own, sharding(path, own.shape) if callable(sharding) else sharding)


def _expect_floating(tensors: Tensors, used: Iterable[str]) -> None:
    """Integers are weights in units that the file does not say, or none at all."""
    for name in sorted(used):
        if not jnp.issubdtype(tensors[name].dtype, jnp.floating):
            raise InputError(
                f"{name} holds {tensors[name].dtype} numbers, and weights are floating ones, as of "
                "bfloat16: fetch a model that is not quantized, or convert it where it was made."
            )


def _expect_equal(tensors: Tensors, name: str, other: str) -> None:
    if other not in tensors or not np.array_equal(tensors[name].read(), tensors[other].read()):
        raise InputError(
            f"The config ties {name} to {other}, and in the weights they differ: set "
            "tie_word_embeddings to false in config.json if the model has both."
        )


def _expect_constant(family: Family, one: Placed, arrays: Arrays) -> None:
    for path, array in zip(one.ours, arrays, strict=True):
        if not (array == one.rule.constant).all():
            raise InputError(
                f"{family.name} has no place for our {path}: it would have to be "
                f"{one.rule.constant} throughout, and is not."
            )


def expect_same(
    family: Family, config: Mapping[str, Any], module: nnx.Module, arrays: Mapping[str, np.ndarray]
) -> None:
    """Raises if a module computes something else than the model of a config.

    How its parameters were drawn is all that may differ.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    other = shapes_alone(family, family.complete(config, shapes), shapes)
    own, theirs = leaves(module), leaves(other)
    same = own.keys() == theirs.keys()
    if same:
        for path, leaf in theirs.items():
            leaf.set_value(jax.ShapeDtypeStruct(own[path].shape, own[path].dtype))
        # The same cells and options: no need to look at what they compute.
        same = jax.tree.structure(module) == jax.tree.structure(other)
        same = same or _program(module) == _program(other)
    if not same:
        cells = [getattr(getattr(each, "rnn", each), "cell", each) for each in (module, other)]
        raise InputError(
            f"{family.name} has no place for {cells[0]}: read with this config, its weights are "
            f"those of {cells[1]}, which computes something else."
        )


def _program(module: Any) -> str:
    """What a module computes on a short sequence, as text."""
    if isinstance(module, RNN):
        xs = jax.ShapeDtypeStruct((1, 2, module.in_features), jnp.float32)
    else:
        xs = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    module = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), module)
    program = jax.make_jaxpr(lambda module, xs: module(xs, method="plain"))(module, xs)
    return re.sub(r" at 0x[0-9a-f]+", "", str(program))
