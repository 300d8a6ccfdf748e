"""CSV: texts, fixed series and time steps; everything that can be wrong with a table."""

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.formats import Fields, find_format
from tests.data.formats.table import complaint, read

TEXT = Fields(text="text", label="label")
STEPS = Fields(series="id", time="t", label="label", values=("x", "y"))


def write(tmp_path, content, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_one_text_in_a_row(tmp_path):
    path = write(tmp_path, 'id,text,label\n1,"a ""fine"" day,\nin two lines",good\n\n2,rain,bad\n')
    found, _ = read(path, TEXT)
    assert [(e.inputs, e.target) for e in found] == [
        ('a "fine" day,\nin two lines', "good"),
        ("rain", "bad"),
    ]
    assert [e.where for e in found] == [f"{path}, line 2", f"{path}, line 5"]


def test_one_series_of_numbers_in_a_row(tmp_path):
    path = write(tmp_path, "name,t0,t1,t2,label\na,1,-2.5,3e2,x\nb, 4 ,5,6,y\n")
    found, _ = read(path, Fields(label="label"))
    np.testing.assert_array_equal(found[0].inputs, np.float32([[1], [-2.5], [300]]))
    assert found[1].inputs.dtype == np.float64 and found[1].target == "y"
    some, _ = read(path, Fields(label="name", values=("t2", "t0")))
    np.testing.assert_array_equal(some[1].inputs[:, 0], [6, 4])
    assert some[1].target == "b"
    resolved = find_format(path).describe(path, Fields(label="label")).fields
    assert resolved.values == ("t0", "t1", "t2")


def test_one_time_step_in_a_row(tmp_path):
    rows = "id,t,x,y,label\na,1,1,2,u\na,2,3,4,u\nb,1,5,6,v\n"
    found, _ = read(write(tmp_path, rows), STEPS)
    np.testing.assert_array_equal(found[0].inputs, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found[1].inputs, [[5, 6]])
    assert [e.target for e in found] == ["u", "v"]
    assert found[1].where.endswith("line 4")
    (whole,), _ = read(write(tmp_path, rows), Fields(one_series=True, values=("x",)))
    np.testing.assert_array_equal(whole.inputs, [[1], [3], [5]])
    tagged, _ = read(write(tmp_path, rows), Fields(series="id", tag="label", values=("x",)))
    assert [e.target for e in tagged] == [("u", "u"), ("v",)]


def test_what_was_not_observed(tmp_path):
    """Empty cells are NaN where they may be missing, but a word is malformed all the same."""
    path = write(tmp_path, "t,x,y\n1,1,2\n2,,3\n3,4,\n")
    fields = Fields(time="t", one_series=True, missing=True)
    (whole,), _ = read(path, fields)
    np.testing.assert_array_equal(whole.inputs, [[1, 2], [np.nan, 3], [4, np.nan]])
    assert "line 3" in complaint(path, Fields(time="t", one_series=True))
    path = write(tmp_path, "t,x,y\n1,1,2\n2,few,3\n")
    assert "line 3: 'x'" in complaint(path, fields)


@pytest.mark.parametrize("sign", ["", "NA", "NaN", "nan", "null", "None", "?", "-", "N/A"])
def test_signs_of_missing_values(tmp_path, sign):
    """In rows that are steps, and in rows that are series, which end before the last of them."""
    fields = Fields(one_series=True, missing=True)
    (found,), _ = read(write(tmp_path, f"x,y\n{sign},1\n2,{sign}\n"), fields)
    np.testing.assert_array_equal(found.inputs, [[np.nan, 1], [2, np.nan]])
    fields = Fields(label="l", missing=True)
    (found,), _ = read(write(tmp_path, f"l,a,b,c\nu,1,{sign},3\n"), fields)
    np.testing.assert_array_equal(found.inputs[:, 0], [1, np.nan, 3])
    (found,), _ = read(write(tmp_path, f"l,a,b,c\nu,1,2,{sign}\n"), Fields(
        label="l", missing=True, values=("a", "b", "c")))  # fmt: skip
    np.testing.assert_array_equal(found.inputs[:, 0], [1, 2])


@pytest.mark.parametrize("sign", [".", "..", ":", "***", "NA", "?"])
def test_usual_signs_of_missing_values(sign, tmp_path):
    path = write(tmp_path, f"x,y\n1,2\n{sign},3\n")
    (found,), _ = read(path, Fields(one_series=True, missing=True))
    np.testing.assert_array_equal(found.inputs, [[1, 2], [np.nan, 3]])


def test_a_series_in_every_row(tmp_path):
    path = write(tmp_path, "page,Lat,2020-01-01,2020-01-02,2020-01-03\na,7,,2,3\nb,8,4,5,\n")
    found = find_format(path).describe(path, Fields(missing=True))
    assert found.fields.values == ("2020-01-01", "2020-01-02", "2020-01-03")
    assert "not 'Lat', whose name is no time" in found.lines()[0]
    examples, _ = read(path, found.fields)
    assert [e.inputs.ravel().tolist()[1:] for e in examples] == [[2, 3], [5]]
    by_step = find_format(path).describe(path, Fields(missing=True, one_series=True))
    assert by_step.lines()[-1].endswith("--series-in-rows reads a series from every row")


def test_more_lines_of_names_are_left_out_and_said(tmp_path):
    rows = "".join(f"2020-01-{day},{day}\n" for day in range(10, 31))
    path = write(tmp_path, f"Price,Close\nTicker,AAPL\nDate,\n{rows}")
    fields = Fields(time="Price", missing=True)
    (found,), _ = read(path, fields)
    np.testing.assert_array_equal(found.inputs[:, 0], np.arange(10, 31))
    (line, _) = find_format(path).describe(path, fields).lines()
    assert line.endswith("2 lines of more names below those of the columns left out")
    # A first value that is missing, or a single mistake below, is no line of names.
    for first, steps in ((",\n", 22), ("2020-01-09,NA\n", 22)):
        (found,), _ = read(
            write(tmp_path, f"t,x\n{first}{rows}"), Fields(one_series=True, missing=True)
        )
        assert len(found.inputs) == steps


def test_signs_of_missing_values_that_are_named(tmp_path):
    path = write(tmp_path, "x,y\n-999,1\n2,no\n")
    fields = Fields(one_series=True, missing=True, missing_names=("-999", "no"))
    (found,), _ = read(path, fields)
    np.testing.assert_array_equal(found.inputs, [[np.nan, 1], [2, np.nan]])
    assert "got 'no'" in complaint(path, Fields(one_series=True, missing=True))


def test_a_column_whose_first_cell_is_empty_holds_what_the_next_one_does(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("load,heat,note\n1,,\n2,3,x\n")
    (example,), _ = read(path, Fields(one_series=True, missing=True))
    np.testing.assert_array_equal(example.inputs, [[1, np.nan], [2, 3]])
    assert find_format(path).describe(path, Fields(one_series=True)).fields.values == (
        "load",
        "heat",
    )


def test_numbers_several_labels_and_tags(tmp_path):
    path = write(tmp_path, "words,tags,many,number\nthe cat,D N,a|b ,1.5\nruns,V,,-2\n")
    many, _ = read(path, Fields(text="words", label="many", label_separator="|"))
    assert [e.target for e in many] == [("a", "b"), ()]
    number, _ = read(path, Fields(text="words", number="number"))
    assert [e.target for e in number] == [1.5, -2.0]
    tags, _ = read(path, Fields(tokens="words", tag="tags"))
    assert [(e.inputs, e.target) for e in tags] == [
        (("the", "cat"), ("D", "N")),
        (("runs",), ("V",)),
    ]


@pytest.mark.parametrize(
    ("name", "separator"), [("a.csv", ";"), ("a.csv", "\t"), ("a.csv", "|"), ("a.tsv", "\t")]
)
def test_other_separators(tmp_path, name, separator):
    content = "text,label\nwarm,good\n".replace(",", separator)
    found, _ = read(write(tmp_path, content, name), TEXT)
    assert (found[0].inputs, found[0].target) == ("warm", "good")


def test_targets_that_need_not_be_there(tmp_path):
    path = write(tmp_path, "text,label\nwarm,\n")
    fields = Fields(text="text", label="label", require_target=False)
    assert read(path, fields)[0][0].target is None
    path = write(tmp_path, "text\nwarm\n")
    for other in (fields, Fields(text="text", number="n", require_target=False)):
        assert read(path, other)[0][0].target is None
    separated = Fields(text="text", label="l", label_separator="|", require_target=False)
    assert read(path, separated)[0][0].target is None


@pytest.mark.parametrize(
    "times",
    [
        ("1", "2.5"),
        ("1", "1"),
        ("2020-01-01", "2020-01-02"),
        ("2010/01/01 00:00", "2010/01/01 01:00"),
        ("2020-10-25T02:30+02:00", "2020-10-25T02:00+01:00"),
        ("Mon", "Fri"),
    ],
)
def test_times_of_every_kind(tmp_path, times):
    rows = "t,x\n" + "".join(f"{time},1\n" for time in times)
    assert len(read(write(tmp_path, rows), Fields(time="t"))[0][0].inputs) == 2


SERIES = Fields(label="label")
MALFORMED = {
    "only a header": ("text,label\n", TEXT, "has only a header"),
    "only blank lines": ("\n\n", TEXT, "line 1: expected the names of the columns"),
    "too many columns": ("text,label\na,b,c\n", TEXT, "line 2: expected 2 columns, got 3"),
    "too few columns": ("text,label\na,b\nc\n", TEXT, "line 3: expected 2 columns, got 1"),
    "no such column": (
        "word,label\na,b\n",
        TEXT,
        "no column 'text'; the columns are 'word', 'label'",
    ),
    "no label column": ("text,l\na,b\n", TEXT, "no column 'label'"),
    "no column of values": ("x,l\n1,b\n", Fields(values=("x", "z")), "no column 'z'"),
    "a column twice": ("text,text,label\na,b,c\n", TEXT, "'text' more than once"),
    "no label": ("text,label\na,\n", TEXT, "line 2: 'label': expected a label, got nothing"),
    "blank label": ("text,label\na,  \n", TEXT, "line 2: 'label': expected a label, got nothing"),
    "empty text": ("text,label\n ,b\n", TEXT, "line 2: 'text': expected a text, got an empty one"),
    "open quote": (
        'text,label\na,b\n"c,d\ne,f\n',
        TEXT,
        "line 3: a quote is opened here and never",
    ),
    "stray quote": ('text,label\n"a"b,c\n', TEXT, "line 2: the quotes are not as in CSV"),
    "open quote in the header": ('"text,label\na,b\n', TEXT, "line 1: a quote is opened here"),
    "old line ends": ("text,label\ra,b\rc,d\r", TEXT, "line 1: .*carriage return alone"),
    "nan": ("x,y,label\n1,2,a\n1,nan,a\n", SERIES, "line 3: 'y': expected a finite number .*'nan'"),
    "infinite": ("x,y,label\n1,2,a\n-inf,1,a\n", SERIES, "line 3: 'x': expected a finite .*'-inf'"),
    "too large": ("x,y,label\n1,2,a\n1e39,1,a\n", SERIES, "line 3: 'x': .*float32, got '1e39'"),
    "a word": ("x,y,label\n1,2,a\n1,two,a\n", SERIES, "'y': expected a number, got 'two'"),
    "empty cell": ("x,y,label\n1,2,a\n1,,a\n", SERIES, "'y': expected a number, got nothing"),
    "thousands too late": (
        "x,label\n" + "1,a\n" * 1000 + '"1,000",a\n',
        SERIES,
        "line 1002: .*got '1,000' .*thousands separators",
    ),
    "decimals or thousands": ("x;label\n1,234;a\n9,876;b\n", SERIES, "'1,234', whose comma may"),
    "two decimals": (
        "x;y\n0,5;1\n1.5;2\n",
        Fields(values=("x",)),
        "line 2: 'x': .*got '0,5' .*decimal point",
    ),
    "a point too late": (
        "x;label\n" + "0,5;a\n" * 1000 + "1.5;a\n",
        SERIES,
        "line 1002: 'x': expected a number with decimal commas, got '1.5'",
    ),
    "underscore": ("x,y,label\n1,2,a\n1,1_000,a\n", SERIES, "got '1_000' .*thousands separators"),
    "hexadecimal": ("x,label\n1,a\n0x10,a\n", SERIES, "expected a number, got '0x10'"),
    "no numbers": ("name,label\nbob,a\n", SERIES, r"no column holds numbers, .*'name' \('bob'\)"),
    "not a number to predict": (
        "x,n\n1,2\n1,many\n",
        Fields(number="n"),
        "line 3: 'n': expected a number, got 'many'",
    ),
    "no number to predict": (
        "x,n\n1,\n",
        Fields(number="n"),
        "'n': expected a number, got nothing",
    ),
    "fewer tags than words": (
        "w,t\na b c,D N\n",
        Fields(tokens="w", tag="t"),
        "'t': expected 3 tags, .* got 2",
    ),
    "no tags": ("w,t\na b,\n", Fields(tokens="w", tag="t"), "'t': expected a label, got nothing"),
    "no words": ("w,t\n ,D\n", Fields(tokens="w", tag="t"), "'w': expected at least one word"),
    "series apart": (
        "id,t,x,y,label\n" + "a,1,1,1,u\n" * 500 + "b,1,1,1,u\na,2,1,1,u\n",
        STEPS,
        "line 503: 'id': expected the rows of a series together, got .* 'a' after those of 'b'",
    ),
    "no series": (
        "id,t,x,y,label\n,1,1,1,u\n",
        STEPS,
        "line 2: 'id': .*name of a series, got nothing",
    ),
    "two labels in a series": (
        "id,t,x,y,label\na,1,1,1,u\na,2,1,1,v\n",
        STEPS,
        "line 3: 'label': expected 'u' throughout the series, .* got 'v'",
    ),
    "a gap in a series": (
        "id,t,x,y,label\na,1,1,1,u\na,2,,1,u\n",
        STEPS,
        "line 3: 'x': .*got nothing",
    ),
    "no tag in a series": (
        "id,x,g\na,1,u\na,1,\n",
        Fields(series="id", tag="g"),
        "line 3: 'g': expected a tag",
    ),
}


@pytest.mark.parametrize(("content", "fields", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(content, fields, message, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message):
        read(path, fields)
    assert complaint(path, fields).startswith("a.csv")


def test_malformed_rows_are_skipped_and_counted(tmp_path):
    rows = 'text,label\na,b\nc\n"d"e,f\n,g\nh,\ni,j\n'
    found, malformed = read(write(tmp_path, rows), TEXT, skip=True)
    assert [e.inputs for e in found] == ["a", "i"]
    assert malformed.count == 4
    lines = [message.split(": ")[0].rpartition(" ")[2] for message in malformed.messages]
    assert lines == ["3", "4", "5", "6"]


def test_a_malformed_step_leaves_the_others_of_its_series(tmp_path):
    rows = "id,x\na,1\na,?\na,3\nb,4\nb,5\n"
    found, malformed = read(write(tmp_path, rows), Fields(series="id", values=("x",)), skip=True)
    assert [e.inputs[:, 0].tolist() for e in found] == [[1, 3], [4, 5]]
    assert malformed.count == 1


@pytest.mark.parametrize("rows", ["a,1\nb,4\na,2\nb,5\n", "a,1\nb,4\nc,6\nb,5\na,2\n"])
def test_rows_sorted_by_time_are_grouped_by_series(tmp_path, rows):
    found, _ = read(write(tmp_path, "id,x\n" + rows), Fields(series="id", values=("x",)))
    assert [e.inputs[:, 0].tolist() for e in found][:2] == [[1, 2], [4, 5]]
    assert [e.raw[0][0] for e in found][:2] == ["a", "b"]
    described = find_format(tmp_path / "a.csv").describe(tmp_path / "a.csv", Fields(series="id"))
    assert "come in turns, grouped" in described.lines()[0]


def test_what_follows_an_open_quote_does_not_fill_the_memory(tmp_path, monkeypatch):
    import csv

    from seqjax.data.formats import csv_files

    monkeypatch.setattr(csv_files, "LONGEST_FIELD", 1000)
    before = csv.field_size_limit(100)
    try:
        path = write(tmp_path, 'text,label\n"open,a\n' + "fine,b\n" * 1000)
        assert "line 2: a quote is opened here" in complaint(path, TEXT)
    finally:
        csv.field_size_limit(before)


def test_numbers_of_another_file_are_those_of_the_first(tmp_path):
    """A code that looks like a number in one file and not in the other changes nothing."""
    first = write(tmp_path, "a,b,code\n1,2,x\n")
    fields = find_format(first).describe(first, Fields()).fields
    second = write(tmp_path, "code,b,a\n7,2,1\n", "b.csv")
    np.testing.assert_array_equal(read(second, fields)[0][0].inputs[:, 0], [1, 2])


def test_the_decimal_separator_is_an_option(tmp_path):
    for decimal, values in (("comma", [1234, 9876]), ("point", [1.234, 9.876])):
        (found,), _ = read(
            write(tmp_path, "x;y\n1.234;1\n9.876;2\n"),
            Fields(one_series=True, values=("x",), decimal=decimal),
        )
        np.testing.assert_array_equal(found.inputs[:, 0], values)
    fields = Fields(one_series=True, values=("x",), decimal="comma")
    (found,), _ = read(write(tmp_path, "x;y\n1,234;1\n9,876;2\n"), fields)
    np.testing.assert_array_equal(found.inputs[:, 0], [1.234, 9.876])


NOTATIONS = {
    "decimal commas": ("x;y\n0,5;1\n-12,25;2\n", [[0.5, 1], [-12.25, 2]], "decimal commas"),
    "quoted commas": ('x,y\n"0,5",1\n"7",2\n', [[0.5, 1], [7, 2]], "decimal commas"),
    "German": ("x;y\n1.234,5;1\n7;2\n", [[1234.5, 1], [7, 2]], "decimal commas"),
    "English": ('x,y\n"1,234.5",1\n"1,234,567",2\n', [[1234.5, 1], [1234567, 2]], "commas between"),
    "large ones alone": ("x;y\n1,234;1\n12;2\n", [[1234, 1], [12, 2]], "commas between thousands"),
    "no thousands": ("x;y\n1,234;1\n12345;2\n", [[1.234, 1], [12345, 2]], "decimal commas"),
    "points between thousands": (
        "x;y\n999;1\n1.000;2\n12.345;2\n",
        [[999, 1], [1000, 2], [12345, 2]],
        "points between thousands, as in '1.000' (--decimal point reads decimals)",
    ),
    "points, long after": (
        "x\ty\n" + "999\t1\n" * 600 + "1.000\t2\n",
        [[999, 1]] * 600 + [[1000, 2]],
        "points between",
    ),
    "millions": ("x;y\n12.345;1\n1.234.567;2\n", [[12345, 1], [1234567, 2]], "decimal commas"),
    "commas beside": ("x;y\n12.345;1,5\n23.456;2\n", [[12345, 1.5], [23456, 2]], "decimal commas"),
    "points beside": ("x;y\n12.345;1.5\n3;2\n", [[12.345, 1.5], [3, 2]], "semicolons"),
    "points that may be either": (
        "x;y\n12.345;1\n23.456;2\n",
        [[12.345, 1], [23.456, 2]],
        "a decimal point, as in '12.345' (--decimal comma reads thousands)",
    ),
    "fixed decimals": ("x,y\n0.250,1\n1.000,2\n", [[0.25, 1], [1, 2]], "values from"),
    "spaces": ("x;y\n1\N{NO-BREAK SPACE}234,5;1\n2 345;2\n", [[1234.5, 1], [2345, 2]], "spaces"),
    "Swiss": ("x;y\n1'234.5;1\n7;2\n", [[1234.5, 1], [7, 2]], "apostrophes between thousands"),
    "Swiss, typeset": (
        "x;y\n1\N{RIGHT SINGLE QUOTATION MARK}234.5;1\n7;2\n",
        [[1234.5, 1], [7, 2]],
        "apos",
    ),
    "spreadsheets": ("sep=;\nx;y\n1;2\n3;4\n", [[1, 2], [3, 4]], "semicolons between columns"),
    "names with commas": ("x, in m;y, z, w\n1;2\n3;4\n", [[1, 2], [3, 4]], "semicolons"),
    "dates": ("t;x;y\n01.02.2020;0,5;1\n02.02.2020;1,5;2\n", [[0.5, 1], [1.5, 2]], "decimal"),
}


@pytest.mark.parametrize(("content", "values", "remark"), NOTATIONS.values(), ids=NOTATIONS)
def test_notations_are_read_and_said(content, values, remark, tmp_path):
    path = write(tmp_path, content)
    fields = Fields(one_series=True)
    (example,), _ = read(path, fields)
    np.testing.assert_array_equal(example.inputs, values)
    assert remark in find_format(path).describe(path, fields).lines()[0]


def test_a_text_with_a_comma_is_no_number(tmp_path):
    found, _ = read(write(tmp_path, "text;label;x\n1,5;a;0,5\n2,5;b;1,5\n"), TEXT)
    assert [example.inputs for example in found] == ["1,5", "2,5"]


CHOSEN = {
    "the index of pandas": ("Unnamed: 0,load\n5,1\n9,2\n", ("load",), "'Unnamed: 0', an index"),
    "an index without a name": (",load,heat\n0,1,5\n1,2,7\n2,9,8\n", ("load", "heat"), ""),
    "a count of rows": ("n,load\n1,5\n2,3\n3,8\n", ("load",), "not 'n', which counts rows"),
    "years": ("year,load\n1999,5\n2000,3\n2001,8\n", ("load",), "'year', which counts rows"),
    "a code": ("code,load\n7,5\n7,3\n7,8\n", ("load",), "not 'code', which never varies"),
    "nothing else": ("load\n1\n2\n3\n", ("load",), "values from 'load', the column of numbers"),
    "missing at first": ("n,load\n1,NA\n2,3\n3,8\n", ("load",), "not 'n'"),
    "mostly words": ("a,load\n1,1\nb,2\nc,4\n", ("load",), "the column of numbers"),
}


@pytest.mark.parametrize(("content", "values", "why"), CHOSEN.values(), ids=CHOSEN)
def test_columns_are_chosen_and_said(content, values, why, tmp_path):
    path = write(tmp_path, content)
    found = find_format(path).describe(path, Fields(one_series=True, missing=True))
    assert found.fields.values == values
    assert why in "\n".join(found.lines())
    named = find_format(path).describe(path, Fields(one_series=True, values=("load",)))
    assert not named.lines()


def test_times_that_nobody_named_are_pointed_out(tmp_path):
    path = write(tmp_path, "when,load\n2020-01-01 10:00,1\n2020-01-01 11:00,3\n")
    steps = Fields(one_series=True)
    assert "--time 'when'" in find_format(path).describe(path, steps).lines()[-1]
    named = Fields(time="when", values=("load",))
    assert not find_format(path).describe(path, named).lines()


def test_an_index_of_every_series_and_pixels_that_are_always_black(tmp_path):
    path = write(tmp_path, "id,n,x\na,0,5\na,1,4\nb,0,6\nb,1,6\n")
    found = find_format(path).describe(path, Fields(series="id"))
    assert found.fields.values == ("x",)
    path = write(tmp_path, "n,p0,p1,label\n0,0,1,a\n1,0,2,b\n2,0,3,a\n")
    found = find_format(path).describe(path, Fields(label="label"))
    assert found.fields.values == ("p0", "p1")
    kinds = {column.name: (column.kind, column.note) for column in found.columns}
    assert kinds == {
        "n": ("numbers", "which counts rows"),
        "p0": ("numbers", ""),
        "p1": ("numbers", ""),
        "label": ("words", ""),
    }


def test_a_step_with_a_word_in_it_is_not_left_out(tmp_path):
    """Statistics offices write `1.7 p` for a provisional value."""
    path = write(tmp_path, "geo,2015-01,2015-02,2015-03\nDE,1.5,1.7 p,2.5\nFR,1,:,3\n")
    wide = Fields(missing=True, require_target=False)
    with pytest.raises(InputError, match="'2015-02': expected a number, got '1.7 p'"):
        read(path, find_format(path).describe(path, wide).fields)


def test_a_sign_of_missing_values_is_a_number(tmp_path):
    path = write(tmp_path, "a,b,label\n-999.0,2,x\n3,-9.99e2,y\n")
    fields = Fields(label="label", missing=True, missing_names=("-999",))
    (one, two), _ = read(path, fields)
    np.testing.assert_array_equal(one.inputs[:, 0], [np.nan, 2])
    np.testing.assert_array_equal(two.inputs[:, 0], [3])
