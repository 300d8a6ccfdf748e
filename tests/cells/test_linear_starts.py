"""How cells that are linear in their state start, and what that makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.cells.state_space import _hippo
from seqjax.core.shift import ConvolutionParameters

key = jax.random.key(0)


def test_lru(x64):
    cell = sj.lru(512, radius=(0.5, 0.9), max_phase=1.0)
    params = cell.init(key, 100)
    modulus = np.exp(-np.exp(params["nu"]))
    assert 0.5 <= modulus.min() < 0.51 and 0.89 < modulus.max() <= 0.9
    # Uniform in the ring: the median of the squares is their middle.
    assert abs(np.median(modulus**2) - (0.25 + 0.81) / 2) < 0.03
    phase = np.exp(params["theta"])
    assert phase.max() < 1 and abs(np.median(phase) - 0.5) < 0.1
    np.testing.assert_allclose(np.exp(2 * params["gamma"]), 1 - modulus**2, rtol=1e-9)
    assert abs(params["b_real"].std() * np.sqrt(200) - 1) < 0.02
    assert abs(params["c_imaginary"].std() * np.sqrt(512) - 1) < 0.02


def test_spectra_of_the_s4d():
    def start(spectrum):
        params = sj.s4d(2, state=8, spectrum=spectrum).init(key, 2)
        return (-np.exp(params["a_real"]) + 1j * params["a_imaginary"])[0]

    np.testing.assert_allclose(start("linear"), -0.5 + 1j * np.pi * np.arange(4), rtol=1e-6)
    inverse = 8 / np.pi * (8 / (2 * np.arange(4) + 1) - 1)
    np.testing.assert_allclose(start("inverse"), -0.5 + 1j * inverse, rtol=1e-6)
    np.testing.assert_allclose(start("real"), -1.0 - np.arange(8), rtol=1e-6)


def test_the_s4d_is_a_convolution(x64):
    """With the kernel of its modes, by Fourier transforms."""
    time, features = 64, 3
    cell = sj.s4d(features, state=8)
    params = jax.device_get(cell.init(key, features))
    xs = np.random.default_rng(0).standard_normal((time, features))
    a = -np.exp(params["a_real"]) + 1j * params["a_imaginary"]
    c = params["c_real"] + 1j * params["c_imaginary"]
    decay = np.exp(np.exp(params["step_size"])[:, None] * a)
    powers = decay[None] ** np.arange(time)[:, None, None]
    kernel = 2 * (c * powers * (decay - 1) / a).sum(-1).real
    both = np.fft.rfft(kernel, 2 * time, axis=0) * np.fft.rfft(xs, 2 * time, axis=0)
    wanted = np.fft.irfft(both, axis=0)[:time] + np.asarray(params["skip"]) * xs
    np.testing.assert_allclose(sj.scan(cell, params, xs)[1], wanted, atol=1e-10)


def test_modes_of_the_s5(x64):
    """They are those of HiPPO-LegS made normal, every other one of each pair."""
    size = 6
    root = np.sqrt(2 * np.arange(size) + 1)
    legs = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(size) + 1)
    low_rank = np.sqrt(np.arange(size) + 0.5)
    normal = legs + np.outer(low_rank, low_rank)
    values, vectors = _hippo(size)
    assert (values.imag > 0).all() and len(values) == size // 2
    np.testing.assert_allclose(normal @ vectors, vectors * values, atol=1e-10)
    # The whole matrix, out of the modes that are kept and their conjugates.
    again = 2 * (vectors * values @ vectors.conj().T).real
    np.testing.assert_allclose(again, normal, atol=1e-10)


def test_steps_of_the_s6():
    params = sj.s6(1000, state=4, rank=2).init(key, 1000)
    size = np.asarray(jax.nn.softplus(params["step_bias"]))
    assert 0.00099 < size.min() < 0.0011 and 0.09 < size.max() < 0.1001
    assert abs(np.median(np.log10(size)) + 2) < 0.1
    np.testing.assert_allclose(np.exp(params["a"][0]), [1, 2, 3, 4], rtol=1e-6)


def test_radius_of_the_rg_lru():
    params = sj.rg_lru(1000, blocks=10).init(key, 1000)
    radius = np.exp(-np.asarray(jax.nn.softplus(params["decay"])))
    assert 0.8999 < radius.min() < 0.902 and 0.997 < radius.max() < 0.9991


def test_s5():
    """Of C each part has variance 1 / state before the change of basis, which keeps half of it:
    the modes that are kept are as many as there were numbers, and half of the states."""
    params = sj.s5(400, state=64).init(key, 400)
    assert abs(params["c_real"].var() * 64 - 1) < 0.02
    assert abs(params["c_imaginary"].var() * 64 - 1) < 0.02


def test_oscillators():
    """As in the authors' code."""
    params = sj.linoss(3, state=400).init(key, 3)
    for name, low, high in (
        ("stiffness", 0.0, 1.0),
        ("step_size", 0.0, 1.0),
        ("b_imaginary", -(3**-0.5), 3**-0.5),
        ("c_real", -0.05, 0.05),
    ):
        spread = high - low
        assert low <= params[name].min() < low + 0.1 * spread
        assert high - 0.1 * spread < params[name].max() <= high


