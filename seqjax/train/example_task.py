"""What is learned from examples with targets: the protocol of a task, and its defaults."""

import abc
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from flax import nnx

from seqjax.core.errors import InputError
from seqjax.core.types import Array, BatchKeys
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import Fields, Writer
from seqjax.data.formats.description import listed
from seqjax.data.padding import Encoded, truncate
from seqjax.data.tokenizer import Tokenizer
from seqjax.train.commands import EvaluateConfig, Log
from seqjax.train.config import RunConfig
from seqjax.train.encoded_parts import Learnable, encode_part
from seqjax.train.example_files import Data, find_data, hold_out, read_examples
from seqjax.train.paired_files import pairs, parallel
from seqjax.train.short_runs import notes_on_groups
from seqjax.train.task import Criterion

Batch = dict[str, Array]


class Split(NamedTuple):
    """Encoded examples to learn from, to choose the best checkpoint by, and to test on."""

    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    test: Sequence[Encoded]


class ExampleTask(abc.ABC):
    """A task whose data are examples: an input each and, for training, a target.

    A subclass is a frozen dataclass that holds the configuration and the preprocessing. It says
    how an example becomes arrays (`encode`), which model reads them (`model`, `loss`, `outputs`),
    how good the outputs are (`scores`) and what is written and drawn of them (`prediction`,
    `pictures`). Batches, devices, resuming, evaluation and prediction of files come with it, by
    `example_commands`. The methods with a body are defaults.

    Attributes:
      name: the word after `seqjax train`.
      config_type: the class of its options.
      config: its options.
      inputs: entries of an encoded example that the model reads.
      sequences: entries of an encoded example with a leading time axis.
      targets: entries with a time axis of their own, which the model learns to write.
      evaluation_only: entries that only `scores` looks at.
      evaluate_options: options of `seqjax evaluate` that it takes, besides run and checkpoint.
      predict_options: options of `seqjax predict` that it takes, besides run and checkpoint.
    """

    name: str
    config_type: type[RunConfig]
    config: Any
    inputs: tuple[str, ...] = ("inputs",)
    targets: tuple[str, ...] = ()
    evaluation_only: tuple[str, ...] = ()
    evaluate_options: frozenset[str] = frozenset({"input", "pictures", "skip_malformed"})
    predict_options: frozenset[str] = frozenset(
        {"input", "output", "probability", "skip_malformed"}
    )

    @classmethod
    @abc.abstractmethod
    def source(cls, name: str) -> Data:
        """The data set that `--source` names."""

    @classmethod
    @abc.abstractmethod
    def fit(
        cls, config: Any, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "ExampleTask":
        """The task with its preprocessing: vocabularies, labels, means and scales.

        Args:
          config: the options.
          examples: to learn from.
          held: those held out for validation; their labels count as well.

        Raises:
          InputError: if the examples do not fit together.
        """

    @classmethod
    @abc.abstractmethod
    def restore(cls, config: Any, preprocessing: dict[str, Any]) -> "ExampleTask":
        """The task of a saved run, from its options and what `preprocessing` gave."""

    @property
    @abc.abstractmethod
    def sequences(self) -> tuple[str, ...]:
        """Entries of an encoded example with a leading time axis."""

    @property
    @abc.abstractmethod
    def criterion(self) -> Criterion:
        """The score by which checkpoints are compared."""

    @abc.abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """All but the options, as JSON."""

    @abc.abstractmethod
    def encode(self, example: Example, *, with_target: bool = True) -> Encoded:
        """An example as arrays.

        Raises:
          InputError: if it does not fit the training data, or lacks its target.
        """

    @abc.abstractmethod
    def model(self, seed: int) -> nnx.Module:
        """A new model."""

    @abc.abstractmethod
    def loss(self, model: Any, batch: Batch, keys: BatchKeys) -> tuple[Array, Array]:
        """`(total, weight)` of a batch.

        Its `lengths` and `weights` tell padding from data; `progress` `(batch,)` is the share of
        the training that is done.
        """

    @abc.abstractmethod
    def outputs(self, model: Any, batch: Batch) -> Batch:
        """The model's outputs for a batch, arrays `(batch, ...)`."""

    @abc.abstractmethod
    def scores(self, examples: Sequence[Encoded], outputs: Sequence[Encoded]) -> dict[str, float]:
        """How good the outputs are, by name; the criterion first. Of an example, the entries that
        are not among `inputs` are there."""

    def verdict(self, scores: dict[str, float]) -> list[str]:
        """What scores mean for the user, where a model is of no use."""
        return []

    @abc.abstractmethod
    def prediction(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """The columns written for an example, such as `prediction` and `probability`."""

    @abc.abstractmethod
    def pictures(
        self, model: Any, examples: Sequence[Encoded], outputs: Sequence[Encoded]
    ) -> dict[str, Any]:
        """Matplotlib figures of the outputs, by name."""

    @property
    def buckets(self) -> int:
        """At most this many lengths of batches, and compilations."""
        return self.config.sequences.buckets

    @classmethod
    def load(cls, config: Any, log: Log) -> Data:
        """The user's files, or the data set that `--source` names."""
        if "targets" in cls.evaluate_options:
            found = parallel(config, partial(cls.pair, config), log)
            if found is not None:
                return found
        return find_data(config, cls.source, log)

    @classmethod
    def pair(cls, config: Any, lines: Sequence[Any], target: str) -> tuple[Any, Any]:
        """Input and target from lines of files in pieces; for tasks with the option `targets`.

        Args:
          config: the options.
          lines: of the input, one for each channel.
          target: the line of the target.

        Raises:
          FlawError: if they are none.
        """
        raise InputError(f"--train-targets: `{cls.name}` reads no files in pieces.")

    @classmethod
    def has_test_data(cls, config: Any) -> bool:
        """Whether a run of these options holds examples to test on."""
        return not config.files.train or bool(config.files.test)

    @classmethod
    def group(cls, config: Any, example: Example) -> str:
        """Validation takes the same share of the examples of each group."""
        return ""

    @classmethod
    def prepare(cls, data: Data, config: Any, log: Log) -> "tuple[ExampleTask, Split]":
        """The task fitted to the data, and the examples encoded."""
        train, validation, held = data.train, data.validation, []
        if validation is None:
            groups = [cls.group(config, example) for example in train]
            train, validation = hold_out(train, config.files.held_out, groups)
            held = validation
        by_group = ([cls.group(config, one) for one in part] for part in (train, validation))
        for line in notes_on_groups(*by_group):
            log(line)
        task = cls.fit(config, train, held)
        for line in task.remarks():
            log(line)
        parts = {"validation": validation, "test": data.test}
        for part, examples in parts.items():
            report_unseen(task, examples, part, log)
        learnable = task.learnable()
        return task, Split(
            encode_part(task, train, "training", log, learnable=learnable, scored=False),
            *(encode_part(task, examples, part, log) for part, examples in parts.items()),
        )

    def baseline(self, split: Split) -> float | None:
        """The criterion of one answer for all inputs, in validation; None if it is not known."""
        return None

    def remarks(self) -> list[str]:
        """What the user should know of how the task was fitted to the data."""
        return []

    def unseen(self, example: Example) -> Sequence[str]:
        """The labels or tags of an example that were not in the training data."""
        return ()

    @property
    def input_vocabulary(self) -> Tokenizer | None:
        """The vocabulary of `inputs`; None if they are no tokens."""
        return None

    def learnable(self) -> Learnable | None:
        """Which training examples the model can give a probability above zero; None for all."""
        return None

    def truncated(self, example: Encoded) -> Encoded:
        """An example of at most `--max-length` steps."""
        limits = self.config.sequences
        if not limits.max_length:
            return example
        side, sequences = limits.truncate_side, self.sequences
        return truncate([example], limits.max_length, side, sequences=sequences)[0][0]

    def digested(self, examples: Any) -> Iterable[Encoded]:
        """What older runs made their digest of: examples, or series that examples share."""
        return examples

    def summary(self) -> list[tuple[str, str]]:
        """More facts about the data than the number of examples, `(name, value)`."""
        return []

    def searching(self, beams: int) -> "ExampleTask":
        """The task with another number of beams; for those with a search."""
        raise InputError(f"--beams: there is no search in `{self.name}`.")

    def read(
        self, config: EvaluateConfig, fields: Fields, malformed: Malformed, log: Log
    ) -> list[Example]:
        """The examples of the files in `--input`, with their targets in `--targets` if given."""
        if config.targets:
            pair = partial(self.pair, self.config)
            return pairs("input", config.input, config.targets, pair, log)
        return read_examples(config.input, fields, malformed, log)

    def evaluation_examples(
        self, examples: Sequence[Example], malformed: Malformed, log: Log
    ) -> Sequence[Encoded]:
        """Examples of files, encoded for evaluation."""
        report_unseen(self, examples, "input", log)
        return encode_part(self, examples, "input", log, malformed=malformed)

    def encode_input(self, example: Example) -> Encoded:
        """An example without its target, encoded for prediction."""
        return self.truncated(self.encode(example, with_target=False))

    def write(self, writer: Writer, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes an example with its prediction; `writer` is that of the file's format."""
        writer.write(example, prediction)


def report_unseen(task: ExampleTask, examples: Sequence[Example], part: str, log: Log) -> None:
    """Names the labels that were not in the training data: they count as wrong.

    Raises:
      InputError: if all examples have such labels, so that other ones must be meant.
    """
    by_example = [task.unseen(example) for example in examples]
    names = list(dict.fromkeys(name for unseen in by_example for name in unseen))
    if not names:
        return
    count = sum(map(bool, by_example))
    what = f"{part}: {listed(names)} not in the training data"
    if count == len(examples) and count > 1:
        raise InputError(
            f"{what}, and every example of {examples[0].where} and after has such labels. Is it "
            "the right column?"
        )
    log(f"{what}: {count:,} of {len(examples):,} examples have such labels, which count as wrong")


def as_in_training(fields: Fields, preprocessing: Mapping[str, Any]) -> Fields:
    """The columns of a file, with those that were found in the training data."""
    found = dict(preprocessing.get("roles", {}))
    if preprocessing["values"] is not None:
        found["values"] = preprocessing["values"]
    # JSON has lists for tuples.
    tuples = {name: _tuple(value) for name, value in found.items()}
    return dataclasses.replace(fields, **tuples)


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
