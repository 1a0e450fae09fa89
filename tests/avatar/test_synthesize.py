"""A synthetic corpus on disk: legible, the same from the same seed, resumable."""

import hashlib
import json
from itertools import combinations

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from slt_pipeline.avatar import synthesize
from slt_pipeline.avatar.draw import Stage, render
from slt_pipeline.avatar.face import FACES, face
from slt_pipeline.avatar.lexicon import LEXICON
from slt_pipeline.avatar.motion import plan, rest, stroke
from slt_pipeline.avatar.signer import make_signer
from slt_pipeline.config.synth import AnnotationsConfig, SynthConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.errors import SltError

pytestmark = pytest.mark.long

TINY = SynthConfig(num_train=5, num_dev=2, num_test=2, isolated_per_gloss=0, isolated_dev_per_gloss=0)


def _decode(path) -> np.ndarray:
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _digests(folder) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "avatar"
    return out, synthesize(TINY, out, seed=5, progress=False, workers=1)


def test_the_corpus_has_all_its_parts(corpus):
    out, report = corpus
    assert report.num_sentences == {"train": 5, "dev": 2, "test": 2}
    assert report.num_rendered == 9
    assert sorted(path.name for path in out.iterdir()) == [
        "contact_sheet.png", "isolated.jsonl", "manifest.jsonl", "synth.json", "videos",
    ]  # fmt: skip
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 2000


def test_the_manifest_tells_the_number_of_frames_of_every_video(corpus):
    out, report = corpus
    clips = read_manifest(out / "manifest.jsonl")
    for clip in clips:
        assert _decode(out / clip.video).shape == (clip.num_frames, 96, 96, 3)
        assert len(clip.extra["spans"]) == len(clip.extra["mouths"]) == len(clip.gloss)
    assert sum(clip.num_frames for clip in clips) == report.num_frames


def test_the_video_shows_what_was_drawn(corpus):
    out, _ = corpus
    clip = read_manifest(out / "manifest.jsonl")[0]
    first = _decode(out / clip.video)[0].astype(int)
    signer = next(make_signer(index, 5) for index in range(6) if make_signer(index, 5).name == clip.signer)
    drawn = Stage(signer, 96, 96).draw(rest(), face("neutral")).astype(int)
    assert np.abs(first - drawn).mean() < 4


def test_another_seed_gives_another_corpus(corpus, tmp_path):
    out, _ = corpus
    synthesize(TINY, tmp_path / "b", seed=6, progress=False, workers=1)
    assert [c.text for c in read_manifest(out / "manifest.jsonl")] != [
        c.text for c in read_manifest(tmp_path / "b/manifest.jsonl")
    ]


def test_two_workers_write_the_same_bytes_as_one(tmp_path):
    config = TINY.model_copy(update={"num_train": 22, "stroke_frames": (3, 4), "width": 48, "height": 48})
    synthesize(config, tmp_path / "one", seed=5, progress=False, workers=1)
    synthesize(config, tmp_path / "two", seed=5, progress=False, workers=2)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")


def test_an_interrupted_corpus_is_continued_to_the_same_bytes(corpus, tmp_path):
    out, _ = corpus
    again = tmp_path / "again"
    synthesize(TINY, again, seed=5, progress=False, workers=1)
    kept = again / "videos/train/train-00001.mp4"
    before = kept.stat().st_mtime_ns
    (again / "manifest.jsonl").unlink()
    (again / "videos/train/train-00000.mp4").rename(again / "videos/train/.train-00000.mp4.99.tmp")
    (again / "videos/dev/dev-00001.mp4").unlink()
    report = synthesize(TINY, again, seed=5, progress=False, workers=1)
    assert (report.num_rendered, report.num_kept) == (2, 7)
    assert kept.stat().st_mtime_ns == before
    assert _digests(again) == _digests(out)


