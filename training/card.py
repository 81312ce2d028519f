"""A report → the measured parts of the model's MODEL_CARD.md, between markers, and confusion matrices as pictures.

    <!-- measured: faces -->        anything between the two lines is written anew; what stands around them is left alone
    <!-- end of faces -->           the names are those of `SECTIONS`

The report itself is kept beside the card: a test holds that the two say the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ros2_emollama.model.folder import ModelFolder, open_folder

from .check import MEANINGS
from .report import command_of, read_report, write_json
from .suite import EVALUATIONS

CARD = "MODEL_CARD.md"
REPORT = "report.json"
FIGURES = "figures"
DRAWN = ("faces_full", "faces_half", "speech_ravdess", "speech_emodb", "speech_nemo", "pairs")
CHANGES_SHOWN = 6
BUSY = 1.25  # a hop takes this much longer than its processor time: others had the core
Figures = dict[str, Any]


def write_card(root: Path, report_path: Path) -> list[Path]:
    """Bring card, pictures and kept report up to a report; the files written. ValueError or FileNotFoundError with the cure."""
    from .confusion import draw

    folder, card = open_folder(root), root / CARD
    if not report_path.is_file():
        raise FileNotFoundError(f"no report {report_path}; make it: {command_of(folder)}")
    report = read_report(report_path, folder)
    text = fill(card.read_text(encoding="utf-8"), folder, report)
    (root / FIGURES).mkdir(exist_ok=True)
    pictures = {name: root / FIGURES / f"{name}.svg" for name in DRAWN if name in report["evaluations"]}
    for name, path in pictures.items():
        draw(report["evaluations"][name], name, path)
    write_json(root / REPORT, report)
    card.write_text(text, encoding="utf-8")
    return [card, root / REPORT, *pictures.values()]


def fill(card: str, folder: ModelFolder, report: dict[str, Any]) -> str:
    """The card's text with every marked part written anew. ValueError where a marker is unknown, stands alone, or there is none."""
    found = re.findall(r"^<!-- measured: (.+?) -->$", card, re.MULTILINE)
    if not found:
        lines = " … ".join((marker("faces"), end_marker("faces")))
        raise ValueError(f"{CARD} has no place for figures; write lines like `{lines}` into it, for each of: {', '.join(SECTIONS)}")
    for name in found:
        if name not in SECTIONS:
            raise ValueError(f"{CARD} asks for {name!r}, which is not measured; there are: {', '.join(SECTIONS)}")
        pattern = re.compile(f"^{re.escape(marker(name))}$.*?^{re.escape(end_marker(name))}$", re.MULTILINE | re.DOTALL)
        part = "\n".join((marker(name), SECTIONS[name](folder, report["evaluations"]), end_marker(name)))
        card, count = pattern.subn(part.replace("\\", r"\\"), card)
        if count != 1:
            raise ValueError(f"{CARD} must hold `{marker(name)}` and, below it, `{end_marker(name)}`, once each; mend it by hand")
    return card


def marker(name: str) -> str:
    return f"<!-- measured: {name} -->"


def end_marker(name: str) -> str:
    return f"<!-- end of {name} -->"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines)


def _interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _not_measured(folder: ModelFolder, name: str) -> str:
    return f"Not measured: `{command_of(folder, name)}`."


def _rows(evaluations: Figures, names: Iterable[str]) -> list[tuple[str, Figures]]:
    return [(name, evaluations[name]) for name in names if name in evaluations]


def _how(folder: ModelFolder, evaluations: Figures, names: Sequence[str]) -> str:
    """How the rows above are made again, and which of them are missing."""
    limits = {figures["limit"] for _, figures in _rows(evaluations, names)} or {0}
    line = f"Of {folder.model_id}. Any one of these rows: `{command_of(folder, 'ROW', max(limits))}`."
    absent = [name for name in names if name not in evaluations]
    return line + (f" Not measured: {', '.join(absent)}." if absent else "")


