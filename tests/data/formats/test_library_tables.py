"""Parquet, spreadsheets, ARFF and single arrays."""

import datetime
import zipfile

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.train.classify_options import ClassifyConfig
from seqjax.train.example_commands import default_output
from seqjax.train.example_files import FilesConfig
from seqjax.train.paired_files import ParallelConfig
from seqjax.train.tasks.classify import Classification
from tests.data.formats.table import complaint, read


def resolved(path, fields):
    """The examples, with the columns that the first rows determine."""
    found = find_format(path).describe(path, fields)
    return list(find_format(path).read(path, found.fields, Malformed(skip=False)))


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = {
        "tokens": [["a", "b"], ["c"]], "tags": [[0, 1], [1]], "text": ["fine", "poor"],
        "x": [1.5, None], "when": [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)],
        "label": [3, 4], "series": [[1.0, 2.0], [3.0]],
    }  # fmt: skip
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table(rows), path)
    found = resolved(path, Fields(text="text", label="label"))
    assert [(e.inputs, e.target) for e in found] == [("fine", "3"), ("poor", "4")]
    assert found[1].where == f"{path}, row 2"
    (series,) = resolved(path, Fields(time="when", values=("x",), missing=True))
    np.testing.assert_array_equal(series.inputs, [[1.5], [np.nan]])
    assert series.times == ("2024-01-01", "2024-01-02")
    found = resolved(path, Fields(label="label", values=("series",)))
    assert [len(e.inputs) for e in found] == [2, 1]
    words = Fields(tokens="tokens", tag="tags", tag_names=("O", "B-X"))
    assert read(path, words)[0][0].target == ("O", "B-X")
    target = tmp_path / default_output(path, find_format(path).written_as).name
    with find_format(path).writer(target, path, Fields()) as writer:
        writer.write(found[0], {"prediction": "3"})
    assert target.name == "a.predicted.jsonl" and '"prediction": "3"' in target.read_text()


SHEET = """<?xml version="1.0"?><worksheet
xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>"""
PARTS = {
    "[Content_Types].xml": """<?xml version="1.0"?><Types
xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels"
ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml"
ContentType="application/xml"/></Types>""",
    "_rels/.rels": """<?xml version="1.0"?><Relationships
xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type=
"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
Target="xl/workbook.xml"/></Relationships>""",
    "xl/workbook.xml": """<?xml version="1.0"?><workbook
xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r=
"http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="a"
sheetId="1" r:id="r1"/></sheets></workbook>""",
    "xl/_rels/workbook.xml.rels": """<?xml version="1.0"?><Relationships
xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type=
"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
Target="worksheets/sheet1.xml"/></Relationships>""",
}


def write_sheet(path, rows):
    """A spreadsheet of one sheet, as Excel writes it."""

    def cell(value):
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f"<c><v>{value}</v></c>"

    lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    with zipfile.ZipFile(path, "w") as file:
        for name, text in PARTS.items():
            file.writestr(name, text)
        file.writestr("xl/worksheets/sheet1.xml", SHEET.format(lines))


def test_a_spreadsheet(tmp_path):
    pytest.importorskip("python_calamine")
    path = tmp_path / "a.xlsx"
    write_sheet(path, [["x", "y", "label"], [1.5, 2, "up"], [3, 4, "down"]])
    found = resolved(path, Fields(label="label"))
    assert [(e.inputs.ravel().tolist(), e.target) for e in found] == [
        ([1.5, 2], "up"), ([3, 4], "down")]  # fmt: skip
    write_sheet(path, [[1.5, 2], [3.25, 4]])
    (series,) = resolved(path, Fields(one_series=True, require_target=False))
    assert series.inputs.tolist() == [[1.5, 2], [3.25, 4]]
    path.write_bytes(b"PK nothing")
    assert "row 1: not a file of a spreadsheet" in complaint(path, Fields(label="label"))


ARFF = """@relation a
@attribute x numeric
@attribute y numeric
@attribute 'the class' {up, down}
@data
1.5,2,up
3,?,down
"""
RELATIONAL = """@relation a
@attribute bag relational
@attribute t0 numeric
@attribute t1 numeric
@attribute t2 numeric
@end bag
@attribute label {up,down}
@data
'1,2,3\\n4,5,6',up
"""


def test_arff(tmp_path):
    path = tmp_path / "a.arff"
    path.write_text(ARFF)
    found = resolved(path, Fields(label="the class", missing=True))
    assert [(e.inputs.ravel().tolist(), e.target) for e in found] == [
        ([1.5, 2], "up"), ([3], "down")]  # fmt: skip
    path.write_text(RELATIONAL)
    (one,) = resolved(path, Fields(label="label"))
    assert one.inputs.tolist() == [[1, 4], [2, 5], [3, 6]] and one.target == "up"
    path.write_text("@relation a\n@attribute x string\n@data\n'one'\n")
    assert "row 1: not a file of ARFF (String attributes not supported" in complaint(
        path, Fields(label="label")
    )
    with pytest.raises(InputError, match="no column 'class'; there are 'x', 'y', 'the class'"):
        path.write_text(ARFF)
        read(path, Fields(label="class"))


def test_arrays_and_their_targets(tmp_path):
    inputs = np.arange(12.0).reshape(2, 3, 2)
    for name, array in {"X.npy": inputs, "y.npy": np.array([3, 4]), "t.npy": inputs[0]}.items():
        np.save(tmp_path / name, array)
    path = tmp_path / "X.npy"
    one, two = resolved(path, Fields(require_target=False))
    np.testing.assert_array_equal(np.stack([one.inputs, two.inputs]), inputs)
    (series,) = resolved(tmp_path / "t.npy", Fields(one_series=True, require_target=False))
    np.testing.assert_array_equal(series.inputs, inputs[0])
    assert "--train-targets names a file" in complaint(path, Fields(label="label"))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    assert "is not an .npy file" in complaint(tmp_path / "bad.npy")
    config = ClassifyConfig(
        files=FilesConfig(train=(path,)),
        parallel=ParallelConfig(train_targets=(tmp_path / "y.npy",)),
    )
    found = Classification.load(config, print).train
    assert [example.target for example in found] == ["3", "4"]
    np.testing.assert_array_equal(found[1].inputs, inputs[1])
