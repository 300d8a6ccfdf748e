"""Faults planted in copies of the tree, one at a time, and the tests run on them."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mutants.fault import Fault, locate

COPIED = ("seqjax", "tests", "docs/measured", "conftest.py", "pyproject.toml")
"""What the tests need of the tree."""

LIMIT = 600
"""Seconds that the tests of one fault may take."""

PYTEST = ("-n0", "-m", "", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-rfE")


class Outcome(NamedTuple):
    """How pytest ended: its exit status, None if it was stopped; the tests that failed, and how
    many ran to their end."""

    status: int | None
    failed: tuple[str, ...] = ()
    ran: int = 0

    @property
    def problem(self) -> str:
        """Why it says nothing about a fault; empty if it does."""
        if self.failed:
            return ""
        if self.status is None:
            return "the tests did not end in time"
        if self.status == pytest.ExitCode.NO_TESTS_COLLECTED:
            return "its arguments of pytest select no test"
        if self.status != 0:
            return f"pytest ended with status {self.status} and named no test"
        return "" if self.ran else "all of its tests were skipped"


class Verdict(NamedTuple):
    """What became of a fault: `tests` failed, or `problem` says why there is no answer."""

    fault: Fault
    tests: tuple[str, ...] = ()
    problem: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        what = "caught" if self.tests else "no answer" if self.problem else "MISSED"
        detail = self.problem or ", ".join(self.tests)
        return f"{what:9} {self.seconds:5.0f} s  {self.fault.name}  {detail}".rstrip()


def copy_tree(root: Path, target: Path) -> Path:
    """The tree without what is made from it."""
    for name in COPIED:
        source, place = root / name, target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, place)
    return target


@contextlib.contextmanager
def planted(copy: Path, fault: Fault) -> Iterator[None]:
    """The copy has the fault inside the block."""
    path = locate(copy, fault)
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace(fault.old, fault.new))
    try:
        yield
    finally:
        path.write_text(text)
        # With its old time, so that the byte code that belongs to it is valid again.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def try_fault(copy: Path, fault: Fault, tests: str | None = None) -> Verdict:
    """Plants one fault and runs its tests up to the first that fails."""
    start = time.monotonic()
    arguments = ["-x", *shlex.split(tests or fault.tests)]
    with planted(copy, fault):
        outcome = run_tests(copy, arguments)
    return Verdict(fault, outcome.failed, outcome.problem, time.monotonic() - start)


def without_faults(copy: Path, tests: Sequence[str]) -> Outcome:
    """The same tests in the tree as it is: those that fail there prove nothing."""
    return run_tests(copy, tests, limit=LIMIT * len(tests))


def run_tests(copy: Path, arguments: Sequence[str], limit: float = LIMIT) -> Outcome:
    """Runs pytest in a copy, for at most so many seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *PYTEST, *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "1000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        # With all that the tests have started.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Outcome(None)
    lines = [line.partition(" ") for line in printed.splitlines()]
    failed = [rest.split(" - ")[0] for word, _, rest in lines if word in ("FAILED", "ERROR")]
    counts = re.findall(r"(\d+) (?:passed|failed|xfailed|xpassed)\b", printed)
    return Outcome(process.returncode, tuple(failed), sum(map(int, counts)))