def test_a_folder_made_with_other_settings_is_refused(corpus):
    out, _ = corpus
    with pytest.raises(SltError, match=r"was made with config.num_dev 2, not 3; choose another folder"):
        synthesize(TINY.model_copy(update={"num_dev": 3}), out, seed=5, progress=False)
    with pytest.raises(SltError, match="was made with seed 5, not 6"):
        synthesize(TINY, out, seed=6, progress=False)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(SltError, match=r"is not empty and has no synth\.json"):
        synthesize(TINY, tmp_path, seed=5, progress=False)


def test_frame_folders_hold_the_drawn_pixels(tmp_path):
    config = TINY.model_copy(update={"container": "frames", "num_train": 1, "num_dev": 0, "num_test": 0, "width": 49})
    synthesize(config, tmp_path / "out", seed=5, progress=False)
    (clip,) = read_manifest(tmp_path / "out/manifest.jsonl")
    assert clip.video == "frames/train/train-00000"
    images = sorted((tmp_path / "out" / clip.video).iterdir())
    assert [images[0].name, len(images)] == ["images0001.png", clip.num_frames]
    with Image.open(images[0]) as image:
        assert image.size == (49, 96)


def test_isolated_clips_go_to_their_own_manifest(tmp_path):
    config = TINY.model_copy(
        update={"num_train": 0, "num_dev": 0, "num_test": 0, "isolated_per_gloss": 1, "width": 32, "height": 32}
    )
    report = synthesize(config, tmp_path / "out", seed=5, progress=False, workers=1)
    clips = read_manifest(tmp_path / "out/isolated.jsonl")
    assert report.num_isolated == {"train": len(LEXICON)}
    assert {clip.gloss for clip in clips} == {(gloss,) for gloss in LEXICON}
    assert {clip.extra["mouth"] for clip in clips} == FACES.keys()
    assert read_manifest(tmp_path / "out/manifest.jsonl") == []


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="mp4 needs even sizes, got 97x96"):
        SynthConfig(width=97)
    with pytest.raises(ValidationError, match="goes with `source: annotations`"):
        SynthConfig(source="annotations")
    with pytest.raises(ValidationError, match=r"lowest 9.0 is above highest 8.0"):
        SynthConfig(stroke_frames=(9, 8))


@pytest.mark.parametrize("number", range(6))
def test_every_two_faces_can_be_told_apart_on_every_signer(number):
    """At least 12 of the head's pixels differ strongly in brightness: encoders and eyes see brightness best."""
    stage = Stage(make_signer(number, 0), 96, 96)
    frames = {name: stage.draw(rest(), face(name)).astype(int) @ [3, 6, 1] / 10 for name in FACES}
    for one, other in combinations(frames, 2):
        assert (np.abs(frames[one] - frames[other]) > 50).sum() >= 12, (one, other)


def test_every_two_signs_can_be_told_apart_in_the_frames():
    """Averaged over five moments, over 150 of the 9216 pixels differ strongly."""
    stage = Stage(make_signer(0, 0), 96, 96)
    frames = {}
    for gloss, sign in LEXICON.items():
        states = stroke(sign, 9)
        frames[gloss] = np.stack([stage.draw(states[k], face("neutral"))[..., 1] for k in (0, 2, 4, 6, 8)]).astype(int)
    for one, other in combinations(frames, 2):
        assert (np.abs(frames[one] - frames[other]) > 40).sum() / 5 > 60, (one, other)


def test_noise_moves_and_a_plain_background_does_not():
    motion = plan([LEXICON["NORD"]], ["neutral"], TINY, np.random.default_rng(0))
    corner = np.s_[:, :6, :6]
    plain = render(motion, make_signer(0, 0), 96, 96)[corner]
    noisy = render(motion, make_signer(0, 0), 96, 96, background="noisy", seed=1)[corner]
    assert np.ptp(plain, axis=0).max() == 0
    assert np.ptp(noisy, axis=0).min() > 4
    assert np.array_equal(noisy, render(motion, make_signer(0, 0), 96, 96, background="noisy", seed=1)[corner])


# --- clips of an annotated corpus


