"""What can be imported is listed with all a person needs; nothing is fetched that is not pinned."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ros2_emollama import catalogue, cli
from ros2_emollama.model.presets import PRESETS


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A huggingface_hub that notes what it is asked for."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.append({"repository": repository, **options})
        if options["revision"] == "refused":
            raise PermissionError("401: access to this model is restricted")
        return str(options["local_dir"])

    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return asked


def test_models_lists_size_licence_source_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["models"])
    out = capsys.readouterr().out
    for importable in catalogue.IMPORTABLE:
        assert importable.preset in PRESETS
        for name in importable.parts:
            part = catalogue.PARTS[name]
            assert part.licence in out and part.page in out and part.what in out
        assert f"python -m export.import_checkpoint --preset {importable.preset} --checkpoint" in out
    assert "about 13.5 GB, computed" in out


def test_the_import_command_is_one_that_the_program_takes(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from export.import_checkpoint import make_parser

    for importable in catalogue.IMPORTABLE:
        command = catalogue.commands(importable, tmp_path)[-1].split()
        arguments = make_parser().parse_args(command[3:])
        assert arguments.preset == importable.preset and arguments.eva == tmp_path / "eva_vit_g.pth"


def test_a_download_is_pinned_and_takes_only_what_is_wanted(hub: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--download", "whisper-large-v3", "--revision", "0123abc", "--to", "there"]) == 0
    assert hub == [
        {
            "repository": "openai/whisper-large-v3",
            "revision": "0123abc",
            "local_dir": Path("there"),
            "allow_patterns": ["*.json", "model.safetensors"],
        }
    ]
    assert "whisper-large-v3 is in there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--download", "whisper-large-v3"], "needs --revision COMMIT"),
        (["--download", "eva-vit-g", "--revision", "a"], "cannot be fetched from Hugging Face; eva-vit-g lies at https://"),
        (["--download", "nothing", "--revision", "a"], "--download knows llama-2-7b-chat"),
        (["--download", "llama-2-7b-chat", "--revision", "refused"], "accept its terms on the page and log in"),
    ],
)
def test_a_download_that_cannot_be_says_why(
    hub: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main(["models", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_without_the_library_the_install_command_is_given(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cli.main(["models", "--download", "whisper-large-v3", "--revision", "a"]) == 1
    assert "pip install 'ros2-emollama[download]'" in capsys.readouterr().err
