"""A run that is killed, however rudely, continues as one that never stopped: bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from seqjax.cli import main
from seqjax.train.checkpoints import Checkpoints
from tests.train.published_folder import publish

TEXT = "".join(
    f"line {i}: the quick brown fox jumps over the lazy dog {i * i}\n" for i in range(300)
)
STEPS, EVERY = 40, 10


def arguments(folder):
    return [
        "train", "lm", "--text", str(folder / "text.txt"), "--out", str(folder / "run"),
        "--cell", "lstm", "--features", "8", "--embedding", "4", "--dropout", "0.1",
        "--batch", "4", "--time", "8", "--steps", str(STEPS), "--validate-every", str(EVERY),
        "--log-every", "5", "--sample", "0", "--devices", "1",
    ]  # fmt: skip


def launch(argv):
    """The command in a process of its own, with the compile cache of the tests."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or "",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "seqjax.cli", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.001)


def saved(run):
    checkpoints = Checkpoints(run / "checkpoints", read_only=True)
    assert checkpoints.steps[-1] == STEPS
    return checkpoints.arrays(STEPS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(TEXT)
    assert main(arguments(folder)) == 0
    return folder


def assert_same_end(run, whole):
    got, wanted = saved(run), saved(whole)
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "train_bits_per_character" in line]
    assert steps == list(range(5, STEPS + 1, 5))


def test_killed_while_a_checkpoint_is_written(tmp_path, folder):
    """The kill comes the moment anything of a new checkpoint appears on the disk."""
    (tmp_path / "text.txt").write_text(TEXT)
    run = tmp_path / "run"
    # The same text under the same name: names are a part of the settings.
    argv = arguments(tmp_path)
    process = launch(argv)
    checkpoints = run / "checkpoints"

    def writing_the_third():
        names = {path.name for path in checkpoints.iterdir()} if checkpoints.exists() else set()
        return any("20" in name for name in names) and any(
            name not in ("10", "20") for name in names
        )

    wait_for(writing_the_third, process)
    process.kill()
    process.communicate()
    assert main(["train", "--resume", str(run)]) == 0
    assert_same_end(run, folder / "run")


def test_killed_before_anything_was_saved(tmp_path, folder):
    (tmp_path / "text.txt").write_text(TEXT)
    process = launch(arguments(tmp_path))
    wait_for((tmp_path / "run" / "config.json").exists, process)
    process.kill()
    process.communicate()
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert_same_end(tmp_path / "run", folder / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(tmp_path, folder, number):
    (tmp_path / "text.txt").write_text(TEXT)
    run = tmp_path / "run"
    process = launch([*arguments(tmp_path), "--validate-every", "10"])
    log = run / "log.jsonl"
    wait_for(lambda: log.exists() and '"step": 15' in log.read_text(), process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert f"--resume {run}" in output
    assert Checkpoints(run / "checkpoints", read_only=True).steps[-1] >= 15
    assert main(["train", "--resume", str(run)]) == 0
    assert_same_end(run, folder / "run")


def test_an_imported_model_that_is_trained_further(tmp_path):
    """Killed at once, and what it came from is gone: it goes on from its own first checkpoint."""
    (tmp_path / "text.txt").write_text(TEXT)
    source = str(publish(tmp_path / "source"))
    assert main(["import", source, str(tmp_path / "imported"), "--dtype", "bfloat16"]) == 0

    def argv(run):
        return [
            "train", "lm", "--from", str(tmp_path / "imported"), "--out", str(tmp_path / run),
            "--text", str(tmp_path / "text.txt"), "--batch", "4", "--time", "8", "--devices", "1",
            "--steps", str(STEPS), "--validate-every", str(EVERY), "--log-every", "5",
            "--sample", "0", "--learning-rate", "0.01",
        ]  # fmt: skip

    assert main(argv("whole")) == 0
    process = launch(argv("run"))
    wait_for((tmp_path / "run" / "config.json").exists, process)
    process.kill()
    process.communicate()
    # It is scored already, so it will never be written over.
    assert Checkpoints(tmp_path / "run" / "checkpoints", read_only=True).best == 0
    for gone in ("source", "imported"):
        shutil.rmtree(tmp_path / gone)
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert_same_end(tmp_path / "run", tmp_path / "whole")
