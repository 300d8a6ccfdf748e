"""Writes the table of what each cell can do, from `tasks.csv` beside this file.

    python docs/measured/tables.py

Each row of `tasks.csv` is one score that `seqjax evaluate` printed for a run of `seqjax train
task`. The table goes between two comments in the README and in `docs/choosing_a_cell.md`.
"""

import csv
import statistics
from pathlib import Path

HERE = Path(__file__).parent
PAGES = (HERE.parents[1] / "README.md", HERE.parent / "choosing_a_cell.md")
START, END = "<!-- measured: tasks -->\n", "<!-- end of what was measured -->\n"

COLUMNS = (
    ("parity", 40, (40, 256, 512)),
    ("a5", 16, (16, 256, 512)),
    ("recall", 64, (64, 512)),
    ("adding", 200, (200,)),
    ("adding", 600, (600,)),
    ("copying", 100, (100,)),
    ("selective-copying", 64, (64,)),
)
"""Task, length in training, lengths at the test."""


def table() -> str:
    """Markdown: a row for each cell, the mean over seeds at each length."""
    scores: dict[str, dict[tuple[str, int, int], list[float]]] = {}
    with (HERE / "tasks.csv").open() as file:
        for row in csv.DictReader(file):
            name = f"`{row['cell']}`"
            if row["options"]:
                name += f", `{row['options']}`"
            if row["layers"] != "1":
                name += f", {row['layers']} layers"
            place = (row["task"], int(row["trained_at"]), int(row["tested_at"]))
            scores.setdefault(name, {}).setdefault(place, []).append(float(row["score"]))
    heads = [
        f"{task} {trained}" + "".join(f" → {length}" for length in lengths[1:])
        for task, trained, lengths in COLUMNS
    ]
    lines = ["| cell | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in sorted(scores):
        entries = []
        for task, trained, lengths in COLUMNS:
            known = [scores[name].get((task, trained, length)) for length in lengths]
            entries.append(_entry(known, digits=4 if task == "adding" else 2))
        lines.append(f"| {' | '.join([name, *entries])} |")
    return "\n".join(lines) + "\n"


def _entry(known: list[list[float] | None], digits: int) -> str:
    """Means, the range at the last length where seeds differ, and whether there are fewer than
    three."""
    measured = [values for values in known if values]
    if not measured:
        return ""
    means = [f"{statistics.mean(values):.{digits}f}" if values else "?" for values in known]
    last = measured[-1]
    low, high = (f"{end:.{digits}f}" for end in (min(last), max(last)))
    spread = f" ({low} to {high})" if low != high else ""
    return " → ".join(means) + spread + ("" if len(last) == 3 else "¹")


def with_table(page: str) -> str:
    """A page with the table in its place."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    return f"{before}{START}{table()}{END}{after}"


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_table(path.read_text()))
