"""The named evaluations of a model folder, each through the same `Pipeline` that a robot runs.

In:  a loaded pipeline without its language model, the folder of the data tars.
Out: a table of figures for each name; see `EVALUATIONS` for what they are.
Needs no torch.
"""

from __future__ import annotations

import itertools
import platform
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ros2_emollama.analysis import Record, Tally, analyze, windows_of
from ros2_emollama.media import MediaError, read_clip
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.types import EmotionState, Window
from ros2_emollama.windows import WindowAssembler

from .probes import FRAME_HEIGHT, FRAME_WIDTH, Held, Probe, ProbeSet, faces_filling, faces_in_scenes, nobody, overlap, pairs, voices_alone
from .scores import report_of, share_interval

PRESENT = 0.5  # presence from which on somebody counts as there: the node's own default
CLAIMED = 0.5
PAIRS = 2000
PAIR_HEIGHT = 0.5  # of the frame's height
NOBODY_WINDOWS = 2000
EXPLANATIONS = 500
NOBODY_CLIP = "pyfeat_no_face.mp4"
HOPS = 100
MEGABYTE = 1e6


@dataclass
class Bench:
    """What an evaluation works with. `limit`: at most so many windows, evenly spread (0: all). `inputs` sums up every window shown.

    cache  where `prepare` left the measures of faces and voices
    """

    pipeline: Pipeline
    held: Held
    limit: int = 0
    cache: Path = Path("cache")
    inputs: int = 0
    _shown: int | None = field(default=None, repr=False)

    def show(self, window: Window) -> EmotionState:
        """What the model says of a window."""
        newest = next((entry.frame.pixels for entry in reversed(window.frames) if entry), None)
        for part in (newest, window.samples, window.audio_seen):
            if part is not None:
                self.inputs = zlib.crc32(part.tobytes(), self.inputs)
        return self.pipeline.perceive(window).state

    def ask(self, probes: ProbeSet, name: str) -> Iterator[tuple[Probe, EmotionState]]:
        """Every probe and what the model says of it, with a progress bar."""
        for index in tqdm(probes.some(self.limit), desc=name, unit="window"):
            probe = probes.make(index)
            yield probe, self.show(probe.window)


@dataclass(frozen=True)
class Evaluation:
    """`about` says in a sentence what is shown; `measure(bench, name, seed)` gives the figures. No seed where nothing is drawn."""

    about: str
    measure: Callable[[Bench, str, int], dict[str, Any]]
    seed: int = 0


def _scored(probes_of: Callable[[Bench, int], ProbeSet]) -> Callable[[Bench, str, int], dict[str, Any]]:
    """An evaluation whose windows each have a true label."""

    def measure(bench: Bench, name: str, seed: int) -> dict[str, Any]:
        asked = list(_essence(bench.ask(probes_of(bench, seed), name)))
        probabilities, labels, speakers, faces, speech, found = zip(*asked, strict=True)
        report = report_of(np.array(probabilities), labels, speakers, bench.pipeline.preset.labels)
        for key, values in (("face_present", faces), ("speech_present", speech), ("box_found", found)):
            known = [value for value in values if value is not None]
            if known:
                report[key] = float(np.mean(known))
        return report

    return measure


def _essence(answers: Iterator[tuple[Probe, EmotionState]]) -> Iterator[tuple[Any, ...]]:
    """What is kept of a window: the rest of 3,500 of them would be gigabytes. None: nothing to see or hear there, or no box known."""
    for probe, state in answers:
        face = state.face >= PRESENT if "video" in state.modalities else None
        speech = state.speech >= PRESENT if "audio" in state.modalities else None
        found = None
        if probe.box is not None:
            found = state.face_box is not None and overlap(state.face_box, probe.box, FRAME_WIDTH / FRAME_HEIGHT) >= 0.5
        yield state.probabilities, probe.label, probe.speaker, face, speech, found


