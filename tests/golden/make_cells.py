"""Writes the golden files of the cells: what published packages compute, in float64.

    pip install -r tests/golden/requirements.txt
    pip install --no-deps torchscale==0.3.0 pararnn-torch==0.17.4
    python -m tests.golden.make_cells [case ...]

in an environment of its own, on a CPU; both ask for packages that what is used of them does not
need. Every case imports its own package, so a name or two make one file or two. With `--check`
nothing is written: the files must hold what the packages compute now, which CI asks.

Where a package rounds to float32 inside, `torch.float32` names float64 while it runs.
"""

import argparse
import contextlib
import functools
import importlib.util
import os
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

FOLDER = Path(__file__).parent
BATCH, TIME, INPUTS, FEATURES, HEADS = 2, 6, 3, 4, 2


@contextlib.contextmanager
def in_double():
    import torch

    swaps = [
        mock.patch.object(torch, "float32", torch.float64),
        mock.patch.object(torch, "float", torch.float64),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ]
    with contextlib.ExitStack() as stack:
        for swap in swaps:
            stack.enter_context(swap)
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


def main(cases: dict[str, Callable]) -> None:
    """Writes or checks a file for each case that the command line names, or for all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=list(cases))
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    for name in asked.cases:
        found = lmu() if name == "lmu" else run(cases, name)
        path = FOLDER / f"cells_{name}.npz"
        if asked.check:
            check(name, path, found)
        else:
            np.savez_compressed(path, **found)
        print(name)


def check(name: str, path: Path, found: dict[str, np.ndarray]) -> None:
    """That the file holds what was found."""
    with np.load(path) as file:
        assert set(file) == set(found), f"{name}: {sorted(file)} in the file, not {sorted(found)}"
        for part, value in found.items():
            np.testing.assert_allclose(value, file[part], 1e-9, 1e-9, err_msg=f"{name}, {part}")


def run(cases: dict[str, Callable], name: str) -> dict[str, np.ndarray]:
    """Weights, inputs, outputs, and the gradient of a weighted sum of outputs by the inputs.

    A case returns the width of its input, a function of inputs `(batch, time, width)`, and a
    module or a dict with its weights, which are drawn anew here. The function returns outputs,
    or outputs and a dict of what the package gives beside them.
    """
    import torch

    width, function, weights = cases[name]()
    # Here, as an import may draw numbers too; by name, so that a new case leaves all others alone.
    torch.manual_seed(zlib.crc32(name.encode()))
    if isinstance(weights, torch.nn.Module):
        weights = dict(weights.double().named_parameters())
    for weight in weights.values():
        weight.data = torch.randn_like(weight, dtype=weight.dtype.to_real()).to(weight.dtype) * 0.5
        if weight.dtype.is_complex:
            weight.data = torch.complex(weight.data.real, 0.5 * torch.randn(weight.shape).double())
    xs = torch.randn(BATCH, TIME, width, dtype=torch.float64, requires_grad=True)
    with in_double():
        out = function(xs)
    ys, more = out if isinstance(out, tuple) else (out, {})
    assert ys.dtype == torch.float64
    found = {"xs": xs, "ys": ys, **more, **weights}
    if ys.requires_grad:
        found["direction"] = torch.randn_like(ys)
        (ys * found["direction"]).sum().backward()
        found["d_xs"] = xs.grad
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def drawn(**shapes: tuple[int, ...]):
    import torch

    return {name: torch.empty(shape, dtype=torch.float64) for name, shape in shapes.items()}


def naive(path: str):
    """One of fla-core's reference loops, from its file: the package itself imports Triton."""
    root = next(Path(folder) / "fla/ops" for folder in sys.path if Path(folder, "fla/ops").is_dir())
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), root / f"{path}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def minimal_gru():
    from minGRU_pytorch import minGRU

    module = minGRU(FEATURES)
    return FEATURES, module, module


def minimal_lstm():
    from minGRU_pytorch.minLSTM import minLSTM

    module = minLSTM(FEATURES)
    return FEATURES, module, module


def sru(width=FEATURES, *, peepholes=True):

    # The kernels for inference need a compiler; the loop that is trained on CPUs does not.
    with (
        mock.patch("torch.utils.cpp_extension.load"),
        mock.patch("torch.jit.script", lambda function: function),
    ):
        import sru
    cell = sru.SRUCell(width, FEATURES, highway_bias=0.5, v1=not peepholes)
    cell.double()
    # Only the width of a float is kept when a buffer is filled.
    cell.scale_x.fill_((1 + 2 * np.exp(0.5)) ** 0.5)
    weights = dict(cell.named_parameters())
    if not peepholes:
        del weights["weight_c"]

    def function(xs):
        ys, end = cell(xs.transpose(0, 1))
        return ys.transpose(0, 1), {"end": end}

    return width, function, weights


