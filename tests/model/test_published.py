"""With the same weights our network gives what the authors' published code gives, for v1 and v2.

golden/*.npz were made once by running that code (github.com/ZebangCheng/Emotion-LLaMA at 4ee28d2, github.com/ooochen-30/Emotion-LLaMA-v2 at
5f0a408, with torch 2.13, transformers 4.35.0, peft 0.2.0, timm 1.0.15) on weights, pictures and sound drawn by `seeded`, `picture` and
`sound` below, the encoders at reduced depth and width, projections and fusion at the published widths. tokenizer.json: 520 words in Llama
2's form, made by sentencepiece and read by the authors' code with transformers' slow LlamaTokenizer.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tokenizers import Tokenizer  # noqa: E402

from export.published_names import audio_names, eva_names, network_names, position_pair, split_lora  # noqa: E402
from ros2_emollama.encoding import StreamEncoders  # noqa: E402
from ros2_emollama.model.eva import EvaStreams, EvaTower  # noqa: E402
from ros2_emollama.model.network import EmotionNetwork, PublishedFusionGraph  # noqa: E402
from ros2_emollama.model.presets import EMOTION_LLAMA, EMOTION_LLAMA_V2, Preset  # noqa: E402
from ros2_emollama.model.speech import HubertStream, WhisperStream  # noqa: E402
from ros2_emollama.model.streams import EvaPreset, HubertPreset, WhisperPreset  # noqa: E402
from ros2_emollama.model.weights import with_delta  # noqa: E402
from ros2_emollama.model.whisper_mel import whisper_log_mel  # noqa: E402
from ros2_emollama.reasoner.prompt import Prompt, prompts_of  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
WITHIN = {"rtol": 0, "atol": 1e-4}
EVA = EvaPreset(width=176, heads=2, intermediate=256, scene_blocks=2, frame_blocks=3)
NORMS = ("norm1.weight", "norm2.weight", "norm.weight", "ln_vision.weight", "layernorm.weight")
SAID = "Now, there's two reasons"
TOKENIZER = Tokenizer.from_file(str(GOLDEN / "tokenizer.json"))


@pytest.fixture(scope="module")
def v1() -> Mapping[str, np.ndarray]:
    return dict(np.load(GOLDEN / "emotion_llama.npz"))


@pytest.fixture(scope="module")
def v2() -> Mapping[str, np.ndarray]:
    return dict(np.load(GOLDEN / "emotion_llama_v2.npz"))


def seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights that hang on their published name alone."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    values *= np.float32(0.3 if len(shape) == 1 else 1.5 / np.sqrt(max(1, np.prod(shape[1:]))))
    return torch.from_numpy(values + 1 if name.endswith(NORMS) else values)


def picture(name: str, side: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (side, side, 3), dtype=np.uint8)


def sound() -> np.ndarray:
    samples = (0.1 * np.random.default_rng(5).standard_normal(64000)).astype(np.float32)
    samples[:20000] *= 0.01
    return samples


def sample(values: torch.Tensor | np.ndarray) -> np.ndarray:
    flat = np.asarray(values).astype(np.float32).ravel()
    return flat[:: max(1, flat.size // 512)][:512]


def run(graph: torch.nn.Module, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        told = graph.eval()(*inputs)
    return (told,) if isinstance(told, torch.Tensor) else told


@pytest.fixture(scope="module")
def eva() -> dict[str, torch.nn.Module]:
    streams = EvaStreams(EVA)
    wanted = {f"vision.eva.{name}": tuple(value.shape) for name, value in EvaTower(EVA).state_dict().items()}
    names = eva_names([*(name.removeprefix("vision.eva.") for name in wanted)])
    weights = {ours: seeded(f"eva.{theirs}", wanted[ours]) for ours, theirs in names.items()}
    weights |= {f"vision.ln_vision.{part}": seeded(f"ln_vision.{part}", (EVA.width,)) for part in ("weight", "bias")}
    streams.load_state_dict({name.removeprefix("vision."): value for name, value in weights.items()})
    return streams.graphs()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_scene_is_that_of_the_published_tower(eva: dict[str, torch.nn.Module], version: str, request: pytest.FixtureRequest) -> None:
    golden = request.getfixturevalue(version)
    (embedded,) = run(eva["scene_patches"], torch.from_numpy(picture("scene", 448))[None])
    tokens, cls = run(eva["scene_tokens"], *run(eva["vision_blocks"], embedded))
    np.testing.assert_allclose(cls[0], golden["scene_cls"], **WITHIN)
    np.testing.assert_allclose(sample(tokens), golden["scene_tokens"], **WITHIN)


def test_the_frames_go_through_the_same_blocks_and_one_more(eva: dict[str, torch.nn.Module], v2: Mapping[str, np.ndarray]) -> None:
    frames = torch.from_numpy(np.stack([picture(f"frame{place}", 224) for place in range(16)]))
    (tokens,) = run(eva["frame_tokens"], *run(eva["vision_blocks"], *run(eva["frame_patches"], frames)))
    np.testing.assert_allclose(sample(tokens.reshape(1, 64, -1)), v2["frame_tokens"], **WITHIN)


def test_shared_blocks_are_there_once() -> None:
    streams = EvaStreams(EVA)
    parts = streams.graphs()
    assert parts["vision_blocks"].blocks[1] is streams.eva.blocks[1]
    assert parts["frame_tokens"].blocks[0] is streams.eva.blocks[2] and len(parts["frame_tokens"].blocks) == 1
    assert not any("blocks" in name for name in parts["scene_tokens"].state_dict())


def test_the_sound_of_v2_is_whispers_pooled_and_its_log_mel_needs_no_torch(v2: Mapping[str, np.ndarray]) -> None:
    preset = WhisperPreset(width=64, layers=2, heads=4, intermediate=96)
    logmel = whisper_log_mel(sound(), preset)
    np.testing.assert_allclose(sample(logmel[None, :, :420]), v2["logmel"], **WITHIN)
    stream = WhisperStream(preset)
    shapes = {f"audio.encoder.{name}": tuple(value.shape) for name, value in stream.encoder.state_dict().items()}
    names = audio_names("whisper", [f"model.encoder.{name.removeprefix('audio.encoder.')}" for name in shapes])
    weights = {ours: seeded(theirs.replace("model.encoder.", "whisper."), shapes[ours]) for ours, theirs in names.items()}
    stream.load_state_dict({name.removeprefix("audio."): value for name, value in weights.items()})
    (tokens,) = run(stream.graphs()["audio_encoder"], torch.from_numpy(logmel)[None])
    np.testing.assert_allclose(sample(tokens), v2["audio_tokens"], **WITHIN)


def test_the_sound_of_v1_is_huberts_mean(v1: Mapping[str, np.ndarray]) -> None:
    preset = HubertPreset(width=48, layers=2, heads=4, intermediate=64, conv_channels=16, position_kernel=16, position_groups=4)
    stream = HubertStream(preset)
    shapes = {f"audio.encoder.{name}": tuple(value.shape) for name, value in stream.encoder.state_dict().items()}
    names = audio_names("hubert", [str(key) for key in v1["hubert_keys"]])
    pair = position_pair(names)
    assert pair is not None
    whole = "audio.encoder.encoder.pos_conv_embed.conv.weight"
    length, direction = (seeded(f"hubert.{names[name]}", shape) for name, shape in zip(pair, ((1, 1, 16), shapes[whole]), strict=True))
    weights = {ours: seeded(f"hubert.{theirs}", shapes[ours]) for ours, theirs in names.items() if ours in shapes}
    weights[whole] = length * direction / direction.norm(dim=(0, 1), keepdim=True)
    stream.load_state_dict({name.removeprefix("audio."): value for name, value in weights.items()})
    (tokens,) = run(stream.graphs()["audio_encoder"], torch.from_numpy(sound())[None])
    np.testing.assert_allclose(tokens[0, 0], v1["audio_tokens"], **WITHIN)


def fusion_of(preset: Preset) -> PublishedFusionGraph:
    """The published widths, over encoders that are too small to matter."""
    small = replace(preset, llama=replace(preset.llama, hidden=32))
    audio = replace(preset.audio, layers=0)
    frames = {"frame_blocks": 1} if preset.vision.frame_pixels else {}
    network = EmotionNetwork(replace(small, audio=audio, vision=replace(preset.vision, scene_blocks=1, intermediate=8, **frames)))
    parts = ("projections.", "conv_pro_module.")
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if name.startswith(parts)}
    modules = ("llama_proj", "llama_proj_video", "llama_proj_audio", "llama_proj_fusion", "conv_pro_module", "cls_tk_llama_proj")
    feats = tuple(f"feats_llama_proj{place}" for place in (1, 2, 3))
    inside = {name for name in shapes if name.startswith("conv_pro_module.")}
    keys = [*inside, *(f"{module}.{part}" for module in (*modules, *feats) for part in ("weight", "bias"))]
    names = {ours: theirs for ours, theirs in network_names(preset.name, keys).items() if ours in shapes}
    assert names.keys() == shapes.keys()
    network.load_state_dict({ours: seeded(theirs, shapes[ours]) for ours, theirs in names.items()}, strict=False)
    return PublishedFusionGraph(network)


def test_the_prefix_of_v2_is_the_published_one(v2: Mapping[str, np.ndarray]) -> None:
    features = seeded("features", (1, 1025, 1408)) * 10
    frames, audio = seeded("video", (1, 64, 1408)) * 10, seeded("audio", (1, 64, 1280)) * 10
    (prefix,) = run(fusion_of(EMOTION_LLAMA_V2), frames, features[:, 1:].reshape(1, 256, 5632), features[:, 0], audio)
    np.testing.assert_allclose(prefix[0, ::7], v2["prefix"], **WITHIN)


def test_the_prefix_of_v1_is_the_published_one(v1: Mapping[str, np.ndarray]) -> None:
    features, given = seeded("features", (1, 1025, 1408)) * 10, seeded("utterances", (1, 3, 1024)) * 10
    (prefix,) = run(fusion_of(EMOTION_LLAMA), features[:, 1:].reshape(1, 256, 5632), features[:, 0], given[:, :2], given[:, 2:])
    np.testing.assert_allclose(prefix[0, [*range(0, 256, 5), 255, 256, 257, 258, 259]], v1["prefix"], **WITHIN)


def test_logits_with_lora_merged_are_those_of_the_published_llama_under_peft(v2: Mapping[str, np.ndarray]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 96}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=120, max_position_embeddings=256, rms_norm_eps=1e-5, **sizes)).eval()
    weights = {name: seeded(f"llama.{name}", tuple(value.shape)) for name, value in model.state_dict().items()}
    pairs, halves = split_lora(str(key) for key in v2["lora_keys"])
    assert len(pairs) == 4 and not halves
    for name, pair in pairs.items():
        delta = seeded(pair.up, (64, 8)) * (16 / 8), seeded(pair.down, (8, 64))
        weights[name] = with_delta(weights[name], delta)
    model.load_state_dict(weights)
    with torch.inference_mode():
        logits = model(inputs_embeds=seeded("embeds", (1, 40, 64)) * 5).logits[0, [0, 7, 39]]
    np.testing.assert_allclose(logits, v2["logits"], **WITHIN)


class ShowsIds:
    """Encoders that are never run: `assemble` needs none."""

    name = "none"

    def run(self, graph: str, inputs: object) -> dict[str, np.ndarray]:
        raise AssertionError(graph)


def laid_out(preset: Preset, present: Mapping[str, bool] | None = None) -> tuple[Prompt, np.ndarray]:
    """The prompt, and the prefix as one column: row numbers below 0, ids of the prompt's own text from 0 on."""
    prompts = prompts_of(preset, TOKENIZER)
    rows = -(1 + np.arange(preset.prefix.tokens, dtype=np.float32))[:, None]
    marks = np.array(prompts.after_scene, np.float32)[:, None].reshape(-1, 1)
    prefix = StreamEncoders(preset, ShowsIds()).assemble(rows, present or {"video": True, "audio": True}, marks)
    return prompts.build("emotion", transcript=SAID), prefix[:, 0].astype(np.int32)


