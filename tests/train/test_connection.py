"""How the processes that a launcher has started find each other."""

import jax
import pytest

from seqjax.core.errors import InputError
from seqjax.train import connection
from seqjax.train.connection import ProcessesConfig, connect

SLURM = {
    "SLURM_JOB_ID": "4096",
    "SLURM_STEP_NODELIST": "node[07-09]",
    "SLURM_NTASKS": "3",
    "SLURM_LOCALID": "0",
}


@pytest.mark.parametrize("process", [0, 1])
def test_the_service_of_a_launched_run_outlives_process_0(monkeypatch, process):
    started, joined = [], []
    for name, value in {**SLURM, "SLURM_PROCID": str(process)}.items():
        monkeypatch.setenv(name, value)

    def initialize(*where, coordinator_bind_address, **options):
        joined.append((*where, coordinator_bind_address))
        raise InputError("far enough")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    monkeypatch.setattr(
        connection, "start_coordinator", lambda *where: started.append(where) or (lambda: None)
    )
    monkeypatch.setattr(connection, "join", lambda *where: joined.append(where))
    with pytest.raises(InputError, match="far enough"):
        connect(ProcessesConfig(distributed=True))
    assert started == ([(61440, 3, 300)] if process == 0 else [])
    where, bind = ("node07:61440", 3, process), "127.0.0.1:0" if process == 0 else None
    assert joined == [(*where, 300), (*where, bind)]


def test_without_a_launcher_the_options_are_asked_for(monkeypatch):
    monkeypatch.setattr(connection.ClusterEnv, "_cluster_types", [])
    with pytest.raises(InputError, match="no SLURM.*was found. Give --coordinator HOST:PORT"):
        connect(ProcessesConfig(distributed=True))
