"""Span tags in other schemes than those that are learned."""

from collections.abc import Iterable, Sequence
from typing import Literal

from seqjax.decode.tag_schemes import Scheme

WrittenScheme = Literal["BIO", "BIOES", "IOB1", "BILOU"]
"""The encoding of spans in a file.

IOB1 is BIO where B- stands only between two spans of a kind that touch, and I- begins all others.
BILOU (also called BILUO) is BIOES with L- (last) for E- and U- (unit) for S-.
"""

BILOU = {"L": "E", "U": "S"}


def find_written_scheme(sequences: Iterable[Sequence[str]]) -> WrittenScheme | None:
    """The scheme of tag sequences; None if the tags mark no spans.

    IOB1 is told from BIO by its order: a span begins with I-, and every B- follows a tag of
    its kind.

    Example:
      >>> from seqjax.decode.tag_conversion import find_written_scheme
      >>> find_written_scheme([["I-PER", "B-PER", "O"]])
      'IOB1'
      >>> find_written_scheme([["B-PER", "I-PER", "O"], ["U-LOC"]])
      'BILOU'
    """
    sequences = list(sequences)
    parts = {tag.partition("-") for tags in sequences for tag in tags}
    positions = {position for position, _, kind in parts if kind}
    if not positions or any(not kind and position != "O" for position, _, kind in parts):
        return None
    if positions <= {"B", "I"}:
        return "IOB1" if _is_iob1(sequences) else "BIO"
    if positions <= {"B", "I", "E", "S"}:
        return "BIOES"
    return "BILOU" if positions <= {"B", "I", "L", "U"} else None


def _is_iob1(sequences: Iterable[Sequence[str]]) -> bool:
    begun_by_inside = False
    for tags in sequences:
        before = ""
        for position, _, kind in (tag.partition("-") for tag in tags):
            if position == "B" and kind != before:
                return False
            begun_by_inside |= position == "I" and kind != before
            before = kind
    return begun_by_inside


def standard_scheme(written: WrittenScheme) -> Scheme:
    """The scheme that is learned for a written one: BIO for IOB1, BIOES for BILOU.

    Example:
      >>> from seqjax.decode.tag_conversion import standard_scheme
      >>> standard_scheme("IOB1")
      'BIO'
    """
    return "BIO" if written in ("BIO", "IOB1") else "BIOES"


def to_standard(tags: Sequence[str], written: WrittenScheme | None) -> tuple[str, ...]:
    """The tags of a sequence in the scheme that is learned.

    Example:
      >>> from seqjax.decode.tag_conversion import to_standard
      >>> to_standard(["I-PER", "B-PER", "O", "I-LOC"], "IOB1")
      ('B-PER', 'B-PER', 'O', 'B-LOC')
    """
    if written == "BILOU":
        return tuple(_renamed(tag, BILOU) for tag in tags)
    if written != "IOB1":
        return tuple(tags)
    kinds = [tag.partition("-")[2] for tag in tags]
    return tuple(
        f"B-{kind}" if tag.startswith("I-") and kind != before else tag
        for tag, kind, before in zip(tags, kinds, ["", *kinds], strict=False)
    )


def from_standard(tags: Sequence[str], written: WrittenScheme | None) -> tuple[str, ...]:
    """The tags of a sequence in the scheme in which they were written.

    Example:
      >>> from seqjax.decode.tag_conversion import from_standard
      >>> from_standard(["B-PER", "B-PER", "O", "B-LOC"], "IOB1")
      ('I-PER', 'B-PER', 'O', 'I-LOC')
    """
    if written == "BILOU":
        return tuple(_renamed(tag, {"E": "L", "S": "U"}) for tag in tags)
    if written != "IOB1":
        return tuple(tags)
    kinds = [tag.partition("-")[2] for tag in tags]
    return tuple(
        f"I-{kind}" if tag.startswith("B-") and kind != before else tag
        for tag, kind, before in zip(tags, kinds, ["", *kinds], strict=False)
    )


def _renamed(tag: str, letters: dict[str, str]) -> str:
    position, dash, kind = tag.partition("-")
    return f"{letters.get(position, position)}{dash}{kind}" if kind else tag
