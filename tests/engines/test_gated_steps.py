"""The gradient engine of gated cells: more derivatives, and the program it promises."""

import math
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding

import seqjax as sj
from seqjax.engines import gated_steps
from seqjax.testing.case import numbers
from tests.jaxprs import loops
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

# Tiles of a few steps, of which the last is shorter, and other ones without gradients.
RECOMPUTE = sj.Recompute(tile=3, forward_tile=1)
STORE = sj.Store(tile=3, forward_tile=2)
METHODS = pytest.mark.parametrize("method", [RECOMPUTE, STORE], ids=["recompute", "store"])


def test_vmap_over_parameters_and_data(x64):
    cell = CELLS["gru_reset_before"]
    params = jax.vmap(lambda key: cell.init(key, IN_FEATURES))(jax.random.split(jax.random.key(0)))
    xs = jax.random.normal(jax.random.key(1), (2, 3, 7, IN_FEATURES))

    @jax.jit
    def gradient(params, xs):
        return jax.grad(lambda p, x: jnp.sin(sj.scan(cell, p, x, method=STORE)[1]).sum(), (0, 1))(
            params, xs
        )

    got = jax.jit(jax.vmap(gradient))(params, xs)
    for place in range(2):
        part = jax.tree.map(lambda leaf, place=place: leaf[place], (params, xs))
        one = jax.tree.map(lambda leaf, place=place: leaf[place], got)
        chex.assert_trees_all_close(one, gradient(*part), rtol=1e-10, atol=1e-10)


@METHODS
def test_gradients_of_a_trajectory(method, x64):
    cell = sj.lstm(3)
    params = drawn(cell, 2)
    xs = jax.random.normal(jax.random.key(1), (2, 7, 2))

    def gradient(method):
        def loss(params, xs):
            return jnp.sin(sj.trajectory(cell, params, xs, reverse=True, method=method).cell).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(params, xs)

    chex.assert_trees_all_close(gradient(method), gradient("plain"), rtol=1e-10, atol=1e-10)


def test_bfloat16_gradients_add_up_in_float32():
    """Over many tiles, in bfloat16, small contributions would be lost."""
    cell = sj.elman(4)
    params = sj.cast(drawn(cell, 3), jnp.bfloat16)
    xs = jax.random.uniform(jax.random.key(1), (1, 4096, 3), jnp.bfloat16)

    def gradient(dtype, method):
        def loss(params):
            ys = sj.scan(cell, sj.cast(params, dtype), xs.astype(dtype), method=method)[1]
            return ys.astype(jnp.float32).sum()

        return jax.jit(jax.grad(loss))(params)["bias"].astype(jnp.float32)

    exact = gradient(jnp.float32, "plain")
    error = {m: float(jnp.abs(gradient(jnp.bfloat16, m) - exact).max()) for m in ("auto", "plain")}
    assert max(error.values()) < 0.02 * float(jnp.abs(exact).max())


@pytest.mark.parametrize(
    ("name", "method"),
    [("gru", STORE), ("lstm_layer_norm", RECOMPUTE), ("gru_reset_before", STORE)],
    ids=["gru", "lstm_layer_norm", "gru_reset_before"],
)
def test_parameters_and_inputs_of_different_dtypes(name, method):
    cell = CELLS[name]
    params = sj.cast(drawn(cell, IN_FEATURES), jnp.bfloat16)
    xs = jax.random.normal(jax.random.key(1), (2, 7, IN_FEATURES))
    resets = jnp.zeros((2, 7), bool).at[:, 3].set(True)

    def gradient(method):
        def loss(params, xs):
            return sj.scan(cell, params, xs, resets=resets, method=method)[1].sum()

        return jax.jit(jax.grad(loss, (0, 1)))(params, xs)

    got, wanted = gradient(method), gradient("plain")
    for a, b in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
        assert a.dtype == b.dtype
        a, b = numbers(a), numbers(b)
        assert abs(a - b).max() <= 0.05 * abs(b).max()


# What the traced program looks like.

TIME, ROWS, INPUTS, FEATURES = 12, 2, 7, 5


def gradient_program(cell, method, **options):
    params = drawn(cell, INPUTS)
    xs = jnp.ones((ROWS, TIME, INPUTS))

    def loss(params, xs):
        return jnp.sin(sj.scan(cell, params, xs, method=method, **options)[1]).sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(params, xs).jaxpr
    return params, loops(jaxpr)


