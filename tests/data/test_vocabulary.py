"""Texts as numbers and back, for every kind of vocabulary."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.core.errors import InputError
from seqjax.data.documents import Document
from seqjax.data.saved_tokenizers import tokenizer_from_json
from seqjax.data.subwords import SubwordVocabulary
from seqjax.data.tokenizer import corpus_of
from seqjax.data.vocabulary import (
    BEGIN,
    BOUNDARY,
    END,
    PAD,
    UNKNOWN,
    Vocabulary,
)

TEXT = "Ünïcode ☃ 𝄞 text\n"
SENTENCES = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog\nsat"] * 5


@pytest.fixture(scope="module")
def subwords():
    return SubwordVocabulary.of(SENTENCES, size=40)


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_round_trip(kind):
    vocabulary = Vocabulary.of([TEXT], kind=kind)
    assert vocabulary.decode(vocabulary.encode(TEXT)) == TEXT
    assert vocabulary.decode(vocabulary.encode(TEXT, begin=True, end=True)) == "\n\n" + TEXT
    assert vocabulary.decode([BOUNDARY, UNKNOWN, PAD, END]) == "\n\n\ufffd"
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.encode(TEXT).max() < len(vocabulary)


@given(st.text())
def test_any_text_as_bytes(text):
    vocabulary = Vocabulary.of([], kind="bytes")
    tokens = vocabulary.encode(text)
    assert len(vocabulary) == 260 and vocabulary.dtype is np.uint16
    assert vocabulary.unknown(text) == ()
    assert tokens.tolist() == [4 + byte for byte in text.encode("utf-8", "surrogatepass")]


@given(st.text(), st.text())
def test_any_text_as_characters(known, text):
    vocabulary = Vocabulary.of([known])
    tokens = vocabulary.encode(text)
    assert len(tokens) == len(text)
    for character, token in zip(text, tokens.tolist(), strict=True):
        assert token == (4 + sorted(set(known)).index(character) if character in known else UNKNOWN)


def test_what_is_not_known():
    vocabulary = Vocabulary.of([TEXT])
    assert vocabulary.encode("§").tolist() == [UNKNOWN]
    assert vocabulary.unknown("e§¶") == ("§", "¶")
    words = Vocabulary.of([TEXT], kind="words")
    assert words.unknown("a text , a ☃") == (",", "a")
    assert Vocabulary.of([]).encode("ab").tolist() == [UNKNOWN, UNKNOWN]


def test_the_dtype_holds_every_token():
    many = Vocabulary("characters", tuple(chr(0x4E00 + i) for i in range(300)))
    assert many.encode("".join(many.tokens)).max() == 303
    assert many.dtype is np.uint16
    assert Vocabulary("characters", many.tokens[:252]).dtype is np.uint8
    assert Vocabulary("characters", many.tokens[:253]).dtype is np.uint16


def test_words_are_ordered_by_frequency_and_cut():
    texts = ["b b b a a c", "c d"]
    assert Vocabulary.of(texts, kind="words").tokens == ("b", "a", "c", "d")
    assert Vocabulary.of(texts, kind="words", minimum_count=2).tokens == ("b", "a", "c")
    assert len(Vocabulary.of(texts, kind="words", size=6)) == 6
    assert Vocabulary.of(texts, minimum_count=3).tokens == (" ", "b")
    assert Vocabulary.of(texts, size=6).tokens == (" ", "b")


def test_tokens_are_taken_as_they_are():
    vocabulary = Vocabulary.of([("New York", "is"), ("is", "it")], kind="words")
    assert vocabulary.tokens == ("is", "New York", "it")
    assert vocabulary.encode(("New York", "was"), begin=True, end=True).tolist() == [2, 5, 1, 3]
    assert vocabulary.decode([5, 4]) == "New York is"
    characters = Vocabulary.of([("a", "b")])
    assert characters.encode(("b", "a")).tolist() == [5, 4]
    with pytest.raises(ValueError, match="the token 'ab'; words need"):
        characters.encode(("ab",))
    with pytest.raises(ValueError, match="bytes takes a text"):
        Vocabulary("bytes").encode(("ab",))


def test_a_corpus_has_a_boundary_before_each_document(subwords):
    documents = [Document("1", "the cat"), Document("2", "a dog")]
    for vocabulary in (Vocabulary.of(["the cat a dog"]), Vocabulary("bytes"), subwords):
        corpus = corpus_of(vocabulary, documents)
        wanted = [BEGIN, *vocabulary.encode("the cat"), BEGIN, *vocabulary.encode("a dog")]
        assert corpus.tolist() == wanted and corpus.dtype == vocabulary.dtype
        assert vocabulary.decode(corpus) == "\n\nthe cat\n\na dog"


def test_subwords(subwords):
    for text in (*SENTENCES, " two  spaces at the dog "):
        known = "".join(c for c in text if c not in subwords.unknown(text))
        assert subwords.decode(subwords.encode(known)) == known
    text = SENTENCES[0]
    assert len(subwords.encode(text)) < len(text)
    assert subwords.unknown("cat§") == ("§",)
    assert UNKNOWN in subwords.encode("cat§") and "\ufffd" in subwords.decode(
        subwords.encode("cat§")
    )
    framed = subwords.encode("cat", begin=True, end=True)
    assert (framed[0], framed[-1]) == (BEGIN, END) and framed.dtype == subwords.dtype
    assert SubwordVocabulary.of(SENTENCES, size=40) == subwords
    with pytest.raises(InputError, match="no text to learn"):
        SubwordVocabulary.of(["", " "])


def test_json_round_trip(subwords):
    for vocabulary in (
        Vocabulary.of([TEXT]),
        Vocabulary.of([TEXT], kind="words"),
        Vocabulary("bytes"),
        subwords,
    ):
        again = tokenizer_from_json(json.loads(json.dumps(vocabulary.to_json())))
        assert again == vocabulary and len(again) == len(vocabulary)
        np.testing.assert_array_equal(again.encode("the ☃"), vocabulary.encode("the ☃"))


@pytest.mark.parametrize(
    "text",
    ["", "[]", '"abc"', "{}", '{"kind": "letters"}', '{"kind": "words"}',
     '{"kind": "words", "tokens": [1]}', '{"kind": "subwords"}',
     '{"kind": "subwords", "model": "?"}'],
)  # fmt: skip
def test_json_of_something_else(text):
    with pytest.raises(ValueError):
        tokenizer_from_json(text)


def test_without_sentencepiece_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r"pip install 'seqjax\[train\]'"):
        SubwordVocabulary.of(["a"])


def test_subwords_of_short_texts():
    vocabulary = SubwordVocabulary.of(["a b", "b"] * 5, size=20)
    assert vocabulary.decode(vocabulary.encode("b a")) == "b a"
