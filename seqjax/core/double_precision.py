"""Computing in float64."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax


@contextmanager
def double_precision() -> Iterator[Callable[[Any], Any]]:
    """Numbers are float64 by default inside.

    A TPU has none: its compiler makes each from pairs of float32, which takes up to 15 seconds for
    a program that a CPU compiles in one. Beside a TPU the CPU of the host computes instead.

    Yields:
      What takes arrays of a tree to where they are computed with.
    """
    with jax.enable_x64(True):
        host = _host_of_a_tpu()
        if host is None:
            yield lambda tree: tree
        else:
            with jax.default_device(host):
                yield lambda tree: jax.device_put(tree, host)


def _host_of_a_tpu() -> Any:
    if jax.default_backend() != "tpu":
        return None
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to know nothing but the TPU.
        return None