def torch_recurrent(name: str, states: int = 1, **options):
    """A cell of torchrecurrent, which returns its state, or a tuple of two."""
    import torch
    import torchrecurrent

    cell = getattr(torchrecurrent, name)(INPUTS, FEATURES, **options).double()

    def function(xs):
        state, ys = (torch.zeros(BATCH, FEATURES),) * states, []
        for x in xs.unbind(1):
            state = cell(x, *state) if states == 1 else cell(x, state)
            state = (state,) if states == 1 else state
            ys.append(state[0])
        return torch.stack(ys, 1), {"end": state[1]} if states == 2 else {}

    return INPUTS, function, cell


def pararnn(name: str, file: str, states: int = 1):
    """A cell of pararnn-torch from its file: the package itself imports Triton."""
    import torch

    root = next(Path(folder) / "pararnn" for folder in sys.path if Path(folder, "pararnn").is_dir())
    for package, path in (("pararnn", root), ("pararnn.cells", root / "cells")):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(path)]
    cell = getattr(importlib.import_module(f"pararnn.cells.{file}"), name)(INPUTS, FEATURES)
    cell.double()

    def function(xs):
        shape = (FEATURES,) if states == 1 else (states, FEATURES)
        state, ys = torch.zeros(BATCH, *shape), []
        for x in xs.unbind(1):
            state = cell.step(state, x)
            ys.append(state if states == 1 else state[..., 1, :])
        return torch.stack(ys, 1), {} if states == 1 else {"end": state[..., 0, :]}

    return INPUTS, function, cell


def cfc():
    import torch
    from ncps.torch import CfCCell

    cell = CfCCell(INPUTS, FEATURES, backbone_units=5).double()

    def function(xs):
        h, ys = torch.zeros(BATCH, FEATURES), []
        for x in xs.unbind(1):
            h, _ = cell(x, h, 1.0)
            ys.append(h)
        return torch.stack(ys, 1)

    return INPUTS, function, cell


def ltc():
    import torch
    from ncps.torch import LTCCell
    from ncps.wirings import FullyConnected

    cell = LTCCell(
        FullyConnected(FEATURES), INPUTS, input_mapping=None, output_mapping=None, epsilon=0.0,
        implicit_param_constraints=True,
    ).double()  # fmt: skip

    def function(xs):
        v, ys = torch.zeros(BATCH, FEATURES), []
        for x in xs.unbind(1):
            v, _ = cell(x, v)
            ys.append(v)
        return torch.stack(ys, 1)

    # Not the masks of synapses that there are.
    weights = {name: w for name, w in cell.named_parameters() if w.requires_grad}
    return INPUTS, function, weights


def lru():
    from LRU_pytorch import LRU

    module = LRU(INPUTS, FEATURES, 5)
    for name in ("B", "C"):
        getattr(module, name).data = getattr(module, name).data.cdouble()
    module.state = module.state.cdouble()
    return INPUTS, module, dict(module.double().named_parameters())


def s4d():
    """Each feature a bank of modes, discretised and run by scipy."""
    import torch
    from scipy.signal import cont2discrete, dlsim

    modes = 3
    weights = drawn(
        a_real=(INPUTS, modes), a_imaginary=(INPUTS, modes), c_real=(INPUTS, modes),
        c_imaginary=(INPUTS, modes), step_size=(INPUTS,), skip=(INPUTS,),
    )  # fmt: skip

    def function(xs):
        w = {name: weight.numpy() for name, weight in weights.items()}
        ys = np.zeros((BATCH, TIME, INPUTS))
        for n in range(INPUTS):
            # Modes as real blocks of two, of which scipy knows nothing special.
            a = np.kron(np.diag(-np.exp(w["a_real"][n])), np.eye(2))
            a += np.kron(np.diag(w["a_imaginary"][n]), [[0, -1], [1, 0]])
            b = np.tile([[1.0], [0.0]], (modes, 1))
            c = np.stack([2 * w["c_real"][n], -2 * w["c_imaginary"][n]], 1).reshape(1, -1)
            size = np.exp(w["step_size"][n])
            a, b, c, d, dt = cont2discrete((a, b, c, w["skip"][n].reshape(1, 1)), size)
            for row in range(BATCH):
                # dlsim reads the state before an input is in: it sees c' = c a, d' = d + c b.
                system = (a, b, c @ a, d + c @ b, dt)
                ys[row, :, n] = dlsim(system, xs[row, :, n].detach().numpy())[1][:, 0]
        return torch.tensor(ys)

    return INPUTS, function, weights