def _scores(folder: ModelFolder, evaluations: Figures, names: Sequence[str]) -> str:
    """One row an evaluation whose windows have a true label."""
    chosen = _rows(evaluations, names)
    extra = {"face_present": "face present", "box_found": "box found", "speech_present": "speech present"}
    shown = [key for key in extra if any(key in figures for _, figures in chosen)]
    header = [
        "row",
        "windows of",
        "n",
        "accuracy",
        "UAR [95 %]",
        "drawn over",
        "NLL",
        "Brier",
        "ECE",
        "ECE of unseen",
        "ECE by chance",
        *(extra[key] for key in shown),
    ]
    rows = [
        [
            name,
            figures["about"],
            str(figures["n"]),
            f"{figures['accuracy']:.3f}",
            _interval(figures["uar"], figures["uar_interval_95"]),
            figures["interval_over"],
            f"{figures['nll']:.2f}",
            f"{figures['brier']:.2f}",
            f"{figures['ece']:.3f}",
            *(f"{figures[key]:.3f}" if key in figures else "–" for key in ("ece_crossfit", "ece_chance")),
            *(_share(figures.get(key)) for key in shown),
        ]
        for name, figures in chosen
    ]
    return table(header, rows) + "\n\n" + _how(folder, evaluations, names)


def _recall(folder: ModelFolder, evaluations: Figures) -> str:
    """Recall by label, every evaluation that has one."""
    chosen = [(name, figures) for name, figures in evaluations.items() if "recall" in figures]
    labels = list(dict.fromkeys(label for _, figures in chosen for label in figures["labels"]))
    rows = [
        [name, *(f"{figures['recall'][label]:.2f}" if label in figures["recall"] else "–" for label in labels)] for name, figures in chosen
    ]
    return table(["row", *labels], rows) + "\n\n" + _how(folder, evaluations, [name for name, _ in chosen])


def _confusion(folder: ModelFolder, evaluations: Figures) -> str:
    """The pictures that `write_card` draws."""
    lines = []
    for name, figures in _rows(evaluations, DRAWN):
        lines.append(f"![confusion of {name}: {figures['about']}; n {figures['n']}, UAR {figures['uar']:.3f}]({FIGURES}/{name}.svg)")
    return "\n".join(lines) + f"\n\nDrawn by `python -m training card --model models/{folder.manifest.name}`."


def _nobody(folder: ModelFolder, evaluations: Figures) -> str:
    if "nobody" not in evaluations:
        return _not_measured(folder, "nobody")
    figures = evaluations["nobody"]
    parts = [("all of them", figures), *((f"with {kind}", part) for kind, part in figures["by_sound"].items())]
    parts += [(figures["clip"]["name"], figures["clip"])] if "clip" in figures else []
    header = ["windows", "n", "an emotion claimed [95 %]", "and shown", "face present", "speech present"]
    rows = [
        [
            what,
            str(part["n"]),
            " ".join((_share(part["claims"]), "[" + ", ".join(_share(end) for end in part["claims_interval_95"]) + "]")),
            *(_share(part[key]) for key in ("shown", "face_present", "speech_present")),
        ]
        for what, part in parts
    ]
    claimed = "Claimed: a label other than neutral has 0.5 or more. Shown: besides, a presence is 0.5 or more, so that a node would say so."
    about = f"Windows: {figures['about']}."
    return "\n\n".join((table(header, rows), f"{about} {claimed}", f"Of {folder.model_id}: `{figures['command']}`."))


