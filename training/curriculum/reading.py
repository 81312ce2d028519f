"""A random language model reads before it is taught: prompts and answers of the training clips, as plain text, every weight trained.

What LLaMA brings from its own training, words and which of them an answer is made of, a tiny start has to get from somewhere; through LoRA
alone a random model hardly learns to speak. What it reads says nothing of what is seen or heard: there is no prefix.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from ros2_emollama.model.presets import Preset

from ..instructions import Stage
from ..instructions_mixture import Mixture
from ..instructions_tokens import tokenize
from ..records import Clip, Sample

LONGEST = 320  # tokens of one text
RATE, BATCH = 3e-3, 16


def texts_of(clips: dict[str, list[Clip]], count: int, seed: int = 42) -> list[Sample]:
    """`count` samples of either stage's mixture."""
    stages: tuple[Stage, ...] = ("stage1", "stage2")
    return [sample for stage in stages for _, sample in itertools.islice(Mixture(clips, stage, seed).stream(), count)]


def sequences_of(samples: Iterable[Sample], preset: Preset, encode: Callable[[str], Sequence[int]], bos: int, eos: int) -> list[list[int]]:
    """Each sample's tokens without the places of its prefix."""
    found = (tokenize(sample, encode, bos, eos, preset.prefix).ids for sample in samples)
    return [ids[ids >= 0][:LONGEST].tolist() for ids in found]


def read(llama: nn.Module, sequences: Sequence[Sequence[int]], steps: int, seed: int = 0) -> float:
    """Train the whole model to go on with the texts; mean loss of the last tenth of the steps. ValueError without texts."""
    if not sequences:
        raise ValueError("there is nothing to read; index a set that is trained on")
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(llama.parameters(), lr=RATE, weight_decay=0.01)
    model: Any = llama.train()
    losses = []
    for step in tqdm(range(steps), desc="reading"):
        chosen = [torch.tensor(sequences[place]) for place in rng.integers(len(sequences), size=BATCH)]
        ids = nn.utils.rnn.pad_sequence(chosen, batch_first=True)
        wanted = nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=-100)
        mask = (wanted >= 0).long()
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * (1.0 - 0.9 * step / steps)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), wanted[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(llama.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    llama.eval()
    return float(np.mean(losses[-max(1, steps // 10) :]))
