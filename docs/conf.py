"""Settings of the documentation: `sphinx-build -W docs build/docs`.

Notebooks are run if `SEQJAX_DOCS=execute` is set; else they are shown without what they print.
"""

import os
import re

from sphinx.util.docutils import SphinxDirective

import seqjax
from seqjax.cells.catalogue import CATALOGUE

project = "seqjax"
author = "the seqjax authors"
version = release = seqjax.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["build", "notebooks/*.md"]

html_theme = "sphinx_book_theme"
html_title = "seqjax"
html_theme_options = {
    "repository_url": "https://github.com/seqjax/seqjax",
    "use_repository_button": True,
    "show_navbar_depth": 1,
    "navbar_persistent": [],
}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 2
nb_execution_mode = "force" if os.environ.get("SEQJAX_DOCS") == "execute" else "off"
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_execution_timeout = 600
# The first cell of a notebook calls a program, which is IPython and not Python.
suppress_warnings = ["misc.highlighting_failure"]

# Docstrings say shapes, so signatures need not.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
default_role = "literal"


def literal_blocks(app, what, name, obj, options, lines):
    """Equations stand indented in docstrings: shown as they are written."""
    found, before = [], ""
    for place, line in enumerate(lines):
        begins = place > 0 and not lines[place - 1].strip() and re.match(r" {4,}\S", line)
        if begins and re.match(r"\S", before) and not re.fullmatch(r"[A-Z]\w+:", before):
            found += [".. code-block:: text", ""]
        found.append(line)
        if line.strip():
            before = line
    lines[:] = found


def skip_fields(app, what, name, obj, skip, options):
    """The fields of records are told of in the record's docstring."""
    return True if type(obj).__name__ == "_tuplegetter" else None


class Cells(SphinxDirective):
    """`.. cells:: family`: the cells of a family, from the catalogue."""

    required_arguments = 1

    def run(self):
        lines = []
        for entry in CATALOGUE:
            for item in (entry.make, *entry.beside) if entry.family == self.arguments[0] else ():
                kind = "autoclass" if isinstance(item, type) else "autofunction"
                lines += [f".. {kind}:: {item.__name__}"]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    """Before napoleon, which turns the sections into reStructuredText."""
    app.connect("autodoc-process-docstring", literal_blocks, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    app.add_directive("cells", Cells)
