"""Cells beside their own step loop: as a table, as JSON and as a picture."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqjax.bench.generation import Generation
from seqjax.bench.measure import quartiles
from seqjax.bench.training import Training

HEADER = (
    f"{'cell':<24} {'time x batch':>11}  {'method':<12} {'tokens/s':>10} {'plain/it':>9} "
    f"{'quartiles':>12} {'temp MB':>8} {'bytes/token':>12} {'compile s':>9} {'error':>8}"
)


def against_plain(entry: Training, entries: Sequence[Training]) -> tuple[float, float, float]:
    """How many times faster than the plain loop: median over the rounds, and the quartiles.

    NaN where one of the two did not run.
    """
    (plain,) = (e for e in same_problem(entry, entries) if e.method == "plain")
    if entry.same_as is not None:
        (entry,) = (e for e in same_problem(entry, entries) if e.method == entry.same_as)
    if not entry.seconds or not plain.seconds:
        return (math.nan, math.nan, math.nan)
    return quartiles(entry.seconds, plain.seconds)


def same_problem(entry: Training, entries: Sequence[Training]) -> list[Training]:
    """All methods on the cell and shape of one of them."""
    key = (entry.cell, entry.time, entry.batch, entry.features)
    return [e for e in entries if (e.cell, e.time, e.batch, e.features) == key]


def training_lines(entries: Sequence[Training]) -> str:
    """One line for each method on each cell and shape; see `HEADER`."""
    lines = []
    for e in entries:
        start = f"{e.cell:<24} {f'{e.time} x {e.batch}':>11}  {e.method:<12} "
        if e.same_as is not None:
            lines.append(f"{start}the program of {e.same_as}")
            continue
        memory, each = e.temporary_bytes, e.bytes_per_token
        known = (
            f"{'' if memory is None else f'{memory / 1e6:.1f}':>8} "
            f"{'' if each is None else f'{each:,.0f}':>12} {e.compile_seconds or 0:>9.1f}"
        )
        if not e.seconds:
            lines.append(f"{start}{'needs too much memory':>34} {known}")
            continue
        if e.published:
            lines.append(f"{start}{e.tokens_per_second:>10,.0f}")
            continue
        middle, low, high = against_plain(e, entries)
        compared = f"{f'{middle:.2f}x':>9} {f'{low:.2f}..{high:.2f}':>12}"
        if math.isnan(middle):
            compared = " " * 22
        lines.append(f"{start}{e.tokens_per_second:>10,.0f} {compared} {known} {e.error:>8.0e}")
    return "\n".join(lines)


def generation_line(entry: Generation) -> str:
    """One line."""
    return (
        f"{entry.cell:<24} generates {entry.tokens_per_second:>9,.0f} tokens/s with "
        f"{entry.state_bytes:,} bytes of state; over {entry.steps:,} tokens the last fifth takes "
        f"{entry.late_over_early:.2f} times the first"
    )


def main_table(trained: Sequence[Training], generated: Sequence[Generation]) -> str:
    """Markdown: one row for each cell, what `auto` gives at each length, and generation."""
    shapes = sorted({(e.time, e.batch) for e in trained})
    heads = [f"auto, {time} x {batch}: tokens/s, times plain" for time, batch in shapes]
    lines = [
        "| cell | " + " | ".join(heads) + " | bytes/token, auto (plain) | "
        "generates tokens/s | late/early | state bytes |",
        "|" + "---|" * (len(heads) + 5),
    ]
    for cell in dict.fromkeys(e.cell for e in trained):
        here = [e for e in trained if e.cell == cell]
        columns = [_column(here, *shape) for shape in shapes]
        memory = ", ".join(_memory(here, *shape) for shape in shapes)
        made = [g for g in generated if g.cell == cell]
        last = ["", "", ""]
        if made:
            last = [
                f"{made[0].tokens_per_second:,.0f}",
                f"{made[0].late_over_early:.2f}",
                f"{made[0].state_bytes:,}",
            ]
        lines.append(f"| {' | '.join([cell, *columns, memory, *last])} |")
    return "\n".join(lines)


def published_table(trained: Sequence[Training]) -> str:
    """Markdown: what `auto` gives beside somebody else's implementation of the cell."""
    shapes = sorted({(e.time, e.batch) for e in trained if e.published})
    heads = [f"{time} x {batch}: theirs, tokens/s; ours is faster by" for time, batch in shapes]
    lines = ["| cell | package | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for cell, package in dict.fromkeys((e.cell, e.method) for e in trained if e.published):
        here = [e for e in trained if e.cell == cell]
        columns = []
        for shape in shapes:
            ours, theirs = (_ran(here, method, *shape) for method in ("auto", package))
            if not (ours and theirs and ours.seconds and theirs.seconds):
                columns.append("")
                continue
            middle, low, high = quartiles(ours.seconds, theirs.seconds)
            columns.append(
                f"{theirs.tokens_per_second:,.0f}; {middle:.2f} ({low:.2f} to {high:.2f})"
            )
        lines.append(f"| {' | '.join([cell, package, *columns])} |")
    return "\n".join(lines)


def _ran(entries: Sequence[Training], method: str, time: int, batch: int) -> Training | None:
    """What ran for a method: the entry itself, or the one with the same program."""
    here = {e.method: e for e in entries if (e.time, e.batch) == (time, batch)}
    entry = here.get(method)
    return here[entry.same_as] if entry and entry.same_as else entry


def _column(entries: Sequence[Training], time: int, batch: int) -> str:
    entry = _ran(entries, "auto", time, batch)
    if entry is None or entry.tokens_per_second is None:
        return ""
    if entry.method == "plain":
        return f"{entry.tokens_per_second:,.0f}, is plain"
    middle, low, high = against_plain(entry, entries)
    times = (
        f"{middle:.2f} ({low:.2f} to {high:.2f})" if not math.isnan(middle) else "plain did not fit"
    )
    return f"{entry.tokens_per_second:,.0f}, {times}"


def _memory(entries: Sequence[Training], time: int, batch: int) -> str:
    ours, plain = (_ran(entries, method, time, batch) for method in ("auto", "plain"))
    if ours is None or plain is None or ours.bytes_per_token is None:
        return "-"
    return f"{ours.bytes_per_token:,.0f} ({plain.bytes_per_token:,.0f})"


def save_families(
    trained: Sequence[Training],
    generated: Sequence[Generation],
    folder: Path,
    extra: dict[str, Any],
) -> Path:
    """Writes `families.json` and, if `auto` ran and matplotlib is there, `families.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "families.json"
    content = extra | {
        "training": [dataclasses.asdict(entry) for entry in trained],
        "generation": [dataclasses.asdict(entry) for entry in generated],
    }
    path.write_text(json.dumps(content, indent=1))
    if not any(entry.method == "auto" for entry in trained):
        return path
    try:
        figure = plot_families(trained)
    except ModuleNotFoundError:
        print("note: no picture, matplotlib is not installed (pip install 'seqjax[plot]')")
    else:
        figure.savefig(folder / "families.png", dpi=120)
    return path


def plot_families(trained: Sequence[Training]) -> Any:
    """Train steps by `auto`: times faster than the plain loop, and memory for each token.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    cells = list(dict.fromkeys(e.cell for e in trained))
    shapes = sorted({(e.time, e.batch) for e in trained})
    figure = Figure(figsize=(max(6.0, 0.45 * len(cells) + 1.5), 7.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    width = 0.8 / len(shapes)
    shades = [str(0.15 + 0.65 * i / max(1, len(shapes) - 1)) for i in range(len(shapes))]
    for place, (time, batch) in enumerate(shapes):
        xs, ratios, sizes, bars = [], [], [], []
        for x, cell in enumerate(cells):
            here = [e for e in trained if e.cell == cell]
            entry = _ran(here, "auto", time, batch)
            if entry is None:
                continue
            xs.append(x + (place + 0.5) * width - 0.4)
            middle, low, high = against_plain(entry, here)
            ratios.append(middle)
            bars.append((middle - low, high - middle))
            sizes.append(entry.bytes_per_token or float("nan"))
        style = dict(
            label=f"{time} steps, batch of {batch}", color=shades[place], edgecolor="black",
            linewidth=0.5,
        )  # fmt: skip
        errors = list(zip(*bars, strict=True))
        upper.bar(
            xs, [r - 1 for r in ratios], width, bottom=1.0, yerr=errors,
            error_kw={"linewidth": 0.8}, **style,
        )  # fmt: skip
        lower.bar(xs, sizes, width, **style)
    upper.set_yscale("log", base=2)
    upper.yaxis.set_major_formatter("{x:g}")
    upper.axhline(1.0, color="black", linewidth=1)
    upper.set_ylabel("time of the step loop / time of auto")
    lower.set_yscale("log")
    lower.set_ylabel("temporary bytes per token, auto")
    lower.set_xticks(range(len(cells)), cells, rotation=60, ha="right", fontsize=8)
    upper.legend(
        fontsize=8, ncols=len(shapes), loc="upper center", bbox_to_anchor=(0.5, 1.12),
        frameon=False,
    )  # fmt: skip
    return figure
