"""Starts the runner: `python -I -S main.py PROCESSES`, where 0 sets no limit of processes."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from _clowdy import resident  # type: ignore[import-not-found, unused-ignore]

del sys.path[0]
resident.main(int(sys.argv[1]))
