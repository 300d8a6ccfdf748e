"""Checkpoints of a run: the last few and the best, each whole or not there at all."""

import errno
import logging
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.core.types import PyTree
from seqjax.train.digests import digests
from seqjax.train.migrations import VERSION, match_arrays
from seqjax.train.saved_arrays import SavedArrays, Target

KEEP_LAST = 2


class Checkpoints:
    """The checkpoints below a folder, which all processes of a run share.

    orbax writes each into a temporary folder, every process its own shards, and the first
    process renames it when all are done: a run killed while writing leaves the checkpoints before
    it as they were. A digest of each array is kept beside them; what is read must match it, in
    whatever shards it is read.

    With several processes all must make this, save and load, in the same order.

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
          state: a tree of arrays and keys, on the devices of any number of processes.
          cost: what it is worth, lower is better; None if nobody measured it.
          notes: what else the loop must know to go on, as JSON.

        Raises:
          OSError: if it cannot be written; the checkpoints before it stay as they are.
        """
        arrays = {name: _numbers(leaf) for name, leaf in _named(state).items()}
        try:
            self._checkpointer.save(
                step,
                arrays,
                force=True,
                overwrite=True,
                metrics=None if cost is None else {"cost": cost},
                custom_metadata={
                    "version": VERSION,
                    "digests": digests(arrays),
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
        return self._saved(step).metadata["notes"]

    def load(self, step: int, like: PyTree) -> PyTree:
        """The state of a step, each array where the one in `like` is.

        Args:
          step: one of `steps`.
          like: a state of the same configuration, for structure, shapes, dtypes and shardings; the
            devices may be others than those it was saved from. Without a sharding, arrays are
            those of NumPy.

        Raises:
          InputError: if the checkpoint is damaged or belongs to another configuration.
        """
        return self._restore(step, _named(like), like)

    def load_model(self, step: int, like: PyTree) -> PyTree:
        """Only the model of a state; arguments and errors as for `load`."""
        named = {f"model/{name}": leaf for name, leaf in _named(like).items()}
        return self._restore(step, named, like)

    def arrays(self, step: int) -> dict[str, np.ndarray]:
        """All arrays of a checkpoint, by name, checked against their digests."""
        saved = self._saved(step)
        return saved.read(dict.fromkeys(saved.shapes, np.ndarray))

    def _saved(self, step: int) -> SavedArrays:
        name = f"The checkpoint of step {step} in {self.folder}"
        return SavedArrays(self.folder / str(step), name)

    def _restore(self, step: int, wanted: dict[str, Any], like: PyTree) -> PyTree:
        saved = self._saved(step)
        have, want = saved.shapes, {name: _shape(leaf) for name, leaf in wanted.items()}
        names = {name: name for name in want}
        if saved.metadata.get("version", 1) == 1:
            names |= match_arrays(have, want) or {}
        other = sorted(name for name in want if have.get(names[name]) != want[name])
        if other:
            name = other[0]
            raise InputError(
                f"{saved.name} is of another configuration: {name} is "
                f"{have.get(names[name])} there and {want[name]} in the model. Has "
                "config.json been changed, or the code of the cell?"
            )
        arrays = saved.read({names[name]: _target(leaf) for name, leaf in wanted.items()})
        leaves, structure = jax.tree.flatten(like)
        loaded = [
            _unpack(arrays[names[name]], leaf) for name, leaf in zip(wanted, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, loaded)


def _named(state: PyTree) -> dict[str, Any]:
    """The leaves by their path."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _numbers(leaf: Any) -> Any:
    """What is saved: of a key the numbers behind it."""
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _shape(leaf: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of what is saved."""
    saved = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return saved.shape, saved.dtype


def _target(leaf: Any) -> Target:
    """Where a leaf is read to. Keys are split over devices like the numbers behind them."""
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        return np.ndarray
    return jax.ShapeDtypeStruct(*_shape(leaf), sharding=sharding)


def _unpack(array: Any, like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))
    return array
