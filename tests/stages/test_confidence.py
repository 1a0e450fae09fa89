"""What `slt translate` says of its own texts: how far they can be trusted, and what in a video is unlike training."""

import json
import shutil

import numpy as np
import pytest
import torch
from joint_tools import BRIDGED, HEADED
from stage_tools import change_json, refusal, write_video

from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.models.measures import Density
from slt_pipeline.stages.confidence import confidence
from slt_pipeline.stages.extract import extract
from slt_pipeline.stages.translate import Translate
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.confidence import CONFIDENCE_FILE, LOG_PROBABILITY
from slt_pipeline.systems.confidence_fit import fit_limits, fit_terms
from slt_pipeline.systems.likeness import Known, fit_likeness
from slt_pipeline.video.reader import open_video

UNLIKE = "unlike anything in the training data: "


def file_of(toy):
    return toy.recipe().run_folder("translate_train") / CONFIDENCE_FILE


def translated(slt, toy, *options):
    """One JSON line of `slt translate`, and what it says on stderr."""
    found = slt("-q", "translate", "-r", toy.file, toy.video(toy.of("test")[0]), *options)
    assert found.status == 0, found.err
    return json.loads(found.out), found.err


def test_a_translation_comes_with_its_confidence_without_a_command_more(toy, slt):
    line, said = translated(slt, toy)
    assert 0 <= line["confidence"] <= 1
    assert isinstance(line["warnings"], list)
    assert said == ""
    assert list(line) == ["video", "text", "confidence", "warnings", "glosses", "seconds"]


def test_several_translations_of_a_video_change_nothing_of_its_confidence(toy, slt):
    one, _ = translated(slt, toy)
    several, _ = translated(slt, toy, "--num-best", 2)
    assert several["confidence"] == one["confidence"]
    assert len(several["nbest"]) == 2


def test_a_video_without_a_signer_is_said_to_be_unlike_training_and_its_text_is_not_trusted(toy, tmp_path):
    system, draw = Translate(toy.recipe(), device="cpu"), np.random.default_rng(0)
    frames = open_video(str(toy.video(toy.of("test")[0])), None).read()
    noise = draw.integers(0, 256, frames.shape, dtype=np.uint8)
    for name, odd in (("noise", noise), ("black", frames * 0), ("frozen", frames[:1].repeat(len(frames), axis=0))):
        found = system.video(str(write_video(tmp_path / f"{name}.mp4", odd)))
        assert found["warnings"], name
        assert all(warning.startswith(UNLIKE) for warning in found["warnings"])
        assert found["confidence"] <= read_json(file_of(toy))["chance"] + 1e-4


def test_a_run_of_an_earlier_version_has_no_confidence_and_is_told_the_command_that_fits_it(own, slt):
    before = file_of(own).read_bytes()
    file_of(own).unlink()
    line, said = translated(slt, own)
    assert (line["confidence"], line["warnings"]) == (None, [])
    assert said.count("\n") == 1
    _, _, command = said.partition("`slt ")
    fitted = slt(*command.partition("`")[0].split(), "--device", "cpu")
    assert fitted.status == 0, fitted.err
    assert LOG_PROBABILITY in fitted.out
    assert file_of(own).read_bytes() == before  # which the end of training had written
    assert translated(slt, own)[0]["confidence"] is not None


def test_what_was_fitted_to_another_checkpoint_is_not_used(own, slt):
    change_json(file_of(own), lambda data: data["fitted_to"].update(translator="0" * 64))
    line, said = translated(slt, own)
    assert line["confidence"] is None
    assert f"translator = '{'0' * 64}'" in said
    assert "slt confidence --run" in said


def test_what_was_fitted_to_another_search_is_not_used(own, slt):
    line, said = translated(slt, own, "-o", "translate.generation.num_beams=1")
    assert line["confidence"] is None
    assert "generation.num_beams = 2, and now it is 1" in said


def test_a_key_of_the_search_that_an_earlier_file_lacks_was_its_default(own, slt):
    def earlier(data):
        del data["fitted_to"]["generation.no_repeat_ngram_size"], data["digest"]

    change_json(file_of(own), earlier)
    assert translated(slt, own)[0]["confidence"] is not None
    line, said = translated(slt, own, "-o", "translate.generation.no_repeat_ngram_size=2")
    assert line["confidence"] is None
    assert "generation.no_repeat_ngram_size = 0, and now it is 2" in said


