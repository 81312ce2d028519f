"""Stages `describe` and `cognition`: the language model learns to say what the tokens hold, then why a label was given.

Only the projections and the language model move; the encoders and the fusion stay as perception left them. The prompt is the run time's own
(reasoner/prompt.py). The loss is on the answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import LABELS, LlamaPreset
from ros2_emollama.reasoner.prompt import build_prompt, train_tokenizer

from .abreast import abreast
from .cues import Cues
from .lexicon import FACE_CUES, VOICE_CUES
from .paths import Paths
from .perception import window_makers
from .schedule import Schedule
from .sentences import describe_face, describe_voice, explain, sheet
from .stage import fit
from .transcripts import some_transcript
from .windows_of import KINDS, Batch, WindowMaker

DESCRIBE_SCHEDULE = Schedule(steps=500, batch=32, learning_rate=2e-3, weight_decay=0.05, validate_every=500)
COGNITION_SCHEDULE = Schedule(steps=3500, batch=32, learning_rate=2e-3, weight_decay=0.05, validate_every=500)
DESCRIBE_TASKS = {"emotion": 0.1, "cues": 0.6, "face": 0.15, "voice": 0.15}
COGNITION_TASKS = {"emotion": 0.05, "cues": 0.1, "face": 0.1, "voice": 0.1, "reason": 0.65}
OTHER_LABEL_SHARE = 0.15
"""How often the prompt names another label than the true one, so that the text follows the state even where the state is wrong."""
TRANSCRIPT_SHARE = 0.4
"""How often the question why comes with what was said, for a model that reads transcripts."""
GROUPS = 2  # of a batch (see `by_length`), each by a thread of its own


@dataclass(frozen=True)
class Sample:
    """before, after: token ids around the prefix; answer: ids with the end token."""

    before: list[int]
    after: list[int]
    answer: list[int]


def make_llama(preset: LlamaPreset) -> LlamaForCausalLM:
    """A LLaMA of the preset's shape with random weights, to be trained on a CPU."""
    return LlamaForCausalLM(llama_config(preset, "eager"))  # sdpa's backward pass takes four times as long there in bfloat16


def llama_config(preset: LlamaPreset, attention: str = "sdpa") -> LlamaConfig:
    return LlamaConfig(
        hidden_size=preset.hidden,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.kv_heads,
        intermediate_size=preset.intermediate,
        vocab_size=preset.vocab,
        max_position_embeddings=preset.context,
        rope_theta=preset.rope_theta,
        rms_norm_eps=preset.rms_norm_eps,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        attn_implementation=attention,
    )


class Speaker(nn.Module):
    """Projections and language model: what these stages train."""

    def __init__(self, network: EmotionNetwork, llama: LlamaForCausalLM) -> None:
        super().__init__()
        self.projections, self.llama = network.projections, llama


