"""Spans of characters in a text as tags of its words, and back: spaCy, Prodigy, Doccano, ..."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seqjax.data.formats.file_access import FlawError
from seqjax.metrics.spans import find_spans

WORD = re.compile(r"\w+|[^\w\s]")
KEYS = ("entities", "spans", "label", "labels", "annotations")
"""Keys of spans: those of spaCy, Prodigy, Doccano and Label Studio."""

TEXTS = ("text", "content", "sentence", "data.text")
STARTS, STOPS = ("start", "start_offset"), ("end", "end_offset", "stop")
KINDS = ("label", "labels", "tag", "type", "entity")


class Token(NamedTuple):
    """A word or a punctuation mark, and where it stands in the text."""

    text: str
    start: int
    stop: int


class TextSpan(NamedTuple):
    """A span of characters."""

    start: int
    stop: int
    kind: str


def tokens_of(text: str) -> list[Token]:
    """The words and punctuation marks of a text.

    Example:
      >>> from seqjax.data.formats.text_spans import tokens_of
      >>> [token.text for token in tokens_of("Don't go to U.S.")]
      ['Don', "'", 't', 'go', 'to', 'U', '.', 'S', '.']
    """
    return [Token(found[0], found.start(), found.end()) for found in WORD.finditer(text)]


def tags_of_spans(text: str, spans: Sequence[TextSpan]) -> list[str]:
    """The BIO tags of the tokens of a text.

    Raises:
      FlawError: if a span is outside of the text, begins or ends inside a word, or overlaps
        another.

    Example:
      >>> from seqjax.data.formats.text_spans import TextSpan, tags_of_spans
      >>> tags_of_spans("Angela Merkel, Berlin", [TextSpan(0, 13, "PER"), TextSpan(15, 21, "LOC")])
      ['B-PER', 'I-PER', 'O', 'B-LOC']
    """
    tokens = tokens_of(text)
    tags = ["O"] * len(tokens)
    for span in spans:
        said = f"the span {span.start} to {span.stop} of {span.kind!r}"
        if not 0 <= span.start < span.stop <= len(text):
            raise FlawError(f"{said} is not inside the text, which has {len(text)} characters")
        inside = [i for i, t in enumerate(tokens) if t.start < span.stop and t.stop > span.start]
        if not inside:
            raise FlawError(f"{said} holds no word")
        first, last = tokens[inside[0]], tokens[inside[-1]]
        for token in (first, last):
            if token.start < span.start or token.stop > span.stop:
                raise FlawError(
                    f"{said}, {text[span.start : span.stop]!r}, begins or ends inside the word "
                    f"{token.text!r}"
                )
        if any(tags[place] != "O" for place in inside):
            raise FlawError(f"{said} overlaps another span")
        for place in inside:
            tags[place] = f"{'B' if place == inside[0] else 'I'}-{span.kind}"
    return tags


def spans_of_tags(text: str, tags: Sequence[str]) -> list[list[Any]]:
    """The spans of BIO tags of the tokens of a text, `[start, stop, kind]` each.

    Example:
      >>> from seqjax.data.formats.text_spans import spans_of_tags
      >>> spans_of_tags("Angela Merkel, Berlin", ["B-PER", "I-PER", "O", "B-LOC"])
      [[0, 13, 'PER'], [15, 21, 'LOC']]
    """
    tokens = tokens_of(text)
    return [
        [tokens[span.start].start, tokens[span.stop - 1].stop, span.kind]
        for span in find_spans(tags, "BIO")
    ]


def spans_of(value: Any, name: str) -> list[TextSpan]:
    """The spans of a JSON value: lists `[start, stop, kind]`, or objects with keys for these.

    Raises:
      FlawError: if it holds anything else.
    """
    if not isinstance(value, list):
        raise FlawError(f"{name!r}: expected a list of spans, got {value!r}"[:200])
    results = [item["result"] for item in value if isinstance(item, dict) and "result" in item]
    if results:
        # Label Studio: one list for each annotator, the first of which counts.
        value = [one.get("value", one) for one in results[0]]
    return [_span_of(item, name) for item in value]


def _span_of(item: Any, name: str) -> TextSpan:
    if isinstance(item, dict):
        start, stop, kind = (_first(item, keys) for keys in (STARTS, STOPS, KINDS))
    else:
        start, stop, kind = item if isinstance(item, list) and len(item) == 3 else (None,) * 3
    if isinstance(kind, list) and len(kind) == 1:
        (kind,) = kind
    if type(start) is not int or type(stop) is not int or not isinstance(kind, str):
        raise FlawError(f"{name!r}: expected a span [start, stop, kind], got {item!r}"[:200])
    return TextSpan(start, stop, kind)


def _first(item: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if name in item), None)


def find_text_spans(row: Mapping[str, Any], tag: str | None = None) -> tuple[str, str] | None:
    """The keys of the text and of its spans; None if an object has none.

    Args:
      row: an object.
      tag: the key of the spans; by default one of the usual names.
    """
    text = next((name for name in TEXTS if isinstance(value_at(row, name), str)), None)
    key = next((k for k in ((tag,) if tag else KEYS) if _are_spans(row.get(k), k)), None)
    return None if text is None or key is None else (text, key)


def value_at(row: Mapping[str, Any], name: str) -> Any:
    """The value of a key, or of a key of an object inside (`translation.en`); None without one."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _are_spans(value: Any, name: str) -> bool:
    """Whether a value is a list of spans; an empty one could be anything but is named so."""
    try:
        return value == [] if not value else bool(spans_of(value, name) or value)
    except (FlawError, TypeError):
        return False