@pytest.mark.parametrize(
    ("discretization", "kept"), [("mixed", (0.3, 3.0)), ("implicit", (0, 0.01))]
)
def test_energy_of_oscillators(discretization, kept):
    """One way keeps it, the other loses it."""
    cell = sj.linoss(3, state=8, discretization=discretization)
    params = cell.init(key, 3)
    start = sj.Coupled(jnp.ones((2, 8)), jnp.ones((2, 8)))
    (speed, place), _ = sj.scan(cell, params, jnp.zeros((2000, 3)), start)
    stiffness = np.asarray(params["stiffness"])
    ratio = (np.square(speed) + stiffness * np.square(place)) / (1 + stiffness)
    assert kept[0] <= ratio.min() and ratio.max() <= kept[1]


def test_decays_of_rwkv4():
    params = sj.rwkv4_time_mix(5).init(key, 5)["memory"]
    np.testing.assert_allclose(
        params["decay"], -5 + 8 * (np.arange(5) / 4) ** 0.7, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        params["bonus"], np.log(0.3) + 0.5 * np.array([0, 1, -1, 0, 1]), rtol=1e-5
    )


def test_mixes_of_rwkv4():
    """The last of four layers: exponents end at 1/4, what is added to the value at 0.3."""
    place = np.arange(5) / 5
    params = sj.rwkv4_time_mix(5, layer=3, layers=4).init(key, 5)
    mixed, own = params["mix"], params["memory"]
    r, k, v = mixed["mu"]
    np.testing.assert_allclose(r, place**0.125, rtol=1e-5)
    np.testing.assert_allclose(k, place**0.25, rtol=1e-5)
    np.testing.assert_allclose(v, place**0.25 + 0.3, rtol=1e-5)
    decay = -5 + 8 * (np.arange(5) / 4) ** 2.0
    np.testing.assert_allclose(own["decay"], decay, rtol=1e-5, atol=1e-6)
    params = sj.rwkv4_channel_mix(5, layer=3, layers=4).init(key, 5)
    np.testing.assert_allclose(params["mu"], [place**0.25] * 2, rtol=1e-5)


def test_weights_of_rwkv4():
    """Some start at zero, the others orthogonal: a wider matrix with a gain for it."""
    params = sj.rwkv4_time_mix(5).init(key, 5)
    mixed, own = params["mix"], params["memory"]
    r, k, v = mixed["weights"]
    assert not r.any() and not k.any() and not own["output"].any()
    np.testing.assert_allclose(v @ v.T, np.eye(5), atol=1e-5)
    params = sj.rwkv4_channel_mix(5).init(key, 5)
    assert not params["receptance"].any() and not params["value"].any()
    np.testing.assert_allclose(params["key"] @ params["key"].T, 4 * np.eye(5), atol=1e-5)


