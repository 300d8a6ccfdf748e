"""Diagnostics of learning: gradient flow, memory of the state, saturation of gates.

All are pure functions of cells and models.
"""

from seqjax.gradients.activations import (
    Activation,
    NotFinite,
    activations,
    first_not_finite,
    model_activations,
    model_first_not_finite,
)
from seqjax.gradients.checks import GradientCheck, check_gradient
from seqjax.gradients.flow import LayerFlow, gradient_flow, model_flow, reach
from seqjax.gradients.influence import Influence, effective_memory
from seqjax.gradients.jacobian import (
    carry_jacobian,
    largest_singular_value,
    singular_values,
    spectral_radius,
)
from seqjax.gradients.layerwise import Layer, run_layers, with_hook
from seqjax.gradients.lyapunov import Lyapunov, lyapunov_exponents
from seqjax.gradients.truncation import TruncationCost, model_truncation_cost, truncation_cost

__all__ = [
    "Activation",
    "GradientCheck",
    "Influence",
    "Layer",
    "LayerFlow",
    "Lyapunov",
    "NotFinite",
    "TruncationCost",
    "activations",
    "carry_jacobian",
    "check_gradient",
    "effective_memory",
    "first_not_finite",
    "gradient_flow",
    "largest_singular_value",
    "lyapunov_exponents",
    "model_activations",
    "model_first_not_finite",
    "model_flow",
    "model_truncation_cost",
    "reach",
    "run_layers",
    "singular_values",
    "spectral_radius",
    "truncation_cost",
    "with_hook",
]
