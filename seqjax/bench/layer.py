"""One layer on one batch, and a program that runs it."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding

from seqjax.core.types import Array
from seqjax.engines.memory_report import temporary_bytes

GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n")}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One recurrent layer on one batch: `(time, batch, inputs)` in, `(time, batch, features)` out.

    `weights` are NumPy arrays: `input` `(inputs, gates, features)`, `recurrent` `(features,
    gates, features)`, `bias` `(gates, features)`; `xs` is `(time, batch, inputs)`.
    """

    kind: Literal["lstm", "gru"]
    time: int
    batch: int
    inputs: int
    features: int
    dtype: str
    weights: dict[str, np.ndarray]
    xs: np.ndarray
    compile: Callable[..., Any]
    """What is made of a library's layer, with the arguments of `compiled`."""

    @classmethod
    def make(
        cls,
        kind: Any,
        time: int,
        batch: int,
        inputs: int,
        features: int,
        dtype: str,
        compile: Callable[..., Any] | None = None,
    ):
        """A layer with random weights and inputs, by default to run here."""
        random = np.random.default_rng(0)
        gates = len(GATES[kind])

        def draw(*shape: int, scale: float) -> np.ndarray:
            return (scale * random.standard_normal(shape)).astype(np.float32)

        weights = {
            "input": draw(inputs, gates, features, scale=inputs**-0.5),
            "recurrent": draw(features, gates, features, scale=features**-0.5),
            "bias": draw(gates, features, scale=0.1),
        }
        xs = draw(time, batch, inputs, scale=1.0)
        compile = compile or compiled
        return cls(kind, time, batch, inputs, features, dtype, weights, xs, compile)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """`(time, batch, inputs, features)`."""
        return self.time, self.batch, self.inputs, self.features

    def flat(self, name: str) -> np.ndarray:
        """Weights `(inputs, gates * features)`, the gates in our order."""
        value = self.weights[name]
        return value.reshape(*value.shape[:-2], -1)

    def gate(self, name: str, gate: int) -> np.ndarray:
        """The weights of one gate."""
        return self.weights[name][..., gate, :]

    def reordered(self, order: str) -> dict[str, np.ndarray]:
        """The weights with the gates in another library's order."""
        positions = [GATES[self.kind].index(gate) for gate in order]
        return {name: value[..., positions, :] for name, value in self.weights.items()}

    @property
    def flops(self) -> float:
        """Multiplications and additions of the products, forward and in training."""
        inside = (self.inputs + self.features) * len(GATES[self.kind]) * self.features
        return 2.0 * self.time * self.batch * inside


@dataclasses.dataclass
class Program:
    """A library's layer, ready to run.

    `forward()` returns the outputs, `train()` the loss `mean(outputs ** 2)` and its gradients
    with respect to weights and inputs. Both wait for nothing; `outputs_of` turns what forward
    returned into NumPy `(time, batch, features)`, and `loss_of` what train returned into a number.
    """

    forward: Callable[[], Any]
    train: Callable[[], Any]
    outputs_of: Callable[[Any], np.ndarray]
    loss_of: Callable[[Any], float]
    gradient_of_input: Callable[[Any], np.ndarray]
    compile_seconds: float | None = None
    temporary_bytes: int | None = None


def compiled(
    run: Callable[[Any, Array], Array],
    params: Any,
    xs: Array,
    *,
    time_axis: int,
    devices: int,
) -> Program:
    """A program of JAX: `run(params, xs) -> ys`, its batch split over `devices`."""
    if devices > 1:
        mesh = jax.make_mesh(
            (devices,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
        )
        spec = (None, "batch") if time_axis == 0 else ("batch",)
        xs = jax.device_put(xs, NamedSharding(mesh, jax.P(*spec)))
        params = jax.device_put(params, NamedSharding(mesh, jax.P()))

    def loss(params, xs):
        return jnp.mean(jnp.square(run(params, xs).astype(jnp.float32)))

    forward = jax.jit(run).lower(params, xs).compile()
    start = time.perf_counter()
    train = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, xs).compile()
    seconds = time.perf_counter() - start

    def time_first(ys):
        return np.moveaxis(np.asarray(ys, np.float32), time_axis, 0)

    return Program(
        forward=lambda: forward(params, xs),
        train=lambda: train(params, xs),
        outputs_of=time_first,
        loss_of=lambda result: float(result[0]),
        gradient_of_input=lambda result: time_first(result[1][1]),
        compile_seconds=seconds,
        temporary_bytes=temporary_bytes(train),
    )
