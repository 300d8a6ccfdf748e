"""What the signs of life of processes tell."""

from seqjax.train.lost_processes import IDLE, SILENT, Sign, saw, what_is_wrong


def looked(seen, now, **signs):
    """What is known after a look at `(worked, step, ended)` of each process, None for no sign."""
    for name, values in signs.items():
        process = int(name[1:])
        before = seen.get(process)
        if values is not None:
            number = 1 if before is None else before.sign.number + 1
            seen[process] = saw(before, Sign(number, *values), now)
    return seen


def test_silence_is_an_end():
    seen = looked({}, 0.0, p0=(1.0, 5, ""), p1=(1.0, 5, ""))
    looked(seen, SILENT - 1, p0=(9.0, 6, ""), p1=None)
    assert what_is_wrong(seen, SILENT - 1) is None
    looked(seen, SILENT + 1, p0=(9.5, 6, ""), p1=None)
    assert "Process 1 has ended or hangs" in str(what_is_wrong(seen, SILENT + 1))


def test_who_is_done_may_be_silent():
    seen = looked({}, 0.0, p0=(1.0, 5, "done"), p1=(1.0, 5, ""))
    looked(seen, 100.0, p0=None, p1=(40.0, 5, ""))
    assert what_is_wrong(seen, 100.0) is None


def test_an_error_is_said():
    seen = looked({}, 0.0, p0=(1.0, 5, ""), p1=(1.0, 5, "the disk is full"))
    assert what_is_wrong(seen, 0.0) == "Process 1 has ended: the disk is full"


def test_all_hang_where_none_works():
    seen = looked({}, 0.0, p0=(1.0, 5, ""), p1=(1.0, 4, ""))
    for now in range(2, 60, 2):
        # Signs of life take some time of the processor, too.
        looked(seen, float(now), p0=(1.0 + now * 1e-3, 5, ""), p1=(1.0 + now * 1e-3, 4, ""))
        found = str(what_is_wrong(seen, float(now)))
        assert ("They are at the steps 5, 4; look at process 1" in found) == (now > IDLE)


def test_one_that_works_is_waited_for():
    seen = looked({}, 0.0, p0=(1.0, 5, ""), p1=(1.0, 5, ""))
    for now in range(2, 200, 2):
        looked(seen, float(now), p0=(1.0 + now, 5, ""), p1=(1.0, 5, ""))
        assert what_is_wrong(seen, float(now)) is None