def s5():
    import torch
    from s5 import s5_model

    modes = 3
    eye = torch.eye(modes, dtype=torch.complex64)
    module = s5_model.S5SSM(
        eye[0], eye, eye, FEATURES, modes, 0.01, 0.1, bcInit="complex_normal"
    )  # fmt: skip
    as_complex = functools.partial(s5_model.as_complex, dtype=torch.complex128)
    for name in ("Lambda", "C"):
        getattr(module, name).data = getattr(module, name).data.cdouble()
    weights = dict(module.double().named_parameters())

    def function(xs):
        # Modes that die away; what is clipped near 0 is a matter of its own.
        module.Lambda.data = torch.complex(-module.Lambda.real.abs() - 0.1, module.Lambda.imag)
        with mock.patch.object(s5_model, "as_complex", as_complex):
            runs = [module(row, return_state=True) for row in xs]
        return torch.stack([ys for ys, _ in runs]), {"end": torch.stack([s for _, s in runs])}

    return FEATURES, function, weights


def rg_lru():
    import torch
    from transformers.models.recurrent_gemma import modeling_recurrent_gemma as gemma

    config = types.SimpleNamespace(num_attention_heads=2, lru_width=FEATURES)
    module = gemma.RecurrentGemmaRglru(config)
    module._rnn_scan = functools.partial(module._rnn_scan, acc_dtype=torch.float64)

    def function(xs):
        # Positions from 1: position 0 would leave out the factor of the first step.
        ys = module(xs, torch.arange(1, TIME + 1)[None].expand(BATCH, -1))
        return ys, {"end": module.recurrent_states}

    return FEATURES, function, module


def mamba():
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(
        hidden_size=FEATURES, state_size=3, expand=2, conv_kernel=4, time_step_rank=2,
        num_hidden_layers=1,
    )  # fmt: skip
    module = MambaMixer(config, 0)
    return FEATURES, module, module


def mamba2():
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    config = Mamba2Config(
        hidden_size=FEATURES, state_size=3, expand=2, conv_kernel=4, num_heads=4, head_dim=2,
        n_groups=2, chunk_size=4, num_hidden_layers=1, layer_norm_epsilon=1e-5,
    )  # fmt: skip
    module = Mamba2Mixer(config, 0)
    return FEATURES, module, module


def gated_delta_net(**options):
    from transformers import OlmoHybridConfig
    from transformers.models.olmo_hybrid.modeling_olmo_hybrid import OlmoHybridGatedDeltaNet

    config = OlmoHybridConfig(
        hidden_size=FEATURES, linear_num_key_heads=HEADS, linear_num_value_heads=HEADS,
        linear_key_head_dim=3, linear_value_head_dim=2, linear_conv_kernel_dim=4,
        num_hidden_layers=4, **options,
    )  # fmt: skip
    module = OlmoHybridGatedDeltaNet(config, 0)
    return FEATURES, module, module


def kimi_delta_attention():
    from transformers import KimiLinearConfig
    from transformers.models.kimi_linear.modeling_kimi_linear import KimiLinearDeltaAttention

    config = KimiLinearConfig(
        hidden_size=FEATURES, linear_num_heads=HEADS, linear_head_dim=2, linear_conv_kernel_dim=4,
        num_hidden_layers=4, rms_norm_eps=1e-5,
    )  # fmt: skip
    module = KimiLinearDeltaAttention(config, 0)
    return FEATURES, module, module


def mlstm():
    from mlstm_kernels.torch.backend_module import mLSTMBackendConfig
    from xlstm.xlstm_large.model import mLSTMLayer, mLSTMLayerConfig

    backend = mLSTMBackendConfig(
        chunkwise_kernel="chunkwise--native_autograd", sequence_kernel="native_sequence__native",
        step_kernel="native", chunk_size=3, mode="train", autocast_kernel_dtype="float32", eps=0.0,
        return_last_states=True,
    )  # fmt: skip
    config = mLSTMLayerConfig(
        embedding_dim=FEATURES, num_heads=HEADS, qk_dim_factor=1.0, norm_eps=1e-6,
        gate_soft_cap=2.0, weight_mode="single", mlstm_backend=backend,
    )  # fmt: skip
    with in_double():
        module = mLSTMLayer(config)

    def function(xs):
        ys, (memory, normalizer, maximum) = module(xs)
        return ys, {"memory": memory, "normalizer": normalizer, "maximum": maximum}

    return FEATURES, function, module


