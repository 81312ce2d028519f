"""The ablations run every variant on one set of tokens, for the same number of steps, and go on where they were stopped."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")
pytest.importorskip("transformers")

from ros2_emollama.model.fusion import FUSIONS, make_fusion  # noqa: E402
from ros2_emollama.model.network import EmotionNetwork  # noqa: E402
from ros2_emollama.model.presets import TINY, FusionPreset  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.face_measures import FACE_MEASURES  # noqa: E402
from training.fit import assemble  # noqa: E402
from training.language import answer_loss, by_length, make_llama, make_tokenizer, sample_of  # noqa: E402
from training.measures import Norm, Norms  # noqa: E402
from training.paths import Paths  # noqa: E402
from training.perception import window_makers  # noqa: E402
from training.voice_measures import VOICE_MEASURES  # noqa: E402


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Encoders with random weights, and banks in which a token says the label."""
    torch.manual_seed(0)
    network, rng, width = EmotionNetwork(TINY), np.random.default_rng(0), TINY.vision.width
    parts = {"face": ("face_net.", network.vision.face_net), "voice": ("audio.", network.audio), "locate": ("", network.vision.locator)}
    for name, (prefix, module) in parts.items():
        weights = {prefix + key: value for key, value in module.state_dict().items()}
        torch.save({"weights": weights, "figures": {}}, tmp_path / f"{name}.pt")
    fused = {key: value for key, value in network.state_dict().items() if key.startswith(("conv_pro_module.", "label_head."))}
    torch.save({"weights": fused, "figures": {}}, tmp_path / "perception.pt")
    codes = rng.normal(size=(7, width)).astype(np.float16)
    labels = np.tile(np.arange(7), 6)
    for split in ("train", "val"):
        faces = np.repeat(codes[labels][:, None, None], 4, axis=2)
        measures = rng.uniform(0, 1, (labels.size, len(FACE_MEASURES))).astype(np.float32)
        np.savez(tmp_path / f"bank_faces_{split}.npz", tokens=faces, labels=labels, measures=measures)
        spoken = np.r_[labels, [-1] * 6]
        heard = np.repeat(np.r_[codes[labels], np.zeros((6, width), np.float16)][:, None], 64, axis=1)
        measures = rng.uniform(0, 1, (spoken.size, len(VOICE_MEASURES))).astype(np.float32)
        np.savez(
            tmp_path / f"bank_voices_{split}.npz",
            tokens=heard,
            mask=np.ones((spoken.size, 64), np.float32),
            labels=spoken,
            measures=measures,
        )
        somebody = np.arange(8) % 2 == 0
        face = np.where(somebody[:, None], [0.9, 0.5, 0.5, 0.5], [0.1, 0.5, 0.5, 0.5]).astype(np.float32)
        zeros = np.zeros((8, 16, width), np.float16)
        np.savez(tmp_path / f"bank_scenes_{split}.npz", tokens=zeros, cls=zeros[:, 0], face=face, crops=zeros[:, :4], somebody=somebody)
    Norms({name: Norm.of(np.linspace(0, 1, 101)) for name in (*FACE_MEASURES, *VOICE_MEASURES)}).write(tmp_path)
    return tmp_path


def test_every_fusion_takes_and_gives_what_conv_attention_does() -> None:
    for kind in FUSIONS:
        torch.manual_seed(0)
        module = make_fusion(5, 6, 7, FusionPreset(hidden=8, width=4, out=3, method=kind)).eval()
        streams = [torch.randn(2, 64, width, requires_grad=True) for width in (5, 6, 7)]
        fused = module(*streams)
        assert fused.shape == (2, 64, 3)
        fused.sum().backward()
        assert all(stream.grad.abs().sum() > 0 for stream in streams), kind
    with pytest.raises(ValueError, match="conv_attention, conv, attention, q_former, none, got 'mean'"):
        make_fusion(5, 6, 7, FusionPreset(method="mean"))


def test_a_batch_has_the_loss_of_its_samples_one_by_one(run: Path) -> None:
    """Whatever is filled up, and in whichever order they go through: each answer's tokens count alike."""
    paths = Paths(run, run, run)
    network = assemble(TINY, paths, fused=True)
    tokenizer, llama = make_tokenizer(TINY.llama, paths), make_llama(TINY.llama).eval()
    windows = window_makers(network, paths)[0].batch(np.random.default_rng(0), 5)
    tasks = ("emotion", "reason", "cues", "voice", "reason")
    samples = [
        sample_of(tokenizer, cues, target, task, np.random.default_rng(3), 1.0)
        for cues, target, task in zip(windows.cues, windows.targets, tasks, strict=True)
    ]
    with torch.no_grad(), ThreadPoolExecutor(2) as pool:
        loss, right = answer_loss(network, llama, windows, samples, pool)
    total = count = hits = 0.0
    prefix = network.prefix(network.streams(*windows.inputs())).detach()
    for index, sample in enumerate(samples):
        before, after = (llama.get_input_embeddings()(torch.tensor(ids)) for ids in (sample.before, sample.after + sample.answer))
        with torch.no_grad():
            logits = llama(inputs_embeds=torch.cat([before, prefix[index], after])[None]).logits[0, -len(sample.answer) - 1 : -1]
        wanted = torch.tensor(sample.answer)
        total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        hits += float((logits.argmax(-1) == wanted).sum())
        count += len(wanted)
    assert float(loss) == pytest.approx(total / count, rel=1e-5) and float(right) == pytest.approx(hits / count)


def test_a_batch_is_parted_where_its_groups_cost_the_same() -> None:
    """Rows times the longest of each, since the shorter ones are filled up."""
    short, long = by_length([9, 1, 10, 2, 1, 2])
    assert (sorted(short.tolist()), sorted(long.tolist())) == ([1, 3, 4, 5], [0, 2])
    assert [sorted(rows.tolist()) for rows in by_length([7, 7, 7, 7])] == [[0, 1], [2, 3]]
    assert [rows.tolist() for rows in by_length([5])] == [[0]]


def test_ablations_compare_equal_steps_and_are_made_once(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["ablate", "--recipe", "tiny", "--data", str(run), "--cache", str(run), "--run", str(run), "--threads", "1", "--steps", "10"]
    assert main([*ask, "--group", "fusion", "curriculum"]) == 0
    said = capsys.readouterr().out
    found = json.loads((run / "ablations.json").read_text())
    assert set(found["fusion"]) == set(FUSIONS) and all(row["uar_both"] >= 0 for row in found["fusion"].values())
    assert found["fusion"]["conv"]["parameters"] < found["fusion"]["conv_attention"]["parameters"]
    assert set(found["curriculum"]) == {"describe, then cognition", "both at once", "cognition alone"}
    assert all(f"| {name} |" in said for rows in (found["fusion"], found["curriculum"]) for name in rows)
    lines = (run / "ablation_conv_10" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 10
    stamps = {path: path.stat().st_mtime_ns for path in run.glob("ablation_*/state-*")}
    assert main([*ask, "--group", "fusion"]) == 0  # nothing is trained again
    assert stamps == {path: path.stat().st_mtime_ns for path in run.glob("ablation_*/state-*")}


def test_what_an_ablation_needs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "--recipe", "tiny", "--run", str(tmp_path), "--cache", str(tmp_path)]) == 2
    assert "--stage face" in capsys.readouterr().err


def test_a_curriculum_needs_a_finished_perception_stage(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "perception.pt").unlink()
    assert main(["ablate", "--recipe", "tiny", "--run", str(run), "--cache", str(run), "--group", "curriculum"]) == 2
    assert "--stage perception" in capsys.readouterr().err
