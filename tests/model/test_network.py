"""The network does what the method says, and what streaming relies on."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ros2_emollama.model.audio import Microphone  # noqa: E402
from ros2_emollama.model.fusion import ConvAttention  # noqa: E402
from ros2_emollama.model.graphs import graph_specs  # noqa: E402
from ros2_emollama.model.label_head import LabelHead  # noqa: E402
from ros2_emollama.model.network import EmotionNetwork, pool_grid, pool_tokens, recent_grid  # noqa: E402
from ros2_emollama.model.presets import NANO, TINY, FusionPreset  # noqa: E402
from ros2_emollama.model.vision import Located, best_box, glimpse  # noqa: E402


@pytest.fixture(scope="module")
def network() -> EmotionNetwork:
    torch.manual_seed(1)
    return EmotionNetwork(TINY).eval()


def test_conv_attention_has_the_published_number_of_parameters() -> None:
    module = ConvAttention(1280, 1408, 1408, FusionPreset())
    assert sum(parameter.numel() for parameter in module.parameters()) == 2_838_275


def test_conv_attention_keeps_the_published_parameter_names() -> None:
    names = {name.rsplit(".", 1)[0] for name, _ in ConvAttention(8, 8, 8, FusionPreset()).named_parameters()}
    expected = {f"feats_prep.{i}.{j}" for i in range(3) for j in (0, 3)} | {
        "attention_mlp.0",
        "attention_mlp.3",
        "fc_att",
        "conv_entry",
        "fc_final",
    }
    assert names == expected | {f"conv_module.conv_blocks.{i}.conv_block.0" for i in range(4)}


def test_conv_attention_is_the_sum_of_raw_attention_and_residual_convolutions() -> None:
    torch.manual_seed(0)
    module = ConvAttention(5, 6, 7, FusionPreset(hidden=8, width=4, out=3)).eval()
    streams = [torch.randn(2, 9, width) for width in (5, 6, 7)]
    prepared = [prepare(stream) for prepare, stream in zip(module.feats_prep, streams, strict=True)]
    joined = torch.cat(prepared, -1)
    weights = module.fc_att(module.attention_mlp(joined))
    attended = sum(weights[..., i : i + 1] * prepared[i] for i in range(3))
    x = torch.nn.functional.conv1d(joined.transpose(1, 2), module.conv_entry.weight, module.conv_entry.bias)
    for block in module.conv_module.conv_blocks:
        convolution = block.conv_block[0]
        y = torch.nn.functional.conv1d(x, convolution.weight, convolution.bias, padding=1)
        x = x + y * torch.sigmoid(y)
    torch.testing.assert_close(module(*streams), module.fc_final(attended + x.transpose(1, 2)))


def test_the_prefix_keeps_the_places_of_a_frame_apart_and_looks_at_the_newest_that_are_there() -> None:
    tokens = torch.arange(8 * 4, dtype=torch.float32).reshape(1, 8 * 4, 1)  # frame f, place p: 4·f + p
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 0, 1, 0]])
    assert recent_grid(tokens, mask, 4, 4)[0, :, 0].tolist() == [20.0, 21.0, 22.0, 23.0]  # of frames 4 and 6
    assert not recent_grid(tokens, torch.zeros(1, 8), 4, 4).any()


def test_a_frame_is_encoded_the_same_alone_and_among_others(network: EmotionNetwork) -> None:
    pixels = torch.randint(0, 256, (5, 256, 256, 3), dtype=torch.uint8)
    together, faces = network.vision.encode_frames(pixels)
    for index in range(5):
        alone, face = network.vision.encode_frames(pixels[index : index + 1])
        torch.testing.assert_close(alone[0], together[index], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(face[0], faces[index], rtol=1e-4, atol=1e-5)


def test_a_face_says_where_it_is_and_nobody_says_nothing(network: EmotionNetwork) -> None:
    tokens = torch.randn(1, 4, TINY.vision.width)
    left, right, nobody = (torch.tensor([[presence, x, 0.5, 0.3]]) for presence, x in ((1.0, 0.2), (1.0, 0.8), (0.0, 0.2)))
    apart = network.vision.placed(tokens, right) - network.vision.placed(tokens, left)
    torch.testing.assert_close(apart[0], (1.2 * network.vision.place_code[1]).expand(4, -1))
    assert float(network.vision.placed(tokens, nobody).abs().max()) == 0


def test_quarters_of_a_scene_stay_apart() -> None:
    grid = torch.arange(16.0).reshape(1, 16, 1)  # row-major, 4 × 4
    assert pool_grid(grid, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    torch.testing.assert_close(pool_grid(grid, 8), pool_tokens(grid, 8))


def test_a_microphone_s_gain_and_colour_do_not_reach_the_layers() -> None:
    torch.manual_seed(0)
    bels = torch.rand(1, 64, 256) * 4 - 3
    tilt = torch.linspace(-0.5, 0.5, 64).view(1, 64, 1)
    front = Microphone()
    channels, level = front((bels + 4) / 4)
    quiet, quiet_level = front((bels - 2 + 4) / 4)
    torch.testing.assert_close(quiet, channels, rtol=0, atol=1e-4)
    torch.testing.assert_close(level - quiet_level, torch.full((1, 1), 2.0))
    coloured, _ = front((bels + tilt + 4) / 4)
    assert float((coloured[:, 1] - channels[:, 1]).abs().max()) < 0.15 * float((coloured[:, 0] - channels[:, 0]).abs().max()) + 0.02


def test_each_set_of_streams_has_its_temperature() -> None:
    torch.manual_seed(0)
    head, fused = LabelHead(8, 4, 5, 7).eval(), torch.randn(1, 5, 8)
    yes, no = torch.ones(1, 1), torch.zeros(1, 1)
    plain = head(fused, yes, yes)
    head.temperatures.copy_(torch.tensor([2.0, 4.0, 8.0, 16.0]))
    for factor, video, audio in ((2, yes, yes), (4, yes, no), (8, no, yes), (16, no, no)):
        torch.testing.assert_close(head(fused, video, audio) * factor, plain)


def test_the_label_head_reads_the_newest_face_and_the_voice_where_they_are(network: EmotionNetwork) -> None:
    torch.manual_seed(1)
    specs = {tensor.name: tensor for tensor in graph_specs(TINY)["fusion"].inputs}
    inputs = {name: torch.randn([int(size) for size in spec.shape]) for name, spec in specs.items()}
    inputs |= {"frame_mask": torch.ones(1, 16), "audio_mask": torch.ones(1, 64)}
    network = copy.deepcopy(network)
    network.label_head.out[0].weight.data[:, : 2 * TINY.fusion.out] = 0  # what the fused tokens say is taken away
    logits = network.fuse(**inputs).logits

    def changed(name: str, part: slice, **masks: torch.Tensor) -> bool:
        other = inputs[name].clone()
        other[:, part] = torch.randn_like(other[:, part])
        before = network.fuse(**{**inputs, **masks}).logits
        return not torch.allclose(network.fuse(**{**inputs, name: other, **masks}).logits, before, atol=1e-6)

    late = torch.zeros(1, 64)
    late[:, 32:] = 1
    assert logits.shape == (1, 7)
    assert changed("frame_tokens", slice(60, 64)) and not changed("frame_tokens", slice(0, 48)), "the newest four of sixteen frames"
    assert changed("audio_tokens", slice(0, 32)) and not changed("audio_tokens", slice(0, 32), audio_mask=late), "sound before it began"
    assert not changed("frame_tokens", slice(60, 64), frame_mask=torch.zeros(1, 16))
    assert not changed("audio_tokens", slice(0, 64), audio_mask=torch.zeros(1, 64))


def test_masked_streams_do_not_reach_the_result(network: EmotionNetwork) -> None:
    specs = {tensor.name: tensor for tensor in graph_specs(TINY)["fusion"].inputs}
    inputs = {name: torch.randn([int(size) for size in spec.shape]) for name, spec in specs.items()}
    inputs["frame_mask"], inputs["audio_mask"] = torch.zeros(1, 16), torch.ones(1, 64)
    other = {**inputs, "frame_tokens": torch.randn_like(inputs["frame_tokens"]), "scene_cls": torch.randn_like(inputs["scene_cls"])}
    other["scene_tokens"] = torch.randn_like(inputs["scene_tokens"])
    torch.testing.assert_close(network.fuse(**inputs).prefix, network.fuse(**other).prefix)
    assert not torch.allclose(network.fuse(**inputs).prefix, network.fuse(**{**inputs, "audio_tokens": inputs["audio_tokens"] + 1}).prefix)


def test_graphs_have_the_shapes_they_declare(network: EmotionNetwork) -> None:
    for name, spec in graph_specs(TINY).items():
        shapes = [[2 if isinstance(size, str) else size for size in tensor.shape] for tensor in spec.inputs]
        inputs = [
            torch.zeros(shape, dtype=torch.uint8 if tensor.dtype == "uint8" else torch.float32)
            for shape, tensor in zip(shapes, spec.inputs, strict=True)
        ]
        for output, declared in zip(network.graph(name).eval()(*inputs), spec.outputs, strict=True):
            assert list(output.shape) == [2 if isinstance(size, str) else size for size in declared.shape], (name, declared.name)


def test_the_prefix_has_its_declared_tokens() -> None:
    assert NANO.prefix.tokens == 24


def test_the_glimpse_is_cut_where_the_box_is() -> None:
    luma = torch.zeros(1, 1, 256, 256)
    luma[:, :, 64:96, 160:192] = torch.rand(32, 32)
    inside = glimpse(luma, torch.tensor([[176 / 256, 80 / 256, 32 / 256]]), 48, 1.0)
    patch = torch.nn.functional.interpolate(luma[:, :, 64:96, 160:192], size=48, mode="bilinear", align_corners=False)
    correlation = torch.corrcoef(torch.stack([inside.flatten(), patch.flatten()]))[0, 1]
    assert correlation > 0.98
    nowhere = glimpse(luma, torch.tensor([[0.2, 0.8, 0.1]]), 48, 1.0)
    assert nowhere.abs().max() < 1e-3


def test_the_box_is_read_from_the_likeliest_cell() -> None:
    heat = torch.full((1, 1, 16, 16), -5.0)
    heat[0, 0, 3, 10] = 2.0
    box = torch.zeros(1, 3, 16, 16)
    box[0, :, 3, 10] = torch.tensor([0.25, -0.25, -2.0])
    presence, x, y, height = best_box(Located(heat, box, heat))[0].tolist()
    np.testing.assert_allclose([presence, x, y, height], [1 / (1 + np.exp(-2)), 10.75 / 16, 3.25 / 16, 0.25], rtol=1e-5)
