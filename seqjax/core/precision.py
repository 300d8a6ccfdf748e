"""Mixed precision: which numbers of a model are narrow, and which are not."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.parameter_kinds import name_of, names_of
from seqjax.core.trees import cast
from seqjax.core.types import DTypeLike, PyTree

WIDE = frozenset(
    {
        "A_log",
        "a",
        "a_imaginary",
        "a_real",
        "correction",
        "decay",
        "decay_bias",
        "gamma",
        "log_period",
        "lower_bound",
        "lower_bounds",
        "nu",
        "router",
        "step_bias",
        "step_size",
        "theta",
    }
)
"""Names of parameters with which cells compute in float32 whatever the inputs: decays, step sizes
and bounds, of which a state that lives for a thousand steps needs more than the eight bits of
bfloat16; and what chooses experts."""


@dataclasses.dataclass(frozen=True)
class Precision:
    """A policy of mixed precision.

    * in `parameters`: the parameters, what the optimizer keeps of them, and gradients;
    * in `compute`: the copy of the parameters that a step computes with, inputs, activations;
    * in `parameters`, of that copy: decays, step sizes and bounds (`WIDE`);
    * in float32 at least: states of linear and matrix-state cells, of gated ones with `wide_carry`;
      sums over steps, sequences, micro-batches and devices.

    bfloat16 has the range of float32, so that losses need not be scaled.

    Args:
      compute: dtype of the computation.
      parameters: dtype of the parameters.

    Example:
      >>> import jax
      >>> import seqjax as sj
      >>> policy = sj.Precision(compute="bfloat16")
      >>> params = policy.to_parameters(sj.rg_lru(4).init(jax.random.key(0), 4))
      >>> {name: str(leaf.dtype) for name, leaf in policy.to_compute(params).items()}["decay"]
      'float32'

    Source: mixed precision of Micikevicius et al. 2018, arXiv:1710.03740; a policy as a value as in
    jmp.
    """

    compute: DTypeLike = jnp.float32
    parameters: DTypeLike = jnp.float32

    def to_parameters(self, model: PyTree) -> Any:
        """Parameters as they are kept."""
        return cast(model, self.parameters)

    def to_compute(self, model: PyTree) -> Any:
        """The copy of kept parameters that a step computes with.

        Differentiate through it: the gradient of the copy is one of the parameters, in their dtype.
        """

        leaves = jax.tree_util.tree_leaves_with_path(model)
        # RWKV-6 and 7 add theirs to what the input says of decays, in its dtype.
        added = {tuple(names_of(path)[:-1]) for path, _ in leaves if name_of(path) == "decay_up"}
        wide = jnp.promote_types(self.compute, self.parameters)

        def convert(path: tuple, leaf: Any) -> Any:
            *parents, name = names_of(path) or [""]
            kept = name in WIDE and not (name == "decay" and tuple(parents) in added)
            return cast(leaf, wide if kept else self.compute)

        return jax.tree_util.tree_map_with_path(convert, model)
