"""Tag schemes of spans, and their valid transitions."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.decode.crf import Transitions

Scheme = Literal["BIO", "BIOES"]
"""The encoding of spans as tags.

BIO (also called IOB2): B- begins a span, I- continues it, O is outside. BIOES (also called
IOBES): I- is inside, E- ends a span, and S- is a span of one step.
"""


def split_tag(tag: str, scheme: Scheme) -> tuple[str, str]:
    """`"B-PER"` as `("B", "PER")`, `"O"` as `("O", "")`.

    Raises:
      InputError: if the tag does not fit the scheme.

    Example:
      >>> from seqjax.decode.tag_schemes import split_tag
      >>> split_tag("B-PER", "BIO")
      ('B', 'PER')
    """
    if scheme not in ("BIO", "BIOES"):
        raise ValueError(f'The scheme must be "BIO" or "BIOES", got {scheme!r}.')
    position, _, kind = tag.partition("-")
    inside = position != "O" and position in tuple(scheme) and kind
    if tag != "O" and not inside:
        letters = ", ".join(f"{letter}-PER" for letter in scheme if letter != "O")
        raise InputError(
            f"The tag {tag!r} does not fit the scheme {scheme}, whose tags look like O, {letters}. "
            "Mend the tag, choose the other scheme, or use none."
        )
    return position, kind


def allowed_transitions(tags: Sequence[str], scheme: Scheme | None) -> Transitions:
    """The valid transitions between tags, and from the start and to the end of a sequence.

        B-X or I-X may be followed by:  anything but I-Y (BIO);  I-X and E-X only (BIOES)
        anything else, and the start:   O, B-, S-
        the end:                        after anything (BIO);  not after B- or I- (BIOES)

    Args:
      tags: the names of the tags, in the order of their numbers.
      scheme: "BIO" (begin, inside, outside), "BIOES" (end and single too), or None, which
        allows all transitions and any tag names.

    Returns:
      `Transitions` of bool, for `seqjax.decode.crf.forbid`.

    Raises:
      InputError: if there are no tags, or one does not fit the scheme.

    Example:
      >>> from seqjax.decode.tag_schemes import allowed_transitions
      >>> allowed_transitions(["O", "B-PER", "I-PER"], "BIO").between
      Array([[ True,  True, False],
             [ True,  True,  True],
             [ True,  True,  True]], dtype=bool)

    Source: Ramshaw and Marcus 1995, arXiv:cmp-lg/9505040.
    """
    if not tags:
        raise InputError("There are no tags; a tagger needs at least one.")
    if scheme is None:
        between = np.ones((len(tags), len(tags)), bool)
        edge = np.ones(len(tags), bool)
        return Transitions(jnp.asarray(between), jnp.asarray(edge), jnp.asarray(edge))
    parts = [split_tag(tag, scheme) for tag in tags]
    outside = ("O", "")
    between = [[_may_follow(before, after, scheme) for after in parts] for before in parts]
    start = [_may_follow(outside, after, scheme) for after in parts]
    end = [_may_follow(before, outside, scheme) for before in parts]
    return Transitions(*(jnp.asarray(np.array(flags, bool)) for flags in (between, start, end)))


def _may_follow(before: tuple[str, str], after: tuple[str, str], scheme: Scheme) -> bool:
    is_open = before[0] in ("B", "I")
    if after[0] in ("I", "E"):
        return is_open and before[1] == after[1]
    return scheme == "BIO" or not is_open