def mlstm_sigmoid():
    """The memory is the package's, the layer around it is written out."""
    import torch
    from mlstm_kernels.torch.parallel.native_siging.fw import mlstm_siging_parallel_fw

    w = drawn(
        query=(INPUTS, HEADS, 2), key=(INPUTS, HEADS, 2), value=(INPUTS, HEADS, 2),
        input=(INPUTS, HEADS), forget=(INPUTS, HEADS), gate=(INPUTS, FEATURES),
        output=(FEATURES, FEATURES),
    )  # fmt: skip

    def function(xs):
        q, k, v = (torch.einsum("bti,ihk->bhtk", xs, w[n]) for n in ("query", "key", "value"))
        i, f = ((xs @ w[n]).transpose(1, 2) for n in ("input", "forget"))
        o, _ = mlstm_siging_parallel_fw(q, k, v, i, f)
        o = torch.nn.functional.layer_norm(o, (2,), eps=1e-6).transpose(1, 2).flatten(2)
        return (torch.sigmoid(xs @ w["gate"]) * o) @ w["output"]

    return INPUTS, function, w


def mlstm_layer():
    from xlstm import mLSTMLayer, mLSTMLayerConfig

    config = mLSTMLayerConfig(
        embedding_dim=FEATURES, num_heads=HEADS, qkv_proj_blocksize=2, context_length=TIME,
        round_proj_up_to_multiple_of=4,
    )  # fmt: skip
    with in_double():
        module = mLSTMLayer(config)
    module.mlstm_cell.backend_fn = functools.partial(module.mlstm_cell.backend_fn, eps=0.0)
    return FEATURES, module, module


def slstm(*, recurrent=True):
    import torch
    from xlstm.blocks.slstm.cell import sLSTMCell, sLSTMCellConfig

    config = sLSTMCellConfig(
        hidden_size=FEATURES, num_heads=HEADS, num_states=4, backend="vanilla",
        enable_automatic_mixed_precision=False, dtype="float32", input_shape="BSGNH",
        output_shape="BSH",
    )  # fmt: skip
    cell = sLSTMCell(config).double()
    weights = dict(cell.named_parameters())
    if not recurrent:
        weights.pop("_recurrent_kernel_").data.zero_()
    weights |= drawn(input=(INPUTS, 4, FEATURES))

    def function(xs):
        ys, end = cell(torch.einsum("bti,igf->btgf", xs, weights["input"]).flatten(2))
        return ys, {"end": end}

    return INPUTS, function, weights


def linear_attention():
    """The memory is the package's, the layer around it is written out. So below."""
    import torch

    w = drawn(
        query=(INPUTS, HEADS, 2), key=(INPUTS, HEADS, 2), value=(INPUTS, HEADS, 2),
        output=(FEATURES, FEATURES),
    )  # fmt: skip
    attend = naive("linear_attn/naive").naive_recurrent_linear_attn

    def function(xs):
        q, k, v = (torch.einsum("bti,ihk->bthk", xs, w[n]) for n in ("query", "key", "value"))
        q, k = torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1
        o, (memory, total) = attend(q, k, v, scale=1.0, normalize=True, output_final_state=True)
        end = torch.cat([memory, total[:, 0, :, :, None]], -1)
        return o.flatten(2) @ w["output"], {"end": end}

    return INPUTS, function, w


def gated_linear_attention():
    import torch

    w = drawn(
        query=(INPUTS, HEADS, 1), key=(INPUTS, HEADS, 1), value=(INPUTS, HEADS, 2),
        decay_down=(INPUTS, 2), decay_up=(2, HEADS, 1), decay_bias=(HEADS, 1),
        gate=(INPUTS, HEADS, 2), norm_gain=(2,), output=(FEATURES, FEATURES),
    )  # fmt: skip
    attend = naive("gla/naive").naive_recurrent_gla

    def function(xs):
        names = ("query", "key", "value", "gate")
        q, k, v, g = (torch.einsum("bti,ihk->bthk", xs, w[n]) for n in names)
        decay = torch.einsum("bti,ihk->bthk", xs @ w["decay_down"], w["decay_up"])
        decay = torch.nn.functional.logsigmoid(decay + w["decay_bias"]) / 16
        o, end = attend(q, k, v, decay, output_final_state=True)
        o = torch.nn.functional.rms_norm(o, (2,), w["norm_gain"], 1e-5)
        o = o * torch.nn.functional.silu(g)
        return o.flatten(2) @ w["output"], {"end": end}

    return INPUTS, function, w