@METHODS
@pytest.mark.parametrize("build", [sj.lstm, sj.gru, sj.minimal_gated, sj.elman])
def test_the_loops_over_steps_hold_one_product_and_no_weights(build, method):
    lengths = jnp.array([TIME, 4])
    params, found = gradient_program(build(FEATURES), method, lengths=lengths)
    steps = [loop for loop in found if loop.innermost]
    assert len(steps) == 2  # forward and backward
    for loop in steps:
        assert all(len(shape) <= 2 for shape in loop.constants), "weights that each step lays out"
        assert len(loop.products) == 1
        (sizes,) = loop.products
        assert not any(INPUTS in shape for shape in sizes), "a product with the inputs"
        assert all(shape == (ROWS, FEATURES) for shape in loop.carry)
    # One product for each gradient of weights, in the loop over tiles.
    (backward,) = (
        loop for loop in found if not loop.innermost and len(loop.carry) > len(steps[0].carry)
    )
    rows = 3 * ROWS
    of_weights = [
        shapes for shapes in backward.products
        if {tuple(sorted(s)) for s in shapes} & {(min(rows, FEATURES), max(rows, FEATURES))}
        or any(sorted(s) == sorted((rows, INPUTS)) for s in shapes)
    ]  # fmt: skip
    assert of_weights
    assert set(math.prod(leaf.shape) for leaf in params.values()) <= {
        math.prod(shape) for shape in backward.carry
    }


def test_the_plain_path_carries_the_gradients_of_weights():
    """What the engine is there to avoid; if JAX learns to, this fails, and we can think again."""
    params, found = gradient_program(sj.lstm(FEATURES), "plain")
    carried = {math.prod(shape) for loop in found for shape in loop.carry}
    assert params["recurrent"].size in carried


@pytest.mark.parametrize(("name", "leaves"), [("lstm", 2), ("gru", 1)])
def test_what_is_saved(name, leaves):
    """Carries, and nothing else that grows with time but the inputs."""
    cell = getattr(sj, name)(16)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))
    time = 4096
    xs = jax.ShapeDtypeStruct((2, time, 8), jnp.float32)
    one = 4 * 2 * time * 16
    lean = sj.memory_report(cell, params, xs, method="recompute").saved
    # The output is the hidden state, in the user's order of axes: so it counts once more.
    assert leaves * one <= lean <= 1.1 * (leaves + 0.5) * one
    full = sj.memory_report(cell, params, xs, method="store").saved
    assert full <= lean + 4.2 * one
    assert sj.memory_report(cell, params, xs, method="plain").saved > 2.5 * lean
    assert sj.memory_report(cell, params, xs, checkpoint_every=256).saved < 0.8 * one


def test_what_is_returned_anyway_is_not_saved():
    """The derivative of exp is its value, which is the output."""
    cell = sj.dense(3, activation=jnp.exp)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 2))
    assert sj.memory_report(cell, params, jax.ShapeDtypeStruct((5, 2), jnp.float32)).saved == 0


def test_a_user_writes_the_same_program():
    """A cell of one's own is as fast as the built-in one, since it is the same program."""

    def update(state, x, r):
        c = state.cell
        i, f, g, o = x + r
        i = jax.nn.sigmoid(i)
        f = jax.nn.sigmoid(f)
        c = f * c + i * jnp.tanh(g)
        o = jax.nn.sigmoid(o)
        return sj.LSTMState(hidden=o * jnp.tanh(c), cell=c)

    own = sj.gated(update, features=8, gates=4, state=sj.LSTMState)
    params = own.init(jax.random.key(0), 3)
    xs = jnp.ones((2, 9, 3))

    def program(cell):
        gradient = jax.grad(lambda p: sj.scan(cell, p, xs)[1].sum())
        return re.sub(r"0x[0-9a-f]+|id=\d+", "", jax.jit(gradient).lower(params).as_text())

    assert program(own) == program(sj.lstm(8))


def test_values_do_not_retrace():
    traces = []

    def update(h, x, r):
        traces.append(1)
        return jnp.tanh((x + r)[0])

    cell = sj.gated(update, features=3, gates=1)
    params = drawn(cell, 2)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, xs, lengths):
        run = partial(sj.scan, cell, lengths=lengths, method=RECOMPUTE)
        return jax.grad(lambda p: run(p, xs)[1].sum())(params)

    step(params, jnp.ones((2, 7, 2)), jnp.array([7, 3]))
    count = len(traces)
    step(params, jnp.zeros((2, 7, 2)), jnp.array([0, 5]))
    assert len(traces) == count


