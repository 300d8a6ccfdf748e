"""Faults in equations: laws hold for them, only the equations written anew can tell."""

from tests.mutants.fault import Fault

GATED = "tests/cells/test_equations.py"
LINEAR = "tests/cells/test_linear_equations.py"
MATRIX = "tests/cells/test_matrix_equations.py"
PUBLISHED = "tests/cells/test_published.py"

FAULTS = (
    Fault(
        "lstm: output gate and candidate change places",
        "cells",
        "i, f, g, o = x + r",
        "i, f, o, g = x + r",
        f"{GATED} -k lstm",
    ),
    Fault(
        "lstm: the peephole of the output sees the old cell",
        "cells",
        "p.peephole_output * c",
        "p.peephole_output * state.cell",
        f"{GATED} -k peephole",
    ),
    Fault(
        "lstm: the forget bias goes to the input gate",
        "cells",
        "forget = 0 if coupled else 1",
        "forget = 0",
        "tests/core/test_initializers.py",
    ),
    Fault(
        "gru: the reset gate acts on the input, too",
        "cells",
        "(x[2] + reset_gate * r[2])",
        "(reset_gate * (x[2] + r[2]))",
        f"{GATED} -k gru",
    ),
    Fault(
        "minimal gated unit: old and new change places",
        "cells",
        "(jnp.tanh)(x[1] + forget * r[1])",
        "(jnp.tanh)(x[1] + (1 - forget) * r[1])",
        f"{GATED} -k minimal",
    ),
    Fault(
        "slstm: the normaliser forgets nothing",
        "cells",
        "normalizer = keep * state.normalizer + write",
        "normalizer = state.normalizer + write",
        f"{GATED} {LINEAR} tests/cells/test_published.py -k slstm",
    ),
    Fault(
        "rg_lru: the input is scaled by 1 - a in place of 1 - a^2",
        "cells",
        "_bounded_sqrt(-jnp.expm1(2 * log_a))",
        "_bounded_sqrt(-jnp.expm1(log_a))",
        f"{LINEAR} {PUBLISHED} -k 'lru'",
    ),
    Fault(
        "s6: the step size does not scale the input",
        "cells",
        "size[..., None], (size * x)[..., None]",
        "size[..., None], x[..., None]",
        f"{LINEAR} {PUBLISHED} -k 'selective or mamba or s6'",
    ),
    Fault(
        "s4d: one of each pair of conjugate modes is read",
        "cells",
        "return 2 * (c_real * s.real",
        "return 1 * (c_real * s.real",
        f"{LINEAR} tests/cells/test_linear_starts.py -k 'diagonal_state or s4d'",
    ),
    Fault(
        "state spaces: the series of a small step has a wrong term",
        "cells",
        "for n in (5, 4, 3, 2):",
        "for n in (5, 4, 2, 2):",
        f"{LINEAR} tests/cells/test_linear_starts.py tests/cells/test_extremes.py"
        " -k 'state_spaces or s4d or s5 or mode'",
    ),
    Fault(
        "minimal lstm: the gates are not normalised",
        "cells",
        "return jax.nn.sigmoid(-d), jax.nn.sigmoid(d) * candidate",
        "return jax.nn.sigmoid(forget), jax.nn.sigmoid(write) * candidate",
        f"{LINEAR} {PUBLISHED} -k minimal",
    ),
    Fault(
        "qrnn: the window is read backwards",
        "cells",
        "jnp.concatenate(window[::-1], axis=-1)",
        "jnp.concatenate(window, axis=-1)",
        f"{LINEAR} {PUBLISHED} -k 'quasi or qrnn'",
    ),
    Fault(
        "sru: the highway of the input is not scaled",
        "cells",
        "jax.nn.sigmoid(-r) * scale * skip",
        "jax.nn.sigmoid(-r) * skip",
        f"{LINEAR} {PUBLISHED} -k 'simple or sru'",
    ),
    Fault(
        "a decay is not clamped where its exponent overflows",
        "cells",
        "return -jnp.minimum(size * bounded_exp(x), largest)",
        "return -(size * jnp.exp(x))",
        "tests/cells/test_extremes.py",
    ),
    Fault(
        "lmu: the memory is driven by the input alone",
        "cells",
        'h @ params["encode_hidden"]',
        '0 * (h @ params["encode_hidden"])',
        f"{LINEAR} {PUBLISHED} -k 'legendre or lmu'",
    ),
    Fault(
        "rwkv4: the step itself gets no bonus",
        "cells",
        "bonus + k)",
        "0 * bonus + k)",
        f"{LINEAR} {PUBLISHED} -k 'rwkv4 or wkv'",
    ),
    Fault(
        "rwkv7: what is replaced is added",
        "cells",
        "low_rank=(-n, n",
        "low_rank=(n, n",
        f"{MATRIX} {PUBLISHED} -k rwkv7",
    ),
    Fault(
        "delta nets have no negative eigenvalues",
        "cells",
        "2.0 if negative_eigenvalues else 1.0",
        "1.0 if negative_eigenvalues else 1.0",
        f"{MATRIX} {PUBLISHED} -k delta",
    ),
    Fault(
        "mlstm: the normaliser keeps its sign",
        "cells",
        "jnp.maximum(jnp.abs(o[..., -1:]), one)",
        "jnp.maximum(o[..., -1:], one)",
        f"{MATRIX} {PUBLISHED} -k mlstm",
    ),
    Fault(
        "hgrn2: the key ignores the lower bound",
        "cells",
        "key = (1 - lower_bound) * jax.nn.sigmoid(-gate)",
        "key = jax.nn.sigmoid(-gate)",
        f"{MATRIX} {PUBLISHED} -k hgrn2",
    ),
    Fault(
        "mamba2: groups are given to the wrong heads",
        "cells",
        "return jnp.repeat(shared, ",
        "return jnp.repeat(shared[..., ::-1, :], ",
        f"{MATRIX} {PUBLISHED} -k mamba2",
    ),
    Fault(
        "retention: no angle has more digits than 32 bits",
        "cells",
        "rest = theta - whole",
        "rest = 0 * theta",
        "tests/cells/test_retention.py",
    ),
    Fault(
        "convolutional cells: the stride starts at the wrong pixel",
        "core/over_space.py",
        "padded = jnp.pad(x, [(0, 0)] * batch + [of.edge] * axes + [(0, 0)])",
        "padded = jnp.roll(jnp.pad(x, [(0, 0)] * batch + [of.edge] * axes + [(0, 0)]), 1, -2)",
        "tests/cells/test_convolutional.py",
    ),
    Fault(
        "a trunk of retention blocks ends with the wrong norm",
        "cells",
        'Trunk("retnet", layer_norm)',
        'Trunk("retnet")',
        "tests/cells/test_blocks.py -k trunks",
    ),
)
