"""The audio streams of the published presets: Whisper's encoder (v2) and HuBERT (v1), both through transformers.

Sources: the released code of Emotion-LLaMA and Emotion-LLaMAv2; arXiv 2212.04356 (Whisper), 2106.07447 (HuBERT).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import HubertConfig, HubertModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from .streams import HubertPreset, WhisperPreset

ATTENTION = "sdpa"


def pooling(length: int, count: int) -> Tensor:
    """(count, length) weights of an adaptive average pooling. As a product it exports where `length` is no multiple of `count`."""
    weights = torch.zeros(count, length)
    for place in range(count):
        first, last = place * length // count, -(-(place + 1) * length // count)
        weights[place, first:last] = 1.0 / (last - first)
    return weights


def whisper_config(preset: WhisperPreset) -> WhisperConfig:
    config: Any = WhisperConfig(
        num_mel_bins=preset.mels,
        d_model=preset.width,
        encoder_layers=preset.layers,
        encoder_attention_heads=preset.heads,
        encoder_ffn_dim=preset.intermediate,
        max_source_positions=preset.columns // 2,
        decoder_layers=1,
    )
    config._attn_implementation = ATTENTION
    return config


class WhisperStream(nn.Module):
    """Log-mel of 30 s to 64 tokens. What lies beyond the window is silence, as in the method's own clips."""

    def __init__(self, preset: WhisperPreset) -> None:
        super().__init__()
        self.preset = preset
        self.encoder = WhisperEncoder(whisper_config(preset))

    def graphs(self) -> dict[str, nn.Module]:
        return {"audio_encoder": WhisperGraph(self)}


class WhisperGraph(nn.Module):
    def __init__(self, stream: WhisperStream) -> None:
        super().__init__()
        self.encoder = stream.encoder
        self.pooling: Tensor
        self.register_buffer("pooling", pooling(stream.preset.columns // 2, stream.preset.tokens), persistent=False)

    def forward(self, logmel: Tensor) -> tuple[Tensor]:
        """logmel (1, mels, columns) -> tokens (1, 64, D)."""
        return (self.pooling @ self.encoder(logmel).last_hidden_state,)


def hubert_config(preset: HubertPreset) -> HubertConfig:
    config: Any = HubertConfig(
        hidden_size=preset.width,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        intermediate_size=preset.intermediate,
        conv_dim=(preset.conv_channels,) * len(preset.conv_kernels),
        conv_kernel=preset.conv_kernels,
        conv_stride=preset.conv_strides,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=preset.position_kernel,
        num_conv_pos_embedding_groups=preset.position_groups,
        apply_spec_augment=False,
        mask_time_prob=0.0,  # above 0 the model has a vector for masked places, which only training uses
        mask_feature_prob=0.0,
    )
    config._attn_implementation = ATTENTION
    return config


class HubertStream(nn.Module):
    """Samples to one token: the mean over time of the last hidden state."""

    def __init__(self, preset: HubertPreset) -> None:
        super().__init__()
        self.preset = preset
        self.encoder = HubertModel(hubert_config(preset))
        # Weight normalisation is a way to train; at run time its product is all that is needed, and importing makes that product.
        parametrize.remove_parametrizations(self.encoder.encoder.pos_conv_embed.conv, "weight")

    def graphs(self) -> dict[str, nn.Module]:
        return {"audio_encoder": HubertGraph(self)}


class HubertGraph(nn.Module):
    def __init__(self, stream: HubertStream) -> None:
        super().__init__()
        self.encoder, self.normalise = stream.encoder, stream.preset.normalise

    def forward(self, samples: Tensor) -> tuple[Tensor]:
        """samples (1, S) in [-1, 1] at 16 kHz -> tokens (1, 1, D)."""
        if self.normalise:
            centred = samples - samples.mean(dim=1, keepdim=True)
            samples = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-7).sqrt()
        return (self.encoder(samples).last_hidden_state.mean(dim=1, keepdim=True),)
