"""make faults: break the running graph in every way we know, check each claim, say it in a line; then a soak."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from .rig import Missed, Rig


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--clip", type=Path, default=Path(".demo/clip.mp4"), help="what camera and microphone see and hear (%(default)s)")
    parser.add_argument("--only", metavar="ROW", action="append", help="only this row; may be given several times; see --list")
    parser.add_argument("--list", action="store_true", help="the rows and their claims")
    parser.add_argument("--soak", type=float, default=120.0, metavar="SECONDS", help="length of the soak, 0 for none (%(default)s)")
    given = parser.parse_args(argv)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    from .alone import ALONE
    from .rows import SHARED

    rows = {row.__name__: row for row in (*SHARED, *ALONE)}
    if given.list:
        print("\n".join(f"{name:26s} {row.__doc__}" for name, row in rows.items()))
        return 0
    wanted = given.only or list(rows)
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; see --list")
    if not given.clip.is_file():
        parser.error(f"no clip at {given.clip}; make .demo/clip.mp4")
    missed = run_shared(given.clip, [row for row in SHARED if row.__name__ in wanted])
    missed += sum(not told(row.__name__, lambda row=row: row(given.clip)) for row in ALONE if row.__name__ in wanted)
    if given.soak and not given.only:
        from .soak import soak

        missed += not told(f"soak of {given.soak:g} s", lambda: soak(given.clip, given.soak))
    print(f"{len(wanted)} rows, {missed} missed" if missed else f"{len(wanted)} rows, all held")
    return int(bool(missed))


def run_shared(clip: Path, rows: list) -> int:
    """How many rows missed. A row that leaves the graph broken costs it a new one, not its successors."""
    missed, rig = 0, None
    for row in rows:
        if rig is None:
            rig = Rig(clip)
            time.sleep(3.0)
        if not told(row.__name__, lambda row=row, rig=rig: row(rig)):
            missed += 1
            rig.close()
            rig = None
    if rig is not None:
        rig.close()
    return missed


def told(name: str, check) -> bool:
    """Run a check and print its line."""
    began = time.monotonic()
    try:
        text, held = check(), True
    except (Missed, RuntimeError, OSError, subprocess.SubprocessError) as error:
        text, held = str(error), False
    print(f"{'held' if held else 'MISSED':7s}{name:26s} {text}  [{time.monotonic() - began:.0f} s]", flush=True)
    return held


if __name__ == "__main__":
    sys.exit(main())
