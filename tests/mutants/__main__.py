"""`python -m tests.mutants`: plants faults one at a time and reports which tests catch each."""

import argparse
import queue
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants import FAULTS
from tests.mutants.fault import AnchorError, Fault, locate
from tests.mutants.planting import Verdict, copy_tree, try_fault, without_faults

ROOT = Path(__file__).parents[2]


def main() -> int:
    """0 if every fault was caught, else 1."""
    options = _options()
    chosen = [fault for fault in FAULTS if _is_chosen(fault, options.only)]
    if not chosen:
        print("no fault has such a name", file=sys.stderr)
        return 1
    if problems := _problems(chosen):
        print("\n".join(problems))
    if options.check:
        print(f"{len(chosen) - len(problems)} of {len(chosen)} faults have their place and tests")
        return bool(problems)
    verdicts = _try_all(chosen, options.jobs, options.tests)
    if options.table:
        print(table(verdicts))
    caught = sum(bool(verdict.tests) for verdict in verdicts)
    print(f"{caught} of {len(chosen)} faults were caught", file=sys.stderr)
    return caught < len(chosen)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="faults whose names hold this")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    parser.add_argument("--table", action="store_true", help="print a Markdown table at the end")
    parser.add_argument("--check", action="store_true", help="only look for anchors and test files")
    parser.add_argument("--tests", help="arguments of pytest in place of those of the faults")
    return parser.parse_args()


def _is_chosen(fault: Fault, only: Sequence[str] | None) -> bool:
    names = (fault.name, fault.folder)
    return only is None or any(part in name for part in only for name in names)


def _problems(faults: Sequence[Fault]) -> list[str]:
    problems = []
    for fault in faults:
        try:
            locate(ROOT, fault)
        except AnchorError as problem:
            problems.append(str(problem))
            continue
        missing = sorted(name for name in fault.test_files if not (ROOT / name).exists())
        if missing:
            problems.append(f"{fault.name}: there is no {', no '.join(missing)}")
    return problems


def _try_all(faults: Sequence[Fault], jobs: int, tests: str | None) -> list[Verdict]:
    """The verdicts, in order; each is printed as soon as it is known."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: queue.Queue[Path] = queue.Queue()
        for job in range(jobs):
            copies.put(copy_tree(ROOT, Path(folder) / str(job)))

        def judge(fault: Fault) -> Verdict:
            copy = copies.get()
            try:
                verdict = try_fault(copy, fault, tests)
            except AnchorError:
                verdict = Verdict(fault, problem="the anchor is not found once")
            finally:
                copies.put(copy)
            print(verdict, file=sys.stderr, flush=True)
            return verdict

        with ThreadPoolExecutor(jobs) as pool:
            verdicts = list(pool.map(judge, faults))
        catching = sorted({name for verdict in verdicts for name in verdict.tests if "::" in name})
        if catching:
            outcome = without_faults(copies.get(), catching)
            for name in outcome.failed:
                print(f"WARNING: {name} fails without a fault, too", file=sys.stderr)
            if outcome.problem:
                print(f"WARNING: without a fault, {outcome.problem}", file=sys.stderr)
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """Rows of Markdown: the fault, its folder, the tests that caught it."""
    rows = ["| fault | folder | caught by |", "|---|---|---|"]
    for fault, tests, problem, _ in verdicts:
        by = ", ".join(f"`{test.removeprefix('tests/')}`" for test in tests)
        rows.append(f"| {fault.name} | {fault.folder} | {by or problem or '**nothing**'} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
