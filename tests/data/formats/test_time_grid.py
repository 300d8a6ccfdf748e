"""Times: their formats, their step, and what is missing between them."""

import datetime

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.regular_series import GridReport, on_grid
from seqjax.data.formats.time_formats import find_time_format
from seqjax.data.formats.time_grid import later_times


def read(tmp_path, rows, skip=False, **fields):
    """The series of a table with a time and a value in every row, on their grids."""
    path = tmp_path / "a.csv"
    path.write_text("t,x\n" + "".join(f"{row}\n" for row in rows))
    roles = Fields(time="t", values=("x",), one_series=True, missing=True, **fields)
    report, malformed = GridReport("t"), Malformed(skip)
    found = find_format(path).read(path, roles, malformed)
    return list(on_grid(found, roles, malformed, report)), report.lines("a.csv"), malformed


def days(*numbers):
    return [f"2021-03-{number:02},{number}" for number in numbers]


PATTERNS = {
    "2020-01-31": ["2020-02-01", "%Y-%m-%d"],
    "31.1.2020": ["1.2.2020", "%d.%m.%Y"],
    "1/31/2020": ["2/1/2020", "%m/%d/%Y"],
    "5/1/2020": ["6/1/2020", "%d/%m/%Y"],
    "20200131": ["20200201", "%Y%m%d"],
    "2020-01": ["2020-02", "%Y-%m"],
    "2020-01-31 23:30": ["2020-02-01 00:00", "%Y-%m-%d %H:%M"],
    "2020-01-31T23:30:00Z": ["2020-02-01T00:00:00Z", "%Y-%m-%dT%H:%M:%SZ"],
    "31-Jan-20": ["01-Feb-20", "%d-%b-%y"],
    "1": ["2", "number"],
    "0.5": ["1e3", "number"],
}


@pytest.mark.parametrize("first", PATTERNS)
def test_formats(first):
    second, pattern = PATTERNS[first]
    found = find_time_format([first, second])
    assert found is not None and found.pattern == pattern
    assert found.moment(second) > found.moment(first)  # pyright: ignore[reportOperatorIssue]


def test_days_and_months_are_told_by_what_is_even():
    """Both orders can be read; one of them makes even steps."""
    assert later_times(["1/2/2020", "2/2/2020", "3/2/2020"], 1) == ["04/02/2020"]
    assert later_times(["1/1/2020", "2/1/2020", "3/1/2020", "4/1/2020", "5/1/2020"], 1) in (
        ["06/01/2020"], ["06/01/2020"])  # fmt: skip


PERIODS = {
    "2020Q3": ["2020Q4", "2021Q1"],
    "1959q3": ["1959q4", "1960q1"],
    "Q4 2019": ["Q1 2020", "Q2 2020"],
    "2020-Q3": ["2020-Q4", "2021-Q1"],
    "2020-W52": ["2020-W53", "2021-W01"],
    "2020M11": ["2020M12", "2021M01"],
    "2010 1 9 23": ["2010 1 10 0", "2010 01 10 01"],
    "10/03/2004 23.00.00": ["11/03/2004 00.00.00", "11/03/2004 01.00.00"],
    "2020-03-28 22:00:00+01:00": ["2020-03-28 23:00:00+01:00", "2020-03-28 23:00:00+00:00"],
    "2020-03-28T22:00:00+0100": ["2020-03-28T23:00:00+0100", "2020-03-28T23:00:00+0000"],
}


@pytest.mark.parametrize("first", PERIODS)
def test_what_follows(first):
    """Quarters, ISO weeks, parts of a time; those with an offset follow in UTC."""
    second, third = PERIODS[first]
    assert later_times([first, second], 1) == [third]


@pytest.mark.parametrize("time", ["2020Q5", "Q1", "2020-W54", "20Q1"])
def test_no_period(time):
    assert find_time_format([time]) is None


