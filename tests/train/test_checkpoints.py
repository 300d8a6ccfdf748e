"""Checkpoints on any number of devices and processes."""

import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.digests import BASE, digests
from seqjax.train.saved_arrays import SavedArrays
from tests.train.checkpoint_process import same, state_on

SAVED = Path(__file__).parent / "saved_runs"


def polynomial(array):
    """The digest, word by word."""
    words = np.asarray(array).tobytes()
    size = min(4, np.asarray(array).dtype.itemsize)
    parts = [int.from_bytes(words[i : i + size], "little") for i in range(0, len(words), size)]
    return f"{sum(word * BASE**i for i, word in enumerate(parts)) % 2**64:016x}"


RANDOM = np.random.default_rng(0)
ARRAYS = {
    "float32": RANDOM.normal(size=(8, 4)).astype(np.float32),
    "bfloat16": RANDOM.normal(size=(4, 2, 4)).astype(jnp.bfloat16),
    "bool": RANDOM.normal(size=(4, 4)) > 0,
    "complex": RANDOM.normal(size=(4, 8)).astype(np.complex64),
    "float64": RANDOM.normal(size=(3, 2)),
    "number": np.array(-5, np.int32),
    "empty": np.zeros((4, 0), np.float32),
}


def test_a_digest_is_that_of_all_shards():
    """Replicas count once, whichever axis is split; and it is the polynomial it is said to be."""
    wanted = digests(ARRAYS)
    assert wanted == {name: polynomial(array) for name, array in ARRAYS.items()}
    mesh = jax.make_mesh((2, 2), ("a", "b"))
    for spec in (jax.P(), jax.P("a"), jax.P(None, "b"), jax.P("b", "a"), jax.P(("a", "b"))):
        put = {
            name: jax.device_put(array, jax.NamedSharding(mesh, spec))
            for name, array in ARRAYS.items()
            if np.ndim(array) and array.dtype != np.float64
        }
        assert digests(put).items() <= wanted.items()


def test_a_digest_sees_every_change():
    array = np.ones((64, 64))
    array[3, 5] = 2
    flipped, cleared = array.copy(), array.copy()
    flipped.view(np.uint8)[-1, -1] ^= 1
    # A page of the disk: 512 equal numbers, at a power of two.
    cleared.reshape(-1)[1024:1536] = 0
    found = digests({"as it was": array, "swapped": array.T, "one bit": flipped, "page": cleared})
    assert len(set(found.values())) == 4


@pytest.mark.parametrize("count", [1, 2, 4])
def test_saved_on_two_devices(tmp_path_factory, count):
    folder = tmp_path_factory.getbasetemp() / "two"
    if not folder.exists():
        Checkpoints(folder).save(7, state_on(jax.devices()[:2]), 0.5)
    checkpoints = Checkpoints(folder, read_only=True)
    like = state_on(jax.devices()[:count])
    loaded = checkpoints.load(7, like)
    assert same(loaded)
    for name, leaf in loaded.items():
        assert leaf.sharding == like[name].sharding and leaf.dtype == like[name].dtype
    shape = jax.eval_shape(lambda: like["rows"])
    assert isinstance(checkpoints.load(7, {"rows": shape})["rows"], np.ndarray)


def test_of_version_3(tmp_path):
    """Written by the last seqjax that kept arrays of NumPy and one digest for all of them."""
    zipfile.ZipFile(SAVED / "checkpoint_of_version_3.zip").extractall(tmp_path)
    checkpoints = Checkpoints(tmp_path, read_only=True)
    assert checkpoints.best == 7 and checkpoints.notes(7) == {"seen": 3}
    for count in (1, 2):
        assert same(checkpoints.load(7, state_on(jax.devices()[:count])))
    with pytest.raises(InputError, match=r"another configuration: rows is \(\(8, 3\)"):
        checkpoints.load(7, {"rows": jnp.zeros((8, 4))})
    metadata = tmp_path / "7" / "_CHECKPOINT_METADATA"
    metadata.write_text(metadata.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(InputError, match="not the ones written"):
        Checkpoints(tmp_path, read_only=True).arrays(7)


def test_a_kill_while_an_old_one_is_deleted(tmp_path):
    """Whatever of it is gone, the one after it is found, and the rest goes when it is time."""
    checkpoints = Checkpoints(tmp_path / "whole")
    for step, cost in ((1, 2.0), (2, 1.5)):
        checkpoints.save(step, {"x": jnp.full(3, float(step))}, cost)
    for number, gone in enumerate(("_CHECKPOINT_METADATA", "metrics", "state", "*")):
        run = shutil.copytree(tmp_path / "whole", tmp_path / str(number))
        for path in (run / "1").glob(gone):
            path.unlink() if path.is_file() else shutil.rmtree(path)
        again = Checkpoints(run)
        assert again.steps[-1] == 2 and again.best == 2
        if gone == "*":
            again.save(3, {"x": jnp.full(3, 3.0)}, 1.0)
            assert again.steps == [2, 3] and again.load(3, {"x": jnp.zeros(3)})["x"][0] == 3


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_two_processes(tmp_path):
    """What they save together a single process reads, and the other way round."""
    alone, damaged = Checkpoints(tmp_path / "alone"), Checkpoints(tmp_path / "damaged")
    state = state_on(jax.devices())
    alone.save(7, state, 0.5)
    damaged.save(7, state | {"rows": state["rows"].at[-1, -1].add(1)}, 0.5)
    shutil.copy(*(tmp_path / name / "7" / "_CHECKPOINT_METADATA" for name in ("alone", "damaged")))
    command = [sys.executable, "-m", "tests.train.checkpoint_process", str(free_port())]
    processes = [
        subprocess.Popen(
            [*command, str(index), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert "damaged: The checkpoint of step 7" in output and "not the ones written" in output
    together = Checkpoints(tmp_path / "together", read_only=True)
    assert together.best == 7 and together.notes(7) == {"seen": 3}
    for count in (1, 2):
        assert same(together.load(7, state_on(jax.devices()[:count])))
    saved = [SavedArrays(tmp_path / name / "7", name) for name in ("alone", "together")]
    assert saved[0].metadata["digests"] == saved[1].metadata["digests"]
