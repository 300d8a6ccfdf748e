"""The targets of a classifier: a class, labels or a number."""

from collections.abc import Sequence

from seqjax.core.errors import InputError
from seqjax.data.examples import Example

TARGET_TYPES = {"class": (str,), "labels": (tuple,), "number": (float, int)}
"""What the readers of files make of a class, of labels and of a number."""


def check_target(target: str, example: Example) -> None:
    """Raises `InputError` unless the target of an example is of this kind."""
    found = example.target
    if not isinstance(found, TARGET_TYPES[target]):
        kinds = {str: "class", tuple: "labels", float: "number", int: "number"}
        other = kinds.get(type(found))
        advice = f" (--target {other} would fit)" if other else ""
        raise InputError(
            f"{example.where}: --target {target} does not fit the target {found!r}{advice}."
        )


def labels_of(target: str, examples: Sequence[Example]) -> tuple[str, ...]:
    """The names of the classes or labels, sorted; none for numbers.

    Args:
      target: `"class"`, `"labels"` or `"number"`.
      examples: with their targets.

    Raises:
      InputError: if a target is of another kind, there is one class only, or no label at all.

    Example:
      >>> from seqjax.data.examples import Example
      >>> from seqjax.train.class_labels import labels_of
      >>> labels_of("class", [Example("fine", "good"), Example("poor", "bad")])
      ('bad', 'good')
    """
    for example in examples:
        check_target(target, example)
    if target == "number":
        return ()
    if target == "class":
        found = {example.target for example in examples}
    else:
        found = {label for example in examples for label in example.target}
    if target == "class" and len(found) < 2:
        raise InputError(
            f"The training data has one class only, {next(iter(found))!r}: there is nothing to "
            "tell apart. Is --label the right column?"
        )
    if not found:
        raise InputError("No example has a label; is --label the right column?")
    return tuple(sorted(found))
