"""How to run a cell, as values: which engine, and the sizes it goes by."""

import dataclasses
from typing import Literal

import jax

from seqjax.engines.method import Method
from seqjax.engines.newton_method import Newton


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


@dataclasses.dataclass(frozen=True, repr=False)
class SequenceParallel(Method):
    """Time split over devices: each runs a stretch of it, all at the same time.

    For cells that are linear in their state, windows such as short convolutions, layers without a
    state, and all that is made of them. A stretch does to a state what an affine map does,

        after = transition * before + end

    Every device finds the two for its own stretch, maps of all stretches before it are composed in
    `ceil(log2(devices))` rounds of one `ppermute`, then each stretch runs from its right start. The
    backward pass takes as many rounds. Masks, resets, cuts and counts hold across devices, in both
    directions.

    Inside `jax.shard_map` over the axis, arguments of the scan are the stretch of one device, and
    the carry is the same on all. Elsewhere the scan deals the steps out itself, over the mesh that
    `xs` lies on or that of `jax.set_mesh`.

    Args:
      axis: of the mesh.
      inside: the method by which a device runs its stretch.
      mesh: which mesh; by default the one that `xs` lies on, or that of the context.

    Raises:
      ValueError: if `axis` is no name, or `inside` no method for one device.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.minimal_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 8, 3))
      >>> with jax.set_mesh(jax.make_mesh((jax.device_count(),), ("time",))):
      ...     carry, ys = sj.scan(cell, params, xs, method=sj.SequenceParallel("time"))
      >>> bool(jnp.allclose(ys, sj.scan(cell, params, xs)[1], atol=1e-6))
      True

    Source: Blelloch 1990, "Prefix sums and their applications"; Martin and Cundy 2018,
    arXiv:1709.04057; for linear attention: Sun et al. 2024, arXiv:2404.02882.
    """

    axis: str = "time"
    inside: Method | str = "auto"
    mesh: jax.sharding.Mesh | None = None

    def __post_init__(self):
        super().__post_init__()
        _check_devices(self)


@dataclasses.dataclass(frozen=True, repr=False)
class PipelineParallel(Method):
    """Layers of a stack over devices, stretches of time flowing through; for any cell.

    Device d runs layers of its own, and in tick t the stretch t - d of time, so after a few ticks
    all devices work. The output of a stretch goes on to the next device by one `ppermute` a tick;
    states stay where they are. Values and gradients are those of one device. With n stretches on D
    devices, a device is idle in `D - 1` of `n + D - 1` ticks.

    All layers must be the same cell, as wide as its input, and divide among the devices. Inside
    `jax.shard_map` over the axis, all arguments are the same on all devices; elsewhere the scan
    makes the split itself, as for `sj.SequenceParallel`.

    Args:
      axis: of the mesh.
      stretch: steps of a stretch, by default a number for eight stretches a device.
      inside: the method by which a layer runs over a stretch.
      mesh: which mesh; by default the one that `xs` lies on, or that of the context.

    Raises:
      ValueError: if `axis` is no name, or `stretch` no positive number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> layers = jax.device_count()
      >>> cell = sj.stack(*[sj.lstm(4)] * layers)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> xs = jnp.ones((2, 12, 4))
      >>> with jax.set_mesh(jax.make_mesh((layers,), ("layer",))):
      ...     carry, ys = sj.scan(cell, params, xs, method=sj.PipelineParallel("layer", stretch=3))
      >>> bool(jnp.allclose(ys, sj.scan(cell, params, xs)[1], atol=1e-6))
      True

    Source: Huang et al. 2018, arXiv:1811.06965, for whom batches flow; stretches of time: Appleyard
    et al. 2016, arXiv:1604.01946.
    """

    axis: str = "layer"
    stretch: int | None = None
    inside: Method | str = "auto"
    mesh: jax.sharding.Mesh | None = None

    def __post_init__(self):
        super().__post_init__()
        _check_devices(self)


def _check_devices(method: SequenceParallel | PipelineParallel) -> None:
    """Raises unless a method for several devices has a named axis and a method for one device."""
    name = type(method).__name__
    if not isinstance(method.axis, str) or not method.axis:
        raise ValueError(f"{name}: `axis` must be the name of a mesh axis, got {method.axis!r}.")
    if isinstance(as_method(method.inside), SequenceParallel | PipelineParallel):
        raise ValueError(f"{name}: `inside` must be a method for one device, got {method.inside}.")


BY_NAME: dict[str, Method] = {
    "auto": Auto(),
    "plain": Plain(),
    "recompute": Recompute(),
    "store": Store(),
    "fused": Fused(),
    "associative": Associative(),
    "chunked": Chunked(),
    "newton": Newton(),
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
