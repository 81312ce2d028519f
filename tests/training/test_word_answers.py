"""A folder of the published kind answers benchmarks as its reasoner does; a broken clip spoils no other, no answer is made twice."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("transformers")
pytest.importorskip("pydantic")
pytest.importorskip("soundfile")

from export.import_checkpoint import main as import_main  # noqa: E402
from ros2_emollama.config import Config, ModelConfig, ReasonerConfig  # noqa: E402
from ros2_emollama.media import read_clip  # noqa: E402
from ros2_emollama.model.folder import ModelFolderError, open_folder  # noqa: E402
from ros2_emollama.model.presets import EMOTION_LLAMA_V2  # noqa: E402
from ros2_emollama.pipeline import Pipeline  # noqa: E402
from ros2_emollama.reasoner import Decoding, Reasoner  # noqa: E402
from ros2_emollama.runtime.factory import open_runtime  # noqa: E402
from ros2_emollama.types import AudioChunk, Frame, GridFrame, Window, seconds_to_ns  # noqa: E402
from tests.core.clips import write_clip  # noqa: E402
from tests.export.fabricate import SOUND, UTTERANCE, WIDTH, fabricate  # noqa: E402
from training import features_encoders  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.benchmarks.generation import generate  # noqa: E402
from training.benchmarks.questions import Question, read_questions  # noqa: E402
from training.benchmarks.reasoning import ReasonerAnswerer, Settings, open_answerer, sample_of  # noqa: E402
from training.benchmarks.registry import BENCHMARKS  # noqa: E402
from training.datasets import find_set  # noqa: E402
from training.datasets.read import read_set  # noqa: E402
from training.datasets.registry import find_root  # noqa: E402
from training.fabricate import fabricate_mmeverse  # noqa: E402
from training.features import compute  # noqa: E402
from training.features_encoders import RuntimeEncoder, open_runtime_encoder  # noqa: E402
from training.instructions import evaluation_samples  # noqa: E402
from training.instructions_tables import EVALUATIONS  # noqa: E402
from training.instructions_tokens import NO_TOKEN, tokenize  # noqa: E402
from training.problems import Problems, StrictError  # noqa: E402
from training.records import Clip, Media, Provenance, write_records  # noqa: E402

WHEELS = Path(os.environ.get("DATA", "../shared/data")) / "emotion_wheel"
SHORT = Settings(max_tokens=12)
E3 = BENCHMARKS["e3"]


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs, 4-bit language model and weights."""
    root = tmp_path_factory.mktemp("v2")
    assert import_main(fabricate(root / "files", "emotion_llama_v2").arguments("emotion_llama_v2", root / "model")) == 0
    return root / "model"


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights alone."""
    root = tmp_path_factory.mktemp("v1")
    given = fabricate(root / "files", "emotion_llama").arguments("emotion_llama", root / "model", "--without-graphs")
    assert import_main(given) == 0
    return root / "model"


@pytest.fixture(scope="module")
def answerer(v2: Path) -> ReasonerAnswerer:
    return open_answerer(str(v2), SHORT)


def clip_of(folder: Path, name: str, **more: object) -> Clip:
    media = Media(str(folder), video=f"{name}.mkv")
    made = Clip(name, "e3", "test", media, Provenance("fabricated", "f"), transcript="look there", labels={"emotion": ("sad",)})
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def ask(folder: Path, clips: list[Clip]) -> list[Question]:
    write_records(folder / "e3.jsonl", evaluation_samples("e3", clips))
    return read_questions(folder / "e3.jsonl", E3, Problems())


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    """Three clips of four seconds and sixteen frames, of different sound and brightness."""
    for place in range(3):
        write_clip(tmp_path / f"v{place}.mkv", 4.0, fps=4, rate_hz=16000 + 6050 * place)
    said = ("look there", "never", "")
    return ask(tmp_path, [clip_of(tmp_path, f"v{place}", transcript=said[place]) for place in range(3)])


def window_of(path: Path) -> Window:
    """All of a clip of four seconds and sixteen frames."""
    frames, samples = [], []
    for item in read_clip(path, sample_rate_hz=16000):
        if isinstance(item, Frame):
            frames.append(GridFrame(len(frames), item))
        elif isinstance(item, AudioChunk):
            samples.append(item.samples)
    sound = np.concatenate(samples)[:64000]
    assert len(frames) == 16 and sound.size > 63000
    return Window(16, 0, seconds_to_ns(4.0), tuple(frames), sound, 16000, np.ones(16, np.bool_))


def test_it_says_what_the_reasoner_says_of_the_same_window(v2: Path, answerer: ReasonerAnswerer, questions: list[Question]) -> None:
    config = Config(model=ModelConfig(path=str(v2)), reasoner=ReasonerConfig(enabled=False))
    pipeline = Pipeline.load(config)
    _, session = open_runtime(open_folder(v2))
    assert session is not None
    reasoner = Reasoner(session, open_folder(v2).language("tokenizer"), open_folder(v2).preset)
    answers = answerer.answer(questions)
    assert len({answer.text for answer in answers}) > 1 and not any(answer.error for answer in answers)
    for question, answer in zip(questions, answers, strict=True):
        assert question.clip.video is not None
        prefix = pipeline.perceive(window_of(question.clip.video)).prefix
        said = reasoner.answer(prefix, answerer.prompt(sample_of(question)), Decoding(12, tidy=False))
        assert answer.text == said.text.strip() and said.token_count <= 12


def test_the_prompt_is_the_sequence_of_evaluation_token_by_token(answerer: ReasonerAnswerer, questions: list[Question]) -> None:
    sample = dataclasses.replace(sample_of(questions[0]), says="The person in video says: </s><s>. ")
    got = answerer.prompt(sample)
    wanted = tokenize(sample, answerer.encode, 1, 2, with_answer=False)
    assert [*got.before_prefix, *[NO_TOKEN] * EMOTION_LLAMA_V2.prefix.tokens, *got.after_prefix] == wanted.ids.tolist()
    assert got.before_prefix.count(1) == 1 and not {1, 2} & set(got.after_prefix), "what somebody says is text"


def test_v1_runs_on_its_weights_alone_and_takes_vectors_from_outside(v1: Path, questions: list[Question], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("face", "video"):
        (tmp_path / name).mkdir()
        for question in questions[:2]:
            np.save(tmp_path / name / f"{question.video_id}.npy", 9 * rng.standard_normal((1, UTTERANCE)).astype(np.float32))
    plain = open_answerer(str(v1), SHORT)
    vectors = tuple(str(tmp_path / name) for name in ("face", "video"))
    given = open_answerer(str(v1), dataclasses.replace(SHORT, utterances=vectors))
    prompt = plain.prompt(sample_of(questions[0]))
    asked = f"</feature> The person in video says: look there.  [emotion] {questions[0].instruction}  [/INST]"
    assert (*prompt.before_prefix, *prompt.after_prefix) == (1, *plain.encode("[INST] <video>"), *plain.encode(asked))
    before, after = plain.answer(questions), given.answer(questions)
    assert not any(answer.error for answer in before) and [bool(answer.error) for answer in after] == [False, False, True]
    assert [a.text for a in before[:2]] != [a.text for a in after[:2]] and "v2.npy" in after[2].error
    assert "in floats" in plain.name and plain.name != given.name


def test_a_mean_over_a_longer_clip_hears_its_end(v1: Path, tmp_path: Path) -> None:
    """HuBERT's window is four seconds; what comes later counts by its length."""
    folder = open_folder(v1)
    encoder = RuntimeEncoder(folder.preset, open_runtime(folder, "torch", with_language=False)[0], ("audio",), "uniform")
    rng = np.random.default_rng(1)
    first, second = (rng.standard_normal(64000).astype(np.float32) * level for level in (0.1, 0.01))
    views = encoder.views(clip_of(tmp_path, Path(write_clip(tmp_path / "long.mkv", 6.0, fps=4, rate_hz=16000)).stem))
    assert views.samples is not None and views.samples.size > 95000
    alone = [encoder.encode(dataclasses.replace(views, samples=sound))["audio"] for sound in (first, second)]
    both = encoder.encode(dataclasses.replace(views, samples=np.concatenate([first, second])))["audio"]
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-5)
    assert not np.allclose(alone[0], alone[1], atol=1e-3)


