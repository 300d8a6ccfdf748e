"""What a run with few steps, few examples or rare classes should say of itself."""

from collections import Counter
from collections.abc import Sequence

from seqjax.data.formats.description import listed
from seqjax.train.config import RunConfig
from seqjax.train.task import Criterion

FEW = 10
"""Validation examples below which scores say little."""


def notes_on_steps(config: RunConfig) -> list[str]:
    """Where a run ends before its first validation."""
    if config.validate_every <= config.steps:
        return []
    patience = ", and --patience cannot end the run" if config.patience else ""
    return [
        f"--validate-every {config.validate_every:,} is beyond --steps {config.steps:,}: the only "
        f"validation is the one after the last step{patience}"
    ]


def notes_on_examples(config: RunConfig, train: int, validation: int) -> list[str]:
    """Where examples are too few for a batch or for a score, or too many for the steps.

    Args:
      config: the options.
      train, validation: number of examples.

    Example:
      >>> from seqjax.train.config import RunConfig
      >>> notes_on_examples(RunConfig(batch=64, steps=10), 1000, 100)
      ['--steps 10 with --batch 64 see 640 of the 1,000 training examples']
    """
    found = []
    seen = config.steps * config.batch
    if train < config.batch:
        found.append(
            f"{train:,} training examples are fewer than --batch {config.batch}: every step sees "
            "all of them, and the rest of a batch is padding"
        )
    elif seen < train:
        found.append(
            f"--steps {config.steps:,} with --batch {config.batch} see {seen:,} of the {train:,} "
            "training examples"
        )
    if validation < FEW:
        found.append(
            f"{validation} validation examples: their scores say little; --held-out or "
            "--validation gives more"
        )
    return found


def notes_on_groups(train: Sequence[str], validation: Sequence[str]) -> list[str]:
    """The classes with one training example, and those that validation lacks."""
    counts = Counter(train)
    once = [name for name, count in sorted(counts.items()) if count == 1 and len(counts) > 1]
    absent = sorted(set(train) - set(validation))
    found = [f"one training example only: {listed(once)}"] if once else []
    if absent and validation:
        found.append(f"not in validation, which says nothing of them: {listed(absent)}")
    return found


def note_on_outcome(criterion: Criterion, best_cost: float, steps: int) -> str:
    """That the best validation is no better than one answer for all; empty if it is."""
    if criterion.baseline is None or best_cost < criterion.cost(criterion.baseline):
        return ""
    # The cost of a score is the score or its opposite.
    name, best = criterion.name.replace("_", " "), criterion.cost(best_cost)
    return (
        f"Nothing of use was learned: the best validation has {name} {best:.4f}, and one answer "
        f"for all inputs {criterion.baseline:.4f}. Train longer (--steps, now {steps:,}), on more "
        "data, or see `seqjax check` for what the files hold."
    )
