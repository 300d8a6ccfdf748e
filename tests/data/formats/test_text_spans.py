"""Spans of characters as tags of words: what spaCy, Prodigy, Doccano and Label Studio write."""

import json

import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.fields import FIND

TAGGED = Fields(tokens=FIND, tag=FIND)
TEXT = "Zoë Merkel left Paris, (TX)."
SPANS = [[0, 10, "PER"], [16, 21, "LOC"]]
TOKENS = ("Zoë", "Merkel", "left", "Paris", ",", "(", "TX", ")", ".")
TAGS = ("B-PER", "I-PER", "O", "B-LOC", "O", "O", "O", "O", "O")
OBJECTS = [{"start": a, "end": b, "label": kind} for a, b, kind in SPANS]
STUDIO = [{"value": {"start": a, "end": b, "labels": [kind]}} for a, b, kind in SPANS]
FILES = {
    "spaCy": ("a.json", [[TEXT, {"entities": SPANS}]]),
    "lines": ("a.jsonl", {"text": TEXT, "entities": SPANS}),
    "Prodigy": ("a.jsonl", {"text": TEXT, "tokens": [{"text": "Zoë"}], "spans": OBJECTS}),
    "Doccano": ("a.jsonl", {"id": 1, "text": TEXT, "label": SPANS, "Comments": []}),
    "Label Studio": (
        "a.json", [{"id": 1, "data": {"text": TEXT}, "annotations": [{"result": STUDIO}]}],
    ),
}  # fmt: skip


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(json.dumps(content) + "\n")
    return path


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_spans_become_tags_and_tags_spans(name, content, tmp_path):
    path, target = write(tmp_path, name, content), tmp_path / "b.jsonl"
    found = find_format(path, TAGGED)
    description = found.describe(path, TAGGED)
    assert "spans of characters, as tags of words" in description.lines()[0]
    (example,) = found.read(path, description.fields, Malformed(False))
    assert (example.inputs, example.target) == (TOKENS, TAGS)
    with found.writer(target, path, description.fields) as writer:
        writer.write(example, {"prediction": TAGS, "probability": [0.5, 0.25, 1, 0.75, *[1] * 5]})
    written = json.loads(target.read_text())
    assert written["prediction"] == SPANS and written["probability"] == [0.25, 0.75]
    assert "data" in written or written["text"] == TEXT


@pytest.mark.parametrize(
    ("span", "message"),
    [
        (
            [1, 10, "PER"],
            "the span 1 to 10 of 'PER', 'oë Merkel', begins or ends inside the word 'Zoë'",
        ),
        ([0, 8, "PER"], "inside the word 'Merkel'"),
        ([0, 99, "PER"], "not inside the text, which has 28 characters"),
        ([17, 18, "LOC"], "'Paris'"),
        ([10, 11, "LOC"], "holds no word"),
        ([4, 10, "PER"], "overlaps another span"),
        ([4, "PER"], r"expected a span \[start, stop, kind\], got \[4, 'PER'\]"),
    ],
)
def test_spans_that_fit_no_words(span, message, tmp_path):
    rows = [{"text": TEXT, "entities": SPANS}, {"text": TEXT, "entities": [[0, 3, "PER"], span]}]
    if "overlaps" in message:
        rows[1]["entities"] = [[0, 10, "PER"], span]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find_format(path, TAGGED)
    fields = found.describe(path, TAGGED).fields
    with pytest.raises(InputError, match=f"line 2: .*{message}"):
        list(found.read(path, fields, Malformed(False)))


def test_texts_to_tag_are_split_in_the_same_way(tmp_path):
    fields = Fields(tokens="text", tag="entities", spans=True, require_target=False)
    path = tmp_path / "a.txt"
    path.write_text(TEXT + "\n")
    assert [e.inputs for e in find_format(path, fields).read(path, fields, Malformed(False))] == [
        TOKENS
    ]
    path = write(tmp_path, "b.jsonl", {"text": TEXT})
    (example,) = find_format(path, fields).read(path, fields, Malformed(False))
    assert (example.inputs, example.target) == (TOKENS, None)