def _nobody(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """See `_absence`, over all generated windows and by what is heard; and of the clip that shows nobody, where it is there."""
    pipeline = bench.pipeline
    probes = nobody(pipeline.window_spec, bench.held.faces, pipeline.preset.vision.canvas_pixels, NOBODY_WINDOWS, seed)
    states: dict[str, list[EmotionState]] = {}
    for probe, state in bench.ask(probes, name):
        states.setdefault(probe.kind, []).append(state)
    result = {**_absence(list(itertools.chain(*states.values()))), "by_sound": {kind: _absence(states[kind]) for kind in sorted(states)}}
    clip = bench.held.data / "clips" / NOBODY_CLIP
    if clip.is_file():
        windows = windows_of(read_clip(clip, pipeline.preset.audio.sample_rate_hz), WindowAssembler(pipeline.window_spec))
        result["clip"] = {"name": NOBODY_CLIP, **_absence([bench.show(window) for window in windows])}
    return result


def _absence(states: list[EmotionState]) -> dict[str, Any]:
    """What is said where nobody is.

    claims   share of windows in which a label other than neutral has CLAIMED or more, with its 95 % interval
    shown    share in which, besides, somebody is believed to be there, so that a node would publish that label
    """
    emotion = np.array([[p for label, p in zip(s.labels, s.probabilities, strict=True) if label != "neutral"] for s in states])
    claimed = emotion.max(axis=1) >= CLAIMED
    face, speech = (np.array([getattr(state, name) for state in states]) >= PRESENT for name in ("face", "speech"))
    return {
        "n": len(states),
        "claims": float(claimed.mean()),
        "claims_interval_95": share_interval(int(claimed.sum()), claimed.size),
        "shown": float((claimed & (face | speech)).mean()),
        "face_present": float(face.mean()),
        "speech_present": float(speech.mean()),
        "mean_probabilities": dict(zip(states[0].labels, np.mean([s.probabilities for s in states], axis=0).tolist(), strict=True)),
    }


def _clips(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """Every clip of the folder; a file that is none is named. FileNotFoundError with the cure where there is no folder."""
    folder = bench.held.data / "clips"
    paths = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"there are no clips in {folder}; put video files there, or leave `clips` out with --only")
    clips, unread = [], {}
    for path in tqdm(paths, desc=name, unit="clip"):
        try:
            clips.append(_clip(bench, path))
        except MediaError:
            unread[path.name] = "not a clip"
    return {"n": sum(clip["n"] for clip in clips), "clips": clips, **({"unread": unread} if unread else {})}


def _clip(bench: Bench, path: Path) -> dict[str, Any]:
    """n windows; labels: windows in which each held; timeline: [second, label] wherever another label begins to hold; means; presences."""
    pipeline, tally = bench.pipeline, Tally()
    pipeline.forget()
    clip = read_clip(path, pipeline.preset.audio.sample_rate_hz)
    records = list(analyze(clip, pipeline, pipeline.config, tally))
    timeline = [[next(run).time_seconds, label] for label, run in itertools.groupby(records, key=lambda record: record.label)]
    return {
        "name": path.name,
        "seconds": clip.duration_seconds,
        "n": len(records),
        "labels": dict(Counter(record.label for record in records).most_common()),
        "timeline": timeline,
        "mean_probabilities": tally.mean,
        **_presences(records),
        "modalities": sorted({modality for record in records for modality in record.modalities}),
        "dropped": dict(tally.dropped),
    }


def _presences(records: list[Record]) -> dict[str, float]:
    return {
        **{f"{name}_mean": float(np.mean([getattr(record, name) for record in records])) for name in ("face", "speech")},
        **{f"{name}_present": float(np.mean([getattr(record, name) >= PRESENT for record in records])) for name in ("face", "speech")},
    }


def _speed(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """One hop on one core, as `python -m benchmarks --only hop` measures it, and the folder's size in MB (10⁶ bytes)."""
    from benchmarks.hop import measure_hop

    folder = bench.pipeline.folder
    manifest = folder.manifest
    size = {file: int(facts["bytes"]) / MEGABYTE for file, facts in manifest.files.items()}
    needed = {*manifest.graphs.values(), *(file for role, file in manifest.language.items() if role != "weights")}
    hop = measure_hop(str(folder.root), hops=HOPS)
    return {
        "n": HOPS,
        "threads": bench.pipeline.config.model.threads,
        "processor": processor(),
        **{key: hop[key] for key in ("hop_ms", "hop_cpu_ms", "whole_window_ms", "hop_ratio", "stage_ms")},
        "folder_mb": sum(size.values()),
        "needed_mb": sum(size[file] for file in needed if file in size),
    }


def processor() -> str:
    """The machine's processor, in its maker's words where the system tells."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown")


def _explanations(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """What the language model says of windows of val people, every claim measured again (see check.py)."""
    from .check import report_of as truth_of
    from .check import tell, without_nan

    windows = min(bench.limit or EXPLANATIONS, EXPLANATIONS)
    _, told = tell(str(bench.pipeline.folder.root), bench.cache, windows, seed)
    return {"n": windows, **without_nan(truth_of(told, seed))}


def _in_scenes(height: float) -> Callable[[Bench, int], ProbeSet]:
    return lambda bench, seed: faces_in_scenes(bench.pipeline.window_spec, bench.held.faces, height, seed)


def _speech(*sets: str) -> Callable[[Bench, int], ProbeSet]:
    return lambda bench, seed: voices_alone(bench.pipeline.window_spec, bench.held.voices(*sets))


def _pairs(seen: bool, heard: bool) -> Callable[[Bench, int], ProbeSet]:
    def probes(bench: Bench, seed: int) -> ProbeSet:
        spec, held = bench.pipeline.window_spec, bench.held
        return pairs(spec, held.faces, held.voices(), PAIRS, PAIR_HEIGHT, seed, seen=seen, heard=heard)

    return probes


SCENE = "of the height of a 640 × 480 frame, anywhere in a drawn or photographed scene"
PAIRING = f"labels equally often, faces of FER2013 at 1/2 {SCENE}"

EVALUATIONS: dict[str, Evaluation] = {
    "faces_full": Evaluation(
        "FER2013 val, each face the whole picture",
        _scored(lambda bench, seed: faces_filling(bench.pipeline.window_spec, bench.held.faces)),
    ),
    "faces_half": Evaluation(f"the same faces at 1/2 {SCENE}", _scored(_in_scenes(1 / 2)), 2),
    "faces_quarter": Evaluation(f"the same faces at 1/4 {SCENE}", _scored(_in_scenes(1 / 4)), 4),
    "faces_eighth": Evaluation(f"the same faces at 1/8 {SCENE}", _scored(_in_scenes(1 / 8)), 8),
    "speech_ravdess": Evaluation("RAVDESS val (acted English), no camera", _scored(_speech("speech_ravdess"))),
    "speech_emodb": Evaluation("EmoDB val (acted German), no camera", _scored(_speech("speech_emodb"))),
    "speech_nemo": Evaluation("nEMO val (acted Polish), no camera", _scored(_speech("speech_nemo"))),
    "speech_pooled": Evaluation("these three together", _scored(_speech())),
    "pairs": Evaluation(f"a face and a voice of one label, across people: {PAIRING}", _scored(_pairs(True, True)), 20),
    "pairs_face_only": Evaluation("the same windows without a microphone", _scored(_pairs(True, False)), 20),
    "pairs_voice_only": Evaluation("the same windows without a camera", _scored(_pairs(False, True)), 20),
    "nobody": Evaluation("drawn views without people, six of ten made to mislead; sounds that are no speech", _nobody, 30),
    "explanations": Evaluation("views with val people, voices of val speakers, both or nobody; what is said of them", _explanations, 1),
    "clips": Evaluation("every clip of the data folder, the labels that hold", _clips),
    "speed": Evaluation("one hop on one core, and the folder", _speed),
}
"""What is measured, in the order in which it is. The three of pairs share one seed: they are the same people in the same scenes."""
