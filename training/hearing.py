"""Voices as a microphone hears them, drawn where drawing is cheap: on mel power instead of samples.

Rooms, noises, microphones and gains are close to linear in power, so a batch of windows costs a few matrix products instead of an FFT a
window; clips are turned into mel power once. What comes out is what `log_mel` gives for such a window, without the phase.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ros2_emollama.model.logmel import FLOOR, FLOOR_PERCENT, RANGE_DECADES, mel_edges, mel_power
from ros2_emollama.model.presets import AudioPreset

from .data import Voices
from .dice import Dice
from .sounds import not_speech

NOISES = 800
TAIL_COLUMNS = 48  # of a room: three quarters of a second
SPEAKING_DECADES = 3.0  # a token in which the clean voice is this far below its loudest one is a pause


class Heard(NamedTuple):
    """B windows.

    logmel      (B, mels, columns) as `log_mel` gives it
    active      (B, tokens) 1 where somebody speaks
    mask        (B, tokens) 0 before the microphone began
    level_dbfs  (B,) mean level of the tokens with speech, of all of them where there is none
    pitch       (B,) what the voice's frequencies were multiplied by
    pace        (B,) what its speed was
    """

    logmel: Tensor
    active: Tensor
    mask: Tensor
    level_dbfs: Tensor
    pitch: Tensor
    pace: Tensor


def whole_columns(samples: npt.NDArray[np.float32], preset: AudioPreset) -> npt.NDArray[np.float32]:
    """Samples with zeros behind them up to a whole column."""
    return np.pad(samples, (0, -samples.size % preset.hop_samples))


def prepare_mels(cache: Path, preset: AudioPreset) -> int:
    """Write CACHE/voice_mels.npy (columns, mels) float16 log10 power, voice_mel_ends.npy, noise_mels.npy; returns how many clips."""
    voices = Voices(cache)
    logs: list[npt.NDArray[np.float16]] = []
    for index in tqdm(range(len(voices.rows)), desc="mels"):
        logs.append(_log_power(whole_columns(voices.voice(index), preset), preset))
    count = round(4.0 * preset.sample_rate_hz)
    noises = []
    for index in tqdm(range(NOISES), desc="noises"):
        sound = not_speech(np.random.default_rng((77, index)), count)
        noises.append(_log_power(0.1 * sound / (sound.std() + 1e-6), preset))
    np.save(cache / "voice_mels.npy", np.concatenate(logs))
    np.save(cache / "noise_mels.npy", np.stack(noises))
    np.save(cache / "voice_mel_ends.npy", np.cumsum([log.shape[0] for log in logs]))
    return len(logs)


def _log_power(samples: npt.NDArray[np.float32], preset: AudioPreset) -> npt.NDArray[np.float16]:
    return np.log10(np.maximum(mel_power(samples, preset), FLOOR)).astype(np.float16)


class Ear:
    """Draws windows of the cache's voices. Everything random comes from the generator that is passed in."""

    def __init__(self, cache: Path, preset: AudioPreset, columns: int) -> None:
        path = cache / "voice_mel_ends.npy"
        if not path.is_file():
            raise FileNotFoundError(f"no {path}; make the cache first: python -m training prepare --data DIR --cache {cache}")
        self.preset, self.columns = preset, columns
        self._logs: npt.NDArray[np.float16] = np.load(cache / "voice_mels.npy")
        self._ends: npt.NDArray[np.int64] = np.load(path)
        self._noises = torch.from_numpy(np.load(cache / "noise_mels.npy").astype(np.float32))
        self.hertz = torch.from_numpy(mel_centres(preset))

    def clip(self, index: int) -> npt.NDArray[np.float32]:
        """(columns, mels) log10 power of one clip."""
        start = 0 if index == 0 else int(self._ends[index - 1])
        return self._logs[start : int(self._ends[index])].astype(np.float32)

    def hear(self, places: npt.NDArray[np.int64], rng: np.random.Generator) -> Heard:
        """One window for each clip's index; -1: nobody speaks."""
        dice = Dice(rng, places.size)
        said = torch.from_numpy(places >= 0)
        pace, pitch = dice.draw(0.87, 1.15), dice.draw(0.86, 1.18)
        power = torch.from_numpy(np.stack([self._placed(int(place), 1 / float(p), rng) for place, p in zip(places, pace, strict=True)]))
        tokens = self._tokens(power)
        loudest = tokens.amax(1, keepdim=True)
        active = ((tokens > loudest * 10**-SPEAKING_DECADES) & said[:, None]).float()
        power = power / loudest.clamp(min=FLOOR).unsqueeze(-1) * said[:, None, None]
        power = power @ self._other_throat(pitch)
        power = self._in_a_room(power, dice)
        power = power * self._microphone(dice)[:, None]
        power = self._with_noise(power, said, dice)
        level = torch.where(said, dice.draw(-3.9, -1.0), dice.draw(-7.0, -1.0))  # bels relative to full scale, of the loudest token
        power = power * (10**level * self._full_scale)[:, None, None]
        mask = self._begun(dice)
        return Heard(self._scaled(power, mask), active * mask, mask, self._level(power, active * mask, mask), pitch, pace)

    def _placed(self, index: int, stretch: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """(columns, mels) power of a silent window with the clip somewhere in it, made longer; it may begin before the window or end
        after it."""
        window = np.zeros((self.columns, self.preset.mels), np.float32)
        if index < 0:
            return window
        spoken = stretched(self.clip(index), stretch)
        slack = self.columns - len(spoken)
        reach = len(spoken) // 4 if rng.random() < 0.3 else 0
        start = int(rng.integers(min(0, slack) - reach, max(0, slack) + reach + 1))
        first, last = max(0, start), min(self.columns, start + len(spoken))
        window[first:last] = 10 ** spoken[first - start : last - start]
        return window

    def _tokens(self, power: Tensor) -> Tensor:
        """(B, tokens) power of each token's columns."""
        return power.sum(2).reshape(power.shape[0], self.preset.tokens, -1).mean(2)

    @property
    def _full_scale(self) -> float:
        """Mel power of a sound whose mean square is 1: the triangles add up to one, a Hann window keeps 3/8."""
        return 0.375 * self.preset.fft_samples**2 / 2

    def _other_throat(self, factor: Tensor) -> Tensor:
        """(B, mels, mels) that moves what was at a frequency to `factor` times it, pitch and formants alike."""
        mels = self.preset.mels
        wanted = hertz_to_mel(self.hertz[None] / factor[:, None])
        scale = hertz_to_mel(self.hertz)
        place = ((wanted - scale[0]) / (scale[1] - scale[0])).clamp(0, mels - 1.001)
        below = place.long()
        share = place - below
        moved = torch.zeros(factor.numel(), mels, mels)
        moved.scatter_(1, below[:, None], (1 - share)[:, None])
        return moved.scatter_add_(1, (below + 1)[:, None], share[:, None])

    def _in_a_room(self, power: Tensor, dice: Dice) -> Tensor:
        """A decaying tail after every sound, one time in three."""
        gain = dice.draw(0.02, 0.4) * (dice.draw(0, 1) < 0.35)
        column_seconds = self.preset.hop_samples / self.preset.sample_rate_hz
        tail = 10 ** (-6 * torch.arange(TAIL_COLUMNS)[None] * column_seconds / dice.draw(0.1, 0.7)[:, None])
        tail[:, 0] = 0
        tail = torch.nn.functional.pad(tail * gain[:, None], (0, max(0, self.columns - TAIL_COLUMNS)))
        lag = torch.arange(self.columns)[:, None] - torch.arange(self.columns)[None]
        spread = torch.where(lag >= 0, tail[:, lag.clamp(0, tail.shape[1] - 1)], torch.zeros(()))
        return power + spread @ power

    def _microphone(self, dice: Dice) -> Tensor:
        """(B, mels) gains: a gentle curve, and one time in three a narrow band."""
        angle = torch.linspace(0, math.pi, self.preset.mels)
        decibels = sum(dice.draw(-4, 4)[:, None] * torch.cos(k * angle + dice.draw(0, 2 * math.pi)[:, None]) for k in (1, 2, 3))
        low, high = dice.draw(20, 350)[:, None], dice.draw(2800, 8000)[:, None]
        band = (1 / (1 + (low / self.hertz) ** 4) / (1 + (self.hertz / high) ** 8)) ** 2
        narrow = (dice.draw(0, 1) < 0.3)[:, None]
        return 10 ** (torch.as_tensor(decibels) / 10) * torch.where(narrow, band, torch.ones(()))

    def _with_noise(self, power: Tensor, said: Tensor, dice: Dice) -> Tensor:
        """Hiss of any colour, or one of the drawn sounds that are no voice; alone where nobody speaks."""
        colour = (self.hertz[None] / 1000) ** dice.draw(-2.0, 0.3)[:, None]
        colour = colour / colour.sum(1, keepdim=True)
        noise = colour[:, None] * dice.flutter(self.columns, self.preset.mels)
        other = torch.nonzero((dice.draw(0, 1) < 0.25) | ~said)[:, 0]
        if other.numel():
            chosen, turn = dice.whole(len(self._noises))[other], dice.whole(self.columns)[other]
            turned = (torch.arange(self.columns)[None] + turn[:, None]) % self.columns
            drawn = 10 ** self._noises[chosen[:, None], turned]
            noise[other] = drawn / self._tokens(drawn).amax(1)[:, None, None].clamp(min=FLOOR)
        snr = torch.where(dice.draw(0, 1) < 0.75, dice.draw(1.5, 6.0), dice.draw(0.3, 2.0))  # bels
        return power + noise * torch.where(said, 10**-snr, torch.ones(()))[:, None, None]

    def _begun(self, dice: Dice) -> Tensor:
        """(B, tokens): in a third of the windows the microphone began late."""
        tokens = self.preset.tokens
        start = torch.where(dice.draw(0, 1) < 0.35, 1 + dice.whole(tokens - 12), torch.zeros((), dtype=torch.long))
        return (torch.arange(tokens)[None] >= start[:, None]).float()

    def _scaled(self, power: Tensor, mask: Tensor) -> Tensor:
        """As `log_mel`: log10, its range, unseen columns at the noise floor."""
        seen = mask.repeat_interleave(self.columns // self.preset.tokens, 1) > 0
        power = power * seen.unsqueeze(-1)
        log = power.clamp(min=FLOOR).log10()
        log = torch.maximum(log, log.amax((1, 2), keepdim=True) - RANGE_DECADES)
        for index in torch.nonzero(~seen[:, 0])[:, 0].tolist():
            log[index, ~seen[index]] = torch.quantile(log[index, seen[index]], FLOOR_PERCENT / 100, dim=0)
        return ((log + 4) / 4).transpose(1, 2).contiguous()

    def _level(self, power: Tensor, active: Tensor, mask: Tensor) -> Tensor:
        counted = torch.where(active.sum(1, keepdim=True) > 0, active, mask)
        mean = (self._tokens(power) * counted).sum(1) / counted.sum(1).clamp(min=1)
        return 10 * (mean / self._full_scale).clamp(min=FLOOR).log10()


def stretched(log: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """(T, mels) → (factor · T, mels): slower or faster speech at the same pitch."""
    place = np.linspace(0, len(log) - 1, max(2, round(len(log) * factor)))
    below = np.minimum(place.astype(int), len(log) - 2)
    share = (place - below)[:, None].astype(np.float32)
    return np.asarray(log[below] * (1 - share) + log[below + 1] * share, np.float32)


def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def mel_centres(preset: AudioPreset) -> npt.NDArray[np.float32]:
    """(mels,) centre of each filter in Hz."""
    return mel_edges(preset.mels, preset.sample_rate_hz)[1:-1].astype(np.float32)
