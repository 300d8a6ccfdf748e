"""What was measured, as a table, as JSON and as a picture."""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from seqjax.bench.measure import Timing, ratio

PACKAGES = ("jax", "jaxlib", "flax", "dm-haiku", "equinox", "keras", "torch", "seqjax")
JAX_LIBRARIES = ("flax linen", "flax nnx", "haiku", "equinox", "keras")


def machine() -> dict[str, Any]:
    """What everything ran on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "device": _processor() if devices[0].platform == "cpu" else devices[0].device_kind,
        "devices": len(devices),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


Group = tuple[str, tuple[int, int, int, int], str, str]
"""`(kind, shape, dtype, mode)`."""


def groups(timings: Iterable[Timing]) -> dict[Group, list[Timing]]:
    """The timings that are compared: all libraries on one layer in one mode."""
    found: dict[Group, list[Timing]] = {}
    for timing in timings:
        key = (timing.kind, timing.shape, timing.dtype, timing.mode)
        found.setdefault(key, []).append(timing)
    return found


def best(timings: Sequence[Timing], libraries: Sequence[str]) -> Timing | None:
    """The fastest among some libraries, each on as many devices as suit it best."""
    those = [timing for timing in timings if timing.library in libraries]
    return min(those, key=lambda t: sorted(t.seconds)[len(t.seconds) // 2], default=None)


def table(timings: Sequence[Timing]) -> str:
    """One line for each library on each layer; the ratio is their time over ours."""
    lines = []
    for (kind, shape, dtype, mode), those in groups(timings).items():
        lines.append(f"\n{kind} {dtype} {mode}: time, batch, inputs, features = {shape}")
        lines.append(
            f"  {'library':<11} {'devices':>7} {'ms':>9} {'they/we':>8} {'quartiles':>13} "
            f"{'steps/s':>12} {'of peak':>8} {'compile s':>9} {'temp MB':>8}"
        )
        ours = best(those, ("seqjax",))
        for timing in those:
            middle, low, high = ratio(ours, timing) if ours else (math.nan,) * 3
            median = sorted(timing.seconds)[len(timing.seconds) // 2]
            compiled, memory = timing.compile_seconds, timing.temporary_bytes
            lines.append(
                f"  {timing.library:<11} {timing.devices:>7} {median * 1e3:>9.2f} {middle:>7.2f}x "
                f"{f'{low:.2f}..{high:.2f}':>13} {timing.tokens_per_second:>12,.0f} "
                f"{timing.share_of_peak:>8.1%} "
                f"{'' if compiled is None else f'{compiled:.1f}':>9} "
                f"{'' if memory is None else f'{memory / 1e6:.1f}':>8}"
            )
    return "\n".join(lines)


def summary(timings: Sequence[Timing]) -> str:
    """Geometric means over the layers of their best time over our best time; the worst case."""
    lines = []
    rivals = {
        "fastest JAX library": JAX_LIBRARIES,
        "torch": ("torch",),
        "user cell": ("user cell",),
    }
    for mode in ("forward", "train"):
        for name, libraries in rivals.items():
            ratios = {}
            for key, those in groups(timings).items():
                ours, theirs = best(those, ("seqjax",)), best(those, libraries)
                if key[3] == mode and ours and theirs:
                    ratios[key] = ratio(ours, theirs)[0]
            if ratios:
                mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
                worst = min(ratios, key=ratios.__getitem__)
                lines.append(
                    f"{mode:<8} {name:<20} {mean:.2f}x in the geometric mean over {len(ratios)} "
                    f"layers, least {ratios[worst]:.2f}x ({worst[0]} {worst[1]} {worst[2]})"
                )
    return "\n".join(lines)


def save(timings: Sequence[Timing], folder: Path, extra: dict[str, Any]) -> Path:
    """Writes `bench.json` and, if matplotlib is there, `bench.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.json"
    content = extra | {"timings": [dataclasses.asdict(timing) for timing in timings]}
    path.write_text(json.dumps(content, indent=1))
    try:
        figure = plot(timings)
    except ModuleNotFoundError:
        print("note: no picture, matplotlib is not installed (pip install 'seqjax[plot]')")
    else:
        figure.savefig(folder / "bench.png", dpi=120)
    return path


def plot(timings: Sequence[Timing]) -> Any:
    """Train steps: every library's best time over ours, by layer; 1 is as fast as we are.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    trained = [(key, those) for key, those in groups(timings).items() if key[3] == "train"]
    libraries = [
        name
        for name in (*JAX_LIBRARIES, "torch", "cudnn")
        if any(best(those, (name,)) for _, those in trained)
    ]
    figure = Figure(figsize=(max(6.0, 1.6 * len(trained)), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(libraries))
    shades = [str(0.15 + 0.65 * i / max(1, len(libraries) - 1)) for i in range(len(libraries))]
    hatches = ("", "//", "", "..", "", "xx", "")
    for place, name in enumerate(libraries):
        bars = []
        for x, (_, those) in enumerate(trained):
            ours, theirs = best(those, ("seqjax",)), best(those, (name,))
            if ours and theirs:
                bars.append((x + (place + 0.5) * width - 0.4, *ratio(ours, theirs)))
        xs = [bar[0] for bar in bars]
        heights = [bar[1] for bar in bars]
        errors = [[b[1] - b[2] for b in bars], [b[3] - b[1] for b in bars]]
        axes.bar(
            xs, heights, width, yerr=errors, label=name, color=shades[place],
            hatch=hatches[place % len(hatches)], edgecolor="black", linewidth=0.5,
            error_kw={"linewidth": 0.8},
        )  # fmt: skip
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_ylabel("time of a train step / time of seqjax")
    labels = [f"{k} {d}\n{' x '.join(map(str, shape))}" for (k, shape, d, _), _ in trained]
    axes.set_xticks(range(len(trained)), labels, fontsize=8)
    axes.set_xlabel("cell, dtype, time x batch x inputs x features")
    axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False)
    return figure