@pytest.mark.parametrize("text", ["", '{"version": 1, "fitted', "[]"])
def test_a_file_that_was_cut_is_named_with_the_command_that_writes_it_anew(own, text):
    file_of(own).write_text(text)
    assert "slt confidence --run" in (message := refusal(Translate, own.recipe()))
    assert str(file_of(own)) in message


def test_parts_of_a_density_belong_together():
    density = {"mean": [0.0] * 4, "axes": [[1.0, 0, 0, 0]], "spread": [1.0], "rest": 1.0}
    assert Density.of_numbers(density).distances(torch.zeros(2, 4)).tolist() == [0.0, 0.0]
    for wrong in ({"mean": [0.0] * 3}, {"spread": [1.0, 1.0]}, {"axes": [[1.0, 0]]}):
        with pytest.raises(ValueError, match="a density of"):
            Density.of_numbers({**density, **wrong})


def test_one_training_clip_is_enough_to_train_on_and_to_fit_to(own):
    """To learn one clip by heart is how many begin."""
    manifest = own.root / "corpus" / "one.jsonl"
    clips = [clip for clip in own.clips if clip.split != "train" or clip is own.of("train")[0]]
    write_manifest(manifest, clips)
    uses = own.root / "runs" / "toy"
    values = {"translate_train__training__epochs": 1, "translate_train__training__validate_every": 1}
    recipe = own.recipe(name="one", corpus__manifest=manifest, uses__encoder=uses, uses__language=uses, **values)
    translate_train(recipe, device="cpu")
    fitted = read_json(recipe.run_folder("translate_train") / CONFIDENCE_FILE)
    assert fitted["clips"]["train"] == 1
    assert fitted["limits"]["distance"]["clips"] == fitted["clips"]["dev"]


def test_a_training_whose_confidence_cannot_be_fitted_has_ended_all_the_same(own, monkeypatch, caplog):
    folder = file_of(own).parent
    file_of(own).unlink()
    (folder / "result.json").unlink()

    def refused(*_):
        raise SltError("no dev clip has measures")

    monkeypatch.setattr("slt_pipeline.systems.confidence_fit.fit_confidence", refused)
    translate_train(own.recipe(), device="cpu")
    assert (folder / "result.json").is_file()
    assert "no confidence is fitted: no dev clip has measures" in caplog.text


def test_a_damaged_file_is_named_with_the_command_that_writes_it_anew(own):
    change_json(file_of(own), lambda data: data.pop("terms"))
    assert "slt confidence --run" in (message := refusal(Translate, own.recipe()))
    assert str(file_of(own)) in message


def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_decoded(own, monkeypatch):
    monkeypatch.setattr("slt_pipeline.stages.confidence.fit_run", lambda *_: pytest.fail("decoded"))
    file_of(own).unlink()
    file_of(own).mkdir()
    assert "confidence.json is a folder; name a file" in refusal(confidence, own.recipe())


