"""A whole file for each text format, and what every one of them must say no to."""

from typing import NamedTuple

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format


class Sample(NamedTuple):
    """A file that is as it should be."""

    name: str
    content: str
    fields: Fields
    examples: int
    bad: str
    """A line that, put after the others, is malformed by one byte, `%`."""


SAMPLES = {
    "csv": Sample(
        "a.csv",
        'text,label\nwarm and kind,good\n"cold, and wet",bad\n',
        Fields(text="text", label="label"),
        2,
        "caf%,bad\n",
    ),
    "jsonl": Sample(
        "a.jsonl",
        '{"text": "warm", "label": "good"}\n{"text": "cold", "label": "bad"}\n',
        Fields(text="text", label="label"),
        2,
        '{"text": "caf%", "label": "bad"}\n',
    ),
    "conllu": Sample(
        "a.conllu",
        "# one\n1\tdogs\t_\tNOUN\t_\t_\t2\t_\t_\t_\n2\trun\t_\tVERB\t_\t_\t0\t_\t_\t_\n\n"
        "1\tgo\t_\tVERB\t_\t_\t0\t_\t_\t_\n\n",
        Fields(tag="upos"),
        2,
        "1\tcaf%\t_\tNOUN\t_\t_\t0\t_\t_\t_\n\n",
    ),
    "ts": Sample(
        "a.ts",
        "# about\n@problemName a\n@univariate true\n@classLabel true x y\n@data\n1,2,3:x\n4,5:y\n",
        Fields(),
        2,
        "1,%:x\n",
    ),
    "txt": Sample("a.txt", "warm and kind\ncold\n", Fields(), 2, "caf%\n"),
}


def read(path, fields=None, skip=False):
    """The examples and the count of malformed rows of a file."""
    malformed = Malformed(skip)
    found = list(find_format(path).read(path, fields or Fields(), malformed))
    return found, malformed


def complaint(path, fields=None):
    """The message with which a file is refused; it must begin with the file's name."""
    try:
        read(path, fields)
    except InputError as error:
        message = str(error)
    else:
        raise AssertionError(f"{path} was read")
    assert str(path) in message and "\n" not in message, message
    return message.replace(str(path), path.name)