# What the compiled program does on several devices.


def collectives_inside_loops(text: str) -> tuple[int, int]:
    """How many computations under a loop talk to other devices, and all-reduces in all."""
    blocks = {
        found.group(1): found.group(0)
        for found in re.finditer(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\n\}", text, re.M | re.S)
    }
    talk = re.compile(r"= .*?(all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)")
    queue, seen, bad = re.findall(r"body=%?([\w.\-]+)", text), set(), 0
    assert queue, "no loops found"
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            bad += bool(talk.search(blocks[name]))
            queue += re.findall(r"(?:body|calls|to_apply)=%?([\w.\-]+)", blocks[name])
    return bad, len(re.findall(r" all-reduce(?:-start)?\(", text))


NETS = {
    "lstm": sj.lstm(8),
    "deep": sj.stack(
        sj.bidirectional(sj.gru(4)), sj.residual(sj.dropout(sj.lstm(8, layer_norm=True), 0.3))
    ),
}


@pytest.mark.parametrize(
    ("name", "kind", "context"),
    [
        ("lstm", AxisType.Auto, False),
        ("lstm", AxisType.Auto, True),
        ("lstm", AxisType.Explicit, True),
        ("deep", AxisType.Auto, True),
        pytest.param("deep", AxisType.Explicit, False, marks=pytest.mark.thorough),
    ],
)
def test_one_all_reduce_outside_all_loops(name, kind, context):
    cell = NETS[name]
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (4, 10, 3))
    mask = jax.random.bernoulli(jax.random.key(2), 0.7, (4, 10))

    def loss(params, xs, mask):
        run = partial(sj.scan, cell, mask=mask, truncate=4, method=RECOMPUTE)
        return jnp.square(run(params, xs)[1]).sum()

    gradient = jax.value_and_grad(loss)
    wanted = jax.jit(gradient)(params, xs, mask)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    split = jax.device_put((xs, mask), NamedSharding(mesh, jax.P("data")))
    params = jax.device_put(params, NamedSharding(mesh, jax.P()))
    with jax.set_mesh(mesh if context else jax.sharding.get_mesh()):
        program = jax.jit(gradient).lower(params, *split).compile()
        got = program(params, *split)
    assert collectives_inside_loops(program.as_text()) == (0, 1)
    chex.assert_trees_all_close(jax.device_get(got), jax.device_get(wanted), rtol=1e-4, atol=1e-5)
    for leaf in jax.tree.leaves(got):
        assert leaf.sharding.is_fully_replicated


@pytest.mark.parametrize("name", NETS)
def test_no_device_gathers_the_batch_where_only_jit_knows_the_mesh(name):
    """Nothing but `in_shardings` says that there are devices: no context, no committed array."""
    cell = NETS[name]
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    everywhere, rows = NamedSharding(mesh, jax.P()), NamedSharding(mesh, jax.P("data"))
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (4, 10, 3))
    loss = lambda p, xs: jnp.square(sj.scan(cell, p, xs)[1]).sum()  # noqa: E731
    gradient = jax.value_and_grad(loss, argnums=(0, 1))
    program = jax.jit(gradient, in_shardings=(everywhere, rows)).lower(params, xs).compile()
    text = program.as_text()
    assert collectives_inside_loops(text) == (0, 1)
    assert not re.search(r"all-gather|all-to-all|collective-permute", text)
    got = program(jax.device_put(params, everywhere), jax.device_put(xs, rows))
    wanted = jax.jit(gradient)(params, xs)
    chex.assert_trees_all_close(jax.device_get(got), jax.device_get(wanted), rtol=1e-4, atol=1e-5)


def test_the_plain_path_sums_over_devices_at_every_step():
    """So that the test above can fail."""
    cell = sj.lstm(8)
    params = drawn(cell, 3)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    xs = jax.device_put(jnp.ones((4, 10, 3)), NamedSharding(mesh, jax.P("data")))
    params = jax.device_put(params, NamedSharding(mesh, jax.P()))
    gradient = jax.grad(lambda p, x: jnp.square(sj.scan(cell, p, x, method="plain")[1]).sum())
    text = jax.jit(gradient).lower(params, xs).compile().as_text()
    assert collectives_inside_loops(text)[0] > 0


