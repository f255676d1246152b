"""Measures and prints a table: `python -m tests.bench`.

BENCH_ROWS=name,name measures some rows, BENCH_FULL=1 all of them at full length. A target that is missed is shown and
no error; a row that cannot be measured is one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench import applications, calls, docker, gateway, many, pushes, starts, steady
from tests.bench.table import Figure, show

Row = Callable[[Path], Iterable[Figure]]

ROWS: dict[str, Row] = {
    "throughput": gateway.throughput,
    "starts": starts.starts,
    "docker": docker.docker,
    "push": pushes.small,
    "large": pushes.large,
    "requirements": applications.requirements,
    "applications": applications.applications,
    "many": many.many,
    "steady": steady.steady,
    "calls": calls.calls,
}


def main() -> int:
    """The exit status."""
    wanted = [name for name in os.environ.get("BENCH_ROWS", "").replace(" ", "").split(",") if name] or list(ROWS)
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        print(f"BENCH_ROWS: there is no row {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    broken: list[str] = []
    began = time.monotonic()
    for name in wanted:
        print(f"measuring {name} ...", end=" ", flush=True, file=sys.stderr)
        start = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="clowdy-bench-"))
        try:
            figures += ROWS[name](folder)
        except Exception:
            traceback.print_exc()
            broken.append(name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    if figures:
        print(show(figures))
    targets = [figure for figure in figures if figure.target is not None]
    missed = [figure for figure in targets if not figure.reached]
    print(
        f"\n{len(targets) - len(missed)} of {len(targets)} targets reached, on {os.cpu_count()} cores, "
        f"in {time.monotonic() - began:.0f} s"
    )
    for figure in missed:
        print(f"not reached: {figure.row}: {figure.what}: {figure.cells[3]}, target {figure.cells[4]}")
    for name in broken:
        print(f"not measured: {name}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