def test_stored_features_stand_for_the_clip_and_its_files_are_not_needed(
    v2: Path, answerer: ReasonerAnswerer, questions: list[Question], tmp_path: Path
) -> None:
    wanted = [answer.text for answer in answerer.answer(questions)]
    encoder, fingerprint = open_runtime_encoder(str(v2), sampling="uniform")
    clips = [clip_of(tmp_path, f"v{place}") for place in range(3)]
    assert compute(clips[:2], lambda: encoder, fingerprint, tmp_path / "features", dtype="float32") == {}
    for clip in clips:
        (tmp_path / clip.media.video).unlink()
    stored = open_answerer(str(v2), dataclasses.replace(SHORT, features=str(tmp_path / "features")))
    answers = stored.answer(questions)
    assert [answer.text for answer in answers[:2]] == wanted[:2] and "no features of e3/v2" in answers[2].error
    assert fingerprint in stored.name


def test_released_features_are_taken_and_the_scene_is_encoded_beside_them(
    v2: Path, answerer: ReasonerAnswerer, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Released are frames and sound; of other numbers than the clip's own, so that it shows which were used."""
    released = {"EVA-ViT-G": ("frames", 64, WIDTH), "whisper-large-v3": ("audio", 64, SOUND)}
    monkeypatch.setattr(features_encoders, "RELEASED", released)
    given = open_answerer(str(v2), dataclasses.replace(SHORT, features="released"))
    encoder = open_runtime_encoder(str(v2), sampling="uniform")[0]
    other = encoder(clip_of(tmp_path, "v1"))
    for name, (stream, _, _) in released.items():
        (tmp_path / "features" / name).mkdir(parents=True)
        np.save(tmp_path / "features" / name / "v0.npy", -other[stream][None])
    opened, plain, lacking = given.opened(questions[0]), answerer.opened(questions[0]), given.answer(questions[2:])[0]
    assert not isinstance(opened, Exception) and not isinstance(plain, Exception)
    got, own = given.prefix(opened), answerer.prefix(plain)
    np.testing.assert_allclose(got[64 : 64 + 256], own[64 : 64 + 256], atol=1e-5)
    assert not np.allclose(got[320:384], own[320:384], atol=1e-3) and "unpack MMEVerse's features" in lacking.error


def test_a_broken_clip_is_counted_and_named_and_the_others_are_answered(
    answerer: ReasonerAnswerer, questions: list[Question], tmp_path: Path
) -> None:
    (tmp_path / "v1.mkv").write_bytes(b"no film")
    problems = Problems()
    path = generate(E3, questions, answerer, tmp_path / "out", problems)
    assert [json.loads(line)["video_id"] for line in path.open()] == ["v0", "v2"]
    assert problems.counts == {"no answer was made": 1}
    assert "e3.jsonl:2" in problems.told[0] and "v1" in problems.told[0] and "v1.mkv" in problems.told[0]
    with pytest.raises(StrictError, match="v1"):
        generate(E3, questions, answerer, tmp_path / "strict", Problems(strict=True))
    endless = dataclasses.replace(questions[0], sample={**questions[0].sample, "says": "never " * 3000})
    (refused,) = answerer.answer([endless])
    assert "context holds" in refused.error and answerer.answer(questions[:1])[0].text, "and the next one is answered as ever"


def test_what_is_answered_is_kept_and_a_drawn_answer_hangs_on_its_clip_alone(v2: Path, questions: list[Question], tmp_path: Path) -> None:
    drawn = dataclasses.replace(SHORT, temperature=1.5, top_p=1.0, repeat_penalty=1.05)
    whole = generate(E3, questions, open_answerer(str(v2), drawn), tmp_path / "whole", Problems(), batch=1).read_bytes()
    part = tmp_path / "part" / "Single" / "e3.jsonl"
    generate(E3, questions, open_answerer(str(v2), drawn), tmp_path / "part", Problems())
    part.write_bytes(whole.splitlines(keepends=True)[0] + b'{"video_id": "v1", "re')
    (tmp_path / "v0.mkv").unlink()  # so that it cannot be asked about again
    generate(E3, questions, open_answerer(str(v2), drawn), tmp_path / "part", problems := Problems())
    assert part.read_bytes() == whole and not problems.total
    other = generate(E3, questions[1:], open_answerer(str(v2), dataclasses.replace(drawn, seed=1)), tmp_path / "other", Problems())
    assert other.read_bytes() not in whole


def test_a_folder_that_cannot_answer_in_words_is_refused_with_the_cure(v2: Path, tmp_path: Path) -> None:
    manifest = json.loads((v2 / "manifest.json").read_text())
    for name, change, cure in (
        ("nano", {"preset": {**manifest["preset"], "prompt": "nano"}}, "a model of emotion_llama"),
        ("mute", {"language": {}}, "has no language model"),
    ):
        shutil.copytree(v2, tmp_path / name)
        (tmp_path / name / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(ModelFolderError, match=cure):
            open_answerer(str(tmp_path / name))
    with pytest.raises(ValueError, match="top_p"):
        open_answerer(str(v2), Settings(top_p=0.0))
    with pytest.raises(FileNotFoundError, match="python -m training features"):
        open_answerer(str(v2), Settings(features=str(tmp_path)))


def samples_of_all(root: Path) -> Iterator[tuple[str, Path]]:
    """Questions of the eighteen benchmarks over a fabricated MMEVerse."""
    fabricate_mmeverse(root / "sets", general=False)
    clips: Mapping[str, list[Clip]] = {
        name: list(read_set(find_set(name), find_root(root / "sets", find_set(name)), layout="mmeverse", look="none"))
        for name in {plan.set for plan in EVALUATIONS.values()}
    }
    for name, plan in EVALUATIONS.items():
        path = root / "questions" / f"{name}.jsonl"
        write_records(path, evaluation_samples(name, clips[plan.set]))
        yield name, path


def test_every_benchmark_is_answered_and_has_its_place_in_the_table(v2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name, _ in samples_of_all(tmp_path)} == set(BENCHMARKS)
    out = tmp_path / "out"
    given = ["--questions", str(tmp_path / "questions"), "--predictions", str(out), "--model", str(v2), "--max-tokens", "3", "--limit", "1"]
    assert main(["evaluate", "--benchmark", "all", *given]) == 0, capsys.readouterr().err
    for name, benchmark in BENCHMARKS.items():
        (line,) = (out / benchmark.group / f"{name}.jsonl").read_text().splitlines()
        assert isinstance(json.loads(line)["response"], str)
    table = tmp_path / "table.md"
    scored = main(["score", str(out), "--bootstraps", "0", "--wheels", str(WHEELS), "--markdown", str(table)])
    titles = [benchmark.title for benchmark in BENCHMARKS.values() if WHEELS.is_dir() or benchmark.kind not in ("hit", "overlap")]
    missing = [title for title in titles if title not in table.read_text()]
    assert scored == (0 if WHEELS.is_dir() else 2) and not missing and "FABRICATED" in table.read_text()
