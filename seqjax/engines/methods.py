"""How to run a cell, as values: which engine, and the sizes it goes by."""

import dataclasses
from typing import Literal

from seqjax.core.cell import positive_int
from seqjax.engines.sizes import PLATFORMS


@dataclasses.dataclass(frozen=True, repr=False)
class Method:
    """A way to run a cell. Records like this are hashable; sizes are in steps.

    A size that is None is chosen by the shapes at hand, see `seqjax.engines.sizes`.

    Args:
      platforms: for which of "cpu", "cuda", "rocm" and "tpu" the program is, where it is not for
        the one at hand, as with `jax.export`. With several of them it has a branch for each, of
        which lowering takes one; such a program runs on no others.

    Raises:
      ValueError: if there is no such platform.
    """

    platforms: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            size = getattr(self, field.name)
            if size is not None and field.type == int | None:
                positive_int(type(self).__name__, field.name, size)
        if not isinstance(self.platforms, tuple) or set(self.platforms) - set(PLATFORMS):
            raise ValueError(
                f"{type(self).__name__}: `platforms` must be a tuple of some of {[*PLATFORMS]}, "
                f"got {self.platforms!r}."
            )

    def __repr__(self) -> str:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        words = [f"{name}={value!r}" for name, value in given.items() if value not in (None, ())]
        return f"{type(self).__name__}({', '.join(words)})"


@dataclasses.dataclass(frozen=True, repr=False)
class Auto(Method):
    """For each part of a cell what is fastest for its shapes and the device; `"auto"` in short.

    Args:
      platforms: those that the program is for, as every method takes them; by default the one at
        hand.

    Example: one program, exported for three platforms, each with the sizes and loops of its own.
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> anywhere = sj.Auto(platforms=("cpu", "cuda", "tpu"))
      >>> cell = sj.minimal_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> run = jax.jit(lambda xs: sj.scan(cell, params, xs, method=anywhere)[1])
      >>> exported = jax.export.export(run, platforms=anywhere.platforms)(jnp.ones((2, 5, 3)))
      >>> exported.platforms
      ('cpu', 'cuda', 'tpu')
    """


@dataclasses.dataclass(frozen=True, repr=False)
class Plain(Method):
    """A `lax.scan` over `cell.step` that JAX differentiates; `"plain"` in short.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)), method=sj.Plain())
    """


@dataclasses.dataclass(frozen=True, repr=False)
class Recompute(Method):
    """Exact BPTT with a backward pass of its own that stores the carries; `"recompute"` in short.

    The gates of a tile of time are computed again, in one product, when the backward pass comes to
    it. For gated cells, and for cells whose `structure` is an `AnyStep`.

    Args:
      tile: steps of a tile, in training.
      forward_tile: steps whose input products are one where no gradient is asked for. A cell that
        is an `AnyStep` has no such products.

    Raises:
      ValueError: if a size is not a positive whole number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 12, 3))
      >>> carry, ys = sj.scan(cell, params, xs, method=sj.Recompute(tile=4))
    """

    tile: int | None = None
    forward_tile: int | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Store(Method):
    """As `Recompute`, but the gates are stored too; `"store"` in short. For gated cells.

    Args:
      tile, forward_tile: as for `Recompute`.

    Raises:
      ValueError: if a size is not a positive whole number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lstm(16)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 100, 3))
      >>> full = sj.memory_report(cell, params, xs, method=sj.Store(tile=10))
      >>> full.saved > sj.memory_report(cell, params, xs, method=sj.Recompute(tile=10)).saved
      True
    """

    tile: int | None = None
    forward_tile: int | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Associative(Method):
    """All steps at once by a `lax.associative_scan`; `"associative"` in short.

    For cells that are linear in their state.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.minimal_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)), method=sj.Associative())
    """


@dataclasses.dataclass(frozen=True, repr=False)
class Chunked(Method):
    """A loop over chunks of time with dense work inside; `"chunked"` in short.

    For cells that are linear in their state, a matrix memory included. Time goes in tiles, and
    tiles in chunks: a chunk is what runs at once, a tile what is computed again in the backward
    pass, before which only the states between tiles are stored.

    Args:
      chunk: steps of a chunk, a power of two.
      tile: steps of a tile, for a matrix memory rounded up to whole chunks.
      inside: `"parallel"`: all steps of a chunk at once, by an associative scan or, for a matrix
        memory, by products of matrices; `"steps"`: one step after the other, with products for
        a whole tile around them. By default, as fits the device.
      block: steps of a sub-chunk, a power of two, that is one product where decays per channel are
        mild.
      strong_block: the same where they may be anything: the steps are compared pair by pair.

    Raises:
      ValueError: if a size is not a positive whole number, or one that must be is no power of two;
        if sizes of a chunk are given and steps go one after the other.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.delta_net(4, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 100, 3))
      >>> carry, ys = sj.scan(cell, params, xs, method=sj.Chunked(chunk=16))
    """

    chunk: int | None = None
    tile: int | None = None
    inside: Literal["steps", "parallel"] | None = None
    block: int | None = None
    strong_block: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.inside not in (None, "steps", "parallel"):
            raise ValueError(
                f"Chunked: `inside` must be 'steps', 'parallel' or None; got {self.inside!r}."
            )
        for name in ("chunk", "block", "strong_block"):
            size = getattr(self, name)
            if size is None:
                continue
            if size & (size - 1):
                raise ValueError(f"Chunked: `{name}` must be a power of two, got {size}.")
            if self.inside == "steps":
                raise ValueError(
                    f"Chunked: with inside='steps' nothing runs in a chunk at once, so leave out "
                    f"`{name}`, got {size}. `tile` is how many steps are computed again together."
                )


@dataclasses.dataclass(frozen=True, repr=False)
class Fused(Method):
    """Exact BPTT whose loops over time are kernels for a TPU; `"fused"` in short.

    For gated cells: recurrent weights and state stay in the memory of the core from the first step
    of a tile to the last, and the cell's own update runs there; everything else is as for
    `Recompute`. For cells that are linear in a state whose numbers are apart: the state stays there
    (one with a scale of its own, as in sLSTM, takes an associative scan instead). For matrix
    states: the memories stay there, and go step by step.

    On other devices kernels are interpreted, which is slow: there they are for tests.

    Args:
      tile: steps of a tile, whose products with inputs are one.
      block: steps whose inputs and results move together, at most; of matrix states also those
        whose memories are made again together on the way back.

    Raises:
      ValueError: if a size is not a positive whole number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 6, 3)), method=sj.Fused(tile=3))
    """

    tile: int | None = None
    block: int | None = None


BY_NAME: dict[str, Method] = {
    "auto": Auto(),
    "plain": Plain(),
    "recompute": Recompute(),
    "store": Store(),
    "fused": Fused(),
    "associative": Associative(),
    "chunked": Chunked(),
}

METHODS = tuple(BY_NAME)
"""The short names, each of a method with the sizes that it chooses; see `seqjax.scan`."""


def as_method(method: Method | str) -> Method:
    """The method of a name, or the one given; or an error."""
    if isinstance(method, Method):
        return method
    if isinstance(method, str) and method in BY_NAME:
        return BY_NAME[method]
    names = ", ".join(map(repr, METHODS))
    raise ValueError(
        f"scan: `method` must be one of {names}; got {method!r}. To choose sizes, give a value "
        "such as sj.Recompute(tile=16) or sj.Chunked(chunk=64)."
    )


def spell_method(method: Method) -> str:
    """As a user writes it: a name if there is one."""
    return next((repr(name) for name, known in BY_NAME.items() if known == method), repr(method))
