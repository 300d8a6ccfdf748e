"""Runs on many processes beside runs on one, and runs of which processes are killed.

    python -m tests.many_processes equal [TASK ...]    # each task on 2 x 2, 4 x 1 and 1 x 1
    python -m tests.many_processes killed [TIMES]      # kill -9 of one of 4, and on with --resume

Minutes each; what is quick is in `tests/train/test_processes.py`.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seqjax.train.checkpoints import Checkpoints
from tests.train.process_pool import start

STEPS = 50
SHARED = ["--batch", "8", "--steps", str(STEPS), "--validate-every", "25", "--log-every", "1",
          "--features", "16"]  # fmt: skip
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "runs", "on"]


def _text(path: Path) -> None:
    draw = random.Random(0)
    path.write_text(" ".join(draw.choice(WORDS) for _ in range(4000)))


def _reviews(path: Path) -> None:
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        for row in range(203):
            words = [draw.choice(WORDS) for _ in range(draw.randrange(1, 12))]
            out.writerow([" ".join([*words, "fine" if row % 2 else "poor"]), row % 2])


def _tags(path: Path) -> None:
    draw = random.Random(0)
    lines = []
    for _ in range(150):
        words = [draw.choice(WORDS) for _ in range(draw.randrange(1, 9))]
        for number, word in enumerate(words, 1):
            pos = "NOUN" if word in ("fox", "dog") else "VERB"
            lines.append("\t".join([str(number), word, "_", pos, *"______"]))
        lines.append("")
    path.write_text("\n".join(lines) + "\n")


def _waves(path: Path) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["hour", "load"])
        for step in range(400):
            out.writerow([step, 10 + np.sin(step * np.pi / 4) + 0.01 * step])


def _pairs(path: Path) -> None:
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["source", "target"])
        for _ in range(150):
            word = draw.choice(WORDS) + draw.choice(WORDS)
            out.writerow([word, word[::-1]])


TASKS: dict[str, tuple[str, Callable[[Path], None], list[str]]] = {
    "lm": ("data.txt", _text, ["--text", "data.txt", "--time", "16", "--embedding", "8"]),
    "classify": (
        "data.csv",
        _reviews,
        ["--train", "data.csv", "--text", "text", "--label", "label", "--embedding", "8"],
    ),
    "tag": ("data.conllu", _tags, ["--train", "data.conllu", "--embedding", "8", "--tag", "upos"]),
    "forecast": (
        "data.csv",
        _waves,
        ["--train", "data.csv", "--values", "load", "--time", "hour", "--history", "16",
         "--horizon", "4", "--season", "8"],
    ),
    "translate": (
        "data.csv",
        _pairs,
        ["--train", "data.csv", "--tokens", "characters", "--embedding", "8"],
    ),
}  # fmt: skip

LAYOUTS = {"1 x 1": (1, 1), "2 x 2": (2, 4), "4 x 1": (4, 4)}
"""Processes, and devices of all of them together."""


def _run(command: list[str], folders: list[Path], devices: int) -> None:
    for process in start([[*command, "--devices", str(devices)]], folders):
        if process.wait():
            raise SystemExit(f"{command}: {(folders[0] / 'err.txt').read_text()[-2000:]}")


def _numbers(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The training losses, and the arrays of the last checkpoint."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    name = next(name for name in lines[0] if name.startswith("train_"))
    losses = np.array([line[name] for line in lines if name in line])
    return losses, Checkpoints(folder / "checkpoints", read_only=True).arrays(STEPS)


def equal(tasks: list[str]) -> bool:
    """Prints how far runs on many processes are from those on one, and whether that is enough."""
    good = True
    for task in tasks or TASKS:
        name, write, options = TASKS[task]
        with tempfile.TemporaryDirectory() as top:
            found = {}
            for layout, (processes, devices) in LAYOUTS.items():
                folders = [Path(top) / layout / str(number) for number in range(processes)]
                for folder in folders:
                    folder.mkdir(parents=True)
                    write(folder / name)
                out = Path(top) / layout / "run"
                _run(["train", task, *options, *SHARED, "--out", str(out)], folders, devices)
                found[layout] = _numbers(out)
            losses, arrays = found.pop("1 x 1")
            for layout, (other_losses, other_arrays) in found.items():
                loss = _distance(losses, other_losses)
                array = max(_distance(arrays[key], other_arrays[key]) for key in arrays)
                right = len(losses) == STEPS and max(loss, array) < 1e-5
                good &= right
                print(f"{task:10} {layout}  losses {loss:.1e}  arrays {array:.1e}  "
                      f"{'equal' if right else 'NOT EQUAL'}", flush=True)  # fmt: skip
    return good


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference, relative to the largest value if that is above 1."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.max(np.abs(one - other), initial=0) / max(1, np.max(np.abs(one), initial=0)))


def killed(times: int) -> bool:
    """Kills one of 4 processes at random moments; at last, the run must be that of no kill."""
    draw = random.Random(0)
    name, write, options = TASKS["lm"]
    options = [*options, *SHARED, "--validate-every", "5", "--sample", "0", "--devices", "4"]
    options[options.index("--steps") + 1] = "500"
    slowest, good = 0.0, 0
    with tempfile.TemporaryDirectory() as top:
        folders = [Path(top) / str(number) for number in range(4)]
        for folder in folders:
            folder.mkdir()
            write(folder / name)
        out = Path(top) / "run"
        command = ["train", "lm", *options, "--out", str(out)]
        for attempt in range(times):
            resumed = (
                [*command, "--resume", str(out)] if (out / "config.json").exists() else command
            )
            before = _last(out)
            processes = start([resumed], folders)
            moment = _wait_for_a_moment(out, processes, attempt, draw)
            victim = draw.randrange(4)
            os.kill(processes[victim].pid, signal.SIGKILL)
            ended = _ended(processes, victim)
            slowest = max(slowest, ended)
            good += ended < 60 and _last(out) >= before
            print(f"{attempt + 1:2}: process {victim} {moment}; the others ended after {ended:.1f} "
                  f"s; checkpoint of step {_last(out)}", flush=True)  # fmt: skip
        for process in start([[*command, "--resume", str(out)]], folders):
            good -= process.wait() != 0
        whole = Path(top) / "whole"
        for process in start([[*command[:-1], str(whole)]], folders):
            process.wait()
        last = [
            Checkpoints(run / "checkpoints", read_only=True).arrays(500) for run in (out, whole)
        ]
        same = all(np.array_equal(last[0][key], last[1][key]) for key in last[1])
    print(f"{good} of {times}; the slowest end after {slowest:.1f} s; "
          f"{'bit for bit' if same else 'NOT'} the run without a kill")  # fmt: skip
    return good == times and same


def _last(out: Path) -> int:
    steps = [int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdigit()]
    return max(steps, default=-1)


def _wait_for_a_moment(
    out: Path, processes: list[subprocess.Popen], attempt: int, draw: random.Random
) -> str:
    """Waits for a random moment: at the start, between two steps, or as a checkpoint is written."""
    before, until = _last(out), time.monotonic() + 180
    # Who has never come is not missed before --join-timeout.
    printed = out.parent / "0" / "out.txt"
    while time.monotonic() < until:
        if _last(out) != before or (attempt % 5 == 0 and "Rank" in printed.read_text()):
            break
        time.sleep(0.05)
        if any(process.poll() is not None for process in processes):
            return f"ENDED BY ITSELF: {[process.poll() for process in processes]}"
    time.sleep(draw.uniform(0, 3))
    if attempt % 5 == 0:
        return "at the start"
    if attempt % 2 == 0:
        return "in training"
    while not list((out / "checkpoints").glob("*tmp*")):
        time.sleep(0.001)
    time.sleep(draw.uniform(0, 0.05))
    return "as a checkpoint was written"


def _ended(processes: list[subprocess.Popen], victim: int) -> float:
    since = time.monotonic()
    while any(process.poll() is None for process in processes):
        time.sleep(0.05)
        if time.monotonic() > since + 120:
            for process in processes:
                process.kill()
    statuses = [process.wait() for process in processes]
    if any(status != 75 for number, status in enumerate(statuses) if number != victim):
        print(f"    statuses {statuses}")
    return time.monotonic() - since


if __name__ == "__main__":
    command, *rest = sys.argv[1:] or ["equal"]
    done = equal(rest) if command == "equal" else killed(int(rest[0]) if rest else 20)
    sys.exit(0 if done else 1)
