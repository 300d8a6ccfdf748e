"""The texts of a language model."""

import pytest

from seqjax.core.errors import InputError
from seqjax.train.texts import documents_in


def test_a_document_in_every_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\ntwo", "meta": 1}\n{"text": "three"}\n')
    (tmp_path / "b.txt").write_text("four")
    found = documents_in([path, tmp_path / "b.txt"], (".txt",))
    assert [text for _, text in found] == ["one\ntwo", "three", "four"]
    path.write_text('{"body": "x"}\n')
    with pytest.raises(InputError, match="line 1: expected the key 'text', got 'body'"):
        documents_in([path], ())
