"""What Newton's method tells of itself."""

from typing import Any, NamedTuple

from seqjax.core.exportable import exportable


@exportable
class NewtonReport(NamedTuple):
    """How the states of each window of a sequence were found.

    Attributes:
      iterations: `(windows,)` int32, rounds of Newton's method.
      residual: `(windows,)`, the largest `|f_t(s_{t-1}) - s_t| / (1 + |s_t|)` after them.
      converged: `(windows,)` bool, whether it is within the tolerance. If not, steps went one
        after the other,
      sequential: `(windows,)` int32, and so many of them.
    """

    iterations: Any
    residual: Any
    converged: Any
    sequential: Any
