"""The whole graph for minutes or hours, explanations all the time, sensors that come and go: does anything grow, is a hop lost?"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import psutil
from tqdm import tqdm

from .rig import Rig, claim

WARM_UP_SECONDS = 60.0  # or a sixth of the soak, where that is more: caches of Python and DDS fill for minutes
LONG_SECONDS = 1800.0  # below this a slope per hour is noise, and the growth as a whole is what counts
SLOPE_MB_PER_HOUR, GROWTH_MB = 1.0, 4.0
SAMPLE_SECONDS = 1.0
STOPPED_SECONDS = 2.0
SAMPLES = Path("build/soak.csv")
"""Seconds, RSS in MB, descriptors, threads, hops lost so far: to look at while it runs, and afterwards."""
ABSENCES = {"microphone": range(20, 23), "camera": range(40, 43)}
"""Stream -> the seconds of each minute in which it is off."""


def _presence(elapsed: float) -> dict[str, str]:
    return {stream: "off" if int(elapsed) % 60 in seconds else "live" for stream, seconds in ABSENCES.items()}


class _Sums:
    """What states came to, counted and let go."""

    def __init__(self) -> None:
        self.states = self.lost = self.explanations = 0

    def take(self, rig: Rig) -> None:
        states, explanations = len(rig.states), len(rig.reasonings)
        self.lost += rig.dropped("hops_lost")
        self.states += states
        self.explanations += sum(m.final for _, m in rig.reasonings[:explanations])
        del rig.states[:states], rig.reasonings[:explanations], rig.reports[:-1]


def soak(clip: Path, seconds: float) -> str:
    """Run for `seconds` after a warm-up; the line to print. Missed when memory or descriptors grow, or a hop is lost."""
    rig = Rig(clip)
    try:
        process = psutil.Process(rig.perception.child.pid)
        samples, sums, told = [], _Sums(), _presence(0.0)
        _fill_queues(process)
        SAMPLES.parent.mkdir(exist_ok=True)
        total = seconds + max(WARM_UP_SECONDS, seconds / 6)
        began = time.monotonic()
        with (
            SAMPLES.open("w", encoding="ascii") as kept,
            tqdm(total=round(total), unit="s", desc="soak", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False) as bar,
        ):
            while (elapsed := time.monotonic() - began) < total:
                if told != _presence(elapsed):
                    told = _presence(elapsed)
                    rig.feed(**told)
                sample = (elapsed, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())
                if elapsed < total - seconds:
                    del rig.states[:-1], rig.reasonings[:-1], rig.reports[:-1]
                else:
                    sums.take(rig)
                    samples.append(sample)
                kept.write(",".join(f"{value:.2f}" for value in (*sample, sums.lost)) + "\n")
                kept.flush()
                time.sleep(SAMPLE_SECONDS)
                bar.update(round(time.monotonic() - began) - bar.n)
        sums.take(rig)
        return _judge(np.array(samples), sums, seconds)
    finally:
        rig.close()


def _fill_queues(process: psutil.Process) -> None:
    """Let every queue fill to its depth once: DDS keeps the room that its fullest moment took, a megabyte a picture, and would else take it
    step by step whenever the machine is busy."""
    time.sleep(STOPPED_SECONDS)
    for _ in range(2):
        process.suspend()
        time.sleep(STOPPED_SECONDS)
        process.resume()
        time.sleep(STOPPED_SECONDS)


def _judge(samples: np.ndarray, sums: _Sums, seconds: float) -> str:
    hours, rss, descriptors, threads = samples[:, 0] / 3600, samples[:, 1], samples[:, 2], samples[:, 3]
    # Pictures in flight come and go by the megabyte, and free memory goes back once a minute: the middle of some minutes is what counts.
    parts = [part for part in np.array_split(np.arange(len(rss)), max(4, round(seconds / 300))) if part.size]
    slope = float(np.polyfit([hours[part].mean() for part in parts], [float(np.median(rss[part])) for part in parts], 1)[0])
    quarter = max(1, len(rss) // 4)
    growth = float(np.median(rss[-quarter:]) - np.median(rss[:quarter]))
    said = (
        f"{sums.states} states ({sums.states / seconds:.2f}/s), {sums.lost} hops lost, {sums.explanations} explanations; "
        f"RSS {rss[-1]:.1f} MB, slope {slope:+.2f} MB/h, growth {growth:+.2f} MB; "
        f"descriptors {descriptors[0]:.0f} → {descriptors[-1]:.0f}, threads {threads[0]:.0f} → {threads[-1]:.0f}"
    )
    claim(sums.lost == 0 and sums.states >= 3.9 * seconds, said)
    claim(float(np.median(descriptors[-quarter:])) <= float(np.median(descriptors[:quarter])), said)
    claim(float(np.median(threads[-quarter:])) <= float(np.median(threads[:quarter])), said)
    claim(slope < SLOPE_MB_PER_HOUR if seconds >= LONG_SECONDS else growth < GROWTH_MB, said)
    return said
