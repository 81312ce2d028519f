"""A published checkpoint becomes a folder that runs; one that does not fit is refused before anything is written, with the cure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402

from export.import_checkpoint import main  # noqa: E402
from ros2_emollama.config import Config, ModelConfig, ReasonerConfig  # noqa: E402
from ros2_emollama.model.folder import ModelFolderError, open_folder  # noqa: E402
from ros2_emollama.model.weights import network_weights, weight_files  # noqa: E402
from ros2_emollama.pipeline import Pipeline  # noqa: E402
from ros2_emollama.types import Frame, GridFrame, Window, seconds_to_ns  # noqa: E402
from tests.export.fabricate import HIDDEN, LAYERS, RANK, WIDTH, Files, fabricate  # noqa: E402

TICK_NS = seconds_to_ns(0.25)
PRESETS = ("emotion_llama_v2", "emotion_llama")
Import = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module", params=PRESETS)
def sources(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Files]:
    return request.param, fabricate(tmp_path_factory.mktemp("published") / "files", request.param)


@pytest.fixture(scope="module")
def model(sources: tuple[str, Files], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole of it: weights, graphs, 4-bit language model."""
    output = tmp_path_factory.mktemp("imported") / "model"
    assert main(sources[1].arguments(sources[0], output)) == 0
    return output


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return fabricate(tmp_path / "files", "emotion_llama_v2")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    """Import without graphs; the status and what was said. After a failure nothing lies at the output."""

    def imported(files: Files, *more: str, preset: str = "emotion_llama_v2") -> tuple[int, str]:
        output = tmp_path / "model"
        status = main(files.arguments(preset, output, "--without-graphs", *more))
        captured = capsys.readouterr()
        assert status == 0 or not output.exists()
        return status, captured.out + captured.err

    return imported


def changed(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Edit a checkpoint's weights."""
    content = torch.load(path, weights_only=True)
    change(content.get("model", content))
    torch.save(content, path)


def window(video: bool = True, sound: bool = True, frames: tuple[int, ...] = tuple(range(16))) -> Window:
    rng = np.random.default_rng(4)
    pictures = [GridFrame(i, Frame(i * TICK_NS, rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))) for i in range(16)]
    shown = tuple(entry if video and entry.tick in frames else None for entry in pictures)
    samples = (0.05 * sound * rng.standard_normal(64000)).astype(np.float32)
    return Window(16, 0, 16 * TICK_NS, shown, samples, 16000, np.full(16, sound))


def load(model: Path, runtime: str = "onnxruntime", *utterances: Path) -> Pipeline:
    return Pipeline.load(Config(model=ModelConfig(path=str(model), runtime=runtime), reasoner=ReasonerConfig(max_tokens=4)), utterances)


def test_an_imported_folder_labels_and_explains_alike_on_both_runtimes(model: Path) -> None:
    """Loose in the labels: random weights are the worst case of rounding to 4 bits."""
    onnx, reference = load(model), load(model, "torch")
    for seen in (window(), window(video=False), window(sound=False), window(False, False)):
        found, expected = onnx.perceive(seen), reference.perceive(seen)
        np.testing.assert_allclose(found.prefix, expected.prefix, atol=2e-3)
        assert sum(found.state.probabilities) == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(found.state.probabilities, expected.state.probabilities, atol=0.2)
    assert onnx.explain(found).final
    assert "labels scored by the language model" in onnx.describe()


def test_a_model_that_looks_for_nobody_says_so_and_labels_all_the_same(model: Path) -> None:
    state = load(model).perceive(window()).state
    assert np.isnan(state.face) and np.isnan(state.speech) and state.presence == 1.0
    nothing = load(model).perceive(window(False, False)).state
    assert nothing.presence == 0.0


def test_the_manifest_tells_what_it_was_made_from(model: Path, sources: tuple[str, Files]) -> None:
    folder = open_folder(model)
    folder.verify()
    info = folder.manifest.info
    told = {entry["file"]: entry for entry in info["sources"]}
    assert {"checkpoint_9.pth", "eva_vit_g.pth", "config.json"} <= told.keys()
    assert told["checkpoint_9.pth"]["bytes"] == sources[1].checkpoint.stat().st_size and len(told["eva_vit_g.pth"]["sha256"]) == 64
    assert info["lora"] == {"rank": RANK, "alpha": 8.0, "matrices": 2 * LAYERS, "form": "merged"}
    assert any("no ln_vision" in note for note in info["notes"]) and "Llama 2" in info["licence"]


def test_frames_that_are_missing_are_held_as_the_published_padding_does(tmp_path: Path, run: Import, files: Files) -> None:
    assert run(files)[0] == 0
    pipeline = load(tmp_path / "model", "torch")
    some = pipeline.perceive(window(frames=(2, 3, 7))).prefix
    rows = some[64 + 256 : 64 + 256 + 64].reshape(16, 4, HIDDEN)
    for tick, held in ((0, 2), (1, 2), (5, 3), (6, 3), (15, 7)):
        np.testing.assert_array_equal(rows[tick], rows[held])
    assert not np.allclose(rows[2], rows[3])