@pytest.mark.parametrize(("preset", "version"), [(EMOTION_LLAMA, "v1"), (EMOTION_LLAMA_V2, "v2")])
def test_what_the_language_model_sees_is_what_it_was_trained_on(preset: Preset, version: str, request: pytest.FixtureRequest) -> None:
    """Token by token and row by row, after the one <s> that training puts before it; v1's last four rows stand at <FeatureHere>."""
    prompt, prefix = laid_out(preset)
    assert prompt.before_prefix[0] == TOKENIZER.token_to_id("<s>")
    np.testing.assert_array_equal([*prompt.before_prefix[1:], *prefix, *prompt.after_prefix], request.getfixturevalue(version)["wrapped"])


@pytest.mark.parametrize(("preset", "version"), [(EMOTION_LLAMA, "v1"), (EMOTION_LLAMA_V2, "v2")])
def test_as_published_is_what_the_authors_inference_code_feeds(preset: Preset, version: str, request: pytest.FixtureRequest) -> None:
    prompt, prefix = laid_out(replace(preset, prompt=f"{preset.prompt}_published"))
    np.testing.assert_array_equal([*prompt.before_prefix, *prefix, *prompt.after_prefix], request.getfixturevalue(version)["context"])


def test_what_a_window_lacks_is_left_out_where_the_published_mask_would_be_zero(v2: Mapping[str, np.ndarray]) -> None:
    """Without pictures both the image's and the video's tokens go; the authors' code computes these masks and then ignores them."""
    image, video, audio = v2["masks"]
    for present, mask in (({"video": False, "audio": True}, image & video), ({"video": True, "audio": False}, audio)):
        _, prefix = laid_out(EMOTION_LLAMA_V2, present)
        np.testing.assert_array_equal(prefix, -1 - np.flatnonzero(mask))
    kept = replace(EMOTION_LLAMA_V2, prefix=replace(EMOTION_LLAMA_V2.prefix, absent="kept"))
    assert laid_out(kept, {"video": False, "audio": False})[1].size == 448
