"""Published tokenizers: any text and back, whole or in pieces, whatever the bytes."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.core.errors import InputError
from seqjax.data.documents import Document
from seqjax.data.json_tokenizer import JsonTokenizer
from seqjax.data.rwkv_tokenizer import RWKVTokenizer
from seqjax.data.saved_tokenizers import tokenizer_from_json
from seqjax.data.subwords import SubwordVocabulary
from seqjax.data.tokenizer import Tokenizer, corpus_of, decoded
from seqjax.data.vocabulary import Vocabulary

TEXT = "Ünïcode ☃ 𝄞 the there\n" * 3
WORDS = (b"th", b"the", b"there", b"\n\n", "☃ ".encode(), b"\xc3\xbc\x9d")
RWKV = RWKVTokenizer((b"", *(bytes([n]) for n in range(256)), *WORDS))


def byte_pairs():
    """A tokenizer of bytes with two specials, as `tokenizers` trains them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    # Files have these; they must not cut or pad a text.
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=500)
    return JsonTokenizer(tokenizer.to_str(), boundary=0, stop=1)


KINDS = {
    "rwkv": lambda: RWKV,
    "json": byte_pairs,
    "bytes": lambda: Vocabulary("bytes"),
    "characters": lambda: Vocabulary.of([TEXT]),
    "words": lambda: Vocabulary.of([TEXT], kind="words"),
    "subwords": lambda: SubwordVocabulary.of([TEXT] * 5, size=40),
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


@pytest.fixture(scope="module", params=["rwkv", "json", "bytes"])
def bytewise(request):
    return KINDS[request.param]()


def test_the_protocol(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    again = tokenizer_from_json(json.dumps(json.loads(tokenizer.to_json())))
    assert again == tokenizer and len(again) == len(tokenizer)
    tokens = tokenizer.encode(TEXT)
    assert tokens.dtype == tokenizer.dtype and tokens.max() < len(tokenizer)
    assert again.encode(TEXT).tolist() == tokens.tolist()
    prompt = [tokenizer.boundary, *tokens]
    assert tokenizer.prompt(TEXT).tolist() == prompt
    assert tokenizer.prompt("").tolist() == [tokenizer.boundary]
    ends = [tokenizer.stop] * (tokenizer.stop is not None)
    corpus = corpus_of(tokenizer, [Document("1", TEXT)] * 2)
    assert corpus.tolist() == 2 * [*prompt, *ends]


@given(data=st.data())
def test_pieces_are_the_whole(tokenizer, data):
    """Tokens drawn at random are mostly no UTF-8; cut anywhere, the text is the same."""
    tokens = np.array(data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=30)), int)
    cuts = data.draw(st.lists(st.integers(0, len(tokens)), max_size=8))
    for pieces in (np.split(tokens, sorted(cuts)), [tokens[i : i + 1] for i in range(len(tokens))]):
        assert "".join(decoded(tokenizer, pieces)) == tokenizer.decode(tokens)


def test_characters_come_when_they_are_whole():
    snow = RWKV.encode("☃☃")
    assert len(snow) == 6
    assert list(decoded(RWKV, [snow[:2], snow[2:4], snow[4:]])) == ["☃", "☃"]
    broken = np.full(40, 1 + 0xE2)
    shown = list(decoded(RWKV, broken.reshape(-1, 1)))
    assert "".join(shown) == "\ufffd" * 40 and len(shown) == 40


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text(bytewise, text):
    assert bytewise.decode(bytewise.encode(text)) == text
    assert bytewise.unknown(text) == ()
    assert "".join(decoded(bytewise, [bytewise.encode(text)])) == text


@pytest.mark.parametrize("wrong", [[-1], [3, 2**40], [1.5]], ids=str)
def test_numbers_that_are_no_tokens(tokenizer, wrong):
    """Whatever reads them: a negative one is not a token from the end."""
    shown = str(wrong[-1])
    with pytest.raises(ValueError, match=rf"whole numbers from 0 to \d+; got {shown} among them"):
        tokenizer.decode(wrong)
    assert tokenizer.decode([]) == ""


def test_the_longest_match():
    assert RWKV.encode("therethe th").tolist() == [259, 258, 33, 257]
    assert RWKV.decode([259, 0, 258, 999]) == "there\n\nthe"


def test_the_file_of_rwkv():
    rows = "".join(f"{n + 1} {bytes([n])!r} 1\n" for n in range(128, 256))
    rows += "".join(f"{n + 1} {chr(n)!r} 1\n" for n in range(128))
    rows += "300 ' caf\\u00e9' 6\n301 b'\\xe2\\x98' 2\n"
    tokenizer = RWKVTokenizer.of_file(rows)
    assert tokenizer.encode(" café☃", end=True).tolist() == [300, 301, 0x83 + 1, 0]
    assert RWKVTokenizer.of_file("".join(tokenizer.files().values())) == tokenizer
    with pytest.raises(InputError, match=r"line 259: .* got \"302 __import__\('os'\) 2\""):
        RWKVTokenizer.of_file(rows + "302 __import__('os') 2\n")
    with pytest.raises(InputError, match="line 259: .*the length is another"):
        RWKVTokenizer.of_file(rows + "302 'abc' 2\n")
    with pytest.raises(InputError, match="each of the 256 bytes"):
        RWKVTokenizer.of_file(rows[: len(rows) // 2].rsplit("\n", 1)[0])


def test_what_is_no_tokenizer(monkeypatch):
    with pytest.raises(InputError, match="not a tokenizer.json that can be read"):
        JsonTokenizer("{}", boundary=0)
    with pytest.raises(InputError, match="no token 999, which should be the boundary"):
        JsonTokenizer(byte_pairs().content, boundary=999)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install 'seqjax\[interop\]'"):
        JsonTokenizer("{}", boundary=0)


def test_a_text_that_a_tokenizer_without_an_unknown_token_cannot_read():
    model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "[unk]"}
    tokenizer = JsonTokenizer(json.dumps({"model": model}), 0)
    for read in (tokenizer.encode, tokenizer.prompt, tokenizer.unknown):
        with pytest.raises(InputError, match="cannot read 'z' .* no token for a part"):
            read("z")
