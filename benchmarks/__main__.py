"""make bench: the graph's latency and cost, and what keeping frame tokens saves. A table, and JSON with --json."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

LIMITS = {
    "states_per_second": ("≥", 3.9),
    "hops_lost": ("≤", 0),
    "stamp_to_state_ms_p50": ("≤", 60.0),
    "stamp_to_state_ms_p99": ("≤", 150.0),
    "cpu_cores": ("≤", 1.0),
    "rss_mb": ("≤", 600.0),
    "first_token_ms_p99": ("≤", 400.0),
    "start_to_active_seconds": ("≤", 3.0),
    "hop_ratio": ("≥", 3.0),
    "frame_stage_ratio": ("≥", 12.0),
}
"""What the project promises of nano on two cores shared with player and listener."""


def rows_of(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(figure, value, promise) of every number in the report."""
    rows = []
    for name, value in report.items():
        if isinstance(value, dict):
            rows += [(f"{name}.{key}", f"{number:.1f}", "") for key, number in value.items()]
        elif isinstance(value, (int, float)):
            sign, limit = LIMITS.get(name, ("", 0.0))
            held = {"≤": value <= limit, "≥": value >= limit}.get(sign)
            rows.append((name, f"{value:.2f}", f"{sign} {limit:g} {'held' if held else 'MISSED'}" if sign else ""))
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--clip", type=Path, default=Path(".demo/clip.mp4"), help="what is played (%(default)s)")
    parser.add_argument("--model", default="nano", help="a model's name or folder (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the graph is measured (%(default)s)")
    parser.add_argument("--only", choices=("graph", "hop"), help="one of the two parts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args(argv)
    report: dict[str, Any] = {}
    try:
        if arguments.only != "graph":
            from .hop import measure_hop

            report |= measure_hop(arguments.model)
        if arguments.only != "hop":
            from .graph import measure_graph

            report |= measure_graph(arguments.clip, arguments.model, arguments.seconds)
    except (RuntimeError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(report.get("runtime", ""))
    for name, value, promise in rows_of(report):
        print(f"  {name:34s} {value:>10s}   {promise}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
