"""Stage `voice`: the audio stream learns to hear a feeling, and whether anybody speaks at all."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ros2_emollama.model.audio import AudioStream
from ros2_emollama.model.label_head import pooled_voice
from ros2_emollama.model.logmel import log_mel
from ros2_emollama.model.presets import LABELS, AudioPreset, Preset

from .data import VOICE_SETS, Voices
from .dice import Dice
from .draws import Mixup, balanced
from .faces import measure_loss
from .hearing import Ear, Heard
from .measures import Norms, read_measures, scales
from .paths import Paths
from .schedule import Schedule
from .sounds import Sound, heard, plain
from .stage import fit, recall_figures
from .voice_measures import VOICE_MEASURES

VOICE_SCHEDULE = Schedule(steps=7000, batch=48, learning_rate=2e-3, weight_decay=0.05, validate_every=1000)
SILENT_SHARE = 0.15
MIX_SHARE = 0.3
BALANCE = 0.75  # of corpora and labels: EmoDB has a quarter of the others' voices
MEASURE_WEIGHT = 0.2
PACE_TOKENS = 16  # a second of speech: in less, neither its rate nor its pauses can be heard
LEAST_TOKENS = 4  # of speech that a window must hold to have a label


class VoiceClassifier(nn.Module):
    """The audio stream and a throw-away head that looks at the tokens in which somebody speaks: how they are, and how much they vary."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.audio = AudioStream(preset.audio, preset.mel_columns)
        self.vote = nn.Linear(preset.audio.width, 1)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(3 * preset.audio.width, len(LABELS)))
        self.measures = nn.Linear(3 * preset.audio.width, len(VOICE_MEASURES))

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """logits (B, 7), speech logits (B, 64), measures (B, M) in deviations from the norm."""
        tokens, speech = self.audio.tokens_and_speech_logits(logmel)
        tokens, speech = tokens.float(), speech.float()
        speaking = torch.sigmoid(speech).detach()
        pooled = pooled_voice(tokens, self.vote(tokens).squeeze(-1) + 2 * speaking, speaking)
        return self.head(pooled), speech, self.measures(pooled)


def mask_spectrum(logmel: Tensor, dice: Dice) -> Tensor:
    """SpecAugment (arXiv 1904.08779): two bands and two stretches per window set to the window's mean."""
    mean = logmel.mean((1, 2), keepdim=True)
    for _ in range(2):
        for dimension, widest in ((1, 10), (2, 28)):
            length = logmel.shape[dimension]
            width = dice.whole(widest)
            start = (dice.draw(0, 1) * (length - width)).long()
            place = torch.arange(length)[None]
            inside = (place >= start[:, None]) & (place < (start + width)[:, None])
            logmel = torch.where(inside.unsqueeze(3 - dimension), mean, logmel)
    return logmel


def features(sounds: list[Sound], preset: AudioPreset) -> Tensor:
    """(B, mels, columns) log-mel of each window, as the pipeline computes it."""
    return torch.from_numpy(np.stack([log_mel(sound.samples, preset, sound.mask > 0) for sound in sounds]))


def voice_weights(voices: Voices, places: np.ndarray) -> np.ndarray:
    """Class keys per corpus and label, so that sampling balances both."""
    corpus = np.array([VOICE_SETS.index(voices.rows[i].set) for i in places])
    return corpus * len(LABELS) + voices.labels[places]


