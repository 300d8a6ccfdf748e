"""Processes wait for each other, and learn at once why that is in vain."""

import socket
import threading
import time

import pytest

from seqjax.core.errors import InputError
from seqjax.train import joining
from seqjax.train.coordinator import GO, JOINED, Meeting
from tests.train.process_pool import free_address

TOGETHER = 2
"""Of three processes, those that come by `join`; the last is a bare connection."""


class Door:
    """A meeting of three processes, in threads, and how each of them ends."""

    def __init__(self, monkeypatch):
        self.address, self.ends = free_address(), {}
        monkeypatch.setattr(joining, "PAUSE", 0.01)
        monkeypatch.setattr(joining, "_end", self._end)
        port = int(self.address.rpartition(":")[2])
        self.meeting, self.ended = Meeting(port, 3), None
        self.stdin, self.process_0 = socket.socketpair()
        self.input = self.stdin.makefile()
        self.meeting.inside.register(self.input, 1)
        self.bare = []
        self.threads = []

    def _end(self, why):
        # Not so in the thread that watches after all have come.
        if threading.current_thread().name.isdecimal():
            raise InputError(why)

    def start(self, *numbers, seconds=20.0, processes=3):
        def serve():
            until = time.monotonic() + seconds
            self.ended = self.meeting.wait(self.meeting.come, until)
            if self.ended is None:
                self.meeting.close_door()
                self.meeting.tell(GO)
                self.ended = self.meeting.wait(self.meeting.joined, until)
            self.meeting.tell(self.ended or "")

        def come(number):
            try:
                joining.join(self.address, processes, number, 20)()
                self.ends[str(number)] = JOINED
            except InputError as error:
                self.ends[str(number)] = str(error)

        self.threads = [threading.Thread(target=serve, daemon=True)]
        self.threads += [
            threading.Thread(target=come, args=(number,), name=str(number), daemon=True)
            for number in numbers
        ]
        for thread in self.threads:
            thread.start()

    def comes(self, text):
        """A bare connection, when the others have come."""
        while len(self.meeting.come) < TOGETHER:
            time.sleep(0.01)
        host, _, port = self.address.rpartition(":")
        found = socket.create_connection((host, int(port)))
        found.sendall(text)
        self.bare.append(found)
        return found

    def finish(self):
        for thread in self.threads:
            thread.join(timeout=30)
        return self.ends


@pytest.fixture
def door(monkeypatch):
    door = Door(monkeypatch)
    yield door
    door.meeting.close()
    for one in (door.input, door.stdin, door.process_0, *door.bare):
        one.close()
    # Their watches end with their connections.
    for thread in threading.enumerate():
        if thread.name.endswith("(watch)"):
            thread.join(timeout=5)


def test_all_come(door):
    door.start(0, 1)
    # A stranger, and a port scanner.
    door.comes(b"GET / HTTP/1.1\r\n\r\n")
    door.comes(b"").close()
    last = door.comes(b"2 3\n")
    with last.makefile() as lines:
        assert [next(lines), next(lines)] == ["welcome\n", "go\n"]
    last.sendall(b"joined\n")
    assert door.finish() == {"0": JOINED, "1": JOINED}
    assert door.ended is None


def test_one_ends_before_all_have_come(door):
    door.start(0, 1)
    while len(door.meeting.come) < TOGETHER:
        time.sleep(0.01)
    door.process_0.close()
    assert door.finish() == dict.fromkeys("01", "process 0 has ended")


def test_one_ends_when_all_have_come(door):
    door.start(0, 1)
    last = door.comes(b"2 3\n")
    assert last.recv(20).startswith(b"welcome")
    last.close()
    door.finish()
    assert door.ended == "lost process 2 has ended"


def test_one_does_not_come(door):
    door.start(0, 1, seconds=0.5)
    assert door.finish() == dict.fromkeys("01", "process 2 of 3 did not start in time")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"1 3\n", "--distributed: two processes have the number 1."),
        (b"2 4\n", "--distributed: process 2 is one of 4, and not of 3."),
    ],
)
def test_processes_that_do_not_go_together(door, text, error):
    door.start(0, 1)
    door.comes(text)
    assert door.finish() == dict.fromkeys("01", error)


def test_nobody_answers(monkeypatch):
    ends = []

    def end(why):
        ends.append(why)
        raise InputError(why)

    monkeypatch.setattr(joining, "_end", end)
    with pytest.raises(InputError):
        joining.join(free_address(), 2, 1, 0)
    assert "after 0 seconds process 0 does not answer at 127.0.0.1:" in ends[0]
