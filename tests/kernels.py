"""The laws for every cell whose loops over time can be kernels: `python -m tests.kernels`.

On a CPU kernels are interpreted. It takes some minutes, so the suite has one cell of each kind:
`tests/engines/test_fused.py`.
"""

import argparse
import sys

import seqjax as sj
from seqjax.testing import check_cell
from tests.table import IN_FEATURES, TABLE

FUSED = sj.Fused(tile=4, block=2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kernels", description=__doc__)
    parser.add_argument("cells", nargs="*", help="rows of the table; all that qualify by default")
    names = parser.parse_args().cells
    failed = 0
    for row in TABLE:
        if "fused" not in row.methods or (names and row.name not in names):
            continue
        try:
            check_cell(row.cell, IN_FEATURES, methods=(FUSED,), thorough=False)
            print(f"equal  {row.name}", flush=True)
        except (AssertionError, ValueError) as error:
            failed += 1
            print(f"FAILED {row.name}: {error}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
