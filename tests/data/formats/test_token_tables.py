"""Tables with a word in every line, and tables of rows with one word each."""

import json

import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.fields import FIND
from tests.data.formats.table import complaint

TAGGED = Fields(tokens=FIND, tag=FIND)
CONLL_2003 = (
    "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n"
    "# NN B-NP O\nPeter NNP I-NP B-PER\n"
)
FILES = {
    "CoNLL-2003": ("eng.train", CONLL_2003, [("EU", "B-ORG"), ("rejects", "O")], "the last column"),
    "CoNLL-2003 as text": ("a.txt", CONLL_2003, [("EU", "B-ORG"), ("rejects", "O")], "'word'"),
    "WNUT": ("a.conll", "#go\tO\nEmpire State\tB-loc\n\nx\tO\n", [("#go", "O"),
             ("Empire State", "B-loc")], "from 'tag', the last column"),
    "GermEval": ("a.tsv", "#\tnews.de\t[2005]\n1\tEr\tO\tO\n2\tlebt\tB-PER\tO\n\n1\tDa\tO\tO\n",
                 [("Er", "O"), ("lebt", "O")], "'pos'"),
    "PARSEME": ("a.cupt", "# global.columns = ID FORM UPOS PARSEME:MWE\n# text = do it\n"
                "1-2\tdoit\t_\t*\n1\tdo\tVERB\t1:VID\n2\tit\tPRON\t1\n\n", [("do", "1:VID"),
                ("it", "1")], "from 'parseme:mwe', the last column"),
    "CoNLL-U by content": ("a.conll", "1\tgo\tgo\tVERB\t_\t_\t0\t_\t_\t_\n\n", [("go", "VERB")],
                           "the parts of speech"),
    "numbered from 0": ("a.tsv", "0\tIn\tO\n1\tItaly\tB-LOC\n\n0\tSo\tO\n1\tit\tO\n",
                        [("In", "O"), ("Italy", "B-LOC")], "'word'"),
    "documents": ("a.conll", "#begin document (bc/0); part 000\nHong B-GPE\nKong I-GPE\n\n"
                  "#end document\nSo O\n\n", [("Hong", "B-GPE"), ("Kong", "I-GPE")], "'word'"),
    "Kaggle": ("a.csv", "Sentence #,Word,POS,Tag\nSentence: 1,Of,IN,O\n,Iraq,NNP,B-geo\n"
               "Sentence: 2,So,X,O\n", [("Of", "O"), ("Iraq", "B-geo")],
               "sentences from 'Sentence #', which has a row for each word"),
    "a row per sentence": ("a.csv", "words,ner\nOf Iraq,O B-geo\nso,O\n", [("Of", "O"),
                           ("Iraq", "B-geo")], "tags from 'ner', by its name"),
}  # fmt: skip


def read(path, fields):
    return list(find_format(path, fields).read(path, fields, Malformed(False)))


@pytest.mark.parametrize(("name", "content", "first", "why"), FILES.values(), ids=FILES)
def test_files_as_people_have_them(name, content, first, why, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    found = read(path, TAGGED)
    assert list(zip(found[0].inputs, found[0].target, strict=True)) == first
    assert len(found) == (1 if first[0][0] in ("go", "do") else 2)
    assert why in "\n".join(find_format(path, TAGGED).describe(path, TAGGED).lines())


def test_a_column_of_its_own_name(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("x A B\ny C D\n\n")
    fields = Fields(tokens="w", tag="t", columns=("t", "w", "u"))
    (found,) = read(path, fields)
    assert found.inputs == ("A", "C") and found.target == ("x", "y")
    wrong = Fields(tokens="w", tag="t", columns=("t", "w"))
    with pytest.raises(InputError, match="--columns names 2 columns, .* the file has 3, as in 'x"):
        read(path, wrong)


@pytest.mark.parametrize("line", ["The|DT|O House|NNP|I-ORG", "The/at County/nn-tl ./."])
def test_tags_beside_the_words_of_a_sentence(line, tmp_path):
    path = tmp_path / "a.pos"
    path.write_text(f"{line}\n\n" * 3)
    with pytest.raises(InputError, match="a sentence in a line, with its tags beside the words"):
        read(path, TAGGED)


def test_tags_as_numbers_with_names_beside_them(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"tokens": ["EU", "is"], "ner_tags": [1, 0], "id": "0"}) + "\n")
    named = Fields(tokens=FIND, tag=FIND, tag_names=("O", "B-ORG"))
    assert read(path, named)[0].target == ("B-ORG", "O")
    assert read(path, TAGGED)[0].target == ("1", "0")
    assert "below 1 as there are names, got '1'" in complaint(path, Fields(
        tokens="tokens", tag="ner_tags", tag_names=("O",)))  # fmt: skip


def test_columns_that_cannot_be_found(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,what\na b,X Y\n")
    with pytest.raises(InputError, match="--tokens must name a column; .*'text', 'what'"):
        read(path, TAGGED)
    with pytest.raises(InputError, match="--tag must name a column"):
        read(path, Fields(tokens="text", tag=FIND))


def test_lines_that_are_cut_off(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("a X O\nb X\n\nc X O\n")
    found = Malformed(skip=True)
    format = find_format(path)
    assert [e.inputs for e in format.read(path, TAGGED, found)] == [("c",)]
    assert "line 2: expected 3 columns, 'word', 'pos', 'tag', got 2" in found.summary()


def test_a_text_stays_a_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("two words\nand two\n")
    assert find_format(path, TAGGED).name == "text"
    assert find_format(path).name == "text"


@pytest.mark.parametrize("content", [CONLL_2003, "EU\nis\n\n", "a\tX\n\n"])
def test_predictions_take_the_place_of_the_tags(tmp_path, content):
    path, out = tmp_path / "a.conll", tmp_path / "b.conll"
    path.write_text(content)
    format = find_format(path)
    fields = format.describe(path, TAGGED).fields
    if content.startswith("EU"):
        fields = Fields(tokens="word", tag="ner", require_target=False)
    with format.writer(out, path, fields) as writer:
        for example in format.read(path, fields, Malformed(False)):
            writer.write(example, {"prediction": ["NEW"] * len(example.inputs)})
    wanted = {
        CONLL_2003: CONLL_2003.replace("B-ORG", "NEW").replace("VP O", "VP NEW").replace(
            "B-NP O", "B-NP NEW").replace("B-PER", "NEW"),
        "EU\nis\n\n": "EU NEW\nis NEW\n\n",
        "a\tX\n\n": "a\tNEW\n\n",
    }  # fmt: skip
    assert out.read_text() == wanted[content]