def test_a_stream_that_is_not_there_is_left_out_of_the_prefix_or_kept_as_published(tmp_path: Path, run: Import, files: Files) -> None:
    assert run(files)[0] == 0
    ours = load(tmp_path / "model", "torch")
    assert ours.perceive(window(video=False)).prefix.shape[0] == 64 + 64
    assert ours.perceive(window(sound=False)).prefix.shape[0] == 64 + 256 + 64
    shutil.rmtree(tmp_path / "model")
    assert run(files, "--as-published")[0] == 0
    published = load(tmp_path / "model", "torch")
    assert published.preset.prompt == "emotion_llama_v2_published"
    assert published.perceive(window(False, False)).prefix.shape[0] == 448


def test_utterance_vectors_are_taken_from_files_or_are_zeros_and_it_is_said(tmp_path: Path, run: Import) -> None:
    files = fabricate(tmp_path / "v1", "emotion_llama")
    assert run(files, preset="emotion_llama")[0] == 0
    paths = [tmp_path / "face.npy", tmp_path / "video.npy"]
    for path, shape in zip(paths, ((48,), (1, 48)), strict=True):
        np.save(path, np.ones(shape, np.float32))
    zeros, given = load(tmp_path / "model", "torch"), load(tmp_path / "model", "torch", *paths)
    assert "zeros, as in the published demo" in zeros.describe() and "vectors as given" in given.describe()
    apart = np.abs(zeros.perceive(window()).prefix - given.perceive(window()).prefix).max(axis=1)
    marks = given.perceive(window()).prefix.shape[0] - 260  # of the prompt, between scene and features
    assert np.flatnonzero(apart).tolist() == [256 + marks, 257 + marks] and marks > 0
    np.save(paths[0], np.ones(47, np.float32))
    with pytest.raises(ModelFolderError, match=r"face\.npy holds \(47,\), not 48 finite numbers"):
        load(tmp_path / "model", "torch", *paths)
    with pytest.raises(ModelFolderError, match="takes 2 utterance vectors, got 1"):
        load(tmp_path / "model", "torch", paths[1])


def test_merged_and_kept_lora_speak_alike_whatever_peft_wrote_them(tmp_path: Path, run: Import) -> None:
    logits, rows = [], np.random.default_rng(2).standard_normal((5, HIDDEN)).astype(np.float32)
    for number, (adapter, form) in enumerate((("", "merged"), ("default", "merged"), ("default", "kept"))):
        files = fabricate(tmp_path / f"files{number}", "emotion_llama_v2", adapter=adapter)
        assert run(files, "--lora", form)[0] == 0
        session = load(tmp_path / "model", "torch")._reasoner._session
        logits.append(session.extend(rows))
        base = load_file(files.llama / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
        now = load_file(tmp_path / "model/llama/weights/model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
        assert torch.equal(base, now) == (form == "kept")
        if form == "merged":
            lora = torch.load(files.checkpoint, weights_only=True)["model"]
            stem, spelled = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_", f".{adapter}" if adapter else ""
            down, up = (lora[f"{stem}{side}{spelled}.weight"] for side in "AB")
            torch.testing.assert_close(now.float(), base.float() + 8 / RANK * up @ down, atol=1e-3, rtol=1e-3)
        shutil.rmtree(tmp_path / "model")
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_allclose(logits[2], logits[1], atol=2e-2)  # merged weights are rounded to half precision


def test_shards_bound_the_memory_and_read_as_one(tmp_path: Path, run: Import, files: Files) -> None:
    assert run(files)[0] == 0
    whole = network_weights(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    assert run(files, "--shard-gb", "0.001")[0] == 0
    parts = weight_files(tmp_path / "model")
    assert len(parts) > 3 and parts[0].name == f"network-00001-of-{len(parts):05d}.safetensors"
    found = network_weights(tmp_path / "model")
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)
    load(tmp_path / "model", "torch").perceive(window())
    parts[1].unlink()
    with pytest.raises(ModelFolderError, match=r"lacks network-00002"):
        weight_files(tmp_path / "model")


def test_a_tower_without_the_last_block_or_norm_serves_frames_and_it_is_said(tmp_path: Path, run: Import) -> None:
    status, said = run(fabricate(tmp_path / "files", "emotion_llama_v2", blocks=1, norm=False))
    assert status == 0 and "has no block 2: frames leave after 1, as the scene does" in said and "no last norm" in said
    assert open_folder(tmp_path / "model").preset.vision.frame_blocks == 1
    load(tmp_path / "model", "torch").perceive(window())


def test_any_llama_is_a_backbone_by_its_own_configuration(tmp_path: Path, run: Import, files: Files) -> None:
    """Grouped keys and values, another rope, as Llama 3 and TinyLlama have them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.export.fabricate import VOCABULARY

    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, rope_theta=5e5, tie_word_embeddings=True, **sizes)).save_pretrained(files.llama)
    assert run(files)[0] == 2  # the adapters are of another shape
    changed(files.checkpoint, lambda weights: [weights.pop(key) for key in list(weights) if "lora_" in key])
    status, said = run(files)
    preset = open_folder(tmp_path / "model").preset.llama
    assert status == 0 and "no LoRA" in said and (preset.layers, preset.kv_heads, preset.rope_theta) == (3, 2, 5e5)
    load(tmp_path / "model", "torch").perceive(window())


def test_the_start_of_training_is_drawn_anew_only_when_asked_for(tmp_path: Path, run: Import, files: Files) -> None:
    """minigptv2_checkpoint.pth: llama_proj and LoRA, nothing of the method's own."""
    own = ("llama_proj_", "conv_pro_module")
    changed(files.checkpoint, lambda weights: [weights.pop(key) for key in list(weights) if key.startswith(own)])
    status, said = run(files)
    assert status == 2 and "missing: conv_pro_module" in said and "--initialise-missing" in said
    status, said = run(files, "--initialise-missing")
    assert status == 0 and "llama_proj_fusion was drawn anew" in said
    load(tmp_path / "model", "torch").perceive(window())


def rename(weights: dict[str, torch.Tensor]) -> None:
    weights["llama_proj_vidoe.weight"] = weights.pop("llama_proj_video.weight")


def other_width(weights: dict[str, torch.Tensor]) -> None:
    weights["llama_proj.weight"] = torch.zeros(96, 4 * WIDTH)


def half_lora(weights: dict[str, torch.Tensor]) -> None:
    weights.pop(next(key for key in weights if "lora_B" in key))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename, r"missing: projections\.frames\.weight; surplus: llama_proj_vidoe\.weight"),
        (other_width, r"misshapen: llama_proj\.weight \(96, 352\), wanted \(64, 352\).* trained with a language model 96 wide"),
        (half_lora, r"missing: the other half of llama_model\..*q_proj\.lora_A\.weight"),
    ],
)
def test_keys_that_do_not_fit_are_named(files: Files, run: Import, change: Callable[[dict[str, torch.Tensor]], None], said: str) -> None:
    import re

    changed(files.checkpoint, change)
    status, told = run(files)
    assert status == 2 and re.search(said, told), told


