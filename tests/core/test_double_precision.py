"""Float64 where there is float64: not on a TPU."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj
from seqjax.core.double_precision import double_precision
from seqjax.gradients import check_gradient
from seqjax.testing import check_cell, check_state_blocks


@pytest.fixture
def beside_a_tpu(monkeypatch):
    """As far as JAX tells; one CPU device stands in for it."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    return jax.devices()[-1]


def test_arrays_of_a_tpu_go_to_its_host(beside_a_tpu):
    there = jax.device_put({"weights": jnp.ones(3), "none": None}, beside_a_tpu)
    with double_precision() as place:
        here = place(there)["weights"]
        assert here.devices() == jnp.zeros(3).devices() == {jax.local_devices(backend="cpu")[0]}
        assert jnp.zeros(3).dtype == jnp.float64


def test_elsewhere_arrays_stay():
    there = jax.device_put(jnp.ones(3), jax.devices()[-1])
    with double_precision() as place:
        assert place(there) is there


def test_a_host_that_jax_does_not_know(beside_a_tpu, monkeypatch):
    def unknown(backend):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", unknown)
    with double_precision() as place:
        assert place(beside_a_tpu) is beside_a_tpu


@pytest.mark.parametrize(
    "check",
    [
        lambda cell: check_cell(cell, 2),
        lambda cell: check_state_blocks(cell, 2, blocks=1),
        lambda cell: check_gradient(
            cell, cell.init(jax.random.key(0), 2), jnp.ones((4, 2)), jax.random.key(1)
        ),
    ],
    ids=["laws", "blocks of the state", "gradient"],
)
def test_checks_compute_on_the_host_of_a_tpu(check, beside_a_tpu):
    devices: set[Any] = set()

    def update(h, x, r):
        with jax.ensure_compile_time_eval():
            devices.update(jnp.zeros(()).devices())
        raise InterruptedError  # Where it is computed is all that is asked.

    with pytest.raises(InterruptedError):
        check(sj.gated(update, features=2, gates=1))
    assert devices == {jax.local_devices(backend="cpu")[0]}
