"""What all tests share: where real data lies, and no ROS traffic beyond this machine."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)  # the same examples every time: what lands does not hang on a draw
if os.environ.get("CI"):
    settings.load_profile("ci")

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, from DATA; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DATA", REPOSITORY / "../shared/data")).resolve()
    if not (folder / "clips").is_dir():
        pytest.skip(f"no clips in {folder}; set DATA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def nano() -> Path:
    """The shipped model."""
    folder = REPOSITORY / "models" / "nano"
    if not (folder / "manifest.json").is_file():
        pytest.skip("models/nano is not in this checkout; train and export it: make train-nano")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run of preset `tiny` with random weights, in the form that export/ takes."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from ros2_emollama.model.network import EmotionNetwork
    from ros2_emollama.model.presets import TINY
    from ros2_emollama.reasoner.prompt import train_tokenizer
    from training.language import make_llama

    run = tmp_path_factory.mktemp("tiny") / "run"
    run.mkdir()
    torch.manual_seed(0)
    network = EmotionNetwork(TINY).eval()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, run / "network.safetensors")
    make_llama(TINY.llama).save_pretrained(run / "llama")
    texts = ["The person seems happy because the face smiles and the voice is bright.", "Nobody is in view; no speech is heard."]
    train_tokenizer(texts, TINY.llama.vocab).save(str(run / "llama" / "tokenizer.json"))
    (run / "preset.json").write_text(json.dumps(TINY.to_dict()), encoding="utf-8")
    return run


@pytest.fixture(scope="session")
def tiny_model_folder(tiny_run: Path) -> Path:
    """The model folder exported from it: graphs, 4-bit language model, manifest. Do not change it; copy it."""
    pytest.importorskip("onnx")
    from export.to_onnx import export_run

    output = tiny_run.parent / "model"
    export_run(tiny_run, output)
    return output


@pytest.fixture(scope="session")
def some_model_folder(request: pytest.FixtureRequest) -> Path:
    """A model where it does not matter which: the tiny one, or the shipped one where torch is not there to make it."""
    folder: Path = request.getfixturevalue("tiny_model_folder" if importlib.util.find_spec("torch") else "nano")
    return folder
