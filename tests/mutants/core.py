"""Faults in what a cell is: masks, truncation, composition, noise, initial values."""

from tests.mutants.fault import Fault, laws

EDGES = "tests/engines/test_edges.py"
NOISE = "tests/core/test_noise.py"

FAULTS = (
    Fault(
        "selections are made by multiplication, so a NaN survives a reset",
        "core/masks.py",
        "return jnp.where(expand(flags, new.ndim), new, old)",
        "return expand(flags, new.ndim) * new + ~expand(flags, new.ndim) * old",
        f"{EDGES} tests/engines/test_leaks.py {laws('elman')}",
    ),
    Fault(
        "the step at the length counts",
        "core/masks.py",
        "return steps < lengths[..., None]",
        "return steps <= lengths[..., None]",
        f"{laws('elman')} tests/core/test_masks.py {EDGES}",
    ),
    Fault(
        "in reverse a segment starts at its first step",
        "core/masks.py",
        "[change, edge] if reverse else",
        "[edge, change] if reverse else",
        f"tests/core/test_masks.py {EDGES}",
    ),
    Fault(
        "resets of the other direction ignore the mask",
        "core/masks.py",
        "jnp.where(valid, steps, time)",
        "jnp.where(valid | True, steps, time)",
        f"tests/core/test_masks.py {laws('bidirectional')}",
    ),
    Fault(
        "a window remembers the step before the last one that counts",
        "core/masks.py",
        "jnp.maximum(count - 1, 0)[..., None]",
        "jnp.maximum(count - 2, 0)[..., None]",
        f"{laws('token_shift')} tests/core/test_shift.py",
    ),
    Fault(
        "truncation cuts one step early",
        "core",
        "(count > 0) & (count % truncate == 0)",
        "(count > 0) & ((count + 1) % truncate == 0)",
        f"{laws('elman')} {EDGES}",
    ),
    Fault(
        "truncation counts masked steps",
        "core",
        "jax.lax.cumsum(valid.astype(jnp.int32), axis=valid.ndim - 1",
        "jax.lax.cumsum(jnp.ones_like(valid, jnp.int32), axis=valid.ndim - 1",
        f"{laws('elman', 'lru')} {EDGES}",
    ),
    Fault(
        "truncation in reverse counts from the first step",
        "core",
        "axis=valid.ndim - 1, reverse=reverse) - 1",
        "axis=valid.ndim - 1) - 1",
        f"{laws('elman', 'lru')} {EDGES}",
    ),
    Fault(
        "checkpoints lose the resets",
        "core",
        "self, valid=valid, resets=resets, cuts=cuts, checkpoint_every=None",
        "self, valid=valid, resets=None, cuts=cuts, checkpoint_every=None",
        f"{laws('elman')} tests/engines/test_sharding.py",
    ),
    Fault(
        "masked outputs are not zeros",
        "core",
        "return jnp.where(flags, leaf, jnp.zeros_like(leaf))",
        "return jnp.where(flags, leaf, leaf)",
        f"{laws('elman')} {EDGES}",
    ),
    Fault(
        "one row moves its time axis to another place",
        "core",
        "return leaf.reshape(moved.shape)",
        "return leaf.reshape(moved.shape)[::-1]",
        f"{laws('elman')} {EDGES}",
    ),
    Fault(
        "a product of complex numbers has a wrong sign",
        "core/affine.py",
        "decay.real * state.real - decay.imaginary * state.imaginary",
        "decay.real * state.real + decay.imaginary * state.imaginary",
        "tests/cells/test_linear_equations.py -k 'lru or s4d or s5'",
    ),
    Fault(
        "the gradient of the decay of a state with a scale is lost",
        "core/affine.py",
        "return log_scaled(state.values, jax.lax.stop_gradient(state.maximum) + decay)",
        "return LogScaled(state.values, state.maximum + decay)",
        "tests/engines/test_gradients.py tests/engines/test_diagonal.py"
        " -k 'gauge or finite or logarithmic_form'",
    ),
    Fault(
        "all layers of a stack start with the same weights",
        "core/stack.py",
        "keys = jax.random.split(key, len(layers))",
        "keys = [key] * len(layers)",
        "tests/core",
    ),
    Fault(
        "all gates start with the same weights",
        "core/gates.py",
        "keys = jax.random.split(key, count)",
        "keys = jnp.broadcast_to(key, (count,))",
        "tests/core/test_initializers.py",
    ),
    Fault(
        "dropout of a whole sequence does not scale what it keeps",
        "core/noise.py",
        "ys = jnp.where(dropped, jnp.zeros_like(xs), xs / (1 - rate)).astype(xs.dtype)",
        "ys = jnp.where(dropped, jnp.zeros_like(xs), xs).astype(xs.dtype)",
        f"{laws('dropout')} {NOISE}",
    ),
    Fault(
        "zoneout holds the same units at every step",
        "core/noise.py",
        "draws = draws if key is None else draws + 1",
        "draws = draws if key is None else draws + 0",
        f"{laws('zoneout')} {NOISE}",
    ),
    Fault(
        "two layers get the same noise",
        "core/noise.py",
        "jax.random.split(jax.random.fold_in(key, stream), shape)",
        "jax.random.split(key, shape)",
        NOISE,
    ),
    Fault(
        "a reset does not move the noise on",
        "core/noise.py",
        "return Randomness(now.key, now.draws + flags)",
        "return now",
        f"{laws('dropout', 'dropout_variational')} {NOISE}",
    ),
    Fault(
        "the two directions are joined in the wrong order",
        "core/bidirectional.py",
        "jnp.concatenate([forward, backward], axis=-1)",
        "jnp.concatenate([backward, forward], axis=-1)",
        f"{laws('bidirectional')} tests/core/test_bidirectional.py",
    ),
    Fault(
        "the memory of matrices is as narrow as the parameters",
        "core/matrix.py",
        "return jnp.result_type(jnp.float32, *floats(params))",
        "return jnp.result_type(*floats(params))",
        f"{laws('delta_net')} tests/engines/test_chunkwise.py -k 'laws or bfloat16'",
    ),
    Fault(
        "padding of the source is attended to",
        "core/attention.py",
        "score = jnp.where(valid, score.astype(wide), jnp.finfo(wide).min)",
        "score = score.astype(wide)",
        "tests/cells/test_attention.py tests/nn/test_encoder_decoder.py",
    ),
)