def _annotated(folder) -> str:
    states = [0, 0, *[13] * 4, *[14] * 4, *[15] * 4, *[25] * 3, *[26] * 3, *[27] * 3, 0, 0]
    labels = {"pami0": tuple(states), "pami1": (0,) * 10 + (4,) * 15, "pami2": (3,) * 25}
    common = {"num_frames": 25, "fps": 50.0, "text": "im norden regen ."}
    clips = [
        Clip("train/eins", "x", signer="Signer01", gloss=("REGEN", "NORD"), split="train", alignments=labels, **common),
        Clip("train/zwei", "x", signer="Signer08", gloss=("NORD", "VULKAN+X"), split="train", **common),
        Clip("train/kurz", "x", 3, 50.0, "Signer08", ("NORD", "REGEN"), "zu kurz .", "train"),
        Clip("dev/../drei", "x", signer="Signer01", gloss=("REGEN",), split="dev", **common),
        Clip("dev/vier", "x", signer="Signer01", gloss=("HAGEL",), split="dev", **common),
        Clip("dev/ohne", "x", 25, 50.0, "Signer01", None, "ohne .", "dev"),
    ]
    write_manifest(folder / "annotated.jsonl", clips)
    return str(folder / "annotated.jsonl")


def _annotation_config(manifest, **changes) -> SynthConfig:
    chosen = {key: changes.pop(key) for key in list(changes) if key in AnnotationsConfig.model_fields}
    return SynthConfig(
        source="annotations", annotations=AnnotationsConfig(manifest=manifest, **chosen), width=48, height=60,
        **{"num_train": 2, "num_dev": 1, "num_test": 0, "isolated_per_gloss": 1, "isolated_dev_per_gloss": 0} | changes,
    )  # fmt: skip


def test_annotated_clips_keep_id_text_labels_and_length(tmp_path):
    config = _annotation_config(_annotated(tmp_path), known_glosses_only=True)
    report = synthesize(config, tmp_path / "out", seed=0, progress=False, workers=1)
    one, two, three = clips = read_manifest(tmp_path / "out/manifest.jsonl")
    assert [clip.id for clip in clips] == ["train/eins", "train/zwei", "dev/../drei"]
    assert [clip.signer for clip in clips] == ["Signer01", "Signer08", "Signer01"]
    assert one.alignments["pami2"] == (3,) * 25
    assert one.extra["spans"] == [[2, 14], [14, 23]]
    assert one.extra["timing"] == "labels"
    assert two.extra["timing"] == three.extra["timing"] == "uniform"
    assert report.timing == {"labels": 1, "uniform": 2}
    for clip in clips:
        assert clip.text == "im norden regen ."
        assert _decode(tmp_path / "out" / clip.video).shape == (25, 60, 48, 3)
        assert (tmp_path / "out" / clip.video).resolve().is_relative_to(tmp_path / "out/videos")
        assert clip.fps == 50.0
    isolated = read_manifest(tmp_path / "out/isolated.jsonl")
    assert [clip.gloss for clip in isolated] == [("NORD",), ("REGEN",), ("VULKAN+X",)]


def test_asking_for_more_clips_than_are_eligible_is_an_error(tmp_path):
    config = _annotation_config(_annotated(tmp_path), num_train=3)
    with pytest.raises(SltError, match="3 train clips asked for, 2 are eligible"):
        synthesize(config, tmp_path / "out", seed=0, progress=False)
    assert not (tmp_path / "out").exists()


def test_a_changed_manifest_is_noticed(tmp_path):
    config = _annotation_config(_annotated(tmp_path), num_train=1, num_dev=0, isolated_per_gloss=0)
    synthesize(config, tmp_path / "out", seed=0, progress=False)
    with (tmp_path / "annotated.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(SltError, match="was made with annotations_sha256"):
        synthesize(config, tmp_path / "out", seed=0, progress=False)


def test_a_missing_manifest_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(SltError, match="no such manifest; make one with `slt data import`"):
        synthesize(_annotation_config(str(tmp_path / "none.jsonl")), tmp_path / "out", seed=0, progress=False)


def test_settings_are_written_beside_the_corpus(corpus):
    settings = json.loads((corpus[0] / "synth.json").read_text())
    assert settings["seed"] == 5
    assert SynthConfig.model_validate(settings["config"]) == TINY
