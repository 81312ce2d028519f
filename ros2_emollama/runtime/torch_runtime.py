"""The reference: the network itself in torch, and LLaMA through transformers. For tests, training and comparison, not for a robot.

In float32 on the CPU, unless a device or half floats are asked for: published code runs in halves on a GPU.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from ..model.folder import ModelFolder
from ..model.graphs import graph_specs
from ..model.weights import apply_adapter, load_network, weight_files
from ..types import Float32, Int64
from .base import RuntimeUnavailable, Tensors, check_inputs, check_room, sees


class TorchEncoders:
    """The encoder graphs as modules, weights from network.safetensors."""

    def __init__(self, folder: ModelFolder, threads: int = 1, device: str = "cpu", half: bool = False) -> None:
        if not weight_files(folder.root):
            path = folder.root / "network.safetensors"
            raise RuntimeUnavailable(f"{path} is missing, and the torch runtime needs it; use model.runtime onnxruntime")
        torch.set_num_threads(threads)
        network = load_network(folder.root, folder.preset)
        self._specs = graph_specs(folder.preset)
        self._device, self._dtype = torch.device(device), torch.float16 if half else torch.float32
        self._graphs = {name: network.graph(name).eval().to(self._device, self._dtype) for name in self._specs}

    @property
    def name(self) -> str:
        return _name(self._device, self._dtype)

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        """See `base.Encoders.run`."""
        spec = self._specs[graph]
        check_inputs(spec, inputs)
        half = torch.autocast(self._device.type, torch.float16, enabled=self._dtype == torch.float16)  # as the published code does
        with torch.inference_mode(), half:
            told = self._graphs[graph](*(self._given(inputs[tensor.name]) for tensor in spec.inputs))
        outputs = (told,) if isinstance(told, torch.Tensor) else told
        return {tensor.name: value.float().cpu().numpy() for tensor, value in zip(spec.outputs, outputs, strict=True)}

    def _given(self, array: npt.NDArray[np.generic]) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


def _name(device: torch.device, dtype: torch.dtype) -> str:
    return f"torch:{device.type}{'' if dtype == torch.float32 else ', half floats'}"


class TorchLlama:
    """LLaMA with transformers' cache, weights from the folder's llama/weights."""

    def __init__(self, folder: ModelFolder, threads: int = 1, device: str = "cpu", half: bool = False) -> None:
        if "weights" not in folder.manifest.language:
            raise RuntimeUnavailable(f"{folder.root} has no LLaMA weights for torch; use model.runtime onnxruntime")
        torch.set_num_threads(threads)
        self._device, self._dtype = torch.device(device), torch.float16 if half else torch.float32
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder.language("weights"), dtype=self._dtype).eval()
        if "adapter" in folder.manifest.language:
            apply_adapter(self._model, folder.language("adapter"))
        self._model.to(self._device)
        self._context = folder.preset.llama.context
        self._cache = DynamicCache()
        # transformers from 5.40 on takes it by the new name alone, older versions by the other.
        self._cache_name = "cache" if "cache" in inspect.signature(type(self._model).forward).parameters else "past_key_values"

    @property
    def name(self) -> str:
        return _name(self._device, self._dtype)

    @property
    def position(self) -> int:
        return int(self._cache.get_seq_length())

    def embed(self, token_ids: Int64) -> Float32:
        """See `base.LlamaSession.embed`."""
        with torch.inference_mode():
            found: Float32 = (
                self._model.get_input_embeddings()(torch.from_numpy(np.asarray(token_ids, np.int64)).to(self._device)).float().cpu().numpy()
            )
        return found

    def extend(self, embeddings: Float32) -> Float32:
        """See `base.LlamaSession.extend`."""
        check_room(self.position, embeddings.shape[0], self._context)
        last: Float32 = self._logits(embeddings)[-1]
        return last

    branches = True

    def extend_tree(self, embeddings: Float32, parents: Sequence[int]) -> Float32:
        """See `base.BranchingLlama.extend_tree`."""
        seen, start = sees(parents), self.position
        check_room(start, len(parents), self._context)
        mask = torch.zeros(1, 1, len(parents), start + len(parents), dtype=self._dtype)
        mask[0, 0, :, start:].masked_fill_(torch.from_numpy(~seen), torch.finfo(mask.dtype).min)
        places = torch.from_numpy(start + seen.sum(axis=1) - 1)[None]
        return self._logits(embeddings, attention_mask=mask.to(self._device), position_ids=places.to(self._device))

    def _logits(self, embeddings: Float32, **more: torch.Tensor) -> Float32:
        rows = torch.from_numpy(embeddings)[None].to(self._device, self._dtype)
        with torch.inference_mode():
            logits = self._model(inputs_embeds=rows, use_cache=True, **{self._cache_name: self._cache}, **more).logits
        found: Float32 = logits[0].float().cpu().numpy()
        return found

    def rewind(self, position: int) -> None:
        """See `base.LlamaSession.rewind`."""
        if not 0 <= position <= self.position:
            raise ValueError(f"cannot rewind to {position}: the cache holds {self.position} positions")
        if position == 0:
            self._cache = DynamicCache()
        elif position < self.position:
            self._cache.crop(position - self.position)  # negative: how many to forget