def test_a_checkpoint_of_the_other_method_is_recognised(tmp_path: Path, run: Import, files: Files) -> None:
    other = fabricate(tmp_path / "v1", "emotion_llama")
    status, said = run(Files(other.checkpoint, files.eva, files.audio, files.llama))
    assert status == 2 and "try --preset emotion_llama" in said
    status, said = run(Files(other.checkpoint, files.eva, files.audio, files.llama), preset="emotion_llama")
    assert status == 2 and "v1 hears with HuBERT" in said


@pytest.mark.parametrize("part", ["checkpoint", "eva"])
def test_what_is_cut_off_is_refused(files: Files, run: Import, part: str) -> None:
    path: Path = getattr(files, part)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    status, said = run(files)
    assert status == 2 and path.name in said and "is cut off or no PyTorch checkpoint" in said and "fetch it again" in said
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    assert "git lfs pull" in run(files)[1]
    path.unlink()
    assert "is not there" in run(files)[1]


def test_a_truncated_shard_or_a_missing_one_is_refused(files: Files, run: Import) -> None:
    path = files.llama / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert "model.safetensors is cut off or no safetensors file" in run(files)[1]
    (files.llama / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert "lacks model-00001-of-00002.safetensors" in run(files)[1]


class Payload:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("ran"),))


def test_nothing_but_weights_is_ever_loaded(files: Files, run: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"llama_proj.weight": torch.zeros(2)}, "config": Payload()}, files.checkpoint)
    status, said = run(files)
    assert status == 2 and "holds more than weights" in said and not (tmp_path / "ran").exists()


def test_another_architecture_or_another_models_tokenizer_is_refused(files: Files, run: Import) -> None:
    config = json.loads((files.llama / "config.json").read_text())
    for change, cure in (
        ({"model_type": "qwen2"}, "give a model of the LLaMA architecture"),
        ({"vocab_size": 5000}, "they are of two models"),
        ({"vocab_size": 100}, "they are of two models"),
        ({"eos_token_id": 77}, "is no mark of it"),
    ):
        (files.llama / "config.json").write_text(json.dumps(config | change))
        status, said = run(files)
        assert status == 2 and cure in said, said
    (files.llama / "config.json").write_text(json.dumps(config))
    (files.llama / "tokenizer.json").write_text("{")
    assert "tokenizer.json cannot be read" in run(files)[1]
    (files.llama / "tokenizer.json").unlink()
    assert "save_pretrained" in run(files)[1]


def test_a_shorter_tower_than_the_method_s_is_refused_unless_it_is_meant(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument for argument in files.arguments("emotion_llama_v2", tmp_path / "model") if argument not in ("--eva-blocks", "1")]
    assert main(given) == 2
    assert "has 2 blocks and the scene goes through 39" in capsys.readouterr().err


def test_a_folder_that_is_there_is_never_written_over(files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("keep")
    assert main(files.arguments("emotion_llama_v2", tmp_path / "model")) == 2
    assert "is there already" in capsys.readouterr().err and (tmp_path / "model" / "mine.txt").read_text() == "keep"
