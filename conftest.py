"""Strict numerics, a compile cache that lasts, and several CPU devices."""

import builtins
import gc
import os
from pathlib import Path

# Before JAX starts.
import tests.quick_compiling  # noqa: F401

os.environ.setdefault("SEQJAX_FAST", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import hypothesis
import jax
import pytest

# Compiled programs outlive a clone: JAX keeps each under a hash of the program, the compiler and
# its flags. Any of these files may be deleted; `SEQJAX_TEST_CACHE` names another folder, or none
# if it is empty.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqjax" / "programs"

jax.config.update("jax_platforms", os.environ.get("SEQJAX_TEST_PLATFORM", "cpu"))
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir", os.environ.get("SEQJAX_TEST_CACHE", str(CACHE)) or None
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
# Traced programs are many objects that live long: looking for garbage among them is slow.
gc.set_threshold(100_000, 20, 100)
# Start JAX now: the command line, called in a test, must find these devices and not ask for
# its own.
jax.devices()

hypothesis.settings.register_profile(
    "seqjax", deadline=None, derandomize=True, max_examples=25, print_blob=True
)
hypothesis.settings.load_profile("seqjax")


def pytest_collection_modifyitems(items):
    """A test must be called the same in every process: an address in a name is a clear error."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} holds an address: give the parameter an id")


def pytest_runtest_teardown():
    """What the last line of an example shows stays a builtin, `_`. On import, tyro hashes all
    builtins, and a tuple with a list in it has no hash."""
    vars(builtins).pop("_", None)


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """What was traced and compiled for one file is of no use to the next, and fills the memory."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Float64 inside the test."""
    with jax.enable_x64(True):
        yield
