"""Fuzz every parser: `python -m tests.fuzz [--inputs N] [--seconds S] [--seed K] [--only TARGET]`, or `make fuzz`.

Ends with a table and status 1 where anything crashed, hung or vanished. One input again, with its traceback: --only TARGET --seed K --at I.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from tqdm import tqdm

from tests.fuzz import core, engine, messages
from tests.fuzz.engine import Report, Target


def all_targets() -> list[Target]:
    """Those that this environment can run: the wire needs ROS."""
    found = [*messages.TARGETS, *core.TARGETS]
    if importlib.util.find_spec("rclpy") and importlib.util.find_spec("emollama"):
        from tests.fuzz import wire

        found += wire.targets()
    return found


def plan(targets: Sequence[Target], inputs: int) -> dict[str, int]:
    """How many inputs each target gets, at least one."""
    shares = sum(target.share for target in targets)
    return {target.name: max(1, round(inputs * target.share / shares)) for target in targets}


def run_all(targets: Sequence[Target], inputs: int, seed: int, seconds: float, quiet: bool = False) -> list[Report]:
    planned, reports = plan(targets, inputs), []
    with tqdm(total=sum(planned.values()), unit="input", disable=quiet or not sys.stderr.isatty(), mininterval=1.0) as bar:
        for target in targets:
            bar.set_description(target.name)
            before = bar.n

            def show(done: int, before: int = before) -> None:
                bar.update(before + max(done, 0) - bar.n)

            limit = seconds * planned[target.name] / sum(planned.values())
            reports.append(engine.run(target, planned[target.name], seed, limit, show))
            show(reports[-1].inputs)
    return reports


def table(reports: Sequence[Report]) -> str:
    lines = [f"{'target':36} {'inputs':>9} {'crash':>5} {'hang':>5} {'lost':>5} {'slowest':>9} {'seconds':>8}  outcomes"]
    for report in reports:
        outcomes = ", ".join(f"{cause} {count:,}" for cause, count in report.outcomes.most_common())
        lines.append(
            f"{report.name:36} {report.inputs:>9,} {report.crashes:>5} {report.hangs:>5} {report.silent:>5} "
            f"{report.slowest_ms:>6.1f} ms {report.seconds:>8.1f}  {outcomes}"
        )
    sums = [sum(getattr(report, name) for report in reports) for name in ("inputs", "crashes", "hangs", "silent")]
    slowest = max((report.slowest_ms for report in reports), default=0.0)
    lines.append(
        f"{'all':36} {sums[0]:>9,} {sums[1]:>5} {sums[2]:>5} {sums[3]:>5} {slowest:>6.1f} ms {sum(r.seconds for r in reports):>8.0f}"
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="of all targets together, default %(default)s")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after about this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="targets whose name contains this")
    parser.add_argument("--at", type=int, help="try this one input in this process and say what became of it")
    asked = parser.parse_args(argv)
    targets = [target for target in all_targets() if not asked.only or asked.only in target.name]
    if not targets:
        parser.error(f"no target's name contains {asked.only!r}; there are: {', '.join(target.name for target in all_targets())}")
    if asked.at is not None:
        with engine.workplace():
            for target in targets:
                made = target.make(engine.generator(asked.seed, target.name, asked.at))
                print(f"{target.name}: {str(made)[:2000]}", target.attempt(made), sep="\n")
        return 0
    reports = run_all(targets, asked.inputs, asked.seed, asked.seconds)
    print(table(reports))
    for report in reports:
        for index, text in report.failures:
            print(f"\n{report.name}, seed {asked.seed}, input {index}:\n{text}")
    return int(any(report.failed for report in reports))


if __name__ == "__main__":
    sys.exit(main())
