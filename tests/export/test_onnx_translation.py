"""Operations of JAX in ONNX: what onnxruntime computes of a program is what JAX computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seqjax.export.portable import Entry, Program
from seqjax.export.program_files import load_onnx, write_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def agrees(call, tolerance=2e-6, time=7, **inputs):
    """Runs a program with symbolic sizes in both, at two sizes."""
    entries = {
        name: Entry(shape, np.int32 if name == "places" else np.float32)
        for name, shape in inputs.items()
    }
    program = Program("test", call, entries, ("time >= 3",) if "time" in str(inputs) else ())
    content = write_onnx(program)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    run = load_onnx(content)
    for batch, steps in ((3, time), (1, time + 2)):
        random = np.random.default_rng(batch)
        sizes = {"batch": batch, "time": steps}
        arrays = {}
        for name, entry in entries.items():
            shape = [sizes.get(size, size) for size in entry.shape]
            drawn = random.standard_normal(shape)
            arrays[name] = (
                random.integers(0, 3, shape).astype(np.int32)
                if entry.dtype == np.int32
                else drawn.astype(np.float32)
            )
        wanted = call({name: jnp.asarray(array) for name, array in arrays.items()})
        found = run(arrays)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
            np.testing.assert_allclose(
                found[name], array, rtol=tolerance, atol=tolerance, err_msg=name
            )


def test_elementwise():
    """expm1 and log1p keep their digits near 0, where they are for."""

    def call(arrays):
        x = arrays["x"]
        y, small, flags = jnp.roll(x, 1, -1), x * 1e-4, x > 0
        return {
            "arithmetic": x * y - x / (y * y + 1) + jnp.maximum(x, y) - jnp.minimum(x, 0.5),
            "functions": jnp.tanh(x) + jnp.exp(-x) + jnp.sin(x) + jnp.cos(x) + jnp.sqrt(x * x),
            "expm1": jnp.expm1(small) * 1e4,
            "expm1_far": jnp.expm1(x * 4),
            "log1p": jnp.log1p(small) * 1e4,
            "log1p_far": jnp.log1p(x * x * 100),
            "softplus": jax.nn.softplus(x * 20),
            "gelu": jax.nn.gelu(x, approximate=False) + jax.nn.gelu(x) + jax.nn.sigmoid(x),
            "powers": x**3 + jnp.abs(y) ** 1.5 + lax.rsqrt(x * x + 1) + lax.integer_pow(x, 2),
            "rounded": jnp.floor(x) + jnp.ceil(y) + jnp.sign(x) + jnp.round(x * 3),
            "flags": (flags & (y > 0)) | ~flags ^ (x == y),
            "unequal": (x != y) & (x <= y) & jnp.isfinite(x / y),
            "chosen": jnp.where(flags, x, lax.clamp(-0.1, y, 0.1)),
            "rest": lax.rem(x, jnp.float32(0.3)) + (x * 5).astype(jnp.int32) % 3,
            "erfc": lax.erfc(x) + lax.erf(y),
        }

    agrees(call, x=("batch", "time", 4))


def test_shapes_and_reductions():
    def call(arrays):
        x = arrays["x"]
        steps = x.shape[1]
        return {
            "reshaped": x.reshape(x.shape[0], steps * 4),
            "transposed": jnp.swapaxes(x, 0, 2)[..., None, :],
            "reversed": jnp.flip(x, (0, 1)),
            "shifted": jnp.pad(x, ((0, 0), (2, 0), (0, 1)), constant_values=3.0)[:, :-2],
            "cut": lax.pad(x, jnp.float32(1), ((0, 0, 0), (-1, 2, 0), (0, -1, 0))),
            "strided": x[:, 1::2],
            "split": jnp.concatenate(jnp.split(x, 2, -1)[::-1], 1),
            "means": x.mean(1) + x.max(1) - x.min(1) + x.prod(1),
            "any": jnp.stack([(x > 1).any(1), (x > 0).all(1)]),
            "arguments": x.argmax(1) + x.argmin(1),
            "sums": jnp.cumsum(x, 1) + jnp.cumsum(x[:, ::-1], 1),
            "numbers": jnp.arange(steps)[:, None] + x.astype(jnp.int32)[0],
            "last": lax.dynamic_index_in_dim(x, steps - 1, 1, keepdims=False),
            "window": lax.dynamic_slice_in_dim(x, x[0, 0, 0].astype(jnp.int32) + 9, 2, 1),
            "ones": jnp.ones_like(x) * jnp.float32(steps),
        }

    agrees(call, x=("batch", "time", 4))


def test_products_and_gathers():
    table = jnp.arange(12.0).reshape(4, 3)

    def call(arrays):
        x, places = arrays["x"], arrays["places"]
        flat = places[:, :, None]
        return {
            "matrix": x @ jnp.ones((4, 2)) + x @ jnp.arange(8.0).reshape(2, 4).T,
            "batched": jnp.einsum("bti,bsi->bts", x, x),
            "vectors": jnp.einsum("bti,bti->bt", x, x[:, ::-1]),
            "read": jnp.einsum("bti,bi->bt", x, x[:, 0]),
            "write": jnp.einsum("bt,bi->bti", x[..., 0], x[:, 1]),
            "heads": jnp.einsum("bti,ioh->bhto", x, jnp.arange(24.0).reshape(4, 2, 3) / 10),
            "rows": table[places],
            "along": jnp.take_along_axis(x, flat, -1),
            "steps": jnp.take_along_axis(x, flat, 1),
            "clipped": jnp.take(table, places + 2, axis=0, mode="clip"),
            "each": jax.vmap(lambda row, place: row[place])(x, places[:, 0]),
            "added": x.at[..., 2].add(1.0).at[:, :, 1:3].add(x[..., :2]),
        }

    agrees(call, 1e-5, x=("batch", "time", 4), places=("batch", "time"))


def test_loops():
    """Forwards, backwards, one in another, and one that scans nothing."""

    def step(state, x):
        return state * 0.5 + x, state + x

    def call(arrays):
        x = jnp.swapaxes(arrays["x"], 0, 1)
        start = jnp.zeros_like(x[0])
        ahead, ys = lax.scan(step, start, x)
        back, zs = lax.scan(step, start, x, reverse=True)
        total, _ = lax.scan(lambda s, x: (s + lax.scan(step, s, x)[0], None), start[0], x)
        halved = lax.fori_loop(0, 3, lambda _, s: s / 2, start)
        slope = jax.grad(lambda x: lax.scan(step, start, x)[1].sum() ** 2)(x)
        return {
            "ahead": ahead, "ys": ys, "back": back, "zs": zs, "total": total, "halved": halved,
            "slope": slope,
        }  # fmt: skip

    agrees(call, 1e-5, time=4, x=("batch", "time", 3))


def test_what_depends_on_no_input_is_computed_once():
    weights = jnp.arange(6.0).reshape(2, 3)

    def call(arrays):
        return {"y": arrays["x"] @ jnp.exp(-jnp.tanh(weights)).T}

    content = write_onnx(Program("test", call, {"x": Entry(("batch", 3), np.float32)}))
    model = onnx.load_from_string(content)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Identity"]
    assert len(model.graph.initializer) == 1