def hgrn2():
    import torch

    w = drawn(
        query=(INPUTS, HEADS, 2), forget=(INPUTS, HEADS, 2), input=(INPUTS, HEADS, 2),
        norm_gain=(FEATURES,), output=(FEATURES, FEATURES),
    )  # fmt: skip
    attend = naive("gla/naive").naive_recurrent_gla

    def function(xs):
        q, f, i = (torch.einsum("bti,ihk->bthk", xs, w[n]) for n in ("query", "forget", "input"))
        f = 0.3 + 0.7 * torch.sigmoid(f)
        q = torch.nn.functional.silu(q) * 2**0.5  # the package divides it by that
        o, end = attend(q, 1 - f, i, f.log(), output_final_state=True)
        o = torch.nn.functional.rms_norm(o.flatten(2), (FEATURES,), w["norm_gain"], 1e-5)
        return o @ w["output"], {"end": end}

    return INPUTS, function, w


def retention():
    """With the norm of the paper, which was that of the package's first release."""
    import torch

    # For parts of other models.
    absent = {name: mock.MagicMock() for name in ("fairscale.nn", "timm.models.layers")}
    with mock.patch.dict(sys.modules, absent):
        from torchscale.architecture.config import RetNetConfig
        from torchscale.architecture.retnet import RetNetRelPos
        from torchscale.component.multiscale_retention import MultiScaleRetention
    # Wide enough for two angles in each head.
    width = 2 * FEATURES
    config = RetNetConfig(decoder_embed_dim=width, decoder_retention_heads=HEADS)
    module = MultiScaleRetention(config, width, 2 * width, HEADS)
    module.group_norm = torch.nn.LayerNorm(module.head_dim, eps=0.0, elementwise_affine=False)

    def function(xs):
        return module(xs, RetNetRelPos(config)(TIME))

    return width, function, module


def delta_net():
    import torch

    w = drawn(
        project=(INPUTS, 3 * FEATURES + HEADS), kernel=(4, 3 * FEATURES), norm_gain=(2,),
        output=(FEATURES, FEATURES),
    )  # fmt: skip
    attend = naive("delta_rule/naive").delta_rule_recurrence

    def function(xs):
        made, rate = (xs @ w["project"]).split([3 * FEATURES, HEADS], -1)
        q, k, v = convolved(made, w["kernel"]).unflatten(2, (3, HEADS, 2)).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in (unit(q), unit(k), v))
        o, end = attend(q, k, v, torch.sigmoid(rate).transpose(1, 2))
        o = torch.nn.functional.rms_norm(o, (2,), w["norm_gain"], 1e-5)
        return o.transpose(1, 2).flatten(2) @ w["output"], {"end": end}

    return INPUTS, function, w


def convolved(made, kernel):
    import torch

    channels = kernel.shape[1]
    made = torch.nn.functional.conv1d(
        made.transpose(1, 2), kernel.T[:, None], padding=3, groups=channels
    )
    return torch.nn.functional.silu(made[..., :TIME]).transpose(1, 2)


def unit(part):
    return part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def corrected(rates: int, gate: str, attend: Callable, *, writes: int = 1, **own: tuple[int, ...]):
    """A layer around one of the package's memories, `attend(w, q, k, v, rates, decay)`, with
    heads of two keys and two values. With `decay_up` in `own`, decays and the gate have a rank."""
    import torch

    first, low = (1 + 2 * writes) * FEATURES, "decay_up" in own
    widths = (first, rates, 2, 2) if low else (first, rates, HEADS, FEATURES)
    w = drawn(
        project=(INPUTS, sum(widths)), kernel=(4, first), norm_gain=(2,),
        output=(FEATURES, FEATURES), A_log=(HEADS,), **own,
    )  # fmt: skip

    def function(xs):
        made, rates, a, g = (xs @ w["project"]).split(widths, -1)
        q, k, v = convolved(made, w["kernel"]).split(
            [FEATURES, writes * FEATURES, writes * FEATURES], -1
        )
        q, k, v = (part.unflatten(-1, (-1, HEADS, 2)) for part in (q, k, v))
        q, k, v = (part.flatten(1, 2) for part in (unit(q), unit(k), v))
        a, g = (a @ w["decay_up"], g @ w["gate_up"]) if low else (a, g)
        a = torch.nn.functional.softplus(a + w["decay_bias"]).unflatten(-1, (HEADS, -1))
        decay = -w["A_log"].exp()[:, None] * a
        o, end = attend(w, q, k, v, rates, decay)
        o = torch.nn.functional.rms_norm(o, (2,), w["norm_gain"], 1e-5).flatten(2)
        return (o * getattr(torch.nn.functional, gate)(g)) @ w["output"], {"end": end}

    return INPUTS, function, w


