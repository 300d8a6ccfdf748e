"""Encoded examples that are made when they are asked for, and not kept."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np

from seqjax.data.padding import Encoded, steps_of


class Lengths(NamedTuple):
    """How long the sequences of some examples are.

    Attributes:
      steps: `(examples,)`, time steps of each example, 0 without sequences.
      targets: `(examples,)` for each target sequence, by the name of its entry.
    """

    steps: np.ndarray
    targets: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls, examples: Sequence[Encoded], sequences: Sequence[str], targets: Sequence[str]
    ) -> "Lengths":
        """Those of examples, which are made for it only if their lengths are not known.

        Args:
          examples: encoded.
          sequences: the entries with a leading time axis.
          targets: the entries with a time axis of their own.
        """
        if isinstance(examples, OnDemand):
            return examples.lengths
        steps = [steps_of(example, sequences) for example in examples]
        own = {
            name: np.array([len(example[name]) for example in examples], int) for name in targets
        }
        return cls(np.array(steps, int), own)

    @property
    def longest(self) -> np.ndarray:
        """`(examples,)`: of the inputs or of the longest target, whichever is longer."""
        return np.max([self.steps, *self.targets.values()], axis=0)


class OnDemand(Sequence[Encoded]):
    """Examples that are encoded each time they are asked for; their lengths are known before.

    Args:
      encode: makes the example of a number.
      lengths: of all examples.
      numbers: of all examples, `(examples,)`, by the name of an entry that is a single number.
      answers: all examples without the entries that a model reads, if they are in memory.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.on_demand import Lengths, OnDemand
      >>> texts = ["a", "abc"]
      >>> lengths = Lengths(np.array([1, 3]), {})
      >>> examples = OnDemand(lambda i: {"inputs": np.array([*map(ord, texts[i])])}, lengths)
      >>> len(examples), examples[1]["inputs"].tolist()
      (2, [97, 98, 99])
    """

    def __init__(
        self,
        encode: Callable[[int], Encoded],
        lengths: Lengths,
        numbers: Mapping[str, np.ndarray] | None = None,
        answers: Sequence[Encoded] | None = None,
    ):
        self.encode, self.lengths, self.numbers = encode, lengths, numbers or {}
        self.answers = answers

    def __len__(self) -> int:
        return len(self.lengths.steps)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Encoded]: ...

    def __getitem__(self, index: int | slice) -> Encoded | Sequence[Encoded]:
        numbers = range(len(self))[index]
        return self.encode(numbers) if isinstance(numbers, int) else [*map(self.encode, numbers)]


def answers_of(examples: Sequence[Encoded]) -> Sequence[Encoded]:
    """What scores look at: the examples, which need not be encoded for it if their answers are in
    memory."""
    answers = examples.answers if isinstance(examples, OnDemand) else None
    return examples if answers is None else answers


def without(examples: Sequence[Encoded], names: Sequence[str]) -> Sequence[Encoded]:
    """Examples without these entries, which are no sequences.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.on_demand import without
      >>> without([{"inputs": np.array([7]), "note": np.array(1)}], ["note"])
      [{'inputs': array([7])}]
    """

    def kept(example: Encoded) -> Encoded:
        return {name: value for name, value in example.items() if name not in names}

    if isinstance(examples, OnDemand):
        return OnDemand(lambda number: kept(examples[number]), examples.lengths)
    return [kept(example) for example in examples]