def train_voices(
    preset: Preset, paths: Paths, schedule: Schedule = VOICE_SCHEDULE, left_out: frozenset[str] = frozenset()
) -> tuple[VoiceClassifier, dict[str, float]]:
    """Fit on the train speakers of all corpora; figures are on the val speakers, each corpus apart, plus speech presence.

    left_out  corpora or speakers that are not trained on; figures are then on them instead, over the labels that training had
    """
    voices, ear = Voices(paths.cache), Ear(paths.cache, preset.audio, preset.mel_columns)
    torch.manual_seed(schedule.seed)
    model = VoiceClassifier(preset).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train, held = parted(voices, left_out)
    keys = voice_weights(voices, train)
    known = np.unique(voices.labels[train])
    measures = Measured(paths)

    batch = schedule.batch

    def loss_of(rng: np.random.Generator, _: int) -> Tensor:
        places = train[balanced(keys, rng, batch, BALANCE)]
        dice = Dice(rng, batch)
        windows = ear.hear(np.where(rng.random(batch) < SILENT_SHARE, -1, places), rng)
        logmel = mask_spectrum(windows.logmel, dice)
        weight = (windows.active.sum(1) >= LEAST_TOKENS).float()
        measured = measures.of(places, windows)
        targets = F.one_hot(torch.from_numpy(voices.labels[places]), len(LABELS)) * 0.9 + 0.1 / len(LABELS)
        mixed = rng.random() < MIX_SHARE
        if mixed:
            mix = Mixup.draw(rng, batch, 0.4)
            logmel, targets, measured, weight = mix(logmel), mix(targets), mix(measured), weight * weight[mix.order]
        with torch.autocast("cpu", torch.bfloat16):
            logits, speech, said = model(logmel)
        label_loss = (-(targets * F.log_softmax(logits.float(), 1)).sum(1) * weight).sum() / weight.sum().clamp(min=1)
        label_loss = label_loss + MEASURE_WEIGHT * measure_loss(said.float(), measured, weight)
        return label_loss if mixed else label_loss + 0.3 * F.binary_cross_entropy_with_logits(speech.float(), windows.active)

    def validate(module: nn.Module) -> dict[str, float]:
        figures = {}
        for corpus, places in held.items():
            truth = voices.labels[places]
            fit_for = np.isin(truth, known)
            sounds = [plain(voices.voice(int(i)), preset.audio, preset.window_seconds) for i in places[fit_for]]
            logmel = features(sounds, preset.audio)
            logits = torch.cat([module(piece)[0].float() for piece in logmel.split(64)])
            possible = torch.from_numpy(np.isin(np.arange(len(LABELS)), np.intersect1d(known, truth)))
            logits = logits.masked_fill(~possible, -1e4) if left_out else logits
            figures[f"uar_{corpus.removeprefix('speech_')}"] = recall_figures(logits.argmax(1), torch.from_numpy(truth[fit_for]), 7)["uar"]
        figures.update(speech_figures(module, voices, preset))
        return figures

    figures = fit("voice", model, schedule, loss_of, validate, paths.run)
    return model, figures


class Measured:
    """What was measured of each clip, as it is true of a window that was drawn from it."""

    def __init__(self, paths: Paths) -> None:
        self.table = torch.from_numpy(read_measures(paths.cache, "voices"))
        median, spread = scales(Norms.read(paths.cache), VOICE_MEASURES)
        self.median, self.spread = torch.from_numpy(median), torch.from_numpy(spread)

    def raw(self, places: np.ndarray, windows: Heard) -> Tensor:
        """(B, M); pitch and pace moved as the window's were, the level is the window's own, no pace in less than a second of speech."""
        own = self.table[torch.from_numpy(places)].clone()
        own[:, VOICE_MEASURES.index("pitch_hz")] *= windows.pitch
        own[:, VOICE_MEASURES.index("rate_per_second")] *= windows.pace
        own[:, VOICE_MEASURES.index("level_dbfs")] = windows.level_dbfs
        short = windows.active.sum(1) < PACE_TOKENS
        for name in ("rate_per_second", "pause_share"):
            own[short, VOICE_MEASURES.index(name)] = torch.nan
        return own

    def of(self, places: np.ndarray, windows: Heard) -> Tensor:
        """(B, M) in deviations from the norm."""
        deviations: Tensor = (self.raw(places, windows) - self.median) / self.spread
        return deviations


def parted(voices: Voices, left_out: frozenset[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Places to train on, and to measure on by corpus: the val speakers, or what is left out (a whole corpus, all its speakers)."""
    train = voices.where("train")
    if not left_out:
        return train, {name: voices.where("val", name) for name in VOICE_SETS}
    out = np.array([row.set in left_out or row.speaker in left_out for row in voices.rows])
    unknown = left_out - {name for row in voices.rows for name in (row.set, row.speaker)}
    if unknown:
        raise ValueError(f"no corpus or speaker {', '.join(sorted(unknown))}; corpora are {', '.join(VOICE_SETS)}")
    labelled = voices.labels >= 0
    sets = np.array([row.set for row in voices.rows])
    return train[~out[train]], {name: np.flatnonzero(out & labelled & (sets == name)) for name in np.unique(sets[out])}


def speech_figures(module: nn.Module, voices: Voices, preset: Preset) -> dict[str, float]:
    """How often speech is found in val voices as a microphone hears them, and claimed in sounds that are none."""
    rng = np.random.default_rng(11)
    held = voices.where("val")

    def share(spoken: bool) -> float:
        sounds = [
            heard(voices.voice(int(rng.choice(held))) if spoken else None, preset.audio, preset.window_seconds, rng) for _ in range(128)
        ]
        speech = module.audio(features(sounds, preset.audio))[1]  # type: ignore[operator,union-attr]
        return float((speech > 0.5).float().mean())

    return {"speech_recall": share(True), "false_speech": share(False)}