def gated_delta_product():
    loop = naive("gated_delta_product/naive").naive_recurrent_gated_delta_product

    def attend(w, q, k, v, rates, decay):
        beta = 2 * rates.sigmoid().unflatten(-1, (2, HEADS)).flatten(1, 2)
        return loop(q, k, v, decay[..., 0], beta, 2**-0.5, num_householder=2)

    return corrected(2 * HEADS, "silu", attend, writes=2, decay_bias=(HEADS,))


def gated_delta_net2():
    loop = naive("gdn2/naive").naive_recurrent_gdn2

    def attend(w, q, k, v, rates, decay):
        b, write = rates.sigmoid().unflatten(-1, (2, HEADS, 2)).unbind(2)
        return loop(q, k, v, decay, b, write, output_final_state=True)

    own = {"decay_up": (2, FEATURES), "decay_bias": (FEATURES,), "gate_up": (2, FEATURES)}
    return corrected(2 * FEATURES, "sigmoid", attend, **own)


def comba():
    # Its loop forgets before the feedback; these chunks and its kernels do not.
    chunks = naive("comba/naive").naive_chunk_comba

    def attend(w, q, k, v, rates, decay):
        q, p = q - w["output_feedback"][:, None] * k, w["state_feedback"].sigmoid()[:, None] * k
        sizes = {"chunk_size": 4, "output_final_state": True}
        return chunks(q, k, v, p, decay[..., 0], rates.sigmoid(), **sizes)

    own = {name: (HEADS,) for name in ("decay_bias", "state_feedback", "output_feedback")}
    return corrected(HEADS, "sigmoid", attend, **own)


def rwkv4(part: str):
    from transformers import RwkvConfig
    from transformers.models.rwkv import modeling_rwkv

    config = RwkvConfig(hidden_size=FEATURES, attention_hidden_size=FEATURES, intermediate_size=5)
    module = getattr(modeling_rwkv, part)(config)
    return FEATURES, lambda xs: module(xs)[0], module


def rwkv6_block():
    import torch

    os.environ["RWKV_JIT_ON"], os.environ["RWKV_CUDA_ON"] = "0", "0"
    from rwkv.model import RWKV

    f, square = FEATURES, (FEATURES, FEATURES)
    mixes = {f"{name}_maa": (f,) for name in "xwkvrg"}
    shapes = dict(
        ln_w=(f,), ln_b=(f,), lx_w=(f,), lx_b=(f,), **mixes, tm_w1=(f, 160), tm_w2=(5, 32, f),
        td_w1=(f, 64), td_w2=(64, f), t_decay=(HEADS, 2, 1), t_first=(HEADS, 2, 1), kw=square,
        vw=square, rw=square, gw=square, ow=square,
    )  # fmt: skip
    channel = dict(ln_w=(f,), ln_b=(f,), k_maa=(f,), r_maa=(f,), kw=(f, 14), vw=(14, f), rw=square)
    time, channel = drawn(**shapes), drawn(**channel)

    def function(xs):
        ys, ends = [], []
        for x in xs:
            x, _, end = RWKV.att_seq_v6_0(
                None, x, torch.zeros(f), torch.zeros(HEADS, 2, 2), **time, **_ranges("kvrgo")
            )
            x, _ = RWKV.ffn_seq_v6(None, x, torch.zeros(f), **channel, **_ranges("kvr"))
            ys.append(x)
            ends.append(end)
        return torch.stack(ys), {"end": torch.stack(ends)}

    weights = {f"time.{name}": weight for name, weight in time.items()}
    weights |= {f"channel.{name}": weight for name, weight in channel.items()}
    return FEATURES, function, weights


def _ranges(names: str):
    """Where weights in 8 bits would have their ranges."""
    return {f"{n}{kind}": None for n in names for kind in ("mx", "rx", "my", "ry")}


