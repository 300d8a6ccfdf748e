"""Newton's method as a value: how many rounds, how exact, how much at once."""

import dataclasses
import math
from numbers import Real

from seqjax.engines.method import Method


@dataclasses.dataclass(frozen=True, repr=False)
class Newton(Method):
    """All steps of a nonlinear cell at once, by Newton's method; `"newton"` in short.

    Each round makes one affine scan over all steps, with the Jacobians of the steps at the states
    of the round before. It pays where the recurrence forgets, so that a few rounds do, on a device
    that is wide enough: `sj.newton_report` tells how many there were. What has not converged goes
    one step after the other, so the result is right in any case. Cells that are linear in their
    state, and so need no rounds, go as with `"auto"`; `"auto"` itself never picks this.

    A state of n numbers that all depend on one another takes n^2 numbers of Jacobians and n^3
    products a step; of one that falls into blocks, such as gated cells with diagonal recurrent
    weights (`blocks=features`), only those of each block.

    Args:
      window: steps that are solved at once; windows go one after the other. By default all.
      iterations: at most so many rounds for a window; 24 by default.
      tolerance: a state is solved where a step from the one before it is as far from it, beside
        `1 + |state|`. By default 32 roundings of the dtype.
      damping: in [0, 1): Jacobians are taken times `1 - damping`, which needs more rounds and
        keeps those of an unstable recurrence from growing.
      blocks: into how many blocks on its diagonal the Jacobian of a step falls, by default what the
        cell says; `sj.testing.check_state_blocks` tells whether that is so.

    Raises:
      ValueError: if a size is not a positive whole number, or another number is out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (2, 12, 3))
      >>> carry, ys = sj.scan(cell, params, xs, method=sj.Newton())
      >>> bool(jnp.allclose(ys, sj.scan(cell, params, xs)[1], atol=1e-5))
      True

    Source: Lim et al. 2023, arXiv:2309.12252; Gonzalez et al. 2024, arXiv:2407.19115.
    """

    window: int | None = None
    iterations: int | None = None
    tolerance: float | None = None
    damping: float = 0.0
    blocks: int | None = None

    def __post_init__(self):
        super().__post_init__()
        given = self.tolerance
        if given is not None and not (isinstance(given, Real) and 0 < given < math.inf):
            raise ValueError(f"Newton: `tolerance` must be above 0 and finite, got {given!r}.")
        if not (isinstance(self.damping, Real) and 0 <= self.damping < 1):
            raise ValueError(f"Newton: `damping` must be in [0, 1), got {self.damping!r}.")
