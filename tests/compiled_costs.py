"""What train steps cost on a v5e by the compiler for TPUs, beside what they cost when recorded.

    python -m tests.compiled_costs            fails where one takes more than 5 % more
    python -m tests.compiled_costs --record   writes docs/measured/tpu_costs.csv and the table

It needs `jax[tpu]`, in an environment of its own; no TPU. The figures are those of one version of
the compiler, whatever the machine: another version needs another record.
"""

import csv
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import seqjax as sj
from seqjax.bench.accelerators import Cost, train_cost
from seqjax.core.cell import Cell

FOLDER = Path(__file__).parents[1] / "docs" / "measured"
RECORD, PAGE = FOLDER / "tpu_costs.csv", FOLDER / "tpu.md"
START, END = "<!-- recorded costs -->\n", "<!-- end of the recorded costs -->\n"
MOST = 1.05
SLACK_BYTES = 2**16
"""Of temporary memory: what lies in VMEM is none, and small buffers come and go."""

LOOPS = sj.Recompute(platforms=("tpu",))
AUTO = sj.Auto(platforms=("tpu",))


@sj.factory
def own(features: int) -> Cell:
    """A gated cell as a user writes one."""

    def update(h, x, r):
        forget, candidate = x + r
        forget = jax.nn.sigmoid(forget)
        return forget * h + (1 - forget) * jnp.tanh(candidate)

    return sj.gated(update, features=features, gates=2)


class Row(NamedTuple):
    """`shape` is time, batch, inputs and features."""

    cell: Cell
    shape: tuple[int, int, int, int]
    dtype: str
    method: Any


def row(
    build: Any, *shape: int, dtype: str = "float32", method: Any = LOOPS, **options: Any
) -> Row:
    time, batch, features = shape
    return Row(build(features, **options), (time, batch, features, features), dtype, method)


# Of few steps, for compiling takes longer for more; the two of many steps keep temporaries.
PROGRAMS = {
    "lstm": row(sj.lstm, 256, 16, 256),
    "lstm bfloat16": row(sj.lstm, 1024, 32, 768, dtype="bfloat16"),
    "gru": row(sj.gru, 256, 16, 256),
    "gru bfloat16": row(sj.gru, 256, 32, 768, dtype="bfloat16"),
    "gru, reset before": row(sj.gru, 256, 16, 256, reset="before"),
    "elman": row(sj.elman, 256, 16, 256),
    "lstm, layer norm": row(sj.lstm, 256, 16, 256, layer_norm=True),
    "lstm, projection": row(sj.lstm, 256, 16, 256, projection=128),
    "slstm": row(sj.slstm, 1024, 16, 256),
    "a user's cell": row(own, 256, 16, 256),
    "lstm, kernels": row(sj.lstm, 256, 16, 256, method=AUTO),
    "minimal_gru": row(sj.minimal_gru, 128, 8, 256, method=AUTO),
    "linear_attention": row(sj.linear_attention, 256, 8, 256, method=AUTO),
}


def cost(row: Row) -> Cost:
    time, batch, inputs, _ = row.shape
    params = jax.eval_shape(
        lambda: sj.cast(row.cell.init(jax.random.key(0), inputs), jnp.dtype(row.dtype))
    )
    xs = jax.ShapeDtypeStruct((batch, time, inputs), row.dtype)
    run = lambda params, xs: sj.scan(row.cell, params, xs, method=row.method)[1]  # noqa: E731
    return train_cost(run, params, xs, "v5e")


def all_cycles(cost: Cost) -> float:
    """With those of its kernels."""
    return cost.cycles + cost.kernel_cycles


def complaints(found: dict[str, Cost], recorded: dict[str, dict[str, str]]) -> list[str]:
    """One line for each program that costs more than it did."""
    lines = []
    for name, now in found.items():
        if name not in recorded:
            lines.append(f"{name}: not recorded")
            continue
        was = recorded[name]
        pairs = (
            ("cycles", all_cycles(now), 0.0),
            ("temporary_bytes", float(now.temporary_bytes), float(SLACK_BYTES)),
        )
        for what, value, slack in pairs:
            most = MOST * float(was[what]) + slack
            if value > most:
                lines.append(f"{name}: {what} {value:,.0f}, recorded {float(was[what]):,.0f}")
    return lines + [f"{name}: recorded, but gone" for name in recorded if name not in found]


def record(found: dict[str, Cost]) -> None:
    with RECORD.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["program", "cycles", "temporary_bytes"])
        for name, now in found.items():
            table.writerow([name, int(all_cycles(now)), now.temporary_bytes])
    lines = ["| train step | time, batch, inputs, features | million cycles | temporaries |\n"]
    lines.append("|---|---|---|---|\n")
    for name, now in found.items():
        shape = ", ".join(map(str, PROGRAMS[name].shape))
        millions, megabytes = all_cycles(now) / 1e6, now.temporary_bytes / 1e6
        lines.append(f"| {name} | {shape} | {millions:.2f} | {megabytes:.1f} MB |\n")
    before, rest = PAGE.read_text().split(START)
    after = rest.split(END)[1]
    PAGE.write_text(before + START + "\n" + "".join(lines) + "\n" + END + after)


def main(arguments: list[str]) -> int:
    print(f"jax {version('jax')}, libtpu {version('libtpu')}")
    found = {}
    for name, program in PROGRAMS.items():
        found[name] = now = cost(program)
        print(
            f"{name:<18} {all_cycles(now) / 1e6:8.2f} Mcycles "
            f"{now.temporary_bytes / 1e6:8.1f} MB {now.compile_seconds:6.1f} s",
            flush=True,
        )
    if "--record" in arguments:
        record(found)
        return 0
    with RECORD.open(newline="") as file:
        recorded = {line["program"]: line for line in csv.DictReader(file)}
    worse = complaints(found, recorded)
    print("\n".join(worse) or "nothing costs more than recorded")
    return len(worse)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
