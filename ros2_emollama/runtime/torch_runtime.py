"""The reference: the network itself in torch, and LLaMA through transformers. For tests, training and comparison, not for a robot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from ..model.folder import ModelFolder
from ..model.graphs import graph_specs
from ..model.weights import apply_adapter, load_network, weight_files
from ..types import Float32, Int64
from .base import RuntimeUnavailable, Tensors, check_inputs, check_room, sees


class TorchEncoders:
    """The encoder graphs as modules, weights from network.safetensors."""

    def __init__(self, folder: ModelFolder, threads: int = 1, device: str = "cpu") -> None:
        """device: where they run; on a GPU matrix products are in bfloat16, and training is all that asks for one."""
        if not weight_files(folder.root):
            path = folder.root / "network.safetensors"
            raise RuntimeUnavailable(f"{path} is missing, and the torch runtime needs it; use model.runtime onnxruntime")
        torch.set_num_threads(threads)
        network = load_network(folder.root, folder.preset)
        self._device = torch.device(device)
        self._specs = graph_specs(folder.preset)
        self._graphs = {name: network.graph(name).eval().to(self._device) for name in self._specs}

    @property
    def name(self) -> str:
        return f"torch:{self._device}"

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        """See `base.Encoders.run`."""
        spec = self._specs[graph]
        check_inputs(spec, inputs)
        given = (torch.from_numpy(np.ascontiguousarray(inputs[tensor.name])).to(self._device) for tensor in spec.inputs)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type != "cpu"):
            told = self._graphs[graph](*given)
        outputs = (told,) if isinstance(told, torch.Tensor) else told
        return {tensor.name: value.float().cpu().numpy() for tensor, value in zip(spec.outputs, outputs, strict=True)}


class TorchLlama:
    """LLaMA in float32 with transformers' cache, weights from the folder's llama/weights."""

    def __init__(self, folder: ModelFolder, threads: int = 1) -> None:
        if "weights" not in folder.manifest.language:
            raise RuntimeUnavailable(f"{folder.root} has no LLaMA weights for torch; use model.runtime onnxruntime")
        torch.set_num_threads(threads)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder.language("weights"), dtype=torch.float32).eval()
        if "adapter" in folder.manifest.language:
            apply_adapter(self._model, folder.language("adapter"))
        self._context = folder.preset.llama.context
        self._cache = DynamicCache()

    @property
    def name(self) -> str:
        return "torch:cpu"

    @property
    def position(self) -> int:
        return int(self._cache.get_seq_length())

    def embed(self, token_ids: Int64) -> Float32:
        """See `base.LlamaSession.embed`."""
        with torch.inference_mode():
            found: Float32 = self._model.get_input_embeddings()(torch.from_numpy(np.asarray(token_ids, np.int64))).numpy()
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
        mask = torch.zeros(1, 1, len(parents), start + len(parents))
        mask[0, 0, :, start:].masked_fill_(torch.from_numpy(~seen), torch.finfo(mask.dtype).min)
        places = torch.from_numpy(start + seen.sum(axis=1) - 1)[None]
        return self._logits(embeddings, attention_mask=mask, position_ids=places)

    def _logits(self, embeddings: Float32, **more: torch.Tensor) -> Float32:
        rows = torch.from_numpy(embeddings)[None]
        with torch.inference_mode():
            logits = self._model(inputs_embeds=rows, past_key_values=self._cache, use_cache=True, **more).logits
        found: Float32 = logits[0].numpy()
        return found

    def rewind(self, position: int) -> None:
        """See `base.LlamaSession.rewind`."""
        if not 0 <= position <= self.position:
            raise ValueError(f"cannot rewind to {position}: the cache holds {self.position} positions")
        if position == 0:
            self._cache = DynamicCache()
        elif position < self.position:
            self._cache.crop(position - self.position)  # negative: how many to forget