def test_steps_without_a_row_are_missing(tmp_path):
    (found,), lines, _ = read(tmp_path, days(1, 2, 5, 6))
    np.testing.assert_array_equal(found.inputs[:, 0], [1, 2, np.nan, np.nan, 5, 6])
    assert found.times[2:4] == ("2021-03-03", "2021-03-04")
    assert [row is None for row in found.raw] == [False, False, True, True, False, False]
    assert "the step of 't' is 1 day" in lines[0]
    assert "2 of 6 steps have no row, the first after '2021-03-02'" in lines[1]


def test_the_newest_row_may_stand_first(tmp_path):
    (found,), lines, _ = read(tmp_path, days(4, 3, 2, 1))
    np.testing.assert_array_equal(found.inputs[:, 0], [1, 2, 3, 4])
    assert found.raw[0][1] == "1" and "sorted by time" in lines[-1]


def test_weekdays_and_months_have_no_gaps(tmp_path):
    start = datetime.date(2021, 3, 1)
    dates = [start + datetime.timedelta(days=i) for i in range(28)]
    rows = [f"{date},1" for date in dates if date.weekday() < 5 and date.day != 10]
    (found,), lines, _ = read(tmp_path, rows)
    assert len(found.inputs) == 20 and np.isnan(found.inputs[7]) and "1 weekday" in lines[0]
    assert later_times(found.times, 2) == ["2021-03-29", "2021-03-30"]
    (found,), lines, _ = read(tmp_path, ["2021-01,1", "2021-02,2", "2021-04,3"])
    assert len(found.inputs) == 4 and "1 month" in lines[0]


AUTUMN = [f"2021-10-31 {hour},{i}" for i, hour in enumerate(
    ["00:00", "01:00", "02:00", "02:00", "03:00"])]  # fmt: skip


def test_the_hour_that_comes_twice(tmp_path):
    with pytest.raises(InputError, match="got '2021-10-31 02:00' twice .*--time-zone"):
        read(tmp_path, AUTUMN)
    for rows in (AUTUMN, AUTUMN[::-1]):
        (found,), _, _ = read(tmp_path, rows, time_zone="Europe/Berlin")
        np.testing.assert_array_equal(found.inputs[:, 0], range(5))
    spring = ["2021-03-28 01:00,1", "2021-03-28 03:00,2", "2021-03-28 04:00,3"]
    (found,), lines, _ = read(tmp_path, spring, time_zone="Europe/Berlin")
    assert len(found.inputs) == 3 and len(lines) == 1
    with pytest.raises(InputError, match="no time zone 'Berlin'"):
        read(tmp_path, spring, time_zone="Berlin")


REFUSED = {
    "a total": (
        [*days(*range(1, 13)), "Total,1"], r"like '2021-03-01', .*, got 'Total' \(leave out rows",
    ),
    "repeated": (days(1, 1, 2), "got '2021-03-01' twice"),
    "uneven": ([f"2021-03-01 {h}:{m:02},1" for h, m in ((1, 0), (1, 7), (1, 40), (3, 2), (3, 10))],
               "evenly spaced.* leave out --time"),
    "mostly missing": (days(1, 2, 3, 30), "of 30 there are 4"),
    "another format": ([*days(*range(1, 29)) * 8, "1.2.2021,1"], "got '1.2.2021'"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), REFUSED.values(), ids=REFUSED)
def test_times_that_are_no_grid(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, rows)
    found, _, malformed = read(tmp_path, rows, skip=True)
    assert not found and malformed.count == 1


def test_a_clock_that_is_late_now_and_then(tmp_path):
    rows = [f"{60 * i + (20 if i == 7 else i % 3)},{i}" for i in range(40)]
    (found,), lines, _ = read(tmp_path, rows)
    assert len(found.inputs) == 40 and len(lines) == 1


def test_names_of_weekdays_are_no_times(tmp_path):
    (found,), lines, _ = read(tmp_path, ["Mon,1", "Tue,2"])
    assert len(found.inputs) == 2
    assert lines == [
        "a.csv: the times of 't' are in no known format, such as 'Mon': rows are taken as evenly "
        "spaced"
    ]
