"""Several runs of Gloss2Text teach one: `gloss2text_train.teachers`."""

import shutil

import pytest
import torch
from stage_tools import CPU, refusal

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines, write_json
from slt_pipeline.models.ensemble import mean_log_probs
from slt_pipeline.systems.teachers import Teachers
from slt_pipeline.systems.translator import open_gloss2text

WEIGHT = {"gloss2text_train__regularise__distillation": 1.0}


def two_of(own, tmp_path):
    """A run of Gloss2Text, and the same elsewhere."""
    first = own.recipe().run_folder("gloss2text_train")
    return first, shutil.copytree(first, tmp_path / "second", dirs_exist_ok=True)


def taught(own, tmp_path, teachers, **values):
    listed = f"[{', '.join(map(str, teachers))}]"
    return own.recipe(runs_dir=str(tmp_path / "taught"), gloss2text_train__teachers=listed, **WEIGHT, **values)


def test_a_model_comes_closer_to_its_teachers_and_says_which_they_were(own, stages, tmp_path):
    first, second = two_of(own, tmp_path)
    recipe = taught(own, tmp_path, [first, second], gloss2text_train__training__epochs=6)
    stages["gloss2text_train"](recipe, device="cpu")
    lines = read_json_lines(recipe.run_folder("gloss2text_train") / "metrics.jsonl")
    far = [line["losses"]["distillation"] for line in lines if line["split"] == "train"]
    assert 0 < far[-1] < far[0]
    again = taught(own, tmp_path, [first], gloss2text_train__training__epochs=6)
    assert "teachers.2" in refusal(stages["gloss2text_train"], again)


def test_teachers_answer_with_the_mean_of_their_probabilities_and_are_not_trained(own, tmp_path):
    first, second = two_of(own, tmp_path)
    system = open_gloss2text(own.recipe(), CPU, first)
    recipe = taught(own, tmp_path, [first, second])
    reader, text = system.reader, system.vocabularies.text
    batch = {**reader.encode([("MORGEN",), ()]), **text.targets([text.encode("ja"), text.encode("nein")])._asdict()}
    found = Teachers.open(recipe, system.vocabularies, CPU).answer(batch)["teacher_log_probs"]
    with torch.no_grad():
        alone = mean_log_probs([system.model.member(system.model.source(batch))], batch["decoder_input_ids"])
    torch.testing.assert_close(found, alone)
    assert not found.requires_grad


@pytest.mark.parametrize("values", [{"text__vocab_size": 60}, {"translator__gloss_input": "pieces"}])
def test_a_teacher_with_other_pieces_or_glosses_is_refused(own, stages, tmp_path, values):
    recipe = taught(own, tmp_path, [own.recipe().run_folder("gloss2text_train")], **values)
    assert "the teacher" in refusal(stages["gloss2text_train"], recipe)
    assert not recipe.run_folder("gloss2text_train").exists()


def test_a_teacher_that_was_trained_on_another_manifest_is_told(own, stages, tmp_path, caplog):
    first, second = two_of(own, tmp_path)
    write_json(second / "inputs.json", {**read_json(second / "inputs.json"), "clips": "of another corpus"})
    recipe = taught(own, tmp_path, [first, second], gloss2text_train__training__epochs=1)
    stages["gloss2text_train"](recipe, device="cpu")
    (told,) = [record.message for record in caplog.records if "another manifest" in record.message]
    folder = recipe.run_folder("gloss2text_train")
    assert told == f"{second} was trained on another manifest than {folder}: it may know the clips of this one"


def test_a_teacher_that_is_not_trained_is_named(own, stages, tmp_path):
    recipe = taught(own, tmp_path, [tmp_path / "nowhere"])
    assert "nowhere" in refusal(stages["gloss2text_train"], recipe)


@pytest.mark.parametrize("values", [{"teachers": "[a]"}, {"regularise__distillation": 0.5}])
def test_teachers_and_their_weight_go_together(own, values):
    with pytest.raises(SltError, match="set both, or neither"):
        own.recipe(**{f"gloss2text_train__{name}": value for name, value in values.items()})
