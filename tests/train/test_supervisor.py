"""Processes are started again where one ends, and not where there is nothing to gain."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from seqjax.core.errors import InputError
from seqjax.train import supervisor
from seqjax.train.supervisor import supervise

FAILED = 2

CHILD = """
import json, os, sys, time
from pathlib import Path
arguments = sys.argv[1:]
number = int(arguments[arguments.index("--process") + 1]) if "--process" in arguments else 0
log = Path(f"log-{number}.json")
calls = json.loads(log.read_text()) if log.exists() else []
log.write_text(json.dumps([*calls, arguments]))
Path("out").mkdir(exist_ok=True)
Path("out/config.json").write_text("{}")
ways = json.loads(os.environ["WAYS"])[len(calls)]
way = ways[number]
if way == "killed":
    while len(list(Path().glob("log-*.json"))) < len(ways):
        time.sleep(0.01)
    os.kill(os.getpid(), 9)
if way == "waits":
    time.sleep(60)
sys.exit(way)
"""


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """The exit status of a run whose processes end as said, for each start, and their arguments."""

    def ends(*ways, options=("--processes", "2"), restarts=2):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "child.py").write_text(CHILD)
        monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-S", "child.py"))
        monkeypatch.setattr(supervisor, "GRACE", 0.5)
        monkeypatch.setenv("WAYS", json.dumps(ways))
        arguments = ["lm", "--out", "out", "--restarts", str(restarts), *options]
        arguments += ["--distributed"] if options else []
        lines = []
        status = supervise(arguments, lines.append, FAILED)
        logs = [json.loads(log.read_text()) for log in sorted(tmp_path.glob("log-*.json"))]
        return status, logs, lines

    return ends


def test_it_goes_on_with_the_run(ends):
    status, logs, lines = ends(["waits", "killed"], [75, 75], [0, 0])
    assert status == 0
    assert lines == [
        "Process 1 ended with SIGKILL. 2 restarts are left.",
        "Process 0 ended with the status 75. 1 restarts are left.",
    ]
    for number, (first, *others) in enumerate(logs):
        assert first[:3] == ["lm", "--out", "out"] and "--resume" not in first
        assert first[first.index("--process") + 1] == str(number)
        assert len(others) == 2
        assert all(call.count("--resume") == 1 and "--restarts" not in call for call in others)


@pytest.mark.parametrize(("ways", "status"), [([0, 0], 0), ([2, 75], 2), ([143, 143], 143)])
def test_an_end_that_is_meant(ends, ways, status):
    found, logs, lines = ends(ways)
    assert found == status
    assert [len(calls) for calls in logs] == [1, 1] and not lines


def test_a_signal_ends_it(ends, tmp_path):
    def send():
        while len(list(tmp_path.glob("log-*.json"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send, daemon=True).start()
    status, logs, lines = ends(["waits", "waits"])
    assert status == 128 + signal.SIGTERM
    assert [len(calls) for calls in logs] == [1, 1] and not lines


def test_there_is_an_end_of_restarts(ends):
    status, logs, _ = ends(["killed"], ["killed"], options=(), restarts=1)
    assert status == FAILED
    assert len(logs[0]) == 2 and "--distributed" not in logs[0][0]


def test_the_folder_must_be_known():
    with pytest.raises(InputError, match="needs --out"):
        supervise(["lm", "--restarts", "1", "--distributed"], print, FAILED)