def rwkv7_model():
    """Two blocks, so that the values of the first travel to the second."""
    import torch
    from rwkv7_hf.configuration_rwkv7 import RWKV7Config
    from rwkv7_hf.modeling_rwkv7 import RWKV7Block

    config = RWKV7Config(
        hidden_size=FEATURES, num_heads=HEADS, head_dim=2, num_hidden_layers=2,
        intermediate_size=16,
        decay_low_rank_dim=32, a_low_rank_dim=32, gate_low_rank_dim=32, v_low_rank_dim=32,
    )  # fmt: skip
    blocks = torch.nn.ModuleList([RWKV7Block(config, layer) for layer in range(2)])
    for block in blocks:
        # Heads are 64 wide wherever it is used, and the norm's epsilon is 64e-5 then.
        block.attn.g_norm.eps = 64e-5

    def function(xs):
        first, ends = torch.zeros(BATCH, TIME, FEATURES), {}
        valid, none = torch.ones(BATCH, TIME, dtype=torch.bool), torch.zeros(BATCH, FEATURES)
        for layer, block in enumerate(blocks):
            state = torch.zeros(BATCH, HEADS, 2, 2)
            xs, ends[f"end_{layer}"], _, _, first = block(xs, state, none, none, first, valid)
        return xs, ends

    return FEATURES, function, blocks


def lmu() -> dict[str, np.ndarray]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import keras_lmu
    import tensorflow

    keras.utils.set_random_seed(0)
    keras.backend.set_floatx("float64")
    cell = keras_lmu.LMUCell(
        memory_d=1, order=3, theta=5.0,
        hidden_cell=keras.layers.SimpleRNNCell(FEATURES, use_bias=False),
        hidden_to_memory=True, memory_to_memory=True, input_to_hidden=True,
        kernel_initializer="random_normal", recurrent_initializer="random_normal",
    )  # fmt: skip
    layer = keras.layers.RNN(cell, return_sequences=True)
    random = np.random.default_rng(0)
    xs = tensorflow.constant(random.standard_normal((BATCH, TIME, INPUTS)))
    layer(xs)
    for weight in layer.weights:
        if "float" in str(weight.dtype):
            weight.assign(0.5 * random.standard_normal(weight.shape))
    direction = random.standard_normal((BATCH, TIME, FEATURES))
    with tensorflow.GradientTape() as tape:
        tape.watch(xs)
        ys = layer(xs)
        loss = tensorflow.reduce_sum(ys * direction)
    hidden = cell.hidden_cell
    return {
        "xs": xs.numpy(), "ys": ys.numpy(), "direction": direction,
        "d_xs": tape.gradient(loss, xs).numpy(),
        "kernel": cell.kernel.numpy(), "recurrent_kernel": cell.recurrent_kernel.numpy(),
        "hidden.kernel": hidden.kernel.numpy(),
        "hidden.recurrent_kernel": hidden.recurrent_kernel.numpy(),
    }  # fmt: skip


def window_attention(family: str):
    """A window of 4 steps in the attention of RecurrentGemma, Qwen3-Next or OLMo Hybrid."""
    import torch
    import transformers

    heads = {"num_attention_heads": HEADS, "num_key_value_heads": 1, "num_hidden_layers": 4}
    width = 2 * FEATURES
    if family == "gemma":
        from transformers.models.recurrent_gemma import modeling_recurrent_gemma as model

        config = transformers.RecurrentGemmaConfig(hidden_size=width, **heads)
        module = model.RecurrentGemmaAttention(config, 0)
        rotary = model.RecurrentGemmaRotaryEmbedding
    elif family == "qwen":
        from transformers.models.qwen3_next import modeling_qwen3_next as model

        config = transformers.Qwen3NextConfig(
            hidden_size=FEATURES, head_dim=8, partial_rotary_factor=0.5, rope_theta=100.0,
            attention_bias=True, **heads,
        )  # fmt: skip
        width, module = FEATURES, model.Qwen3NextAttention(config, 0)
        rotary = model.Qwen3NextRotaryEmbedding
    else:
        from transformers.models.olmo_hybrid import modeling_olmo_hybrid as model

        config = transformers.OlmoHybridConfig(hidden_size=width, rope_theta=100.0, **heads)
        module = model.OlmoHybridAttention(config, 0)
        rotary = model.OlmoHybridRotaryEmbedding
    config._attn_implementation = "eager"
    steps = torch.arange(TIME)
    apart = steps[:, None] - steps[None, :]
    hidden = (apart < 0) | (apart >= 4)

    def function(xs):
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)[None, None]
        positions = steps[None].expand(BATCH, -1)
        # Made here, so that its angles are in float64.
        angles = rotary(config)
        if family == "gemma":
            module.rotary_emb = angles
            return module(xs, positions, mask)[0]
        return module(xs, position_embeddings=angles(xs, positions), attention_mask=mask)[0]

    return width, function, module


