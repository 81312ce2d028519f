"""Stage `voice`: the audio stream learns to hear a feeling, and whether anybody speaks at all."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ros2_emollama.model.audio import AudioStream
from ros2_emollama.model.logmel import log_mel
from ros2_emollama.model.presets import LABELS, AudioPreset, Preset

from .data import VOICE_SETS, Voices
from .loop import Schedule, fit, recall_figures
from .paths import Paths
from .sounds import Sound, heard, plain

VOICE_SCHEDULE = Schedule(steps=3500, batch=48, learning_rate=1.5e-3, weight_decay=0.05, validate_every=400)
SILENT_SHARE = 0.3


class VoiceClassifier(nn.Module):
    """The audio stream and a throw-away head that looks at the tokens in which somebody speaks."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.audio = AudioStream(preset.audio, preset.mel_columns)
        self.vote = nn.Linear(preset.audio.width, 1)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * preset.audio.width, len(LABELS)))

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """logits (B, 7) and speech logits (B, 64)."""
        tokens, speech = self.audio.tokens_and_speech_logits(logmel)
        speaking = torch.sigmoid(speech.float()).detach()
        weights = torch.softmax(self.vote(tokens).squeeze(-1).float() + 2 * speaking, dim=1).unsqueeze(-1)
        mean = (tokens * speaking.unsqueeze(-1)).sum(1) / (speaking.sum(1, keepdim=True) + 0.5)
        return self.head(torch.cat([(tokens * weights).sum(1), mean], dim=-1)), speech


def mask_spectrum(logmel: Tensor, rng: np.random.Generator) -> Tensor:
    """SpecAugment (arXiv 1904.08779): two bands and two stretches per window set to the window's mean."""
    for index in range(logmel.shape[0]):
        mean = logmel[index].mean()
        for _ in range(2):
            height, width = rng.integers(0, 10), rng.integers(0, 24)
            low, start = rng.integers(0, logmel.shape[1] - height), rng.integers(0, logmel.shape[2] - width)
            logmel[index, low : low + height] = mean
            logmel[index, :, start : start + width] = mean
    return logmel


def features(sounds: list[Sound], preset: AudioPreset) -> Tensor:
    """(B, mels, columns) log-mel of each window, as the pipeline computes it."""
    return torch.from_numpy(np.stack([log_mel(sound.samples, preset, sound.mask > 0) for sound in sounds]))


def voice_weights(voices: Voices, places: np.ndarray) -> np.ndarray:
    """Class keys per corpus and label, so that sampling balances both."""
    corpus = np.array([VOICE_SETS.index(voices.rows[i].set) for i in places])
    return corpus * len(LABELS) + voices.labels[places]


def train_voices(preset: Preset, paths: Paths, schedule: Schedule = VOICE_SCHEDULE) -> tuple[VoiceClassifier, dict[str, float]]:
    """Fit on the train speakers of all corpora; figures are on the val speakers, each corpus apart, plus speech presence."""
    voices = Voices(paths.cache)
    torch.manual_seed(schedule.seed)
    model = VoiceClassifier(preset)
    train = voices.where("train")
    keys = voice_weights(voices, train)
    held = {name: voices.where("val", name) for name in VOICE_SETS}
    seconds = preset.window_seconds

    def loss_of(rng: np.random.Generator, batch: int) -> Tensor:
        places = train[sample_keys(keys, rng, batch)]
        spoken = rng.random(batch) >= SILENT_SHARE
        sounds = [heard(voices.voice(int(i)) if s else None, preset.audio, seconds, rng) for i, s in zip(places, spoken, strict=True)]
        logmel = mask_spectrum(features(sounds, preset.audio), rng)
        active = torch.from_numpy(np.stack([sound.active for sound in sounds]))
        with torch.autocast("cpu", torch.bfloat16):
            logits, speech = model(logmel)
        labels = torch.from_numpy(voices.labels[places])[torch.from_numpy(spoken)]
        label_loss = F.cross_entropy(logits.float()[torch.from_numpy(spoken)], labels, label_smoothing=0.1)
        return label_loss + 0.3 * F.binary_cross_entropy_with_logits(speech.float(), active)

    def validate(module: nn.Module) -> dict[str, float]:
        figures = {}
        for name, places in held.items():
            logmel = features([plain(voices.voice(int(i)), preset.audio, seconds) for i in places], preset.audio)
            logits = torch.cat([module(piece)[0].float() for piece in logmel.split(64)])
            figures[f"uar_{name.removeprefix('speech_')}"] = recall_figures(logits.argmax(1), torch.from_numpy(voices.labels[places]), 7)[
                "uar"
            ]
        figures.update(speech_figures(module, voices, preset))
        return figures

    figures = fit("voice", model, schedule, loss_of, validate, paths.run)
    return model, figures


def sample_keys(keys: np.ndarray, rng: np.random.Generator, batch: int) -> np.ndarray:
    """As faces.sample_classes, over any keys."""
    _, compact = np.unique(keys, return_inverse=True)
    counts = np.bincount(compact).astype(np.float64)
    weight = (counts**-0.5)[compact]
    return rng.choice(keys.size, batch, p=weight / weight.sum())


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
