"""What every way to run a cell has in common."""

import dataclasses

from seqjax.core.cell import positive_int
from seqjax.engines.sizes import PLATFORMS


@dataclasses.dataclass(frozen=True, repr=False)
class Method:
    """A way to run a cell. Records like this are hashable; sizes are in steps.

    A size that is None is chosen by the shapes at hand, see `seqjax.engines.sizes`.

    Args:
      platforms: for which of "cpu", "cuda", "rocm" and "tpu" the program is, where it is not for
        the one at hand, as with `jax.export`. With several of them it has a branch for each, of
        which lowering takes one; such a program runs on no others.

    Raises:
      ValueError: if there is no such platform.
    """

    platforms: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            size = getattr(self, field.name)
            if size is not None and field.type == int | None:
                positive_int(type(self).__name__, field.name, size)
        if not isinstance(self.platforms, tuple) or set(self.platforms) - set(PLATFORMS):
            raise ValueError(
                f"{type(self).__name__}: `platforms` must be a tuple of some of {[*PLATFORMS]}, "
                f"got {self.platforms!r}."
            )

    def __repr__(self) -> str:
        given = [(field, getattr(self, field.name)) for field in dataclasses.fields(self)]
        words = [f"{field.name}={value!r}" for field, value in given if value != field.default]
        return f"{type(self).__name__}({', '.join(words)})"
