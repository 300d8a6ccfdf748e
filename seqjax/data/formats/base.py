"""File formats: how they are read, and how predictions are written into them."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed, MalformedError, Stored
from seqjax.data.formats.description import Description
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError


@runtime_checkable
class Writer(Protocol):
    """Writes examples back, with their predictions."""

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes one example.

        Args:
          example: from the reader of the same format.
          prediction: by name (`"prediction"`, `"probability"`, ...) a value; for tagged or
            stepwise examples a list with one per token or step.
        """
        ...


@runtime_checkable
class SeriesWriter(Writer, Protocol):
    """A `Writer` of a format in which a series can go on."""

    def extend(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes a series and its prediction behind it, as further steps."""
        ...


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format.

    Args:
      name: for messages.
      suffixes: of its files, without `.gz`.
      index: `(path, fields, malformed) -> examples`, lazily and in bounded memory; inputs in files
        or places of their own are `Stored`.
      writer: `(path, like, fields) -> context`. It writes a file like `like`, to `path` with
        `.part` appended, which is renamed to `path` on success and removed otherwise.
      describe: `(path, fields) -> description` of how a file is read; its `fields` have those
        columns filled in that the user did not name.
      written_as: the suffix of the files that are written, if it is another one.
    """

    name: str
    suffixes: tuple[str, ...]
    index: Callable[[str | Path, Fields, Malformed], Iterator[Example]]
    writer: Callable[[str | Path, str | Path, Fields], AbstractContextManager[Writer]]
    describe: Callable[[str | Path, Fields], Description] = Description
    written_as: str | None = None

    def read(self, path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
        """The examples of a file with their inputs in memory, lazily."""
        return loaded(self.index(path, fields, malformed), malformed)


def loaded(examples: Iterable[Example], malformed: Malformed) -> Iterator[Example]:
    """Examples with their inputs in memory."""
    for example in examples:
        try:
            read = example.loaded()
        except MalformedError as flaw:
            malformed.report(example.where, str(flaw))
        else:
            yield read


def stored(where: str, path: Path, read: Callable[[], Any]) -> Stored:
    """The input of an example in a file of its own.

    Args:
      where: of the example, for messages.
      path: of the file, or of a folder.
      read: makes the input; `FlawError` or `InputError` if it cannot.
    """

    def checked() -> Any:
        try:
            return read()
        except (FlawError, InputError) as flaw:
            reason = str(flaw).removesuffix(".")
            known = reason.startswith(where)
            raise MalformedError(reason if known else f"{where}: {reason}") from None

    return Stored(checked, len(list(path.iterdir())) if path.is_dir() else path.stat().st_size)
