"""Output distributions: the interpretation of a model's last linear layer.

Each record has the number of raw outputs (`size`), their loss, and the prediction they make.
Records hold no arrays; the linear layer belongs to the model.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.cell import positive_int
from seqjax.core.types import Array, PRNGKeyArray
from seqjax.losses import binary_cross_entropy, cross_entropy, gaussian_nll, pinball, squared_error


@runtime_checkable
class Outputs(Protocol):
    """The interpretation of raw outputs `(*batch, size)`."""

    @property
    def size(self) -> int:
        """The number of raw outputs of a prediction."""
        ...

    def loss(self, raw: Array, targets: Array, mask: Array | None = None) -> Array:
        """The loss of raw outputs `(*batch, size)`, summed where `mask` `(*batch,)` is True."""
        ...

    def predict(self, raw: Array) -> dict[str, Array]:
        """The predictions, by name."""
        ...


@runtime_checkable
class NumberOutputs(Outputs, Protocol):
    """Outputs that predict `targets` numbers and their uncertainty."""

    def quantiles(self, raw: Array, levels: tuple[float, ...]) -> Array:
        """`(*batch, targets, levels)`."""
        ...

    def shifted(self, raw: Array, base: Array) -> Array:
        """Raw outputs whose predictions are higher by `base` `(*batch, targets)`."""
        ...

    def sample(self, key: PRNGKeyArray, raw: Array) -> Array:
        """A sample `(*batch, targets)`."""
        ...


@dataclasses.dataclass(frozen=True)
class Softmax:
    """One class out of several: a categorical distribution.

        p = softmax(raw)

    Args:
      classes: number of classes.

    Targets are `(*batch,)` ints, the loss is the cross-entropy in nats. Predicts
    `prediction` `(*batch,)`, the most probable class, and `probability` `(*batch, classes)`.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> outputs = sj.nn.Softmax(3)
      >>> outputs.predict(jnp.array([0.0, 2.0, 1.0]))["prediction"]
      Array(1, dtype=int32)
    """

    classes: int

    def __post_init__(self):
        positive_int("Softmax", "classes", self.classes)

    @property
    def size(self) -> int:
        return self.classes

    def loss(self, raw: Array, targets: Array, mask: Array | None = None) -> Array:
        return cross_entropy(raw, targets, mask)

    def predict(self, raw: Array) -> dict[str, Array]:
        probability = jax.nn.softmax(raw.astype(jnp.float32), axis=-1)
        return {
            "prediction": jnp.argmax(raw, -1).astype(jnp.int32),
            "probability": probability,
        }


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """Independent binary labels: multi-label classification; with one label, binary.

        p = sigmoid(raw)

    Args:
      labels: number of labels.

    Targets are `(*batch, labels)` bools or numbers in [0, 1], the loss is the binary
    cross-entropy in nats. Predicts `prediction`, bool where p is at least a half, and
    `probability`, both `(*batch, labels)`.
    """

    labels: int = 1

    def __post_init__(self):
        positive_int("Sigmoid", "labels", self.labels)

    @property
    def size(self) -> int:
        return self.labels

    def loss(self, raw: Array, targets: Array, mask: Array | None = None) -> Array:
        return binary_cross_entropy(raw, targets, mask)

    def predict(self, raw: Array) -> dict[str, Array]:
        return {"prediction": raw >= 0, "probability": jax.nn.sigmoid(raw.astype(jnp.float32))}


@dataclasses.dataclass(frozen=True)
class Regression:
    """Point predictions, scored by squared error.

    Args:
      targets: number of predicted numbers.

    Targets are `(*batch, targets)`; `prediction` too.
    """

    targets: int = 1

    def __post_init__(self):
        positive_int("Regression", "targets", self.targets)

    @property
    def size(self) -> int:
        return self.targets

    def loss(self, raw: Array, targets: Array, mask: Array | None = None) -> Array:
        return squared_error(raw, targets, mask)

    def predict(self, raw: Array) -> dict[str, Array]:
        return {"prediction": raw}

    def quantiles(self, raw: Array, levels: tuple[float, ...]) -> Array:
        """The prediction at every level: a point mass."""
        return jnp.repeat(raw[..., None], len(levels), -1)

    def shifted(self, raw: Array, base: Array) -> Array:
        """Raw outputs whose predictions are higher by `base` `(*batch, targets)`."""
        return raw + base

    def sample(self, key: PRNGKeyArray, raw: Array) -> Array:
        """The prediction: a point mass."""
        return raw


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """Non-crossing quantiles, scored by the pinball loss.

        q[m] = raw[m]                                 m: the level nearest to a half
        q[i] = q[i - 1] + softplus(raw[i])  above it,  q[i + 1] - softplus(raw[i])  below it

    Args:
      levels: ascending, in (0, 1).
      targets: number of predicted numbers.

    Targets are `(*batch, targets)`. Predicts `quantiles` `(*batch, targets, levels)`, and as
    `prediction` `(*batch, targets)` that of level m.

    Source: Koenker and Bassett 1978, "Regression quantiles" (Econometrica).
    """

    levels: tuple[float, ...]
    targets: int = 1

    def __post_init__(self):
        positive_int("Quantiles", "targets", self.targets)
        inside = all(0 < level < 1 for level in self.levels)
        if not self.levels or not inside or sorted(set(self.levels)) != list(self.levels):
            raise ValueError(
                "Quantiles: `levels` must be rising numbers between 0 and 1, such as (0.1, 0.5, "
                f"0.9); got {self.levels!r}."
            )

    @property
    def size(self) -> int:
        return self.targets * len(self.levels)

    def _apart(self, raw: Array) -> Array:
        return raw.reshape(*raw.shape[:-1], self.targets, len(self.levels))

    def _values(self, raw: Array) -> Array:
        raw, middle = self._apart(raw), self._middle
        step = jax.nn.softplus(raw)
        below = -jnp.cumsum(step[..., :middle][..., ::-1], -1)[..., ::-1]
        above = jnp.cumsum(step[..., middle + 1 :], -1)
        at = raw[..., middle : middle + 1]
        return jnp.concatenate([at + below, at, at + above], -1)

    @property
    def _middle(self) -> int:
        return min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - 0.5))

    def loss(self, raw: Array, targets: Array, mask: Array | None = None) -> Array:
        return pinball(self._values(raw), targets, jnp.asarray(self.levels), mask)

    def predict(self, raw: Array) -> dict[str, Array]:
        values = self._values(raw)
        return {"prediction": values[..., self._middle], "quantiles": values}

    def quantiles(self, raw: Array, levels: tuple[float, ...]) -> Array:
        """`(*batch, targets, levels)`, linearly interpolated between the learned ones."""
        values = self._values(raw)
        have, want = jnp.asarray(self.levels), jnp.asarray(levels)
        return jnp.vectorize(lambda q: jnp.interp(want, have, q), signature="(n)->(m)")(values)

    def shifted(self, raw: Array, base: Array) -> Array:
        """Raw outputs whose predictions are higher by `base` `(*batch, targets)`."""
        return self._apart(raw).at[..., self._middle].add(base).reshape(raw.shape)

    def sample(self, key: PRNGKeyArray, raw: Array) -> Array:
        """A sample per target: the quantile of a uniform level.

        Below the first level and above the last one quantiles are linearly extrapolated.
        """
        values, levels = self._values(raw), self.levels
        level = jax.random.uniform(key, values.shape[:-1])
        have = jnp.asarray([0.0, *levels, 1.0])
        if len(levels) > 1:
            first = (values[..., 1] - values[..., 0]) * levels[0] / (levels[1] - levels[0])
            last = values[..., -1] - values[..., -2]
            last = last * (1 - levels[-1]) / (levels[-1] - levels[-2])
        else:
            first = last = jnp.zeros_like(values[..., 0])
        ends = values[..., 0] - first, values[..., -1] + last
        values = jnp.concatenate([ends[0][..., None], values, ends[1][..., None]], -1)
        interpolate = jnp.vectorize(lambda u, q: jnp.interp(u, have, q), signature="(),(n)->()")
        return interpolate(level, values)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions, scored by the negative log-likelihood.

        location = raw[0],  scale = softplus(raw[1]) + 1e-3

    Args:
      targets: number of predicted numbers.

    Targets are `(*batch, targets)`, the loss is the negative log-likelihood in nats. Predicts
    `prediction` (the location) and `scale`, `(*batch, targets)`.
    """

    targets: int = 1

    def __post_init__(self):
        positive_int("Gaussian", "targets", self.targets)

    @property
    def size(self) -> int:
        return 2 * self.targets

    def _values(self, raw: Array) -> tuple[Array, Array]:
        location, scale = jnp.split(raw, 2, -1)
        return location, jax.nn.softplus(scale) + 1e-3

    def loss(self, raw: Array, targets: Array, mask: Array | None = None) -> Array:
        location, scale = self._values(raw)
        return gaussian_nll(location, scale, targets, mask)

    def predict(self, raw: Array) -> dict[str, Array]:
        location, scale = self._values(raw)
        return {"prediction": location, "scale": scale}

    def quantiles(self, raw: Array, levels: tuple[float, ...]) -> Array:
        """`(*batch, targets, levels)`."""
        location, scale = self._values(raw)
        z = jax.scipy.special.ndtri(jnp.asarray(levels, location.dtype))
        return location[..., None] + scale[..., None] * z.reshape((1,) * location.ndim + z.shape)

    def shifted(self, raw: Array, base: Array) -> Array:
        """Raw outputs whose predictions are higher by `base` `(*batch, targets)`."""
        return raw.at[..., : self.targets].add(base)

    def sample(self, key: PRNGKeyArray, raw: Array) -> Array:
        """A sample per target."""
        location, scale = self._values(raw)
        return location + scale * jax.random.normal(key, location.shape, location.dtype)
