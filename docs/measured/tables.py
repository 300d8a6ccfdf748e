"""Writes the tables of what each cell can do, from `tasks.csv` beside this file.

    python docs/measured/tables.py

Each row of `tasks.csv` is one score that `seqjax evaluate` printed for a run of `seqjax train
task`. An overview goes into the README, everything into `docs/choosing_a_cell.md`, between two
comments there.
"""

import csv
import statistics
from pathlib import Path

HERE = Path(__file__).parent
START, END = "<!-- measured: tasks -->\n", "<!-- end of what was measured -->\n"

TASKS = {
    ("parity", 40): (40, 256, 512),
    ("a5", 16): (16, 64, 256, 512),
    ("recall", 64): (64, 512),
    ("adding", 200): (200,),
    ("adding", 600): (600,),
    ("copying", 100): (100,),
    ("selective-copying", 64): (64,),
}
"""Lengths at the test, by task and length in training."""

GUESSING = {
    "parity": "0.50", "a5": "0.02", "recall": "0.03", "adding": "0.1667", "copying": "0.12",
    "selective-copying": "0.07",
}  # fmt: skip

RECIPES = {"a5": ("256", "10000"), "adding": ("64", "1000"), "selective-copying": ("64", "4000")}
"""Width and steps, if not 64 and 2,000. Runs by another recipe are rows of their own."""

NAMES = {"a5": "A5", "selective-copying": "selective copying"}

Scores = dict[str, dict[tuple[str, int, int], list[float]]]


def scores(*, other_recipes: bool) -> Scores:
    """Those of all seeds, by cell and by task, length in training and length at the test."""
    found: Scores = {}
    with (HERE / "tasks.csv").open() as file:
        for row in csv.DictReader(file):
            name = f"`{row['cell']}`"
            if row["options"]:
                name += f", `{row['options']}`"
            if row["layers"] != "1":
                name += f", {row['layers']} layers"
            recipe = (row["features"], row["steps"])
            if recipe != RECIPES.get(row["task"], ("64", "2000")):
                if not other_recipes:
                    continue
                name += f", width {recipe[0]}, {int(recipe[1]):,} steps"
            place = (row["task"], int(row["trained_at"]), int(row["tested_at"]))
            found.setdefault(name, {}).setdefault(place, []).append(float(row["score"]))
    return found


def overview() -> str:
    """A row for each cell, a column for each task at one length."""
    found = scores(other_recipes=False)
    columns = [(*key, lengths[-1]) for key, lengths in TASKS.items()]
    heads = [f"{NAMES.get(task, task)} {length}" for task, _, length in columns]
    rows = [
        [name, *(_entry(found[name], place, spread=False) for place in columns)]
        for name in sorted(found)
    ]
    return _table(["cell", *heads], [row for row in rows if any(row[1:])])


def details() -> str:
    """A table for each task, with all lengths."""
    found, parts = scores(other_recipes=True), []
    for (task, trained), lengths in TASKS.items():
        what = "squared error" if task == "adding" else "accuracy"
        title = f"{NAMES.get(task, task)}, trained at {trained}".capitalize()
        places = [(task, trained, length) for length in lengths]
        rows = [[name, *(_entry(found[name], place) for place in places)] for name in sorted(found)]
        table = _table(["cell", *map(str, lengths)], [row for row in rows if any(row[1:])])
        parts.append(f"**{title}**: {what}, guessing {GUESSING[task]}\n\n{table}")
    return "\n".join(parts)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _entry(found: dict, place: tuple[str, int, int], *, spread: bool = True) -> str:
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
