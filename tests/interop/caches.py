"""The state of a model beside the cache of the library that published it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from seqjax.core.key_ring import in_a_row
from seqjax.core.matrix import MatrixState

STATES = (
    sj.WindowState,
    sj.WindowAttentionState,
    sj.LatentAttentionState,
    sj.LogScaled,
    sj.SLSTMState,
    MatrixState,
)

TRANSPOSED = {
    "mamba2",
    "mamba2_tied",
    "mamba2_original",
    "gated_deltanet",
    "gla",
    "hgrn2",
    "kda",
    "rwkv7_pth",
}
"""Models of which the library keeps memories with the values first."""


def expect_cache(name: str, carry: Any, path: Path) -> None:
    """Compares all that the library keeps of the tokens before with what is carried here."""
    with np.load(path) as file:
        cache = {key: file[key] for key in file.files if key.startswith("cache.")}
    assert cache
    found = {
        f"cache.{layer}.{part}": array
        for layer in range(len(carry["blocks"]))
        for part, array in parts(carry["blocks"][f"block_{layer}"])
    }
    for key, theirs in cache.items():
        ours = np.asarray(found[key])
        if key.endswith("memory") and name in TRANSPOSED:
            ours = ours.swapaxes(-1, -2)
        if key.endswith(("keys", "values")):
            # Latents stand in front of the key that all heads share, there in the place of values.
            width = theirs.shape[-1]
            ours = ours[..., :width] if key.endswith("keys") else ours[..., -width:]
            ours = ours.swapaxes(1, 2)[:, :, -theirs.shape[2] :]
        if key.endswith("time"):
            # Layers of RWKV-7 also hand on the values of the first one.
            ours = ours[..., : theirs.shape[-1]]
        if key.endswith("convolution"):
            # In some, one input more is kept.
            theirs = theirs[..., -ours.shape[-1] :]
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-5 * scale, err_msg=f"{name} {key}")


def parts(block: Any) -> Iterator[tuple[str, Any]]:
    """What a block carries, by the names of the golden files."""
    leaves = jax.tree_util.tree_leaves_with_path(block, is_leaf=lambda x: isinstance(x, STATES))
    for path, state in leaves:
        first, last = (jax.tree_util.keystr((entry,), simple=True) for entry in (path[0], path[-1]))
        match state:
            case sj.WindowState() if last in ("convolve", "gates"):
                yield "convolution", state.inputs.swapaxes(-1, -2)
            case sj.WindowState():
                yield first, state.inputs[..., -1, :]
            case sj.WindowAttentionState():
                yield from zip(("keys", "values"), in_a_row(state), strict=True)
            case sj.LatentAttentionState():
                yield from zip(("keys", "values"), 2 * in_a_row(state), strict=True)
            case sj.LogScaled():
                yield from zip(("numerator", "denominator"), state.values, strict=True)
                yield "maximum", state.maximum
            case sj.SLSTMState():
                scale = jnp.exp(state.maximum)
                yield "hidden", state.hidden
                yield from (("cell", state.cell * scale), ("normalizer", state.normalizer * scale))
            case MatrixState() if state.log_scale is not None:
                yield "memory", state.memory * jnp.exp(state.log_scale)[..., None, None]
            case MatrixState():
                yield "memory", state.memory
            case _ if jnp.issubdtype(state.dtype, jnp.floating):
                yield "memory", state
