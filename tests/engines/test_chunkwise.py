"""The chunkwise engine: the numbers of single steps, whatever the chunks."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

import seqjax as sj
from seqjax.core.matrix_step import Access, MatrixState
from seqjax.core.steps import Run, Steps
from seqjax.engines import triangular
from seqjax.engines.cut_windows import in_windows
from seqjax.engines.decays import Decays
from tests.matrix_cells import FORMS, form
from tests.parameters import drawn
from tests.rows import thorough_but

IN = 3


FOURS = sj.Chunked(chunk=4, tile=4)
"""Each a tile of its own."""


@pytest.mark.parametrize("name", ["channel-low_rank", "head-delta"])
def test_long_chunks(name, x64):
    """Several blocks of decays, several levels of the inverse, and a rest."""
    cell = form(**FORMS[name])
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (2, 150, IN))
    options = dict(
        mask=jax.random.bernoulli(jax.random.key(2), 0.8, (2, 150)),
        resets=jax.random.bernoulli(jax.random.key(3), 0.05, (2, 150)),
    )

    def gradient(method):
        def loss(params, xs):
            carry, ys = sj.scan(cell, params, xs, **options, method=method)
            return jnp.sin(ys).sum() + jnp.sin(carry.memory).sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, xs)

    chex.assert_trees_all_close(gradient("chunked"), gradient("plain"), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_window_of_truncation_may_begin_before_the_first_step(reverse):
    """As in a stretch between checkpoints: every step has its place, whatever runs there."""
    xs = jnp.arange(6.0)[:, None, None]
    cuts = jnp.array([0, 1, 0, 0, 1, 0], bool)[:, None]
    steps = Steps(cuts=cuts, cuts_apart=3, reverse=reverse)

    def same(carry, initial, xs, steps, window):
        return Run(carry, xs, None)

    np.testing.assert_array_equal(in_windows(same, 2, (), (), xs, steps).ys, xs)


@pytest.mark.parametrize("make", [sj.rwkv6_time_mix, sj.delta_net], ids=["rwkv6", "delta_net"])
def test_one_chunk_from_nothing(make):
    """The compiler knows that the memory is zero, of which XLA made programs that were wrong."""
    cell = make(64)
    keys = jax.random.split(jax.random.key(0))
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(keys[0], leaf.shape),
        jax.jit(cell.init, static_argnums=1)(keys[1], 64),
    )
    for rows in (1, 16):
        xs = jax.random.normal(jax.random.key(1), (rows, 64, 64))
        got, wanted = (
            jax.jit(lambda xs, m=method: sj.scan(cell, params, xs, method=m)[1])(xs)
            for method in ("chunked", "plain")
        )
        chex.assert_trees_all_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("decay", [0.1, 3.74, 3.76, 60.0])
def test_scores_with_mild_and_strong_decays(decay, before, x64):
    """Around the limit of 60 in 16 steps, in float32, against the sum as it is written."""
    keys = jax.random.split(jax.random.key(0), 3)
    left, right = (jax.random.normal(key, (2, 64, 3)) for key in keys[:2])
    g = -decay * jnp.ones((2, 64, 3)).at[0, 20].set(0.0)
    sums = jnp.cumsum(g, axis=1)
    upto = (sums - g if before else sums)[:, :, None] - sums[:, None]
    seen = jnp.tril(jnp.ones((64, 64), bool), -1 if before else 0)[..., None]
    factors = jnp.where(seen, jnp.exp(jnp.where(seen, upto, 0.0)), 0.0)
    wanted = jnp.einsum("nik,njk,nijk->nij", left, right, factors)
    narrow = [a.astype(jnp.float32) for a in (left, right, g)]
    decays = Decays(
        narrow[2], None, size=64, per_channel=True, least=None, block=16, strong_block=4
    )
    np.testing.assert_allclose(
        decays.scores(*narrow[:2], before=before), wanted, rtol=2e-4, atol=1e-6
    )


EXTREMES = [
    "head-delta",
    "channel-add-before",
    "bounded-low_rank",
    "head-stabilized",
]


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_gates(name):
    """Finite in float32, forward and backward; in float64 equal to single steps."""
    cell = form(**FORMS[name], gain=100.0)
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (40, IN))

    def gradient(method, params, xs):
        def loss(params, xs):
            return jnp.sin(sj.scan(cell, params, xs, method=method)[1]).sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, xs)

    got = gradient("chunked", params, xs)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
    with jax.enable_x64(True):
        exact = sj.cast((params, xs), jnp.float64)
        got, wanted = (gradient(method, *exact) for method in ("chunked", "plain"))
        for a, b in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
            assert jnp.abs(a - b).max() <= 1e-9 * max(1.0, float(jnp.abs(b).max()))


@pytest.mark.parametrize("name", ["head-delta", "head-stabilized"])
def test_no_drift_over_a_long_time(name):
    """100,000 steps in float32 against float64."""
    cell = form(**FORMS[name])
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (100_000, IN))
    run = jax.jit(lambda p, x: sj.scan(cell, p, x, method="chunked"))
    _, ys = run(params, xs)
    with jax.enable_x64(True):
        exact = sj.cast((params, xs), jnp.float64)
        _, wanted = run(*exact)
    error = np.abs(np.asarray(ys) - np.asarray(wanted))
    assert error.max() < 1e-3 * np.abs(wanted).max()
    assert np.median(error[-1000:]) < 3 * np.median(error[:1000]) + 1e-7


@pytest.mark.parametrize(
    "name", thorough_but(["head-stabilized"], ["channel-low_rank", "head-stabilized"])
)
def test_higher_derivatives_equal_the_plain_path(name, x64):
    cell = form(**FORMS[name])
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (2, 6, IN))
    resets = jnp.zeros((2, 6), bool).at[0, 2].set(True)
    direction = jax.tree.map(jnp.cos, params)

    def derivatives(method):
        def loss(params):
            _, ys = sj.scan(cell, params, xs, resets=resets, method=method)
            return jnp.sin(ys).sum()

        forward_over_reverse = jax.jvp(jax.grad(loss), (params,), (direction,))[1]
        return forward_over_reverse, jax.jvp(loss, (params,), (direction,))[1]

    got, wanted = (jax.jit(derivatives, static_argnums=0)(m) for m in (FOURS, "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_a_nan_does_not_survive_a_reset():
    """Also in the same chunk, where steps of several sequences meet in one product."""
    cell = form("head", "delta")
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (12, IN)).at[5].set(jnp.nan)
    resets = jnp.zeros(12, bool).at[7].set(True)
    carry, ys = sj.scan(cell, params, xs, resets=resets, method=FOURS)
    wanted_carry, wanted = sj.scan(cell, params, xs, resets=resets, method="plain")
    assert jnp.isnan(ys[5:7]).all()
    chex.assert_trees_all_close((carry, ys), (wanted_carry, wanted), rtol=1e-5, atol=1e-6)


def test_the_scale_is_a_gauge(x64):
    """The same outputs from any scale of the same memory, and with all input gates shifted."""
    cell = form("head", stabilized=True)
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (9, IN))
    start = cell.initial_carry(params)
    start = start._replace(memory=jax.random.normal(jax.random.key(2), start.memory.shape))
    for method in ("plain", "chunked"):
        _, wanted = sj.scan(cell, params, xs, start, method=method)
        for shift in (-3.0, 40.0):
            other = MatrixState(start.memory * jnp.exp(-shift), start.log_scale + shift)
            _, ys = sj.scan(cell, params, xs, other, method=method)
            np.testing.assert_allclose(ys, wanted, rtol=1e-10, atol=1e-12)


def test_mlstm_does_not_depend_on_its_scale(x64):
    cell = sj.mlstm(4, heads=2)
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (9, IN))
    empty = cell.initial_carry(params)
    run = partial(sj.scan, cell, params, xs, method="chunked")
    _, wanted = run()
    for scale in (-50.0, 5.0):
        carry = empty._replace(log_scale=empty.log_scale + scale)
        np.testing.assert_allclose(run(carry)[1], wanted, rtol=1e-10)


def test_what_the_backward_pass_stores():
    """Memories at the boundaries of tiles, and nothing else that grows with time."""
    cell = sj.matrix_state(
        lambda p, x: Access(*(sj.to_heads(x, p[n]) for n in ("query", "key", "value"))),
        heads=4,
        keys=32,
        values=32,
        init={"query": (4, 32), "key": (4, 32), "value": (4, 32)},
    )
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 128))

    def memory(time):
        def loss(params, xs):
            return jnp.square(sj.scan(cell, params, xs)[1]).sum()

        xs = jax.ShapeDtypeStruct((1, time, 128), jnp.float32)
        compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    short, long = memory(2**14), memory(2**16)
    inputs = 4 * 128 * (2**16 - 2**14)
    # Outputs and their cotangents are as large as the inputs, for this loss.
    assert long - short < 4 * inputs


def test_bfloat16_keeps_a_wide_memory():
    cell = sj.gated_delta_net(8, heads=2)
    init = jax.jit(cell.init, static_argnums=1)
    params = sj.cast(init(jax.random.key(0), IN), jnp.bfloat16)
    xs = jax.random.normal(jax.random.key(1), (40, IN), jnp.bfloat16)
    results = [sj.scan(cell, params, xs, method=method) for method in ("plain", "chunked")]
    for carry, ys in results:
        assert carry["memory"].memory.dtype == jnp.float32
        assert ys.dtype == jnp.bfloat16
    a, b = (np.asarray(ys, np.float32) for _, ys in results)
    assert np.abs(a - b).max() <= 0.05 * np.abs(a).max()


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_on_a_mesh(kind):
    cell = sj.gated_delta_net(8, heads=2)
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (4, 20, IN))
    mask = jax.random.bernoulli(jax.random.key(2), 0.7, (4, 20))

    def loss(params, xs, mask):
        run = partial(sj.scan, cell, mask=mask, truncate=6, method="chunked")
        return jnp.square(run(params, xs)[1]).sum()

    gradient = jax.jit(jax.value_and_grad(loss))
    wanted = gradient(params, xs, mask)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        split = jax.device_put((xs, mask), NamedSharding(mesh, jax.P("data")))
        placed = jax.device_put(params, NamedSharding(mesh, jax.P()))
        got = gradient(placed, *split)
    chex.assert_trees_all_close(jax.device_get(got), jax.device_get(wanted), rtol=1e-4, atol=1e-5)


def test_vmap_over_parameters(x64):
    cell = form("channel", "delta")
    params = jax.vmap(lambda key: cell.init(key, IN))(jax.random.split(jax.random.key(0)))
    xs = jax.random.normal(jax.random.key(1), (2, 3, 9, IN))
    run = jax.jit(lambda p, x: sj.scan(cell, p, x, method="chunked")[1])
    got = jax.jit(jax.vmap(run))(params, xs)
    for n in range(2):
        one = run(jax.tree.map(lambda leaf, n=n: leaf[n], params), xs[n])
        np.testing.assert_allclose(got[n], one, rtol=1e-10, atol=1e-12)


def test_vmap_over_mild_and_strong_decays():
    """Both ways are computed and one is selected: nothing of the other gets into the gradient."""
    cell = form("channel", "add")
    params = drawn(cell, IN)
    xs = jax.random.normal(jax.random.key(1), (2, 40, IN))
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    many["decay"] = many["decay"].at[1].multiply(300)

    def loss(params, method):
        run = partial(sj.scan, cell, method=method)
        return jnp.sin(jax.vmap(run)(params, xs)[1]).sum()

    got, wanted = (jax.jit(jax.grad(partial(loss, method=m)))(many) for m in ("chunked", "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [1, 8, 32])
def test_inverses(size, x64):
    strict = jnp.tril(jax.random.normal(jax.random.key(size), (3, size, size)), -1)
    got = jax.jit(triangular.inverse)(strict)
    one = np.eye(size)[None].repeat(3, 0)
    np.testing.assert_allclose(got @ (strict + one), one, atol=1e-12 * float(jnp.abs(got).max()))


def _access(**changes):
    def access(p, x):
        q, k, v = (sj.to_heads(x, p[name]) for name in ("query", "key", "value"))
        return sj.Access(**{"query": q, "key": k, "value": v, **changes})

    shapes = {name: (2, 2) for name in ("query", "key", "value")}
    return sj.matrix_state(access, heads=2, keys=2, values=2, init=shapes)


MISTAKES = {
    "shape": (dict(rate=jnp.ones((2, 2))), "`rate` of the Access must have shape .2,."),
    "decay": (dict(log_decay=jnp.ones(3)), "one for each head, or .2, 2., one for each channel"),
    "both": (
        dict(rate=jnp.ones(2), low_rank=(jnp.ones((2, 2)), jnp.ones((2, 2)))),
        "`rate` or `low_rank`, not both",
    ),
    "erase": (dict(erase=jnp.ones((2, 3))), "`erase` of the Access must have shape .2, 2."),
    "bonus": (dict(rate=jnp.ones(2), bonus=jnp.ones((2, 2))), "does not go with a `rate`"),
    "stabilized": (dict(log_input=jnp.ones(2)), "stabilized=True"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    changes, message = MISTAKES[name]
    cell = _access(**changes)
    params = drawn(cell, IN)
    with pytest.raises(ValueError, match=message):
        cell.step(params, cell.initial_carry(params), jnp.ones(IN))


def test_other_mistakes():
    with pytest.raises(ValueError, match="must return an sj.Access"):
        cell = sj.matrix_state(lambda p, x: x, heads=1, keys=1, values=1, init={"w": (1, 1)})
        cell.step(drawn(cell, 1), cell.initial_carry({"w": jnp.ones(1)}), jnp.ones(1))
    with pytest.raises(ValueError, match="must divide"):
        sj.mlstm(6, heads=4)
    with pytest.raises(ValueError, match="'exponential' or 'sigmoid'"):
        sj.mlstm(4, heads=2, input_gate="relu")
    with pytest.raises(ValueError, match="`block=3` must divide"):
        sj.mlstm_layer(4, heads=2, block=3)
    with pytest.raises(ValueError, match="mlstm_layer"):
        sj.mlstm_layer(4, heads=2).init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        sj.hgrn2(4, lower_bound=1.0)
    with pytest.raises(ValueError, match="needs"):
        sj.scan(form(), form().init(jax.random.key(0), IN), jnp.ones((5, IN)), method="store")
    with pytest.raises(ValueError, match="at least one"):
        sj.stack()
    with pytest.raises(ValueError, match="must be 4 wide"):
        sj.rms_norm(4).init(jax.random.key(0), 3)


def test_auto_goes_step_by_step_through_small_memories():
    """On a CPU, where heads are small, or all of the memory and chunks are dear."""

    def by_steps(cell, rows=1):
        params = jax.eval_shape(lambda: cell.init(jax.random.key(0), IN))
        xs = jax.ShapeDtypeStruct((rows, 20, IN), jnp.float32)
        texts = [
            jax.jit(lambda p, x, m=method: sj.scan(cell, p, x, method=m))
            .lower(params, xs)
            .as_text()
            for method in ("auto", "chunked")
        ]
        return texts[0] != texts[1]

    on_cpu = jax.default_backend() == "cpu"
    assert by_steps(sj.kimi_delta_attention(64, heads=4), rows=64) == on_cpu  # 16 x 16.
    assert not by_steps(sj.kimi_delta_attention(96, heads=4), rows=64)
    assert by_steps(sj.kimi_delta_attention(32, heads=1)) == on_cpu  # 32 x 32, one row.
    assert not by_steps(sj.kimi_delta_attention(32, heads=1), rows=2)
    assert not by_steps(sj.mlstm(32, heads=1))


def test_what_one_step_after_the_other_stores():
    """Inputs, and memories between tiles: no memory of every step."""
    cell = form(decay="channel")
    params = drawn(cell, IN)

    def saved(steps, method):
        xs = jax.ShapeDtypeStruct((4, steps, IN), jnp.float32)
        return sj.memory_report(cell, params, xs, method=method).saved

    steps = sj.Chunked(inside="steps")
    assert saved(100_000, steps) < saved(100_000, "plain") / 5