@pytest.mark.parametrize("mix", [sj.rwkv6_time_mix, sj.rwkv7_time_mix])
def test_norms_of_rwkv(mix):
    """They grow with the layer, up to 1 in the last."""
    gains = []
    for layer in range(4):
        cell = mix(4, layer=layer, layers=4)
        width = 8 if layer and mix is sj.rwkv7_time_mix else 4
        gains.append(float(cell.init(key, width)["memory"]["norm_gain"].mean()))
    np.testing.assert_allclose(gains, (np.arange(1, 5) / 4) ** 0.7, rtol=1e-6)
    assert mix(4).init(key, 4)["memory"]["norm_gain"].tolist() == [1.0] * 4


@pytest.mark.parametrize("make", [sj.mamba, sj.mamba2])
def test_outputs_of_mamba(make):
    one, four = (make(8, layers=layers).init(key, 8) for layers in (1, 4))
    if make is sj.mamba:
        one, four = (p["output"]["weights"] for p in (one, four))
    else:
        one, four = (p["memory"]["output"] for p in (one, four))
    np.testing.assert_allclose(one, 2 * four, rtol=1e-5)


def test_weights_of_the_lmu():
    params = sj.lmu(100, memory=3, window=5).init(key, 100)
    assert abs(params["recurrent"].std() * 10 - 1) < 0.05
    # Of a uniform one none would be so large.
    assert np.abs(params["recurrent"]).max() > 0.18


def test_forget_gates_of_slstm():
    params = sj.slstm(8, heads=2, layer=2, layers=3).init(key, 3)
    one = 5 - 12 * (np.arange(4) / 3) ** 1.6
    np.testing.assert_allclose(params["bias"][1], [*one, *one], rtol=1e-5, atol=1e-5)
    assert not params["bias"][jnp.array([0, 2, 3])].any() and not params["recurrent"].any()


