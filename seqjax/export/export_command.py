"""`seqjax export`: a trained model for people who do not have seqjax."""

import dataclasses
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqjax.core.errors import InputError
from seqjax.export.given_tasks import Given, given
from seqjax.export.onnx_graph import NoOnnxFormError
from seqjax.export.portable import Entry, Program
from seqjax.export.program_files import FORMATS, Format, explained, outputs_of
from seqjax.export.run_scripts import run_script
from seqjax.interop.conversion import leaves
from seqjax.interop.files import write_file
from seqjax.interop.loaded import save
from seqjax.train.recipe import Recipe
from seqjax.train.run_folder import CONFIG, SavedRun

AGREES = 1e-4
"""A file that computes something else than the model by more than this, beside values of 1, is not
given away."""


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Writes a trained model as files that run where seqjax is not installed.

    A folder gets the programs `step` (one step, with the state as input and output) and `prefill`
    (whole sequences), `model.json`, which says what arrays mean, `example.npz` with inputs and the
    outputs of the model, and `run.py`, which replays it and shows how the model is used.
    """

    run: Path
    """Folder of the run."""
    folder: Path
    """The folder to write; it must not exist yet, or be empty."""
    format: Literal["onnx", "stablehlo", "safetensors"] = "onnx"
    """onnx, for onnxruntime; stablehlo, for JAX on a CPU, GPU or TPU; or safetensors, the weights
    alone: of an imported model as its family publishes them, of others under our names."""
    checkpoint: str = "best"
    """best, last, or the number of a step."""


def export_run(run: SavedRun, config: ExportConfig, log: Callable[[str], None]) -> list[Path]:
    """Writes a run as its users need it, whole or not at all.

    Args:
      run: a trained one.
      config: of the command.
      log: where lines for the user go.

    Returns:
      The files.

    Raises:
      InputError: if models of this task are not exported, an operation has no form in the format,
        or the folder holds something.
      ImportError: if a package is missing.
    """
    folder = config.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: name a new folder, or an empty one.")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    found = given(run, config.checkpoint)
    part.mkdir(parents=True)
    try:
        if config.format == "safetensors":
            _write_weights(part, run, found)
        else:
            _write_programs(part, found, config.format, log)
        if folder.exists():
            folder.rmdir()
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for note in found.notes if config.format != "safetensors" else ():
        log(f"note: {note}")
    files = sorted(folder.iterdir())
    log(f"checkpoint of step {found.step:,} in {folder}: {', '.join(one.name for one in files)}")
    return files


def _write_weights(folder: Path, run: SavedRun, found: Given) -> None:
    recipe = Recipe.restore(run.preprocessing) if run.kind == "lm" else None
    if recipe is not None and recipe.published is not None:
        save(recipe.published.with_weights(found.model), folder)
        published: Any = recipe.tokenizer
        for name, content in published.files().items():
            (folder / name).write_text(content, encoding="utf-8")
    else:
        arrays = {path: np.asarray(leaf.get_value()) for path, leaf in leaves(found.model).items()}
        write_file(folder / "model.safetensors", arrays)
        shutil.copyfile(run.folder / CONFIG, folder / CONFIG)
    _write_about(folder, found, {})


def _write_programs(folder: Path, found: Given, name: str, log: Callable[[str], None]) -> None:
    example: dict[str, np.ndarray] = {}
    described, largest = {}, 0.0
    for program in found.programs:
        inputs = program.example(found.carry)
        outputs, difference = _write_program(folder, program, FORMATS[name], found, inputs)
        largest = max(largest, difference)
        for what, arrays in (("inputs", inputs), ("outputs", outputs)):
            example |= {f"{program.name}/{what}/{key}": array for key, array in arrays.items()}
        described[program.name] = _described(program)
    np.savez(folder / "example.npz", **example)  # pyright: ignore[reportArgumentType]
    if found.carry:
        np.savez(folder / "carry.npz", **found.carry)  # pyright: ignore[reportArgumentType]
    _write_about(folder, found, described)
    script = run_script(name, found.task, found.about)
    (folder / "run.py").write_text(script, encoding="utf-8")
    log(f"largest difference between the files and the model: {largest:.1e}")


def _write_program(
    folder: Path,
    program: Program,
    form: Format,
    found: Given,
    inputs: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], float]:
    """Writes a program and runs what was written beside the model; `(outputs, difference)`."""
    try:
        content = form.write(program)
    except NoOnnxFormError as error:
        raise explained(error, program, found.model) from None
    (folder / f"{program.name}.{form.suffix}").write_bytes(content)
    outputs = program.run(inputs)
    others = form.load(content)(inputs)
    difference = 0.0
    for name, output in outputs.items():
        wide, other = output.astype(np.float64), others[name].astype(np.float64)
        if not np.allclose(other, wide, rtol=AGREES, atol=AGREES, equal_nan=True):
            raise InputError(
                f"{program.name}: {name} of the exported program is not that of the model, by up "
                f"to {np.nanmax(np.abs(other - wide)):.1e}. Nothing was written; please report it."
            )
        finite = np.isfinite(wide) & np.isfinite(other)
        difference = max(difference, float(np.abs(other - wide)[finite].max(initial=0.0)))
    return outputs, difference


def _described(program: Program) -> dict[str, Any]:
    def entry(shape: Any, dtype: Any) -> dict[str, Any]:
        sizes = [size if isinstance(size, int) else str(size) for size in shape]
        return {"shape": sizes, "dtype": np.dtype(dtype).name}

    inputs: Mapping[str, Entry] = program.inputs
    return {
        "inputs": {name: entry(one.shape, one.dtype) for name, one in inputs.items()},
        "outputs": {name: entry(one.shape, one.dtype) for name, one in outputs_of(program).items()},
    }


def _write_about(folder: Path, found: Given, programs: dict[str, Any]) -> None:
    about = {
        "task": found.task,
        "made_by": f"seqjax {importlib.metadata.version('seqjax')}",
        "checkpoint": found.step,
        **({"programs": programs} if programs else {}),
        **found.about,
    }
    text = json.dumps(about, ensure_ascii=False, indent=1)
    (folder / "model.json").write_text(text, encoding="utf-8")