def test_a_fit_that_is_interrupted_leaves_the_earlier_one(own, monkeypatch):
    before = file_of(own).read_bytes()

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("slt_pipeline.files.os.fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        confidence(own.recipe(), device="cpu")
    monkeypatch.undo()
    assert file_of(own).read_bytes() == before
    assert [path.name for path in file_of(own).parent.iterdir() if path.name.endswith(".tmp")] == []


def test_training_that_was_stopped_before_its_fit_makes_it_up(own):
    before = file_of(own).read_bytes()
    file_of(own).unlink()
    (file_of(own).parent / "result.json").unlink()
    translate_train(own.recipe(), device="cpu")
    assert file_of(own).read_bytes() == before


@pytest.mark.parametrize("values", [BRIDGED, HEADED], ids=["cvslt", "trained head"])
def test_every_system_has_its_confidence(toy, tmp_path, values):
    uses = toy.root / "runs" / "toy"
    values = {**values, "translate_train__training__epochs": 1, "translate_train__training__validate_every": 1}
    recipe = toy.recipe(runs_dir=tmp_path, uses__encoder=uses, uses__language=uses, **values)
    translate_train(recipe, device="cpu")
    found = Translate(recipe, device="cpu").video(str(toy.video(toy.of("test")[0])))
    assert 0 <= found["confidence"] <= 1


def test_a_joint_run_has_it_once_it_is_fitted_on_its_own_store(joint, tmp_path, toy):
    folder = tmp_path / "joint_train"
    shutil.copytree(joint.folder, folder)
    recipe = joint.opened()
    report = confidence(recipe, device="cpu", run=folder)
    assert report.file == folder / CONFIDENCE_FILE
    found = Translate(recipe, device="cpu", run=folder).video(str(toy.video(toy.of("test")[0])))
    assert 0 <= found["confidence"] <= 1


def test_a_store_of_one_stream_is_enough(own):
    values = {"extract__store": own.root / "narrow", "extract__streams": "[gloss_rep]"}
    extract(own.recipe(**values), device="cpu")
    recipe = own.recipe(**values)
    confidence(recipe, device="cpu")
    assert "gloss entropy" not in read_json(file_of(own))["limits"]
    found = Translate(recipe, device="cpu").video(str(own.video(own.of("test")[0])))
    assert 0 <= found["confidence"] <= 1


def clips(number: int, noise: float = 0.05):
    """Clips whose quality rises with the log-probability, and has nothing to do with the distance."""
    draw = np.random.default_rng(1)
    log_probability, distance = draw.normal(-0.3, 0.1, number), draw.normal(1, 0.1, number)
    quality = (0.8 + 2 * (log_probability + 0.3) + draw.normal(0, noise, number)).clip(0, 1)
    names = (LOG_PROBABILITY, "distance", "blank share")
    rows = [dict(zip(names, row, strict=True)) for row in zip(log_probability, distance, quality, strict=True)]
    return rows, quality.tolist()


def test_confidence_is_the_mean_quality_of_the_clips_that_it_was_fitted_to():
    rows, quality = clips(80)
    mean, terms, _ = fit_terms(rows, quality)
    predicted = [mean + sum(term.of(row[name]) for name, term in terms.items()) for row in rows]
    assert np.mean(predicted) == pytest.approx(np.mean(quality))
    best, worst = (np.argsort(predicted)[part] for part in (slice(-20, None), slice(0, 20)))
    for part in (best, worst):
        assert np.mean(np.take(predicted, part)) == pytest.approx(np.mean(np.take(quality, part)), abs=0.03)


def test_a_measure_never_speaks_against_its_sense():
    rows, quality = clips(80)
    _, terms, _ = fit_terms(rows, quality)
    assert terms["blank share"].weight == 0  # more of it came with a better text here, which is chance
    assert terms[LOG_PROBABILITY].of(-0.1) > terms[LOG_PROBABILITY].of(-0.2)
    assert terms["distance"].of(3.0) <= terms["distance"].of(1.0)


def test_few_clips_promise_less_than_many():
    few, many = (fit_terms(*clips(number))[1][LOG_PROBABILITY] for number in (4, 400))
    assert few.weight / few.scale < many.weight / many.scale


def test_one_clip_in_dev_is_no_error_and_tells_its_quality_alone():
    mean, terms, held_out = fit_terms(*clips(1))
    assert held_out == [mean]
    assert all(term.of(100.0) == 0 for term in terms.values())


def test_limits_are_the_outermost_clips_and_the_further_out_the_fewer_there_are():
    draw = np.random.default_rng(0)
    few, many = (fit_limits([{"change": value} for value in draw.normal(0, 1, size)])["change"] for size in (5, 2000))
    assert (many.below, many.above) == (many.least, many.most)
    assert (few.below, few.above) == (
        pytest.approx(few.least - 0.79, abs=0.01),
        pytest.approx(few.most + 0.79, abs=0.01),
    )
    assert many.warning("change", 9.0) == f"{UNLIKE}change 9, {many.most:.3g} is the most in 2000 clips"
    assert many.warning("change", -9.0) == f"{UNLIKE}change -9, {many.least:.3g} is the least in 2000 clips"
    assert many.warning("change", 0.0) is None


def test_a_clip_that_is_nearer_to_training_than_any_is_not_unlike_it():
    limit = fit_limits([{"distance": value} for value in np.linspace(0.9, 1.1, 500)])["distance"]
    assert limit.warning("distance", 0.1) is None
    assert limit.warning("distance", 1.2) is not None


def test_features_in_which_nothing_varies_are_fitted_to_without_a_word():
    still = Known(torch.zeros(4), torch.zeros(5, 4), torch.ones(5, 3))
    likeness = fit_likeness([still, still])
    own = likeness.measures(torch.zeros(5, 4), torch.ones(5, 3))
    other = likeness.measures(torch.ones(5, 4), torch.ones(5, 3))
    assert own["distance"] < 1 < other["distance"]
