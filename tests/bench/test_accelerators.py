"""Costs by compilers: what is read out of a compiled program, and what is pinned."""

import dataclasses
import math

import pytest
from jax.experimental import topologies

from seqjax.bench.accelerator_report import Entry, bound, table
from seqjax.bench.accelerators import CompiledProgram, Cost, _cycles, _launches, cost
from seqjax.core.errors import InputError
from tests import compiled_costs

PROGRAM = """
%condition (state: (s32[])) -> pred[] {
  %limit = s32[] constant(10)
  ROOT %less = pred[] compare(%count, %limit), direction=LT
}
%inner (state: (s32[])) -> (s32[]) {
  %a = f32[8] fusion(%x), backend_config={"estimated_cycles":"7"}
}
%body (state: (s32[])) -> (s32[]) {
  %b = f32[8] fusion(%x), backend_config={"estimated_cycles":"100"}
  %w = (s32[]) while(%s), condition=%condition, body=%inner
}
%cheap (x: f32[8]) -> f32[8] {
  %c = f32[8] copy(%x), backend_config={"estimated_cycles":"1"}
}
%dear (x: f32[8]) -> f32[8] {
  %d = f32[8] copy(%x), backend_config={"estimated_cycles":"40"}
  %e = f32[8] copy(%x), backend_config={"estimated_cycles":"40"}
}
ENTRY %main (x: f32[8]) -> f32[8] {
  %w = (s32[]) while(%s), condition=%condition, body=%body, {"known_trip_count":{"n":"3"}}
  %if = f32[8] conditional(%p, %x, %x), branch_computations={%cheap, %dear}
  ROOT %f = f32[8] fusion(%x), backend_config={"estimated_cycles":"1000"}
}
"""


def test_loops_multiply_and_the_dearest_branch_counts():
    program = CompiledProgram(PROGRAM)
    assert program.total(_cycles) == 3 * (100 + 10 * 7) + 80 + 1000
    assert program.total(_launches) == 3 * (1 + 10) + 2 + 1
    assert CompiledProgram(PROGRAM, open_trips=2).total(_cycles) == 3 * (100 + 2 * 7) + 80 + 1000


def test_a_compiler_that_is_not_installed_is_named(monkeypatch):
    def missing(**_):
        raise RuntimeError("no libtpu")

    monkeypatch.setattr(topologies, "get_topology_desc", missing)
    with pytest.raises(InputError, match=r"pip install 'jax\[tpu\]==.*no libtpu"):
        cost(lambda x: x, target="v5e")


def costs(cycles: float, temporary: int = 0) -> Cost:
    return Cost(cycles, None, 0, temporary, 1.0)


def test_a_table_compares_with_the_first_of_each_group():
    entries = [
        Entry("lstm", "seqjax", costs(2e6), 197e12, 0.0),
        Entry("lstm", "haiku", costs(5e6), 197e12, 0.0),
        Entry("gru", "seqjax", costs(1e6), 0.0, 819e9),
    ]
    lines = [line.split()[:3] for line in table(entries, "v5e").splitlines()]
    assert [line for line in lines if line and line[0] in ("bound", "seqjax", "haiku")] == [
        ["bound", "1500.00", "million"],
        ["seqjax", "2.00", "1.00x"],
        ["haiku", "5.00", "2.50x"],
        ["bound", "1500.00", "million"],
        ["seqjax", "1.00", "1.00x"],
    ]
    assert bound(entries[2], "v5e") == 1.5e9


def test_cycles_without_those_of_kernels_are_not_compared():
    assert costs(4.0).ratio(costs(2.0)) == 2.0
    assert math.isnan(costs(4.0).ratio(dataclasses.replace(costs(2.0), kernels=1)))


def test_what_costs_more_than_recorded_is_told():
    recorded = {
        name: {"cycles": "1000", "temporary_bytes": "1000000"} for name in ("a", "b", "gone")
    }
    same = costs(1049.0, 1_049_000)
    assert compiled_costs.complaints({"a": same, "b": same, "gone": same}, recorded) == []
    found = {"a": costs(1051.0, 0), "b": costs(0.0, 1_200_000), "new": same}
    assert compiled_costs.complaints(found, recorded) == [
        "a: cycles 1,051, recorded 1,000",
        "b: temporary_bytes 1,200,000, recorded 1,000,000",
        "new: not recorded",
        "gone: recorded, but gone",
    ]
