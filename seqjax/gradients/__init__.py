"""Looking at learning: where gradients go, what a state forgets, which gates are stuck.

All are pure functions over cells, and cost nothing where they are not called.
"""

from seqjax.gradients.activations import Activation, activations, first_not_finite
from seqjax.gradients.checks import GradientCheck, check_gradient
from seqjax.gradients.flow import LayerFlow, gradient_flow, reach
from seqjax.gradients.jacobian import carry_jacobian, largest_singular_value, singular_values
from seqjax.gradients.lyapunov import Lyapunov, lyapunov_exponents
from seqjax.gradients.memory import Influence, effective_memory
from seqjax.gradients.truncation import TruncationCost, truncation_cost

__all__ = [
    "Activation",
    "GradientCheck",
    "Influence",
    "LayerFlow",
    "Lyapunov",
    "TruncationCost",
    "activations",
    "carry_jacobian",
    "check_gradient",
    "effective_memory",
    "first_not_finite",
    "gradient_flow",
    "largest_singular_value",
    "lyapunov_exponents",
    "reach",
    "singular_values",
    "truncation_cost",
]