def _clips(folder: ModelFolder, evaluations: Figures) -> str:
    if "clips" not in evaluations:
        return _not_measured(folder, "clips")
    figures = evaluations["clips"]
    header = ["clip", "windows", "labels that hold", "from second on", "mean probability", "face", "speech"]
    rows = [
        [
            clip["name"],
            str(clip["n"]),
            ", ".join(f"{label} {100 * count / clip['n']:.0f} %" for label, count in clip["labels"].items()),
            _timeline(clip["timeline"]),
            ", ".join(f"{label} {value:.2f}" for label, value in _largest(clip["mean_probabilities"], 3)),
            *(f"{clip[f'{name}_mean']:.2f}" for name in ("face", "speech")),
        ]
        for clip in figures["clips"]
    ]
    told = "What holds is decided as in the node; face and speech are mean presences. Nobody has labelled these clips."
    return "\n\n".join((table(header, rows), told, f"Of {folder.model_id}: `{figures['command']}`."))


def _timeline(changes: Sequence[tuple[float, str]]) -> str:
    said = [f"{seconds:g} {label}" for seconds, label in changes[:CHANGES_SHOWN]]
    more = len(changes) - CHANGES_SHOWN
    return ", ".join(said) + (f", {more} more changes" if more > 0 else "")


def _largest(probabilities: dict[str, float], count: int) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda item: -item[1])[:count]


def _speed(folder: ModelFolder, evaluations: Figures) -> str:
    if "speed" not in evaluations:
        return _not_measured(folder, "speed")
    figures = evaluations["speed"]
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in figures["stage_ms"].items())
    rows = [
        ["a hop, median", f"{figures['hop_ms']:.1f} ms ({stages}), {figures['hop_cpu_ms']:.1f} ms of it processor time"],
        ["its whole window computed anew", f"{figures['whole_window_ms']:.1f} ms, {figures['hop_ratio']:.1f} times as much"],
        ["the folder", f"{figures['folder_mb']:.1f} MB, of which a robot without torch reads {figures['needed_mb']:.1f} MB"],
    ]
    where = f"640 × 480 pictures, {figures['threads']} thread, {figures['processor']}, {figures['n']} hops."
    if figures["hop_ms"] > BUSY * figures["hop_cpu_ms"]:
        where += " **The machine was busy with other work; measure again when it is not.**"
    return "\n\n".join((table(["", "measured"], rows), where, f"Of {folder.model_id}: `{figures['command']}`."))


def _explanations(folder: ModelFolder, evaluations: Figures) -> str:
    if "explanations" not in evaluations:
        return _not_measured(folder, "explanations")
    figures = evaluations["explanations"]
    shares = [
        [
            meaning,
            f"{figures[name]['share']:.3f} [{', '.join(f'{end:.3f}' for end in figures[name]['interval_95'])}]",
            str(figures[name]["n"]),
        ]
        for name, meaning in MEANINGS.items()
    ]
    shares.append(["pairs of windows with other cues whose texts differ", f"{figures['differing_pairs']:.3f}", ""])
    claims = [
        [name, str(claim["n"]), *(_ratio(claim[key]) for key in ("true", "shuffled")), str(claim["strong"]), _ratio(claim["strong_named"])]
        for name, claim in figures["claims"].items()
    ]
    about = f"{figures['n']} windows: {figures['about']}; {figures['cues_per_text']:.1f} cues an explanation."
    return "\n\n".join(
        (
            about,
            table(["share of", "measured [95 %]", "n"], shares),
            table(["claim", "n", "true", "of other windows", "strong", "of them named"], claims),
            f"Of {folder.model_id}: `{figures['command']}`.",
        )
    )


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _section(prefix: str) -> Callable[[ModelFolder, Figures], str]:
    names = [name for name in EVALUATIONS if name.startswith(prefix)]
    return lambda folder, evaluations: _scores(folder, evaluations, names)


SECTIONS: dict[str, Callable[[ModelFolder, Figures], str]] = {
    "faces": _section("faces"),
    "speech": _section("speech"),
    "pairs": _section("pairs"),
    "recall": _recall,
    "confusion": _confusion,
    "nobody": _nobody,
    "explanations": _explanations,
    "clips": _clips,
    "speed": _speed,
}
"""What a card may ask for, and what writes it."""
