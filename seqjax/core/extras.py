"""Packages that only some of the library needs."""

import importlib
from types import ModuleType

from seqjax.core.errors import MissingPackageError


def extra_module(name: str, extra: str) -> ModuleType:
    """A module from a package that `import seqjax` does not need.

    Args:
      name: of the module, `"grain"` or `"package.module"`.
      extra: of seqjax that brings it, `"train"`.

    Raises:
      ImportError: if it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
            raise
        raise MissingPackageError(
            f"{error.name} is not installed; this needs what pip install 'seqjax[{extra}]' brings.",
            name=error.name,
        ) from None
