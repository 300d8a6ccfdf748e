"""Costs by compilers: what is read out of a compiled program, and what is pinned."""

import math

import pytest
from jax.experimental import topologies

from seqjax.bench.accelerator_report import Entry, bound, table
from seqjax.bench.accelerators import CHIPS, Cost, _cycles, _launches, cost
from seqjax.bench.compiled_program import CompiledProgram
from seqjax.bench.kernel_schedules import is_kernel, kernel_cycles
from seqjax.bench.moved_bytes import MovedBytes
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
    return Cost(temporary, 1.0, cycles=cycles)


def test_a_table_compares_with_the_first_of_each_group():
    entries = [
        Entry("lstm", "seqjax", costs(2e6), 197e12, 0.0),
        Entry("lstm", "haiku", costs(5e6), 197e12, 0.0),
        Entry("gru", "seqjax", costs(1e6), 0.0, 819e9),
    ]
    lines = [line.split() for line in table(entries, "v5e").splitlines()]
    assert [line[1] for line in lines if line and line[0] == "bound"] == ["1500.00"] * 2
    assert [line[:6] for line in lines if line and line[0] in ("seqjax", "haiku")] == [
        ["seqjax", "2.00", "0.00", "0.0", "1.33", "1.00x"],
        ["haiku", "5.00", "0.00", "0.0", "3.33", "2.50x"],
        ["seqjax", "1.00", "0.00", "0.0", "0.67", "1.00x"],
    ]
    assert bound(entries[2], "v5e") == 1.5e9


MOVES = """
%in_parts (p.0: f32[100,8], p.1: s32[], p.2: f32[100,8], p.3: f32[8]) -> f32[100,8] {
  %p.0 = f32[100,8]{1,0:T(8,128)} parameter(0)
  %p.1 = s32[]{:T(128)} parameter(1)
  %p.2 = f32[100,8]{1,0:T(8,128)} parameter(2)
  %p.3 = f32[8]{0:T(128)S(1)} parameter(3)
  %b = f32[100,1,8]{2,1,0:T(8,128)} bitcast(%p.0)
  %slice = f32[1,1,8]{2,1,0} dynamic-slice(%b, %p.1), dynamic_slice_sizes={1,1,8}
  %sum = f32[1,8]{1,0} add(%slice, %p.3)
  ROOT %put = f32[100,8]{1,0:T(8,128)} dynamic-update-slice(%p.2, %sum, %p.1)
}
ENTRY %main (x: f32[100,8]) -> f32[100,8] {
  %x = f32[100,8]{1,0:T(8,128)} parameter(0)
  %near = bf16[100,8]{1,0:T(8,128)S(1)} convert(%x)
  %start = (f32[100,8]{1,0:T(8,128)S(1)}, f32[100,8]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%x)
  %held = f32[100,8]{1,0:T(8,128)S(1)} copy-done(%start)
  %i = s32[]{:T(128)S(6)} constant(0)
  %small = f32[8]{0:T(128)S(1)} broadcast(%i), dimensions={}
  %f = f32[100,8]{1,0:T(8,128)} fusion(%x, %i, %x, %small), kind=kLoop, calls=%in_parts
  ROOT %all = f32[100,8]{1,0:T(8,128)} add(%f, %held)
}
"""


def test_bytes_between_the_memories():
    """Slices by their own size, what stays in the core not at all, a copy once."""
    program = CompiledProgram(MOVES)
    moved = MovedBytes(program)
    by_name = {operation.name: moved(operation) for operation in program.computations["main"]}
    whole = 4 * 100 * 8
    assert {name: size for name, size in by_name.items() if size} == {
        "near": whole, "start": whole, "f": 2 * 4 * 8, "all": 2 * whole,
    }  # fmt: skip
    assert program.total(moved) == 4 * whole + 2 * 4 * 8


def test_a_kernel_takes_its_schedule_once_a_step():
    line = '%scan.1 = f32[8] custom-call(%x), custom_call_target="tpu_custom_call"'
    named = f'{line}, frontend_attributes={{kernel_metadata={{\n"steps":"20"\n}}}}'
    program = CompiledProgram(f"ENTRY %main (x: f32[8]) -> f32[8] {{\n  {named}\n}}")
    (kernel,) = program.computations["main"]
    assert program.total(is_kernel) == 1
    assert kernel_cycles(kernel, {"scan.1": 70}) == 20 * 70
    assert math.isnan(kernel_cycles(kernel, {}))
    assert math.isnan(kernel_cycles(kernel._replace(line=line), {"scan.1": 70}))


def test_the_larger_of_both_times_counts():
    chip = CHIPS["v5e"]
    one = Cost(0, 1.0, cycles=chip.hertz, kernel_cycles=chip.hertz, moved_bytes=chip.bytes)
    assert one.seconds(chip) == 2.0
    assert one.ratio(Cost(0, 1.0, cycles=1.0, moved_bytes=4 * chip.bytes), "v5e") == 0.5
    assert Cost(0, 1.0, launches=30).ratio(Cost(0, 1.0, launches=10), "h100") == 3.0
    assert math.isnan(costs(4.0).ratio(Cost(0, 1.0, kernel_cycles=math.nan), "v5e"))


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
