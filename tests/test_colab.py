"""The first cell of the notebooks finds the accelerator and plans a JAX that fits it."""

import re
import runpy
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parent.parent
COLAB = {
    "jax": "0.7.2",
    "jaxlib": "0.7.2",
    "flax": "0.11.2",
    "numpy": "2.1.3",
    "libtpu": "0.0.21.1",
    "jax-cuda12-plugin": "0.7.2",
    "jax-cuda12-pjrt": "0.7.2",
}


@pytest.fixture
def cell():
    return SimpleNamespace(**runpy.run_path(str(ROOT / "notebooks" / "colab.py")))


def pci(root, *devices):
    for number, (vendor, kind) in enumerate(devices):
        folder = root / "sys/bus/pci/devices" / f"0000:00:0{number}.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")


NETWORK, DISK, CHIP = ("0x1ae0", "0x020000"), ("0x1ae0", "0x010802"), ("0x1ae0", "0x120000")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [((), ""), ((NETWORK, DISK), ""), ((NETWORK, CHIP), "tpu"), ((("0x8086", "0x120000"),), "")],
    ids=["none", "network and disk", "chip", "another vendor"],
)
def test_a_tpu_is_found_on_the_bus(cell, tmp_path, devices, expected):
    pci(tmp_path, *devices)
    assert cell.accelerator(tmp_path) == expected


def test_a_gpu_is_found_by_its_driver(cell, tmp_path):
    pci(tmp_path, NETWORK)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert cell.accelerator(tmp_path) == "cuda12"


@pytest.mark.parametrize("extra", ["tpu", "cuda12", ""])
def test_an_old_jax_goes_with_all_that_ties_it_to_accelerators(cell, extra):
    stale, wanted = cell.plan(COLAB, extra)
    assert stale == ["jax-cuda12-pjrt", "jax-cuda12-plugin", "libtpu"]
    jax = f"jax[{extra}]=={cell.JAX}" if extra else f"jax=={cell.JAX}"
    assert wanted == [f"seqjax[plot,train] @ {cell.SOURCE}", jax, "numpy==2.1.3"]


def test_a_jax_that_is_new_enough_stays(cell):
    stale, wanted = cell.plan(COLAB | {"jax": "0.13.1"}, "tpu")
    assert stale == [] and "jax[tpu]==0.13.1" in wanted


def test_nothing_is_installed_twice(cell):
    assert cell.plan(COLAB | {"seqjax": "0.1.0"}, "tpu") == ([], [])


def test_what_was_imported_before_needs_a_restart(cell):
    """Pytest is imported, and another version of it is installed; the accelerator's packages are
    not imported."""
    ran = []

    def pip(*arguments):
        ran.append(arguments)
        versions.update(pytest="9999", libtpu="0.0.42")

    versions = COLAB | {"pytest": "1"}
    cell.prepare.__globals__.update(installed=lambda: dict(versions), _pip=pip)
    assert cell.prepare("tpu") == ["pytest"]
    assert [arguments[0] for arguments in ran] == ["uninstall", "install"]


def test_an_accelerator_that_is_not_used_is_an_error(cell):
    names = cell.main.__globals__
    names.update(accelerator=lambda: "tpu", prepare=lambda extra: [])
    with pytest.raises(RuntimeError, match="runs on a CPU though there is a TPU"):
        cell.main()


def test_it_says_what_it_runs_on(cell, capsys):
    cell.main.__globals__.update(accelerator=lambda: "", prepare=lambda extra: [])
    assert "jax" in sys.modules
    cell.main()
    assert re.search(r"JAX [\d.]+ run on cpu: 4 x cpu", capsys.readouterr().out)


def test_the_oldest_jax_is_that_of_the_package(cell):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = next(need for need in project["dependencies"] if need.startswith("jax>="))
    assert oldest == "jax>=" + ".".join(map(str, cell.OLDEST))