# Sums over time.


@pytest.mark.parametrize(
    ("name", "reverse"),
    [
        ("lstm", False),
        ("all_together", True),
        pytest.param("lstm", True, marks=pytest.mark.thorough),
        pytest.param("all_together", False, marks=pytest.mark.thorough),
    ],
)
def test_scan_sum(name, reverse, x64):
    """Equal to the sum over the outputs of a scan, gradients too, also of what it closes over."""
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (2, 11, IN_FEATURES))
    targets = jax.random.normal(jax.random.key(2), (2, 11))
    carry = sj.seed_carry(cell.initial_carry(params, (2,)), jax.random.key(3))
    given = {
        "lengths": jnp.array([11, 6]),
        "resets": jnp.zeros((2, 11), bool).at[:, 5].set(True),
        "reverse": reverse,
        "truncate": 4,
    }

    def with_head(summed):
        def loss(params, head, xs):
            def terms(ys, targets):
                return {"loss": jnp.square(ys @ head - targets).sum(), "steps": ys.shape[-2]}

            if summed:
                end, total = sj.scan_sum(
                    terms, cell, params, xs, (targets,), carry, checkpoint_every=3, **given
                )
                return total["loss"], (end, total["steps"])
            end, ys = sj.scan(cell, params, xs, carry, **given)
            return terms(ys, targets)["loss"], (end, 11)

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(
            params, jnp.ones(cell.features), xs
        )

    got, wanted = with_head(True), with_head(False)
    chex.assert_trees_all_close(
        jax.tree.map(lambda leaf: numbers(jnp.asarray(leaf)), got),
        jax.tree.map(lambda leaf: numbers(jnp.asarray(leaf)), wanted),
        rtol=1e-10,
        atol=1e-10,
    )


def test_scan_sum_stores_no_outputs():
    cell = sj.lstm(8)
    params = drawn(cell, 4)
    time = 2**14
    xs = jnp.ones((1, time, 4))

    def memory(loss):
        compiled = jax.jit(jax.grad(loss)).lower(params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    outputs = 4 * time * 8

    def summed(params):
        return sj.scan_sum(lambda ys: jnp.square(ys).sum(), cell, params, xs, checkpoint_every=256)[
            1
        ]

    assert memory(summed) < outputs
    assert memory(lambda p: jnp.square(sj.scan(cell, p, xs)[1]).sum()) > 3 * outputs


def test_tiles_divide_the_time_if_they_can():
    assert gated_steps.tile_size(200, 16, 16384, devices=1) == 200
    assert gated_steps.tile_size(200, 8, 8192, devices=2) == 50
    assert gated_steps.tile_size(256, 32, 131072, devices=1) == 8
    assert gated_steps.tile_size(257, 32, 131072, devices=1) == 12
    assert gated_steps.tile_size(7, 1000, 10**9, devices=1) == 1
    assert gated_steps.tile_size(1, 1, 10**9, devices=1) == 1
    sizes = [gated_steps.tile_size(t, 3, 10**5, devices=2) for t in range(1, 50)]
    assert all(1 <= size <= time for time, size in enumerate(sizes, 1))


@pytest.mark.parametrize(
    ("cell", "products"), [(sj.lstm(5), 1), (sj.lstm(5, projection=3), 2), (sj.gru(5), 2)], ids=str
)
def test_a_forward_pass_is_one_loop_that_transposes_nothing(cell, products):
    """Input and recurrent part are one product where the step sees their sum."""
    params = drawn(cell, 7)
    xs = jnp.ones((4, 6, 7))
    program = jax.jit(lambda params, xs: sj.scan(cell, params, xs)[1]).lower(params, xs).compile()
    text = program.as_text()
    assert text.count(" while(") == 1
    assert text.count(" dot(") == products
    assert " transpose(" not in text


def test_one_sequence_has_input_products_of_many_steps():
    """It would read all weights at every step."""
    cell = sj.lstm(5)
    program = jax.make_jaxpr(lambda p, xs: sj.scan(cell, p, xs))
    (loop,) = loops(program(drawn(cell, 7), jnp.ones((1, 6, 7))).jaxpr)
    assert len(loop.products) == 1
