"""`seqjax import`: a run of a published model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax

from seqjax.core.errors import InputError
from seqjax.core.trees import tree_bytes
from seqjax.data.tokenizer import Tokenizer
from seqjax.interop.blueprint import Published
from seqjax.interop.loaded import Loaded, load
from seqjax.interop.origin import read_config
from seqjax.interop.tokenizer_files import read_tokenizer
from seqjax.nn.language_model import LanguageModel
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.config import OptimizerConfig
from seqjax.train.recipe import Recipe, options_of
from seqjax.train.run_folder import CONFIG, SavedRun, save_run
from seqjax.train.tasks.lm import LM, LanguageConfig
from seqjax.train.texts import TextConfig


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """Makes a run of a published language model, for all commands that take one."""

    source: Path
    """Folder with config.json, weights and tokenizer, or a file of weights. Nothing is fetched."""
    run: Path
    """Folder of the new run."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the parameters and of the computation; decays and step sizes stay in float32."""
    tokenizer: Path | None = None
    """Folder or file of the tokenizer, if it is elsewhere: tokenizer.json, or
    rwkv_vocab_v20230424.txt."""
    boundary: str | None = None
    """The token between documents, such as '<|endoftext|>', if the files do not name it."""
    family: str | None = None
    """Family of the weights, if the files do not tell it."""


def import_model(config: ImportConfig, log: Callable[[str], None]) -> None:
    """Reads a published model and writes it as a run, which needs the source no longer.

    Raises:
      InputError: if there is a run already, or something of the model is missing or unknown.
    """
    if (config.run / CONFIG).exists():
        raise InputError(f"{config.run} already holds a run: name another folder.")
    loaded = load(config.source, family=config.family, dtype=config.dtype)
    model = loaded.model
    if not isinstance(model, LanguageModel):
        raise InputError(
            f"{config.source} holds a layer, of the family {loaded.family.name}, and no language "
            "model: in Python, sj.interop.load reads it."
        )
    folder = config.source if config.source.is_dir() else config.source.parent
    tokenizer = read_tokenizer(config.tokenizer or folder, read_config(folder), config.boundary)
    if len(tokenizer) > model.vocabulary_size:
        raise InputError(
            f"The tokenizer has {len(tokenizer):,} tokens and the model {model.vocabulary_size:,}: "
            "it belongs to another one."
        )
    config.run.mkdir(parents=True, exist_ok=True)
    Checkpoints(config.run / "checkpoints").save(0, {"model": model}, None)
    save_run(
        SavedRun(
            config.run,
            LM.name,
            LanguageConfig(
                model=options_of(loaded.family.name, model),
                data=TextConfig(time=128),
                optimization=OptimizerConfig(learning_rate=1e-4),
                batch=8,
                steps=1000,
                dtype=config.dtype,
            ),
            Recipe(tokenizer, Published.of(loaded)).preprocessing(),
            {"name": f"imported from {config.source}", "sha256": ""},
        )
    )
    for line in _summary(config, loaded, tokenizer):
        log(line)


def _summary(config: ImportConfig, loaded: Loaded, tokenizer: Tokenizer) -> list[str]:
    model: Any = loaded.model
    count = sum(leaf.size for leaf in jax.tree.leaves(model))
    state = tree_bytes(jax.eval_shape(model.initial_carry))
    return [
        f"run         {config.run}",
        f"model       {loaded.family.name}, {count:,} parameters, {config.dtype}, "
        f"{tree_bytes(model):,} bytes",
        f"tokenizer   {len(tokenizer):,} tokens, number {tokenizer.boundary} between documents",
        f"state       {state:,} bytes while it writes, however long the text",
    ]
