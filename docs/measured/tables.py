"""Writes the tables of scores on the synthetic tasks from `tasks.csv`, which is beside this file.

    python docs/measured/tables.py

Each line of `tasks.csv` is one score that `seqjax evaluate` printed for a run of `seqjax train
synthetic`. The tables go into `tasks.md`, each between two comments there.
"""

import csv
import statistics
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PAGE = HERE / "tasks.md"
START, END = "<!-- table: {} -->\n", "<!-- end of the table -->\n"


class Task(NamedTuple):
    """Lengths at the test, the score of chance at the longest, and the training recipe."""

    tested_at: tuple[int, ...]
    chance: str
    features: int = 64
    batch: int = 16
    steps: int = 2000
    in_overview: bool = True

    @property
    def recipe(self) -> tuple[int, int, int]:
        return self.features, self.batch, self.steps


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
"""By name, options and training length. Runs with another recipe get lines of their own."""

RECIPE = ("width {}", "batch {}", "{:,} steps")
"""What a recipe consists of."""

FAMILIES = {
    "nonlinear in the state": (
        "elman", "indrnn", "minimal_gated", "gru", "lstm", "slstm", "sru", "lmu", "m2rnn",
        "para_gru", "para_lstm",
    ),
    "linear, diagonal": (
        "minimal_gru", "minimal_lstm", "qrnn", "rg_lru", "mamba", "rwkv4_time_mix",
        "lru", "s4d", "s5", "linoss",
    ),
    "linear, one matrix per head": (
        "linear_attention", "retention", "gated_linear_attention", "hgrn2", "mamba2", "mamba3",
        "mlstm", "mlstm_layer", "rwkv6_time_mix", "delta_net", "gated_delta_net",
        "gated_delta_net2", "gated_delta_product", "comba", "kimi_delta_attention",
        "rwkv7_time_mix",
    ),
}  # fmt: skip
"""The order of the tables."""

NAMES = {
    ("a5", "generators=true"): "A5",
    ("a5", ""): "A5 with a token for each permutation",
    ("s5", "generators=true"): "S5",
    ("dyck", ""): "brackets",
    ("selective-copying", ""): "selective copying",
}

Column = tuple[str, str, int, int]
"""The name of a task, its options, the training length and the test length."""

Scores = dict[str, dict[Column, list[float]]]


def scores(*, other_recipes: bool) -> Scores:
    """The scores of all seeds, by cell and column."""
    found: Scores = {}
    with (HERE / "tasks.csv").open() as file:
        for line in csv.DictReader(file):
            task = line["task"], line["task_options"], int(line["trained_at"])
            name = f"`{line['cell']}`"
            if line["options"]:
                name += f", `{line['options']}`"
            if line["layers"] != "1":
                name += f", {line['layers']} layers"
            used, usual = _recipe(line), TASKS[task].recipe
            if used != usual:
                if not other_recipes:
                    continue
                named = zip(RECIPE, used, usual, strict=True)
                name += "".join(f", {text.format(n)}" for text, n, m in named if n != m)
            column = (*task, int(line["tested_at"]))
            found.setdefault(name, {}).setdefault(column, []).append(float(line["score"]))
    return found


def _recipe(line: dict[str, str]) -> tuple[int, int, int]:
    return int(line["features"]), int(line["batch"]), int(line["steps"])


def overview() -> str:
    """A line for each cell, a column for each task at one length."""
    found = scores(other_recipes=False)
    tasks = {key: task for key, task in TASKS.items() if task.in_overview}
    columns = [(*key, task.tested_at[-1]) for key, task in tasks.items()]
    heads = [
        f"{_title(name, options)} {length}" + (", error" if name == "adding" else "")
        for name, options, _, length in columns
    ]
    lines = [["chance", *(task.chance for task in tasks.values())]]
    for family, cells in FAMILIES.items():
        lines.append([f"*{family}*", *[""] * len(columns)])
        for name in _sorted(found, cells):
            entries = [_entry(found[name], column, spread=False) for column in columns]
            lines += [[name, *entries]] if any(entries) else []
    return _table(["cell", *heads], lines)


def details() -> str:
    """A table for each task, with all test lengths."""
    found, parts = scores(other_recipes=True), []
    for (name, options, trained), task in TASKS.items():
        metric = "squared error" if name == "adding" else "accuracy"
        title = f"{_title(name, options)}, trained at {trained}"
        title = title[0].upper() + title[1:]
        columns = [(name, options, trained, length) for length in task.tested_at]
        cells = [cell for family in FAMILIES.values() for cell in _sorted(found, family)]
        lines = [[cell, *(_entry(found[cell], column) for column in columns)] for cell in cells]
        lines = [line for line in lines if any(line[1:])]
        table = _table(["cell", *map(str, task.tested_at)], lines)
        parts.append(f"### {title}\n\n{metric.capitalize()}, chance {task.chance}.\n\n{table}")
    return "\n".join(parts)


def _title(name: str, options: str) -> str:
    return NAMES.get((name, options), name)


def _sorted(found: Scores, cells: tuple[str, ...]) -> list[str]:
    """The lines of these cells, in their order."""
    names = [(cells.index(cell), name) for name in found if (cell := name.split("`")[1]) in cells]
    return [name for _, name in sorted(names)]


def _table(heads: list[str], lines: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [heads, ["---"] * len(heads), *lines])


def _entry(found: dict[Column, list[float]], column: Column, *, spread: bool = True) -> str:
    """The mean, the worst and the best where they differ, and a mark where seeds are missing."""
    values = found.get(column)
    if not values:
        return ""
    digits = 4 if column[0] == "adding" else 2
    low, mean, high = (
        f"{value:.{digits}f}" for value in (min(values), statistics.mean(values), max(values))
    )
    between = f" ({low} to {high})" if spread and low != high else ""
    return mean + between + ("¹" if len(values) < 3 else "")


TABLES = {"overview": overview, "details": details}


def with_tables(page: str) -> str:
    """The page with every table in its place."""
    for name, make in TABLES.items():
        start = START.format(name)
        before, rest = page.split(start)
        after = rest.split(END, 1)[1]
        page = before + start + make() + END + after
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
