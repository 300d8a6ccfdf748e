"""Installs seqjax in a Colab runtime, with a JAX for the TPU, GPU or CPU that is there.

The first cell of every notebook runs this file. Colab's own JAX may be older than seqjax needs.
Then JAX is replaced together with what ties it to the accelerator (libtpu, the CUDA plugin), which
only fits the JAX that it came with. NumPy stays: all else in the runtime was built with it.
"""

import importlib
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

SOURCE = os.environ.get("SEQJAX_SOURCE", "git+https://github.com/seqjax/seqjax")
OLDEST = (0, 10)
JAX = "0.10.2"
"""What replaces a JAX older than `OLDEST`; the suite runs on it."""

ACCELERATORS = {"tpu": "TPU", "cuda12": "GPU"}
"""What the extras of JAX are for."""

PLUGIN = re.compile(r"libtpu.*|jax-(cuda|rocm)\d+-(plugin|pjrt)")

CONTROLLERS = ("0x01", "0x02")
"""The PCI classes of disks and network cards: Google's are on machines without a TPU, too."""


def accelerator(root: Path = Path("/")) -> str:
    """The extra of JAX for the accelerator of this machine, or an empty string."""
    if (root / "dev/nvidiactl").exists():
        return "cuda12"
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _read(device / "vendor") == "0x1ae0" and _read(device / "class")[:4] not in CONTROLLERS:
            return "tpu"
    return ""


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def installed() -> dict[str, str]:
    """The version of every package; of two with one name, that which is imported."""
    importlib.invalidate_caches()
    found = [(dist.metadata["Name"], dist.version) for dist in metadata.distributions()]
    return {_normal(name): version for name, version in reversed(found) if name}


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def plan(found: dict[str, str], extra: str) -> tuple[list[str], list[str]]:
    """What to uninstall and what to install.

    Args:
      found: from `installed`.
      extra: from `accelerator`.
    """
    if "seqjax" in found:
        return [], []
    jax = found.get("jax", "0")
    keeps = tuple(map(int, re.findall(r"\d+", jax)[:2])) >= OLDEST
    stale = [] if keeps else sorted(filter(PLUGIN.fullmatch, found))
    kept = [f"numpy=={found['numpy']}"] if "numpy" in found else []
    wanted = f"jax[{extra}]" if extra else "jax"
    return stale, [f"seqjax[plot,train] @ {SOURCE}", f"{wanted}=={jax if keeps else JAX}", *kept]


def prepare(extra: str) -> list[str]:
    """Carries out the plan.

    Returns:
      Packages which this process has imported in a version that was replaced.
    """
    before, packages = installed(), metadata.packages_distributions()
    stale, wanted = plan(before, extra)
    if stale:
        _pip("uninstall", "-y", *stale)
    if wanted:
        _pip("install", *wanted)
    after = installed()
    replaced = {name for name in before if after.get(name) != before[name]}
    imported = {module.partition(".")[0] for module in list(sys.modules)}
    names = {_normal(name) for module in imported for name in packages.get(module, ())}
    return sorted(replaced & names)


def _pip(*arguments: str) -> None:
    _run(sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments)


QUESTION = "import jax; a, *b = jax.devices(); print(a.platform, 1 + len(b), a.device_kind)"


def device() -> tuple[str, str]:
    """The platform JAX runs on, `"tpu"` for example, and how many devices of which kind it has.

    A process of its own is asked as long as this one has not imported JAX: the notebook may still
    say how many devices a CPU is.
    """
    if "jax" in sys.modules:
        found = sys.modules["jax"].devices()
        return found[0].platform, f"{len(found)} x {found[0].device_kind}"
    answer = _run(sys.executable, "-c", QUESTION).split("\n")[-1]
    platform, count, kind = answer.split(maxsplit=2)
    return platform, f"{count} x {kind}"


def _run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout.strip()


def main() -> None:
    extra = accelerator()
    if replaced := prepare(extra):
        raise RuntimeError(
            f"seqjax is installed. {', '.join(replaced)} had been imported in another version: "
            "restart the session (Runtime > Restart session) and run the notebook from the top"
        )
    platform, devices = device()
    version = installed()["jax"]
    if extra and platform == "cpu":
        raise RuntimeError(
            f"JAX {version} runs on a CPU though there is a {ACCELERATORS[extra]}: take a new "
            "runtime (Runtime > Disconnect and delete runtime) and run the notebook from the top"
        )
    print(f"seqjax and JAX {version} run on {platform}: {devices}")


if __name__ == "__main__":
    main()
