"""`seqjax train`, `seqjax generate`, `seqjax evaluate`, `seqjax bench`."""

import dataclasses
import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from seqjax.core.errors import InputError
from seqjax.train.config import TrainConfig, differences
from seqjax.train.devices import use_cpu_cores

USAGE = """\
usage: seqjax COMMAND [OPTIONS]

  train      train a character language model, on Shakespeare or on your own text
  generate   write text with a trained model
  evaluate   bits per character of a text under a trained model
  bench      time and memory of a layer, beside other libraries

`seqjax COMMAND --help` lists the options of a command.
"""

FAILED = 2
"""Exit status after an error."""

STOPPED = 128
"""Added to the number of the signal for the exit status, as shells do."""


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Writes text with a trained model, character by character, in constant memory."""

    run: Path
    """Folder of the run."""
    prompt: str = ""
    """What to continue; nothing starts a new document."""
    length: int = 1000
    """Characters to write."""
    temperature: float = 0.8
    """0 takes the likeliest character every time, 1 samples from the model as it is."""
    top_k: int | None = None
    """Sample from the k likeliest characters only."""
    top_p: float | None = None
    """Sample from the fewest characters whose probability adds up to p."""
    seed: int = 0
    """The same seed writes the same text."""
    checkpoint: str = "best"
    """best, last, or a step."""


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Bits per character of a text under a trained model."""

    run: Path
    """Folder of the run."""
    text: tuple[Path, ...] = ()
    """Files or folders; by default the text held out from the run's training."""
    checkpoint: str = "best"
    """best, last, or a step."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 2 for an error, 128 + signal."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    commands = {
        "train": _train,
        "generate": _generate,
        "evaluate": _evaluate,
        "bench": _bench,
    }
    if command in ("", "-h", "--help"):
        print(USAGE, end="")
        return 0 if command else FAILED
    if command not in commands:
        print(f"error: there is no command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
        return FAILED
    try:
        use_cpu_cores()
        return commands[command](rest)
    except BrokenPipeError:
        # Whoever read our output has read enough. Nothing more can be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return STOPPED + signal.SIGINT
    except (InputError, OSError) as error:
        print(f"error: {_explain(error)}", file=sys.stderr)
        return FAILED
    except ModuleNotFoundError as error:
        if error.name not in ("orbax", "tensorboardX", "tqdm", "tyro"):
            raise
        print(
            f"error: {error.name} is not installed; the command line needs what "
            "pip install 'seqjax[train]' brings.",
            file=sys.stderr,
        )
        return FAILED


def _explain(error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    text = f"{error}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text = f"the disk is full ({error.filename or 'while writing the run'}). "
        text += "What was saved before is whole: make room, then continue with --resume."
    return text


def _parse(kind: type, arguments: Sequence[str], command: str, **options: Any) -> Any:
    import tyro

    return tyro.cli(
        kind,
        args=list(arguments),
        prog=f"seqjax {command}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
        **options,
    )


def _train(arguments: Sequence[str]) -> int:
    from seqjax.train.loop import train
    from seqjax.train.run import load_settings

    config = _parse(TrainConfig, arguments, "train")
    if config.resume is not None:
        # Parsed again with the saved settings as defaults, so that only what was asked for
        # explicitly can differ from them.
        saved = dataclasses.replace(load_settings(config.resume)[0], resume=config.resume)
        config = _parse(TrainConfig, arguments, "train", default=saved)
        other = differences(saved, config)
        if other:
            raise InputError(
                f"The run in {config.resume} was started with {'; '.join(other)}. Leave the option "
                "out to continue it as it was, or start a new run."
            )
    outcome = train(config)
    if outcome.stopped_by is not None:
        return STOPPED + outcome.stopped_by
    print(f'Done. Now try: seqjax generate {outcome.folder} --prompt "To be"')
    return 0


def _generate(arguments: Sequence[str]) -> int:
    from seqjax.data.vocabulary import BOUNDARY
    from seqjax.decode.sampling import check_sampling, generate
    from seqjax.train.run import load_model

    config = _parse(GenerateConfig, arguments, "generate")
    check_sampling(config.temperature, config.top_k, config.top_p)
    if config.length < 1:
        raise InputError(f"--length must be at least 1, got {config.length}.")
    model, vocabulary, _, _ = load_model(config.run, config.checkpoint)
    unknown = vocabulary.unknown(config.prompt)
    if unknown:
        known = getattr(vocabulary, "tokens", ())
        raise InputError(
            f"The model has never seen {', '.join(map(repr, unknown))}. It knows: "
            f"{''.join(known).strip()[:200]}"
        )
    print(config.prompt, end="", flush=True)
    pieces = generate(
        model,
        vocabulary.encode(config.prompt),
        jax.random.key(config.seed),
        length=config.length,
        boundary=BOUNDARY,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    for piece in pieces:
        print(vocabulary.decode(piece), end="", flush=True)
    print()
    return 0


def _evaluate(arguments: Sequence[str]) -> int:
    from seqjax.data.documents import read_documents
    from seqjax.metrics import compressed_bits_per_character
    from seqjax.train.devices import make_mesh
    from seqjax.train.evaluation import ROWS, Evaluator
    from seqjax.train.run import load_model
    from seqjax.train.texts import find_texts

    config = _parse(EvaluateConfig, arguments, "evaluate")
    model, vocabulary, settings, step = load_model(config.run, config.checkpoint)
    if config.text:
        documents = read_documents(config.text)
    else:
        documents = find_texts(settings.data, print).held_out
    text = "".join(text for _, text in documents)
    unknown = vocabulary.unknown(text)
    if unknown:
        count, examples = sum(map(text.count, unknown)), "".join(unknown)[:40]
        print(
            f"note: {count:,} of the {len(text):,} characters ({len(unknown)} different: "
            f"{examples!r}) were not in the training text; they cost what the model gives to an "
            "unknown character."
        )
    mesh = make_mesh(ROWS, None)
    model = jax.device_put(model, jax.sharding.NamedSharding(mesh, jax.P()))
    score = Evaluator(vocabulary.corpus(documents), mesh, settings.dtype)(model)
    print(f"model  {score.bits_per_character:.4f} bits per character (step {step:,})")
    for name, bits in compressed_bits_per_character(text).items():
        print(f"{name:5}  {bits:.4f}")
    print(f"       over {score.characters:,} characters in {len(documents)} documents")
    return 0


def _bench(arguments: Sequence[str]) -> int:
    from seqjax.bench.command import BenchConfig, bench

    return bench(_parse(BenchConfig, arguments, "bench"))


def entry() -> None:
    """`main` as a program: nothing but its own words reaches the terminal.

    When the disk is full, threads of the checkpoint and log writers fail too, and again at
    exit. What matters of it has reached `main` as an error.
    """
    threading.excepthook = lambda _: None
    status = main()
    if status == FAILED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    entry()
