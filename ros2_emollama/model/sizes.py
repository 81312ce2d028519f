"""How many numbers a preset's parts hold: weights, and what is alive at once while a graph runs. Plain arithmetic, no torch.

Weights are exact for every preset (tests compare them with the network itself); what is alive is for the largest input a graph gets.
"""

from __future__ import annotations

from .graphs import FRAME_BATCH
from .presets import Preset
from .streams import UNFUSED, AudioPreset, EvaPreset, HubertPreset, LlamaPreset, VisionPreset, WhisperPreset

PROMPT_POSITIONS = 128
"""Of a prompt's own words, about: the published prompts with a transcript of average length."""


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def projection_widths(preset: Preset) -> dict[str, int]:
    """Projection → width of what it takes. Utterances have one each: they come from different encoders."""
    widths = {"scene": preset.vision.scene_width, "frames": preset.vision.width, "audio": preset.audio.width, "cls": preset.vision.width}
    if preset.fusion:
        widths["fusion"] = preset.fusion.out
    parts = {name: widths[name] for name in preset.prefix.parts if name != "utterances"}
    return parts | {f"utterance_{index}": preset.audio.width for index in range(preset.prefix.utterances)}


def graph_weights(preset: Preset) -> dict[str, int]:
    """Graph of graphs.py → numbers it holds. What two graphs share is counted in both, as each file holds it."""
    vision = _eva(preset.vision) if isinstance(preset.vision, EvaPreset) else _nano_vision(preset.vision)
    return {**vision, "audio_encoder": _audio(preset), "fusion": _fusion(preset)}


def _eva(vision: EvaPreset) -> dict[str, int]:
    width, inner = vision.width, vision.intermediate
    block = 4 * width + 3 * width * width + 2 * width + linear(width, width) + linear(width, inner) + linear(inner, width)

    def patches(count: int) -> int:
        return 3 * vision.patch_pixels**2 * width + width + width + (1 + count) * width + 6  # mean and scale of three colours

    graphs = {
        "scene_patches": patches(vision.scene_patches),
        "vision_blocks": vision.scene_blocks * block,
        "scene_tokens": 2 * width,
    }
    if vision.frame_blocks:
        graphs["frame_patches"] = patches(vision.frame_patches)
        graphs["frame_tokens"] = (vision.frame_blocks - vision.scene_blocks) * block + 2 * width
    return graphs


def _unit(inputs: int, outputs: int) -> int:
    """3 × 3 convolution without bias, batch normalisation."""
    return 9 * inputs * outputs + 4 * outputs


def _residual(inputs: int, outputs: int, shortcut: int) -> int:
    return _unit(inputs, outputs) + _unit(outputs, outputs) + shortcut


def _nano_vision(vision: VisionPreset) -> dict[str, int]:
    a, b, c, d = vision.locator_channels
    locator = _unit(1, a) + _unit(a, b) + _unit(b, c) + _residual(c, c, 0)
    locator += _unit(c, d) + 2 * _residual(d, d, 0) + linear(c, d) + _unit(d, d) + linear(d, 1) + linear(d, 3)
    e, f, g, h = vision.face_channels
    face = 25 * e + 4 * e + _face_residual(e, f) + _face_residual(f, g) + _face_residual(g, g) + _face_residual(g, h) + _face_residual(h, h)
    face += linear(h, vision.width)
    return {"frame_encoder": locator + face + 4 * vision.width, "scene_encoder": locator + 2 * linear(d, vision.width)}


def _face_residual(inputs: int, outputs: int) -> int:
    return _residual(inputs, outputs, 0 if inputs == outputs else linear(inputs, outputs))


def _audio(preset: Preset) -> int:
    audio = preset.audio
    if isinstance(audio, WhisperPreset):
        return _whisper(audio)
    return _hubert(audio) if isinstance(audio, HubertPreset) else _nano_audio(audio)


