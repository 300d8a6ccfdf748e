"""One fault: where it is planted, and which tests ought to see it."""

import shlex
from pathlib import Path
from typing import NamedTuple

SOURCE = "seqjax"


class Fault(NamedTuple):
    """A change of one place in the source that makes the library wrong.

    `name` says what is wrong. `where` is a file or a folder below `seqjax/`, in which `old` stands
    exactly once; a folder survives the renaming of its files. `tests` are arguments of pytest: the
    tests that ought to fail.
    """

    name: str
    where: str
    old: str
    new: str
    tests: str

    @property
    def folder(self) -> str:
        """The folder below `seqjax/`, or the file if it lies in none."""
        path = Path(self.where)
        return str(path.parent if path.suffix and len(path.parts) > 1 else path)

    @property
    def test_files(self) -> set[str]:
        """The files and folders that `tests` names."""
        words = shlex.split(self.tests)
        return {word.split("::")[0] for word in words if word.startswith(("tests", SOURCE))}


class AnchorError(Exception):
    """The text to replace is not found exactly once."""


def locate(root: Path, fault: Fault) -> Path:
    """The file below `root` that holds the text to replace.

    Raises:
      AnchorError: if the text is found nowhere, or more than once.
    """
    base = root / SOURCE / fault.where
    files = sorted(base.rglob("*.py")) if base.is_dir() else [base] if base.exists() else []
    counts = {path: path.read_text().count(fault.old) for path in files}
    found = {path: count for path, count in counts.items() if count}
    if sum(found.values()) == 1:
        return next(iter(found))
    places = ", ".join(f"{path.relative_to(root)} ({count})" for path, count in found.items())
    raise AnchorError(
        f"{fault.name}: expected the anchor once in {SOURCE}/{fault.where}, found it in "
        f"{places or 'no file'}; choose another text:\n    {fault.old!r}"
    )


def laws(*rows: str) -> str:
    """The tests of the laws on some rows of `tests/table.py`."""
    return " ".join(f"tests/test_laws.py::test_laws[{row}]" for row in rows)
