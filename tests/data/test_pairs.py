"""Pairs of sequences: what is in them, and that nothing of the test is trained on."""

import datetime

import pytest

from seqjax.core.errors import InputError
from seqjax.data.pairs import dates, load_pairs


def test_phonemes_are_split_by_word():
    train, validation, test = load_pairs("phonemes")
    assert (len(train), len(validation), len(test)) == (120_064, 1_260, 12_605)
    words = [{example.inputs for example in part} for part in (train, validation, test)]
    assert not words[0] & words[1] and not words[0] & words[2] and not words[1] & words[2]
    assert len(words[2]) == len(test)
    by_word = {}
    for example in (*validation, *test):
        by_word[example.inputs.replace(" ", "")] = example.target
    # No stress, every pronunciation once.
    assert all(len(set(said)) == len(said) for said in by_word.values())
    assert not any(character.isdigit() for said in by_word.values() for character in said[0])
    either = {e.target for e in train if e.inputs == "e i t h e r"} | set(by_word.get("either", ()))
    assert {"IY DH ER", "AY DH ER"} <= either


def test_dates_say_what_they_mean():
    train, validation, test = dates(count=240, seed=1)
    assert (len(train), len(validation), len(test)) == (200, 20, 20)
    texts = [example.inputs for example in (*train, *validation, *test)]
    assert len(set(texts)) == 240
    for example in train:
        day = datetime.date.fromisoformat(example.target)
        assert str(day.day) in example.inputs and f"{day.year % 100:02}" in example.inputs
    assert [e.inputs for e in dates(count=240, seed=1)[0]] == [e.inputs for e in train]


def test_verses_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("SWORD_PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"holds nothing\. Install .*apt-get install sword-text-kjv"
    ):
        load_pairs("verses")
    folder = tmp_path / "modules" / "texts" / "ztext" / "engKJV2006eb"
    folder.mkdir(parents=True)
    (folder / "ot.bzs").write_text("something else")
    with pytest.raises(InputError, match="other bytes than those known"):
        load_pairs("verses")


def test_no_such_pairs():
    with pytest.raises(InputError, match="no pairs 'proverbs'; there are phonemes, dates, verses"):
        load_pairs("proverbs")
