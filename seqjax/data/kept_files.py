"""Folders of files that are made once and kept: each whole or not there at all."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder, which is made if it is not there.

    It is made under another name, and renamed when it is whole. Of several processes that ask for
    it at once one makes it, and the others wait; what a kill left behind is taken away by the next.

    Args:
      folder: where it belongs.
      make: writes files into the folder that it is given.

    Returns:
      The folder.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from seqjax.data.kept_files import kept
      >>> with tempfile.TemporaryDirectory() as place:
      ...     make = lambda folder: print((folder / "numbers").write_text("1 2 3"))
      ...     kept(Path(place) / "a", make) == kept(Path(place) / "a", make)
      5
      True
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock")):
        if not folder.exists():
            part = folder.with_name(folder.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            for path in part.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            part.rename(folder)
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process at a time; a process that ends gives it up."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
