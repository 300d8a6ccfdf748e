"""Writes the tables of what each cell can do, from `tasks.csv` beside this file.

    python docs/measured/tables.py

Each row of `tasks.csv` is one score that `seqjax evaluate` printed for a run of `seqjax train
task`. An overview goes into the README, everything into `docs/choosing_a_cell.md`, between two
comments there.
"""

import csv
import statistics
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
START, END = "<!-- measured: tasks -->\n", "<!-- end of what was measured -->\n"


class Task(NamedTuple):
    """Lengths at the test, what guessing scores at the longest, and how training went."""

    tested_at: tuple[int, ...]
    guessing: str
    features: int = 64
    rows: int = 16
    steps: int = 2000
    in_overview: bool = True

    @property
    def recipe(self) -> tuple[int, int, int]:
        return self.features, self.rows, self.steps


TASKS = {
    ("parity", "", 40): Task((40, 256, 512), "0.50"),
    ("arithmetic", "", 40): Task((40, 512), "0.27"),
    ("a5", "generators=true", 16): Task((16, 64, 256, 512), "0.02", steps=4000),
    ("a5", "", 16): Task((16, 64, 256, 512), "0.02", 256, 64, 10_000, in_overview=False),
    ("s5", "generators=true", 32): Task((32, 256, 512), "0.01", steps=4000),
    ("dyck", "", 64): Task((64, 512), "0.47"),
    ("recall", "", 64): Task((64, 512), "0.03"),
    ("adding", "", 200): Task((200,), "0.1667"),
    ("adding", "", 600): Task((600,), "0.1667"),
    ("copying", "", 100): Task((100,), "0.12"),
    ("selective-copying", "", 64): Task((64,), "0.07", steps=4000),
}
"""By name, options and length in training. Runs by another recipe are rows of their own."""

RECIPE = ("width {}", "{} rows", "{:,} steps")
"""What a recipe consists of."""

FAMILIES = {
    "not linear in their state": (
        "elman", "indrnn", "minimal_gated", "gru", "lstm", "slstm", "sru",
        "lmu",
    ),
    "linear, unit by unit": (
        "minimal_gru", "minimal_lstm", "qrnn", "rg_lru", "mamba",
        "rwkv4_time_mix", "lru", "s4d", "s5",
    ),
    "linear, a matrix a head": (
        "linear_attention", "retention", "gated_linear_attention", "hgrn2", "mamba2", "mlstm",
        "mlstm_layer", "rwkv6_time_mix", "delta_net", "gated_delta_net", "kimi_delta_attention",
        "rwkv7_time_mix",
    ),
}  # fmt: skip
"""What the tables are sorted by."""

NAMES = {
    ("a5", "generators=true"): "A5",
    ("a5", ""): "A5 with a token for each permutation",
    ("s5", "generators=true"): "S5",
    ("dyck", ""): "brackets",
    ("selective-copying", ""): "selective copying",
}

Place = tuple[str, str, int, int]
"""The name of a task, its options, the length in training and that at the test."""

Scores = dict[str, dict[Place, list[float]]]


def scores(*, other_recipes: bool) -> Scores:
    """Those of all seeds, by cell and by place."""
    found: Scores = {}
    with (HERE / "tasks.csv").open() as file:
        for row in csv.DictReader(file):
            task = row["task"], row["task_options"], int(row["trained_at"])
            name = f"`{row['cell']}`"
            if row["options"]:
                name += f", `{row['options']}`"
            if row["layers"] != "1":
                name += f", {row['layers']} layers"
            used, usual = _recipe(row), TASKS[task].recipe
            if used != usual:
                if not other_recipes:
                    continue
                named = zip(RECIPE, used, usual, strict=True)
                name += "".join(f", {text.format(n)}" for text, n, m in named if n != m)
            place = (*task, int(row["tested_at"]))
            found.setdefault(name, {}).setdefault(place, []).append(float(row["score"]))
    return found


def _recipe(row: dict[str, str]) -> tuple[int, int, int]:
    return int(row["features"]), int(row["rows"]), int(row["steps"])


def overview() -> str:
    """A row for each cell, a column for each task at one length."""
    found = scores(other_recipes=False)
    tasks = {key: task for key, task in TASKS.items() if task.in_overview}
    columns = [(*key, task.tested_at[-1]) for key, task in tasks.items()]
    heads = [
        f"{_title(name, options)} {length}" + (", error" if name == "adding" else "")
        for name, options, _, length in columns
    ]
    rows = [["guessing", *(task.guessing for task in tasks.values())]]
    for family, cells in FAMILIES.items():
        rows.append([f"*{family}*", *[""] * len(columns)])
        for name in _sorted(found, cells):
            entries = [_entry(found[name], place, spread=False) for place in columns]
            rows += [[name, *entries]] if any(entries) else []
    return _table(["cell", *heads], rows)


def details() -> str:
    """A table for each task, with all lengths."""
    found, parts = scores(other_recipes=True), []
    for (name, options, trained), task in TASKS.items():
        what = "squared error" if name == "adding" else "accuracy"
        title = f"{_title(name, options)}, trained at {trained}"
        title = title[0].upper() + title[1:]
        places = [(name, options, trained, length) for length in task.tested_at]
        cells = [cell for family in FAMILIES.values() for cell in _sorted(found, family)]
        rows = [[cell, *(_entry(found[cell], place) for place in places)] for cell in cells]
        table = _table(["cell", *map(str, task.tested_at)], [row for row in rows if any(row[1:])])
        parts.append(f"**{title}**: {what}, guessing {task.guessing}\n\n{table}")
    return "\n".join(parts)


def _title(name: str, options: str) -> str:
    return NAMES.get((name, options), name)


def _sorted(found: Scores, cells: tuple[str, ...]) -> list[str]:
    """The rows of these cells, in their order."""
    names = [(cells.index(cell), name) for name in found if (cell := name.split("`")[1]) in cells]
    return [name for _, name in sorted(names)]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _entry(found: dict, place: Place, *, spread: bool = True) -> str:
    """The mean, the worst and the best where they differ, and whether seeds are missing."""
    values = found.get(place)
    if not values:
        return ""
    digits = 4 if place[0] == "adding" else 2
    low, mean, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.mean(values), max(values))
    )
    between = f" ({low} to {high})" if spread and low != high else ""
    return mean + between + ("¹" if len(values) < 3 else "")


PAGES = {
    HERE.parents[1] / "README.md": overview,
    HERE.parent / "choosing_a_cell.md": details,
}


def with_table(page: str, table: str) -> str:
    """A page with the table in its place."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    return f"{before}{START}{table}{END}{after}"


if __name__ == "__main__":
    for path, make in PAGES.items():
        path.write_text(with_table(path.read_text(), make()))
