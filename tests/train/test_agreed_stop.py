"""A signal to one process stops all after the same step, wherever each of them is."""

import signal
import threading
import time

import pytest

from seqjax.train.agreed_stop import AgreedStop


class Store:
    """The key-value store of a coordination service, in one process."""

    def __init__(self):
        self.values, self.turn = {}, threading.Lock()

    def key_value_set(self, key, value):
        with self.turn:
            assert key not in self.values
            self.values[key] = value

    def key_value_dir_get(self, folder):
        with self.turn:
            return [item for item in self.values.items() if item[0].startswith(folder)]


class Process(AgreedStop):
    """Signals come to the main thread alone."""

    def __enter__(self):
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._over.set()


@pytest.mark.parametrize("signalled", [[0], [2], [0, 1]])
def test_all_stop_after_the_same_step(monkeypatch, signalled):
    monkeypatch.setattr("seqjax.train.agreed_stop.INTERVAL", 0.02)
    monkeypatch.setattr("seqjax.train.agreed_stop._turns", iter([7] * 3))
    store, together = Store(), threading.Barrier(3, timeout=10)
    stops = [Process(store, number, 3) for number in range(3)]
    ended = {}

    def run(number):
        with stops[number] as stop:
            step = 0
            while stop.goes_on(step + 1):
                time.sleep(0.003 * number)
                together.wait()
                step += 1
                if step == 5 and number in signalled:
                    stop._receive(signal.SIGTERM, None)
            ended[number] = step, stop.received

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(ended) == 3 and len(set(ended.values())) == 1
    step, received = ended[0]
    assert step >= 5 and received == signal.SIGTERM
