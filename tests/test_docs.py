"""The reference has every public name, and what the pages name exists."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from seqjax.cells.catalogue import CATALOGUE

DOCS = Path(__file__).parent.parent / "docs"
PACKAGES = (
    "seqjax", "seqjax.nn", "seqjax.interop", "seqjax.gradients", "seqjax.online", "seqjax.plots",
    "seqjax.metrics",
)  # fmt: skip
MODULES = tuple(
    f"seqjax.{name}"
    for name in (
        "core.initializers", "losses", "testing", "decode.autoregressive", "decode.search",
        "decode.sampling", "decode.prompts", "decode.ctc", "decode.crf", "decode.tag_schemes",
        "data.examples",
        "data.vocabulary", "data.padding", "data.bucketing", "data.packing", "data.batching",
        "data.on_demand",
        "data.windows", "data.synthetic_tasks", "data.drawn", "data.datasets", "data.pairs",
        "data.documents", "data.streams", "data.formats", "interop.operations",
    )
)  # fmt: skip


def documented():
    """`module.name` of all that the pages of the reference name."""
    found = set()
    for page in sorted((DOCS / "api").glob("*.md")):
        module = None
        for line in page.read_text().splitlines():
            if match := re.match(r"\.\. currentmodule:: (\S+)", line):
                module = match[1]
            elif match := re.match(r"\.\. auto\w+:: (\S+)", line):
                found.add(f"{module}.{match[1]}")
            elif match := re.match(r"\.\. cells:: (\S+)", line):
                entries = [entry for entry in CATALOGUE if entry.family == match[1]]
                items = [item for entry in entries for item in (entry.make, *entry.beside)]
                found |= {f"{module}.{item.__name__}" for item in items}
    return found


def _find(entry):
    module, _, name = entry.rpartition(".")
    return getattr(importlib.import_module(module), name, None)


def public(name):
    """The functions and classes that a module makes public."""
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:
        own = lambda item: getattr(item, "__module__", None) == name  # noqa: E731
        names = [key for key, item in vars(module).items() if key[0] != "_" and own(item)]
    items = {key: getattr(module, key) for key in names}
    return {key: item for key, item in items.items() if callable(item)}


@pytest.mark.parametrize("module", [*PACKAGES, *MODULES])
def test_every_public_name_is_in_the_reference(module):
    told = [_find(entry) for entry in documented()]
    missing = [name for name, item in public(module).items() if item not in told]
    assert not missing, f"not in docs/api: {module}: {missing}"


def test_the_reference_names_nothing_that_is_gone():
    for entry in sorted(documented()):
        assert _find(entry) is not None, f"{entry} does not exist"


@pytest.mark.parametrize("module", PACKAGES)
def test_every_public_function_shows_how_it_is_used(module):
    """Records and protocols are shown by what returns or takes them."""
    for name, item in public(module).items():
        assert item.__doc__, f"{module}.{name} has no docstring"
        if inspect.isfunction(item):
            assert ">>>" in item.__doc__, f"{module}.{name} shows no example"


@pytest.mark.parametrize(
    "page",
    ["docs/architecture.md", "docs/algorithms.md", "docs/measured/bench.md", "CONTRIBUTING.md"],
)
def test_files_that_pages_name_exist(page):
    named = re.findall(r"`([\w./]+/[\w.]+\.(?:py|md|csv))`", (DOCS.parent / page).read_text())
    roots = (DOCS.parent, DOCS.parent / "seqjax")
    missing = [name for name in named if not any((root / name).exists() for root in roots)]
    assert not missing, f"{page} names {missing}"


def test_the_picture_names_engines_that_exist(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "pictures"))
    for engine in importlib.import_module("architecture").ENGINES:
        assert (DOCS.parent / "seqjax" / "engines" / engine.file).exists()


def test_the_tables_of_tasks_are_made_from_the_scores(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "measured"))
    tables = importlib.import_module("tables")
    page = tables.PAGE.read_text()
    assert tables.with_tables(page) == page, "run docs/measured/tables.py"