def test_wkv_holds_exponents_of_any_size():
    """Keys of 1000: the value with the largest key wins, nothing overflows."""
    cell = sj.rwkv4_time_mix(2)
    params = cell.init(key, 2)
    weights = jax.random.normal(key, (3, 2, 2)).at[1].multiply(1e4)
    params["mix"]["weights"], params["memory"]["output"] = weights, jnp.eye(2)
    xs = jax.random.normal(key, (50, 2))
    gradient = jax.jit(jax.grad(lambda p: jnp.square(sj.scan(cell, p, xs)[1]).sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_arguments():
    with pytest.raises(ValueError, match="'f', 'fo' or 'ifo'"):
        sj.qrnn(3, pooling="of")
    with pytest.raises(ValueError, match="radius"):
        sj.lru(3, radius=(0.9, 0.5))
    with pytest.raises(ValueError, match="'linear', 'inverse' or 'real'"):
        sj.s4d(3, spectrum="complex")
    with pytest.raises(ValueError, match="multiple of 2"):
        sj.s5(3, state=6, blocks=2)
    with pytest.raises(ValueError, match="does not divide"):
        sj.rg_lru(4, blocks=3)
    with pytest.raises(ValueError, match="heads=3. must divide"):
        sj.slstm(4, heads=3)
    with pytest.raises(ValueError, match="window"):
        sj.lmu(4, memory=3, window=0)
    with pytest.raises(ValueError, match="radius"):
        sj.rg_lru(4, radius=(0.9, 1.1))
    with pytest.raises(ValueError, match="step_size"):
        sj.s6(4, step_size=(0.0, 1.0)).init(key, 4)
    with pytest.raises(ValueError, match="step_size"):
        sj.s5(4, step_size=(-1.0, 1.0)).init(key, 4)
    with pytest.raises(ValueError, match="temperature"):
        sj.gated_linear_attention(4, heads=2, temperature=-1.0)
    with pytest.raises(ValueError, match="rank"):
        sj.gated_linear_attention(4, heads=2, rank=0)
    with pytest.raises(ValueError, match="two numbers"):
        sj.retention(4, heads=2, forgetting=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="soft_cap"):
        sj.mlstm(4, heads=2, soft_cap=0.0)
    with pytest.raises(ValueError, match="must be 'implicit' or 'mixed', got 'explicit'"):
        sj.linoss(3, discretization="explicit")
    with pytest.raises(ValueError, match="must be 'relu' or 'square', got 'abs'"):
        sj.linoss(3, nonnegative="abs")
    with pytest.raises(ValueError, match="hidden"):
        sj.feed_forward(4, hidden=0)
    for build in (sj.rwkv4_block, sj.rwkv6_block, sj.rwkv7_block, sj.slstm_block):
        for layer, layers in ((3, 1), (-1, 3), (2, 2), (0, 0)):
            with pytest.raises(ValueError, match=f"got layer={layer} and layers={layers}"):
                build(8, layer=layer, layers=layers)
    for build in (sj.s4d, sj.rwkv4_time_mix, sj.rwkv4_channel_mix):
        with pytest.raises(ValueError, match="4 wide.*in_features=3"):
            build(4).init(key, 3)


WIDE = {
    "rms_norm": sj.rms_norm(3),
    "layer_norm": sj.layer_norm(3),
    "dense": sj.dense(4),
    "feed_forward": sj.feed_forward(4),
    "residual": sj.residual(sj.prenorm(sj.gru(3))),
    "lru": sj.lru(4),
    "s4d": sj.s4d(3),
    "s5": sj.s5(4, state=4),
    "s6": sj.s6(3),
    "mamba": sj.mamba(3),
    "linoss": sj.linoss(4, state=2),
    "rg_lru": sj.rg_lru(3),
    "lmu": sj.lmu(4, memory=3, window=5),
    "sru": sj.sru(4),
    "minimal_gru": sj.minimal_gru(4),
    "mlstm": sj.mlstm(4, heads=2),
    "mlstm_layer": sj.stack(sj.dense(4), sj.mlstm_layer(4, heads=2)),
    "retention": sj.retention(4, heads=2),
    "delta_net": sj.delta_net(4, heads=2),
    "mamba2": sj.mamba2(4, heads=2),
    "rwkv7_time_mix": sj.rwkv7_time_mix(3),
}


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("name", WIDE)
def test_inputs_of_another_width(name, width):
    """One that would be repeated, and one that fits nowhere."""
    cell = WIDE[name]
    params = cell.init(key, 3)
    with pytest.raises(ValueError, match=f"expected inputs of width 3.*{width}"):
        sj.scan(cell, params, jnp.ones((2, 6, width)))


@pytest.mark.parametrize(
    "cell",
    [sj.mamba(64), sj.mamba2(64), sj.mlstm_layer(64), sj.slstm_layer(64)],
    ids=["mamba", "mamba2", "mlstm_layer", "slstm_layer"],
)
def test_convolutions_start_as_those_of_pytorch(cell):
    """Kernel and bias uniform in one bound."""
    params = jax.tree.leaves(
        cell.init(key, 64), is_leaf=lambda node: isinstance(node, ConvolutionParameters)
    )
    (convolution,) = (p for p in params if isinstance(p, ConvolutionParameters))
    for leaf in convolution:
        assert 0.45 < leaf.max() <= 0.5 and -0.5 <= leaf.min() < -0.45
    assert abs(np.corrcoef(convolution.kernel[0], convolution.bias)[0, 1]) < 0.5


def test_gated_linear_attention_starts_small():
    params = sj.gated_linear_attention(64).init(key, 64)
    for name in ("query", "key", "value", "gate", "output"):
        inputs, *outputs = params[name].shape
        bound = 2**-2.5 * np.sqrt(6 / (inputs + np.prod(outputs)))
        assert 0.98 * bound < params[name].max() <= bound
