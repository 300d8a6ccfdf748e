"""Time over 2, 4 and 8 devices against one: values and gradients of every cell whose stretches
compose, in float64.

    python -m tests.time_over_devices [NAME ...]

compiles seven programs for each cell, too much for the tests, of which
`tests/engines/test_sequence_parallel.py` runs a handful.
"""

import sys
import time

import tests.quick_compiling  # noqa: F401  isort: skip

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from tests.parameters import drawn
from tests.table import ANY, IN_FEATURES, LINEAR, MATRIX, TABLE

ROWS, TIME = 2, 16

DEVICES = {"plain": (4,), "masked": (2, 8), "reversed": (4,)}
"""How many devices, for each set of flags."""

FLAGS = {
    "plain": {},
    "masked": {"mask": 0.7, "resets": 0.15, "truncate": 5},
    "reversed": {"lengths": True, "resets": 0.15, "truncate": 3, "reverse": True},
}

MADE = {
    "bidirectional_linear": sj.bidirectional(sj.minimal_gru(2), sj.lru(2, state=2)),
    "stack_linear": sj.stack(
        sj.residual(sj.learned_initial_carry(sj.minimal_gru(3))),
        sj.dropout(sj.minimal_lstm(2), 0.4),
        sj.bidirectional(sj.minimal_gru(2)),
    ),
    "learned_delta_net": sj.learned_initial_carry(sj.delta_net(4, heads=2)),
    "learned_mlstm": sj.learned_initial_carry(sj.mlstm(4, heads=2)),
    "learned_logarithmic": sj.learned_initial_carry(sj.minimal_lstm(2, logarithmic=True)),
    "learned_convolution": sj.learned_initial_carry(sj.short_convolution(3)),
    # Longer than a stretch.
    "wide_window": sj.sliding_window_attention(4, window=7, heads=2),
    "dropout_variational": sj.dropout(sj.minimal_gru(2), 0.4, variational=True),
}


def cells():
    """Every row that is affine in its state, and more composites, by name."""
    affine = {row.name: row.cell for row in TABLE if row.methods in (LINEAR, MATRIX, ANY)}
    return affine | MADE


def case(cell, flags):
    """Parameters, inputs, a carry to start from, and the flags, all at random."""
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, IN_FEATURES), jnp.float64)
    carry = sj.seed_carry(cell.initial_carry(params, (ROWS,)), jax.random.key(2))
    # A state that has seen something.
    carry, _ = sj.scan(cell, params, 0.5 * xs[:, :3], carry)
    options = {name: value for name, value in flags.items() if name in ("truncate", "reverse")}
    for name, key in (("mask", 3), ("resets", 4)):
        if name in flags:
            options[name] = jax.random.bernoulli(jax.random.key(key), flags[name], (ROWS, TIME))
    if "lengths" in flags:
        options["lengths"] = jnp.array([TIME - 5, TIME])
    return params, xs, carry, options


def results(cell, params, xs, carry, options, method):
    """The run, and the gradients of a sum of all that it returns."""
    moving, structure = jax.tree.flatten((params, xs, carry))
    where = [n for n, leaf in enumerate(moving) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    arrays = {name: value for name, value in options.items() if isinstance(value, jax.Array)}
    static = {name: value for name, value in options.items() if name not in arrays}

    @jax.jit
    def run(leaves, others, arrays):
        def total(leaves):
            given = [*others]
            for n, leaf in zip(where, leaves, strict=True):
                given[n] = leaf
            params, xs, carry = structure.unflatten(given)
            end, ys = sj.scan(cell, params, xs, carry, method=method, **arrays, **static)
            end = [leaf for leaf in jax.tree.leaves(end) if jnp.issubdtype(leaf.dtype, jnp.number)]
            weigh = lambda leaf: (jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape) * leaf).sum()  # noqa: E731
            return sum(weigh(leaf) for leaf in (*jax.tree.leaves(end), ys)), (end, ys)

        return jax.value_and_grad(total, has_aux=True)(leaves)

    return run([moving[n] for n in where], moving, arrays)


def same(got, wanted, tolerance=1e-10):
    """The largest difference, relative to what is large."""
    gaps = [0.0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.array_equal(np.isnan(a), np.isnan(b))
        gaps.append(float(np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0.0)))
    assert max(gaps) < tolerance, gaps
    return max(gaps)


def check(cell, flags, devices):
    """Raises unless one device and each number of `devices` agree; else how far they are apart."""
    given = case(cell, flags)
    wanted = results(cell, *given, "auto")
    gaps = []
    for count in devices:
        mesh = jax.make_mesh((count,), ("time",), devices=jax.devices()[:count])
        method = sj.SequenceParallel("time", mesh=mesh)
        gaps.append(same(results(cell, *given, method), wanted))
    return max(gaps)


def main(names):
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_enable_x64", True)
    chosen = {name: cell for name, cell in cells().items() if not names or name in names}
    failed = 0
    for name, cell in chosen.items():
        start = time.perf_counter()
        try:
            gaps = [check(cell, flags, DEVICES[kind]) for kind, flags in FLAGS.items()]
            said = f"{max(gaps):.1e}"
        except Exception as error:
            failed += 1
            said = f"{type(error).__name__}: {str(error)[:300]}"
        print(f"{name:32} {time.perf_counter() - start:5.1f} s  {said}", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} cells agree")
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
