"""`seqjax bench --cells`: the cells of the catalogue beside their own step loop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from seqjax.bench.families_report import (
    HEADER,
    generation_line,
    main_table,
    published_table,
    save_families,
    training_lines,
)
from seqjax.bench.generation import Generation, generation
from seqjax.bench.timed import CELLS
from seqjax.bench.training import Training, training
from seqjax.core.errors import InputError
from seqjax.engines.methods import METHODS

SHAPES = ((512, 8), (4096, 1), (32768, 1))
"""Time and batch size."""

MOST_BYTES = 6e9
"""Train steps that need more temporary memory are not run."""


def chosen(names: Sequence[str]) -> list[str]:
    """The cells that are meant, `all` being all of them."""
    unknown = set(names) - {*CELLS, "all"}
    if unknown:
        raise InputError(f"--cells: {sorted(unknown)} are none of {[*CELLS, 'all']}.")
    return list(CELLS) if "all" in names else list(dict.fromkeys(names))


def known(methods: Sequence[str]) -> tuple[str, ...]:
    """The methods that are meant. If none is named, those that `auto` may pick here: no kernels
    that are interpreted, and no Newton's method. The plain loop is always among them."""
    unknown = set(methods) - set(METHODS)
    if unknown:
        raise InputError(f"--methods: {sorted(unknown)} are none of {list(METHODS)}.")
    never = {"newton"} if jax.default_backend() == "tpu" else {"newton", "fused"}
    meant = methods or [name for name in METHODS if name not in never]
    return ("plain", *(name for name in METHODS if name != "plain" and name in meant))


def families(
    names: Sequence[str],
    *,
    features: int,
    shapes: Sequence[tuple[int, ...]],
    methods: Sequence[str],
    steps: int,
    seconds: float,
    published: bool,
    out: Path,
    extra: dict[str, Any],
) -> None:
    """Times training and generation of some cells, prints and saves the results.

    Args:
      names: of the catalogue.
      features: width of inputs and outputs.
      shapes: time and batch size of the inputs to train on.
      methods: those to try, the plain loop first.
      steps: length of the generated sequence.
      seconds: about how long each race lasts.
      published: whether implementations by others take part in training.
      out: folder; it is written anew after each cell.
      extra: goes into the JSON as well.

    Raises:
      InputError: at the end, if methods of a cell compute different numbers.
    """
    trained: list[Training] = []
    generated: list[Generation] = []
    complaints = []
    print(f"\ntrain step, {features} features, one device\n{HEADER}")
    for name in names:
        cell = CELLS[name](features)
        for time, batch in shapes:
            try:
                new = training(
                    name,
                    cell,
                    features,
                    time=time,
                    batch=batch,
                    methods=methods,
                    seconds=seconds,
                    most_bytes=MOST_BYTES,
                    published=published,
                )
            except InputError as complaint:  # The others are measured all the same.
                print(complaint)
                complaints.append(str(complaint))
                continue
            print(training_lines(new), flush=True)
            trained += new
            jax.clear_caches()
        made = generation(name, cell, features, steps)
        print(generation_line(made), flush=True)
        generated.append(made)
        save_families(trained, generated, out, extra)
    print(f"\n{main_table(trained, generated)}")
    if any(entry.published for entry in trained):
        print(f"\n{published_table(trained)}")
    print(f"\nsaved: {out / 'families.json'}")
    if complaints:
        raise InputError("methods differ in what they compute:\n" + "\n".join(complaints))