def _nano_audio(audio: AudioPreset) -> int:
    a, b, c, d = audio.channels
    width = audio.width
    layers = 98 * a + 4 * a
    layers += sum(_residual(i, o, i * o + 4 * o) for i, o in ((a, b), (b, c), (c, d)))
    attention = 4 * width + linear(width, 3 * width) + linear(width, width) + linear(width, 2 * width) + linear(2 * width, width)
    ends = linear(d * (audio.mels // 16), width) + audio.tokens * width + 2 * width + linear(1, width) + linear(width, 1)
    return layers + audio.layers * attention + ends


def _whisper(audio: WhisperPreset) -> int:
    width, inner = audio.width, audio.intermediate
    attention = 4 * linear(width, width) - width  # keys have no bias
    layer = attention + 4 * width + linear(width, inner) + linear(inner, width)
    ends = 3 * audio.mels * width + width + 3 * width * width + width + audio.columns // 2 * width + 2 * width
    return audio.layers * layer + ends + audio.tokens * (audio.columns // 2)  # and the weights of the pooling


def _hubert(audio: HubertPreset) -> int:
    width, inner, channels = audio.width, audio.intermediate, audio.conv_channels
    inputs = (1, *(channels,) * (len(audio.conv_kernels) - 1))
    convolutions = sum(i * channels * kernel + 3 * channels for i, kernel in zip(inputs, audio.conv_kernels, strict=True))
    place = width * (width // audio.position_groups) * audio.position_kernel + width
    layer = 4 * linear(width, width) + 4 * width + linear(width, inner) + linear(inner, width)
    return convolutions + 2 * channels + linear(channels, width) + place + audio.layers * layer + 2 * width


def _fusion(preset: Preset) -> int:
    """Conv-Attention's size, whatever the method: what it is compared with is of about its size."""
    projections = sum(linear(width, preset.llama.hidden) for width in projection_widths(preset).values())
    fusion = preset.fusion
    if fusion is None:
        return projections
    hidden, width = fusion.hidden, fusion.width

    def mlp(inputs: int) -> int:
        return linear(inputs, hidden) + linear(hidden, width)

    unfused = fusion.method == UNFUSED
    streams = mlp(preset.vision.width) + mlp(preset.audio.width) + mlp(preset.audio.width if unfused else preset.vision.width)
    attention = mlp(3 * width) + linear(width, 3)
    convolution = linear(3 * width, width) + fusion.conv_blocks * (3 * width * width + width)
    mixing = 0 if unfused else attention + convolution
    whole = streams + mixing + linear(width, fusion.out) + projections
    if not fusion.head_hidden:
        return whole
    votes = 2 * fusion.out + linear(fusion.out, 1) + preset.fused_tokens + 4  # four temperatures
    heads = (len(preset.labels), 2) if fusion.affect else (len(preset.labels),)
    whole += sum(votes + linear(2 * fusion.out, fusion.head_hidden) + linear(fusion.head_hidden, told) for told in heads)
    if fusion.head_reads_streams:
        whole += 2 * preset.vision.width + 2 * preset.audio.width + 2 * linear(preset.audio.width, 1)
        whole += (preset.vision.tokens_per_frame * preset.vision.width + 3 * preset.audio.width) * fusion.head_hidden
    return whole


def llama_matrices(llama: LlamaPreset) -> int:
    """Weights that are quantised: every matrix, the head on the vocabulary too."""
    keys = llama.hidden // llama.heads * llama.kv_heads
    layer = 2 * llama.hidden * llama.hidden + 2 * llama.hidden * keys + 3 * llama.hidden * llama.intermediate
    return llama.layers * layer + llama.vocab * llama.hidden


def llama_rest(llama: LlamaPreset) -> int:
    """Norms, and the tables of the rotary positions."""
    return (2 * llama.layers + 1) * llama.hidden + llama.context * (llama.hidden // llama.heads)


def cache_numbers(llama: LlamaPreset, positions: int) -> int:
    """Keys and values of so many positions."""
    return 2 * llama.layers * llama.kv_heads * (llama.hidden // llama.heads) * positions


def prompt_positions(preset: Preset) -> int:
    """Positions of a window's prompt, about."""
    return min(preset.llama.context - 32, preset.prefix.tokens + PROMPT_POSITIONS)


def graph_live(preset: Preset) -> dict[str, int]:
    """Graph → numbers alive at once in its widest place, for the largest input it gets; graphs that hold next to nothing are left out."""
    vision, audio = preset.vision, preset.audio
    if isinstance(vision, EvaPreset):
        scene = _attention_live(1, vision.scene_patches + 1, vision.width, vision.intermediate, vision.heads)
        frames = _attention_live(FRAME_BATCH, vision.frame_patches + 1, vision.width, vision.intermediate, vision.heads)
        live = {"vision_blocks": max(scene, frames), **({"frame_tokens": frames} if vision.frame_blocks else {})}
    else:
        side = vision.canvas_pixels
        one = 3 * side * side
        live = {"frame_encoder": preset.window_frames * one, "scene_encoder": one}
    if isinstance(audio, WhisperPreset):
        return {**live, "audio_encoder": _attention_live(1, audio.columns // 2, audio.width, audio.intermediate, audio.heads)}
    if isinstance(audio, HubertPreset):
        first = 3 * audio.conv_channels * preset.window_samples // audio.conv_strides[0]
        length = preset.window_samples // 320
        return {**live, "audio_encoder": max(first, _attention_live(1, length, audio.width, audio.intermediate, audio.heads))}
    return {**live, "audio_encoder": 3 * audio.channels[0] * preset.mel_columns * audio.mels // 16}


def _attention_live(count: int, length: int, width: int, inner: int, heads: int) -> int:
    """Of a transformer: in its attention (scores before and after softmax, queries, keys, values), or between its two products."""
    attention = 2 * heads * length * length + 5 * length * width
    return count * max(attention, length * (2 * width + 3 * inner))


def llama_live(llama: LlamaPreset, positions: int) -> int:
    """Of the language model while it takes in so many positions at once."""
    attention = llama.heads * positions * llama.context + 6 * positions * llama.hidden
    return max(attention, positions * (2 * llama.hidden + 4 * llama.intermediate)) + llama.vocab
