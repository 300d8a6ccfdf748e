"""Inputs in files of their own, which processes read in shares and do not keep."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from seqjax.data.examples import About, Example, Malformed, MalformedError, digest_of
from seqjax.data.formats.base import loaded
from seqjax.data.moments import Moments
from seqjax.train.connection import process_count, process_number
from seqjax.train.processes import require_same, said_by_all, spread


def looked_at(examples: Iterable[Example], malformed: Malformed) -> Iterator[Example]:
    """Examples of which all inputs can be read; all processes must call it together.

    One process reads them into its memory. Of several, each reads its share of those that are
    `Stored`, to tell the others what they are like, and keeps none: later, it reads those in its
    rows of a batch.

    Args:
      examples: of a file.
      malformed: of its rows.

    Raises:
      InputError: in all processes, where an input cannot be read in one, or they have other files.
    """
    if process_count() == 1:
        yield from loaded(examples, malformed)
        return
    every = list(examples)
    stored = [example for example in every if example.stored is not None]
    files = hashlib.sha256()
    for example in stored:
        files.update(f"{example.where} {example.stored and example.stored.size}\n".encode())
    content = {"the digest of the names and sizes of the files": files.hexdigest()[:12]}
    require_same({"the number of examples": len(every), **content})

    def look(place: int) -> list[Any]:
        example = stored[place]
        try:
            inputs = example.inputs
        except MalformedError as flaw:
            if not malformed.skip:
                raise
            return [str(flaw)]
        shape = None
        if isinstance(inputs, np.ndarray):
            shape = inputs.shape
            rows = inputs.reshape(len(inputs), -1) if inputs.ndim == 3 else inputs
            own[place] = Moments.of(rows.reshape(-1, rows.shape[-1]))
        return [None, shape, len(inputs), digest_of(inputs)]

    own: dict[int, Moments] = {}
    found = iter(enumerate(spread(len(stored), look)))
    for example in every:
        if example.stored is None:
            yield example
            continue
        place, (flaw, *about) = next(found)
        if flaw is not None:
            malformed.report(example.where, flaw)
            continue
        shape, length, digest = about
        shape = None if shape is None else tuple(shape)
        example.stored.about = About(shape, length, digest, own.get(place))
        yield example


def moments_of(examples: Sequence[Example]) -> Moments:
    """Those of all examples together; all processes must call it together.

    Stored ones are those of the processes that have looked at them, and not read again. Other
    numbers of processes add them up in another order: they agree up to rounding.
    """
    own = []
    for place, example in enumerate(examples):
        about = None if example.stored is None else example.stored.about
        if about is not None and about.moments is not None:
            own.append(about.moments)
        elif about is None and place % process_count() == process_number():
            inputs = example.inputs
            own.append(Moments.of(inputs.reshape(-1, inputs.shape[-1])))
    summed = [dataclasses.astuple(reduce(Moments.__add__, own))] if own else []
    told = json.dumps([[part.tolist() for part in parts] for parts in summed])
    shares = [share for text in said_by_all(told) for share in json.loads(text)]
    return reduce(Moments.__add__, (Moments(*map(np.array, share)) for share in shares))