def corpus(rng: np.random.Generator, count: int) -> list[str]:
    """Sentences of the grammar over drawn cues, and some of what people say, for the tokenizer."""
    texts = list(LABELS)
    for _ in range(count):
        cues = some_cues(rng)
        texts += [explain(cues, str(rng.choice(LABELS)), rng), describe_face(cues, rng), describe_voice(cues, rng), sheet(cues)]
    return texts + [some_transcript(rng) for _ in range(count // 5)]


def some_cues(rng: np.random.Generator) -> Cues:
    """Any window: somebody or nobody, any ranks."""
    face, speech = bool(rng.random() < 0.8), bool(rng.random() < 0.8)
    names = (FACE_CUES if face else ()) + (VOICE_CUES if speech else ())
    return Cues(face, speech, {name: float(rng.uniform(-1, 1)) for name in names if rng.random() < 0.9})


def sample_of(
    tokenizer: Tokenizer, cues: Cues, target: Tensor, task: str, rng: np.random.Generator, transcript_share: float = 0.0
) -> Sample:
    """One question and its answer; with `transcript_share` the question `reason` comes with something that was said, as at run time."""
    label = LABELS[int(target.argmax())]
    if task == "reason" and rng.random() < OTHER_LABEL_SHARE:
        label = str(rng.choice(LABELS))
    answers = {
        "emotion": lambda: label,
        "cues": lambda: sheet(cues),
        "face": lambda: describe_face(cues, rng),
        "voice": lambda: describe_voice(cues, rng),
        "reason": lambda: explain(cues, label, rng),
    }
    answer = [*tokenizer.encode(answers[task](), add_special_tokens=False).ids, tokenizer.token_to_id("</s>")]
    # Drawn after the answer, which thus cannot depend on it.
    said = some_transcript(rng) if task == "reason" and rng.random() < transcript_share else ""
    prompt = build_prompt(tokenizer, task, label=label if task == "reason" else "", transcript=said)
    return Sample(list(prompt.before_prefix), list(prompt.after_prefix), answer)


def answer_loss(
    network: EmotionNetwork, llama: LlamaForCausalLM, windows: Batch, samples: list[Sample], pool: ThreadPoolExecutor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over answer tokens, and the share of them that are predicted right; a batch's groups go by `pool`'s threads."""
    with torch.no_grad():
        streams = network.streams(*windows.inputs())
    prefix = network.prefix(streams)
    fixed = len(samples[0].before) + prefix.shape[1]
    groups = by_length([fixed + len(sample.after) + len(sample.answer) for sample in samples])
    count = sum(len(sample.answer) for sample in samples)

    def told(group: list[Sample], given: Tensor) -> tuple[Tensor, Tensor]:
        logits, wanted = _answers(llama, given, group)
        return F.cross_entropy(logits, wanted, reduction="sum") / count, (logits.argmax(-1) == wanted).sum() / count

    parts = [partial(told, [samples[row] for row in rows]) for rows in groups]
    losses, right = abreast(parts, [prefix[rows] for rows in groups], pool)
    return losses.sum(), torch.stack(right).sum()


def by_length(lengths: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """Places of the shorter and of the longer ones, so that both groups are equally long in sum when each is filled up to its longest."""
    order, sizes = np.argsort(lengths, kind="stable"), np.sort(lengths)
    shorter = np.arange(1, len(order))
    longest = np.maximum(shorter * sizes[:-1], (len(order) - shorter) * sizes[-1])
    return np.split(order, [1 + int(longest.argmin())]) if longest.size else [order]


def _answers(llama: LlamaForCausalLM, prefix: Tensor, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """prefix (B, P, hidden) → logits (K, vocabulary) of all places before a token of an answer, and those tokens (K,)."""
    start = len(samples[0].before)
    end = start + prefix.shape[1]
    longest = max(len(sample.after) + len(sample.answer) for sample in samples)
    ids = torch.zeros(len(samples), end + longest, dtype=torch.long)
    asked = torch.zeros(ids.shape, dtype=torch.bool)
    for row, sample in enumerate(samples):
        ids[row, :start] = torch.tensor(sample.before)
        words = torch.tensor(sample.after + sample.answer)
        ids[row, end : end + len(words)] = words
        asked[row, end + len(sample.after) : end + len(words)] = True
    embedded = llama.get_input_embeddings()(ids)
    inputs = torch.cat([embedded[:, :start], prefix.to(embedded.dtype), embedded[:, end:]], dim=1)
    hidden = llama.model(inputs_embeds=inputs, use_cache=False).last_hidden_state
    return llama.lm_head(hidden[:, :-1][asked[:, 1:]]).float(), ids[asked]


def train_language(network: EmotionNetwork, llama: LlamaForCausalLM, tokenizer: Tokenizer, paths: Paths) -> dict[str, float]:
    """Both stages in place; figures of the second on val people."""
    makers = window_makers(network, paths)
    figures = train_stage("describe", network, llama, tokenizer, makers, DESCRIBE_TASKS, DESCRIBE_SCHEDULE, paths)
    figures = train_stage("cognition", network, llama, tokenizer, makers, COGNITION_TASKS, COGNITION_SCHEDULE, paths)
    return figures


def train_stage(
    name: str,
    network: EmotionNetwork,
    llama: LlamaForCausalLM,
    tokenizer: Tokenizer,
    makers: tuple[WindowMaker, WindowMaker],
    tasks: Mapping[str, float],
    schedule: Schedule,
    paths: Paths,
) -> dict[str, float]:
    """Fit projections and language model in place on `tasks`; figures are on val people, `reason_loss` on the question why alone."""
    train, held = makers
    speaker = Speaker(network, llama)
    share = TRANSCRIPT_SHARE if network.preset.llama.reads_transcripts else 0.0
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(min(GROUPS, threads), "answers")

    def draw(maker: WindowMaker, rng: np.random.Generator, size: int, tasks: Mapping[str, float] = tasks) -> tuple[Batch, list[Sample]]:
        windows = maker.batch(rng, size, KINDS)
        names = rng.choice(list(tasks), size, p=list(tasks.values()))
        samples = [
            sample_of(tokenizer, cues, target, str(task), rng, share)
            for cues, target, task in zip(windows.cues, windows.targets, names, strict=True)
        ]
        return windows, samples

    held_batches = [draw(held, np.random.default_rng((9, i)), 64) for i in range(3)]
    reasons = [draw(held, np.random.default_rng((10, i)), 64, {"reason": 1.0}) for i in range(3)]

    def loss_of(rng: np.random.Generator, _: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return answer_loss(network, llama, *draw(train, rng, schedule.batch), pool)[0]

    def validate(_: nn.Module) -> dict[str, float]:
        loss, right = np.mean([[float(value) for value in answer_loss(network, llama, *batch, pool)] for batch in held_batches], axis=0)
        reason = float(np.mean([float(answer_loss(network, llama, *batch, pool)[0]) for batch in reasons]))
        return {"answer_loss": float(loss), "token_accuracy": float(right), "reason_loss": reason}

    network.eval()
    torch.set_num_threads(max(1, threads // GROUPS))
    try:
        return fit(name, speaker, schedule, loss_of, validate, paths.run)
    finally:
        torch.set_num_threads(threads)
        pool.shutdown()


def make_tokenizer(preset: LlamaPreset, paths: Paths) -> Tokenizer:
    """The run's tokenizer, made once from the grammar's own sentences."""
    path = paths.run / "tokenizer.json"
    if not path.is_file():
        train_tokenizer(corpus(np.random.default_rng(2), 3000), preset.vocab).save(str(path))
    return Tokenizer.from_file(str(path))
