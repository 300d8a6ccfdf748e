"""The arrays of one checkpoint, read onto any devices and checked."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.train.digests import digests

Target = Any
"""Where an array is read to: a `jax.ShapeDtypeStruct` with a sharding, or the type `np.ndarray`."""


class SavedArrays:
    """A checkpoint on disk.

    Each process reads the shards that its devices hold, so that processes wait for one another in
    one place only: where they tell each other whether all could be read.

    Args:
      path: its folder.
      name: what messages call it.

    Raises:
      InputError: if it is damaged; so do all methods.
    """

    def __init__(self, path: Path, name: str):
        self.name, self._path = name, path.absolute()
        self._ocp: Any = extra_module("orbax.checkpoint", "train").v1
        with self._context():
            try:
                found = self._ocp.metadata(self._path)
                self.metadata: dict[str, Any] = found.custom_metadata
                self.shapes = {name: (a.shape, a.dtype) for name, a in found.metadata.items()}
            except Exception as error:  # orbax raises whatever its storage raised
                raise self._damaged(error) from None

    def read(self, targets: Mapping[str, Target]) -> dict[str, Any]:
        """Some arrays by name, equal to those that were written.

        With targets on several processes all must call this.
        """
        wanted = self.metadata.get("digests")
        if wanted is None:
            return self._read_with_one_digest(targets)
        arrays = self._load(targets)
        if any(wanted.get(name) != digest for name, digest in digests(arrays).items()):
            raise self._changed()
        return arrays

    def _read_with_one_digest(self, targets: Mapping[str, Target]) -> dict[str, Any]:
        """From a checkpoint of before version 4, whose digest is one of all arrays."""
        arrays = self._load(dict.fromkeys(self.shapes, np.ndarray))
        if digest_of_all(arrays) != self.metadata.get("sha256"):
            raise self._changed()
        return {name: _place(arrays[name], target) for name, target in targets.items()}

    def _load(self, targets: Mapping[str, Target]) -> dict[str, Any]:
        arrays, problem = {}, None
        with self._context():
            try:
                arrays = self._ocp.load(self._path, dict(targets))
            except Exception as error:  # orbax raises whatever its storage raised
                problem = self._damaged(error)
        on_devices = any(target is not np.ndarray for target in targets.values())
        if on_devices and jax.process_count() > 1:
            whole = multihost_utils.process_allgather(np.array(problem is None)).all()
            if not whole and problem is None:
                problem = self._damaged(OSError("another process cannot read its part"))
        if problem is not None:
            raise problem
        return arrays

    def _context(self) -> Any:
        """Of orbax: arrays that are not asked for are left out, other processes not waited for."""
        context = self._ocp.Context()
        context.pytree.loading.partial_load = True
        if jax.process_count() > 1:
            own = jax.process_index()
            context.multiprocessing.primary_host = own
            context.multiprocessing.active_processes = {own}
            context.multiprocessing.barrier_sync_key_prefix = f"reader_{own}"
        return context

    def _damaged(self, error: Exception) -> InputError:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return InputError(f"{self.name} is damaged and cannot be read ({reason[:200]}).")

    def _changed(self) -> InputError:
        return InputError(f"{self.name} is damaged: its numbers are not the ones written.")


def _place(array: np.ndarray, target: Target) -> Any:
    if target is np.ndarray:
        return array
    return jax.make_array_from_callback(array.shape, target.sharding, lambda part: array[part])


def digest_of_all(arrays: Mapping[str, np.ndarray]) -> str:
    """The digest of whole arrays that checkpoints had before version 4."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.asarray(arrays[name]).tobytes())
    return digest.hexdigest()
