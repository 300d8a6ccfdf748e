"""`seqjax bench --tpu v5e` and `--gpu`: what layers and cells cost by the compilers of these."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.bench import libraries
from seqjax.bench.accelerators import CHIPS, Cost, Target, platform_of, train_cost
from seqjax.bench.layer import Layer
from seqjax.bench.timed import CELLS
from seqjax.core.recurrence import Recurrence
from seqjax.core.trees import cast, tree_bytes
from seqjax.engines.methods import Auto, Method
from seqjax.engines.scan import scan
from seqjax.engines.sizes import chosen_for

SHAPES = (
    ((1024, 16, 256, 256), "float32"),
    ((1024, 32, 768, 768), "bfloat16"),
    ((512, 128, 1024, 1024), "bfloat16"),
)
"""Time, batch, inputs, features."""

LENGTHS = ((2048, 8),)
"""Time and batch of cells."""

ROUNDS = 3
"""Of Newton's method."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One program of a group: those of a group are compared with the first, ours."""

    group: str
    name: str
    cost: Cost
    operations: float
    """Multiplications and additions of the products; 0 is unknown."""
    bytes: float
    """Of arguments and results."""


def layer_entries(
    kind: str, shape: tuple[int, int, int, int], dtype: str, target: Target, only: Sequence[str]
) -> Iterable[Entry]:
    """One layer in every library that compiles by XLA and is installed."""

    def compile(run, params, xs, *, time_axis: int, devices: int) -> Cost:
        return train_cost(run, params, xs, target)

    layer = Layer.make(kind, *shape, dtype, compile=compile)
    here = Auto(platforms=(platform_of(target),))
    known: dict[str, Callable[..., Any]] = {
        **{n: b for n, b in libraries.LIBRARIES.items() if n not in ("torch", "cudnn")},
        "seqjax": partial(libraries.seqjax, method=here),
        "user cell": partial(libraries.user_cell, method=here),
    }
    moved = 2 * (layer.xs.size + sum(leaf.size for leaf in layer.weights.values()))
    group = f"{kind} {', '.join(map(str, shape))} {dtype}"
    for name, build in known.items():
        if only and name not in ("seqjax", *only):
            continue
        try:
            cost = build(layer, 1)
        except ImportError as reason:
            print(f"  without {name}: {reason}")
            continue
        yield Entry(group, name, cost, 3 * layer.flops, moved * jnp.dtype(dtype).itemsize)


def cell_entries(
    name: str, time: int, batch: int, features: int, dtype: str, target: Target
) -> Iterable[Entry]:
    """One cell, by the methods `auto` and `plain`; a gated one of units that see
    none but themselves also by some rounds of `newton`."""
    cell = CELLS[name](features)
    params = jax.eval_shape(lambda: cast(cell.init(jax.random.key(0), features), dtype))
    xs = jax.ShapeDtypeStruct((batch, time, features), dtype)
    methods: dict[str, Method | str] = {
        "auto": Auto(platforms=(platform_of(target),)),
        "plain": "plain",
    }
    parts = cell.structure
    if isinstance(parts, Recurrence) and parts.state_blocks == cell.features:
        methods[f"newton {ROUNDS}"] = "newton"
    for label, method in methods.items():
        run = lambda params, xs, method=method: scan(cell, params, xs, method=method)[1]  # noqa: E731
        rounds = ROUNDS if method == "newton" else None
        with chosen_for(platform_of(target)):
            cost = train_cost(run, params, xs, target, open_trips=rounds)
        group = f"{name} {time}, {batch}, {features} {dtype}"
        yield Entry(group, label, cost, 0.0, 2 * tree_bytes((params, xs)))


def bound(entry: Entry, target: Target) -> float:
    """Cycles that products, or reading arguments and writing results once, take on a TPU."""
    chip = CHIPS[target]
    return max(entry.operations / chip.operations, entry.bytes / chip.bytes) * chip.hertz


def table(entries: Sequence[Entry], target: Target) -> str:
    """One line for each program; the ratio is theirs over ours, the first of the group."""
    lines, ours = [], None
    on_gpu = target not in CHIPS
    for entry in entries:
        if ours is None or entry.group != ours.group:
            ours = entry
            lines += [f"\n{entry.group}, train step on {target}"]
            if not on_gpu:
                lines += [f"  bound {bound(entry, target) / 1e6:.2f} million cycles"]
            first = "launches" if on_gpu else "Mcycles  kernels moved MB     ms"
            lines += [f"  {'':<11} {first:>9} {'they/we':>8} {'temp MB':>8} {'compile s':>9}"]
        cost = entry.cost
        size = f"{cost.launches:>9,}" if on_gpu else _on_tpu(cost, target)
        lines.append(
            f"  {entry.name:<11} {size} {cost.ratio(ours.cost, target):>7.2f}x "
            f"{cost.temporary_bytes / 1e6:>8.1f} {cost.compile_seconds:>9.1f}"
        )
    return "\n".join(lines)


def _on_tpu(cost: Cost, target: Target) -> str:
    """Cycles without and in kernels, bytes, and the larger of the times of both."""
    millions = (number / 1e6 for number in (cost.cycles, cost.kernel_cycles, cost.moved_bytes))
    return "{:>9.2f} {:>8.2f} {:>8.1f} ".format(*millions) + (
        f"{1e3 * cost.seconds(CHIPS[target]):>6.2f}"
    )


def save(entries: Sequence[Entry], target: Target, folder: Path) -> Path:
    """Writes `TARGET.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target}.json"
    content = {
        "target": target,
        "jax": jax.__version__,
        "programs": [dataclasses.asdict(entry) for entry in entries],
    }
    path.write_text(json.dumps(content, indent=1))
    return path


def accelerator(
    target: Target,
    *,
    kinds: Sequence[str],
    shapes: Sequence[tuple[tuple[int, int, int, int], str]],
    only: Sequence[str],
    cells: Sequence[str],
    lengths: Sequence[Sequence[int]],
    features: int,
    dtypes: Sequence[str],
    out: Path,
) -> None:
    """Compiles everything, prints a table as it comes, and saves it."""
    found: list[Entry] = []

    def show(new: Iterable[Entry]) -> None:
        new = list(new)
        print(table(new, target), flush=True)
        found.extend(new)
        jax.clear_caches()

    for name in cells:
        for time, batch in lengths:
            for dtype in dtypes:
                show(cell_entries(name, time, batch, features, dtype, target))
    if not cells:
        for shape, dtype in shapes:
            for kind in kinds:
                show(layer_entries(kind, shape, dtype, target, only))
    if target in CHIPS:
        print("\nms: the larger of the times of all cycles and of the bytes moved")
    print(f"\nsaved: {save(found, target, out)}")
