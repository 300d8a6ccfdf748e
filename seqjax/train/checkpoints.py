"""Checkpoints of a run: the last few and the best, each whole or not there at all."""

import errno
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.core.types import PyTree
from seqjax.train.migrations import VERSION, match_arrays

KEEP_LAST = 2


class Checkpoints:
    """The checkpoints below a folder.

    orbax writes each into a temporary folder and renames it when it is complete, so a run
    killed while writing leaves the checkpoints before it as they were. A digest of all
    arrays is kept beside them; what is read must match it.

    Args:
      folder: made if it is not there.
      read_only: leave everything as it is.
    """

    def __init__(self, folder: Path, *, read_only: bool = False):
        ocp: Any = extra_module("orbax.checkpoint", "train").v1
        # What goes wrong is reported by us, in one line.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["cost"],
            reverse=True,
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        keep: Any = (
            policies.PreserveAll()
            if read_only
            else policies.AnyPreservationPolicy([policies.LatestN(KEEP_LAST), best])
        )
        self.folder = folder
        self._checkpointer: Any = ocp.training.Checkpointer(
            str(folder.absolute()),
            preservation_policy=keep,
            cleanup_tmp_directories=not read_only,
        )

    def save(
        self,
        step: int,
        state: PyTree,
        cost: float | None,
        notes: dict[str, Any] | None = None,
    ) -> None:
        """Writes a checkpoint and waits until it is complete.

        Args:
          step: the number of the step.
          state: a tree of arrays and keys.
          cost: what it is worth, lower is better; None if nobody measured it.
          notes: what else the loop must know to go on, as JSON.

        Raises:
          OSError: if it cannot be written; the checkpoints before it stay as they are.
        """
        arrays = _named_arrays(state)
        try:
            self._checkpointer.save(
                step,
                arrays,
                force=True,
                overwrite=True,
                metrics=None if cost is None else {"cost": cost},
                custom_metadata={
                    "version": VERSION,
                    "sha256": _digest(arrays),
                    "notes": notes or {},
                },
            )
        except Exception as error:
            # Storage below orbax reports a full disk in errors of many kinds.
            full = os.strerror(errno.ENOSPC)
            if full in str(error) and not isinstance(error, OSError):
                raise OSError(errno.ENOSPC, full, str(self.folder / str(step))) from error
            raise

    @property
    def steps(self) -> list[int]:
        """The steps of which there are checkpoints, in order."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    @property
    def best(self) -> int | None:
        """The step with the lowest cost, the latest of equals."""
        scored = {
            checkpoint.step: checkpoint.metrics["cost"]
            for checkpoint in self._checkpointer.checkpoints
            if checkpoint.metrics
        }
        return min(scored, key=lambda step: (scored[step], -step)) if scored else None

    def notes(self, step: int) -> dict[str, Any]:
        """What was noted beside the state of a step."""
        return self._metadata(step)["notes"]

    def _metadata(self, step: int) -> dict[str, Any]:
        return self._checkpointer.metadata(step).custom_metadata

    def load(self, step: int, like: PyTree) -> PyTree:
        """The state of a step.

        Args:
          step: one of `steps`.
          like: a state of the same configuration, for structure, shapes and dtypes.

        Raises:
          InputError: if the checkpoint is damaged or belongs to another configuration.
        """
        return self._restore(step, _named(like), like)

    def load_model(self, step: int, like: PyTree) -> PyTree:
        """Only the model of a state; arguments and errors as for `load`."""
        named = {f"model/{name}": leaf for name, leaf in _named(like).items()}
        return self._restore(step, named, like)

    def arrays(self, step: int) -> dict[str, np.ndarray]:
        """All arrays of a checkpoint, by name, checked against their digest."""
        where = self._name(step)
        try:
            arrays = self._checkpointer.load(step)
            digest = self._metadata(step)["sha256"]
        except Exception as error:  # orbax raises whatever its storage raised
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise InputError(f"{where} is damaged and cannot be read ({reason[:200]}).") from None
        if _digest(arrays) != digest:
            raise InputError(f"{where} is damaged: its numbers are not the ones written.")
        return arrays

    def _name(self, step: int) -> str:
        return f"The checkpoint of step {step} in {self.folder}"

    def _restore(self, step: int, wanted: dict[str, Any], like: PyTree) -> PyTree:
        arrays = self.arrays(step)
        have, want = _shapes(arrays), _shapes(wanted)
        if self._metadata(step).get("version", 1) == 1:
            matched = match_arrays(have, want) or {}
            arrays |= {name: arrays[saved] for name, saved in matched.items()}
            have = _shapes(arrays)
        other = sorted(name for name in want if have.get(name) != want[name])
        if other:
            name = other[0]
            raise InputError(
                f"{self._name(step)} is of another configuration: {name} is "
                f"{have.get(name)} there and {want.get(name)} in the model. Has "
                "config.json been changed, or the code of the cell?"
            )
        leaves, structure = jax.tree.flatten(like)
        loaded = [_unpack(arrays[name], leaf) for name, leaf in zip(wanted, leaves, strict=True)]
        return jax.tree.unflatten(structure, loaded)


def _named(state: PyTree) -> dict[str, Any]:
    """The leaves by their path."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named_arrays(state: PyTree) -> dict[str, np.ndarray]:
    """The leaves in NumPy, by their path; keys as the numbers behind them."""
    return {
        name: np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for name, leaf in _named(state).items()
    }


def _shapes(leaves: dict[str, Any]) -> dict[str, Any]:
    """Shapes and dtypes as in `_named_arrays`."""
    shapes = {
        name: jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        for name, leaf in leaves.items()
    }
    return {name: (leaf.shape, leaf.dtype) for name, leaf in shapes.items()}


def _unpack(array: Any, like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))
    return array


def _digest(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.asarray(arrays[name]).tobytes())
    return digest.hexdigest()