def latent_attention(family: str):
    """A window of 4 steps in the attention of Kimi Linear, or of DeepSeek-V3 with positions."""
    import torch
    import transformers

    sizes = {
        "hidden_size": FEATURES, "num_hidden_layers": 4, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "kv_lora_rank": 5, "qk_nope_head_dim": 3,
        "qk_rope_head_dim": 4, "v_head_dim": 2,
    }  # fmt: skip
    if family == "kimi":
        from transformers.models.kimi_linear import modeling_kimi_linear as model

        config = transformers.KimiLinearConfig(**sizes)
        module = model.KimiLinearAttention(config, 0)
    else:
        from transformers.models.deepseek_v3 import modeling_deepseek_v3 as model

        rope = {"rope_type": "default", "rope_theta": 100.0}
        config = transformers.DeepseekV3Config(
            **sizes, q_lora_rank=3, rope_parameters=rope, rope_interleave=False
        )
        module = model.DeepseekV3Attention(config, 0)
    config._attn_implementation = "eager"
    steps = torch.arange(TIME)
    apart = steps[:, None] - steps[None, :]
    hidden = (apart < 0) | (apart >= 4)

    def function(xs):
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)[None, None]
        if family == "kimi":
            return module(xs, attention_mask=mask)[0]
        angles = model.DeepseekV3RotaryEmbedding(config)(xs, steps[None].expand(BATCH, -1))
        return module(xs, position_embeddings=angles, attention_mask=mask)[0]

    return FEATURES, function, module


CASES = {
    "minimal_gru": minimal_gru,
    "minimal_lstm": minimal_lstm,
    "sru": sru,
    "sru_linear": functools.partial(sru, INPUTS, peepholes=False),
    "indrnn": functools.partial(torch_recurrent, "IndRNNCell"),
    "minimal_gated": functools.partial(torch_recurrent, "MGUCell"),
    "ugrnn": functools.partial(torch_recurrent, "UGRNNCell"),
    "janet": functools.partial(torch_recurrent, "JANETCell", 2),
    "li_gru": functools.partial(torch_recurrent, "LiGRUCell"),
    "fast_grnn": functools.partial(torch_recurrent, "FastGRNNCell", nonlinearity="sigmoid"),
    "star": functools.partial(torch_recurrent, "STARCell"),
    "multiplicative_lstm": functools.partial(
        torch_recurrent, "MultiplicativeLSTMCell", 2, recurrent_bias=False
    ),
    "cornn": functools.partial(torch_recurrent, "coRNNCell", 2, gamma=2.7, epsilon=4.7, dt=0.1),
    "antisymmetric": functools.partial(
        torch_recurrent, "AntisymmetricRNNCell", epsilon=0.3, gamma=0.2
    ),
    "antisymmetric_gated": functools.partial(
        torch_recurrent, "GatedAntisymmetricRNNCell", epsilon=0.3, gamma=0.2
    ),
    "para_gru": functools.partial(pararnn, "ParaGRU", "para_gru"),
    "para_lstm": functools.partial(pararnn, "ParaLSTM", "para_lstm", 2),
    "cfc": cfc,
    "ltc": ltc,
    "lru": lru,
    "s4d": s4d,
    "s5": s5,
    "lmu": lmu,
    "rg_lru": rg_lru,
    "mamba": mamba,
    "mamba2": mamba2,
    "mlstm": mlstm,
    "mlstm_sigmoid": mlstm_sigmoid,
    "slstm": slstm,
    "slstm_linear": functools.partial(slstm, recurrent=False),
    "linear_attention": linear_attention,
    "gated_linear_attention": gated_linear_attention,
    "hgrn2": hgrn2,
    "delta_net": delta_net,
    "gated_delta_net": functools.partial(gated_delta_net, linear_allow_neg_eigval=False),
    "gated_delta_net_negative": functools.partial(gated_delta_net, linear_allow_neg_eigval=True),
    "kimi_delta_attention": kimi_delta_attention,
    "gated_delta_product": gated_delta_product,
    "gated_delta_net2": gated_delta_net2,
    "comba": comba,
    "rwkv4_time_mix": functools.partial(rwkv4, "RwkvSelfAttention"),
    "rwkv4_channel_mix": functools.partial(rwkv4, "RwkvFeedForward"),
    "rwkv6_block": rwkv6_block,
    "rwkv7_model": rwkv7_model,
    "mlstm_layer": mlstm_layer,
    "retention": retention,
    **{
        f"window_attention_{family}": functools.partial(window_attention, family)
        for family in ("gemma", "qwen", "olmo")
    },
    **{
        f"latent_attention_{family}": functools.partial(latent_attention, family)
        for family in ("kimi", "deepseek")
    },
}


if __name__ == "__main__":
    main(CASES)
