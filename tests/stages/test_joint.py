"""Encoder and translator trained together: what a run starts from, whole or not at all, and how it trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from joint_tools import BRIDGED, HEADED, recipe_of
from safetensors.torch import load_file, save_file
from stage_tools import CPU, KilledError, change_clips, change_json, refusal, trainable_of

from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.corpora.frames import ClipDataset, EvalClips
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.stages.joint_train import joint_train
from slt_pipeline.stages.joint_train import plan as joint_plan
from slt_pipeline.systems.encoding import FrameReader
from slt_pipeline.systems.joint import JointStart
from slt_pipeline.systems.recogniser import open_recogniser, shape_of
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.training.checkpoint import best_checkpoint, list_checkpoints
from slt_pipeline.training.loop import Trainable

pytestmark = pytest.mark.long

# --- where it starts


STARTS = {"mmtlb": {}, "mmtlb, head trained": HEADED, "cvslt": BRIDGED, "cvslt, head trained": {**BRIDGED, **HEADED}}


@pytest.mark.parametrize("values", STARTS.values(), ids=STARTS)
def test_at_step_0_it_is_what_phase_two_made_of_the_stored_features(toy, stages, tmp_path, values):
    own = {"uses__translator": "null"} if values else {}
    recipe = recipe_of(toy, tmp_path, **{**values, **own}, evaluate__splits="[dev]", evaluate__tasks="[sign2text]")
    if values:
        stages["translate_train"](recipe, device="cpu")
    stored = Systems(recipe, CPU, recipe.translator_folder)
    joint = JointStart.of(recipe).build().eval()
    recogniser = open_recogniser(recipe, CPU)
    features = stored.with_texts("dev")
    for clip in features.clips:
        batch = features.batch([clip])
        taps = stored.sign2text.taps(batch)
        streams = recogniser.encode_clip(clip, toy.root / "corpus")
        frames = trainable_frames(toy, recipe, clip)
        with torch.no_grad():
            seen = joint.front(frames)
            torch.testing.assert_close(seen.s3d, streams["s3d"][None].clone(), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(seen[joint.tap], taps[joint.tap], rtol=1e-4, atol=1e-5)
            logits, wanted = (
                decoded(model, found, batch) for model, found in ((joint, seen), (stored.sign2text.model, taps))
            )
        torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
        settings = recipe.evaluate.generation.model_dump()
        assert (
            joint.generate(seen, **settings).ids.tolist()
            == stored.sign2text.model.generate(taps, **settings).ids.tolist()
        )


def trainable_frames(toy, recipe, clip) -> dict[str, torch.Tensor]:
    reader = FrameReader(recipe.video, shape_of(recipe.encoder_folder), CPU, num_workers=0)
    ((_, item),) = reader.items(EvalClips([clip], toy.root / "corpus", reader.video, reader.shape))
    assert item.pixels is not None
    frames = reader.frames([item.pixels])
    return {"frames": frames, "frame_lengths": torch.tensor([frames.shape[2]])}


def decoded(model: SignToText, taps: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The decoder's logits for the right text."""
    source = model.source(taps)
    return model.translator.decode(model.translator.states(source), source.mask, batch["decoder_input_ids"])


def without(path: Path, name: str) -> None:
    """Take one weight out of a checkpoint, as if it had been written so."""
    weights = load_file(path / "weights.safetensors")
    del weights[next(key for key in weights if key.endswith(name))]
    save_file(weights, path / "weights.safetensors")
    change_json(path / "meta.json", lambda meta: meta.pop("weights"))


@pytest.mark.parametrize(
    ("stage", "name"),
    [("visual_train", "s3d.features.0.1.0.weight"), ("visual_train", "fc1.bias"), ("translate_train", "weight")],
)
def test_a_start_that_lacks_a_weight_is_refused_by_its_name(own, tmp_path, stage, name):
    recipe = recipe_of(own, tmp_path)
    checkpoint = best_checkpoint(own.recipe().run_folder(stage), made_by="").folder
    before = best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash
    without(checkpoint, name)
    if stage == "visual_train":  # the translator was trained on the features of an encoder of this name
        after = best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash
        inputs = own.recipe().run_folder("translate_train") / "inputs.json"
        change_json(inputs, lambda account: account.update({"store.encoder_weights": after}))
        assert before != after
    message = refusal(joint_train, recipe)
    assert str(checkpoint) in message and " lacks " in message
    assert not recipe.run_folder("joint_train").exists()


def test_a_weight_too_many_is_refused_by_its_name(own, tmp_path):
    folder = best_checkpoint(own.recipe().run_folder("translate_train"), made_by="").folder
    weights = load_file(folder / "weights.safetensors")
    save_file({**weights, "bridge.weight": torch.zeros(1)}, folder / "weights.safetensors")
    change_json(folder / "meta.json", lambda meta: meta.pop("weights"))
    assert "has bridge.weight, of which" in refusal(joint_train, recipe_of(own, tmp_path))


def test_a_translator_of_another_encoder_is_refused_with_both(own, stages, tmp_path):
    before = best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash
    stages["visual_train"](own.recipe(visual_train__training__epochs=1), device="cpu", overwrite=True)
    now = best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash
    message = refusal(joint_train, recipe_of(own, tmp_path))
    assert f"made with store.encoder_weights = '{before}', but now it is '{now}'" in message


def test_a_translator_with_other_settings_or_of_other_classes_is_refused(own, toy, tmp_path):
    message = refusal(joint_train, recipe_of(toy, tmp_path, translator__label_smoothing=0.1))
    assert "translator.label_smoothing = 0.2, but now it is 0.1" in message
    run = own.recipe().run_folder("translate_train")
    change_json(run / "glosses.json", lambda names: _swapped(names))
    (run / "vocabularies.json").unlink()
    assert "was made with classes = " in refusal(joint_train, recipe_of(own, tmp_path))


def _swapped(names: Any) -> None:
    found = names if isinstance(names, list) else next(value for value in names.values() if isinstance(value, list))
    found[-1], found[-2] = found[-2], found[-1]


def test_a_recipe_takes_a_translator_by_name_and_not_in_a_circle(toy, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: {toy.file}\nuses: {{translator: {toy.file}}}\n")
    assert load_recipe(str(file)).translator_folder == toy.recipe().run_folder("translate_train")
    assert toy.recipe().translator_folder == toy.recipe().run_folder("translate_train")
    (tmp_path / "a.yaml").write_text(f"extends: {toy.file}\nuses: {{translator: {tmp_path}/b.yaml}}\n")
    (tmp_path / "b.yaml").write_text(f"extends: {toy.file}\nuses: {{translator: {tmp_path}/a.yaml}}\n")
    with pytest.raises(SltError, match=r"uses.translator goes in a circle: .*-o uses.translator=null"):
        assert load_recipe(str(tmp_path / "a.yaml")).translator_folder


# --- training


def test_rates_losses_and_scores_of_the_four_tasks_are_logged(joint):
    lines = read_json_lines(joint.folder / "metrics.jsonl")
    train, dev = ([line for line in lines if line["split"] == split] for split in ("train", "dev"))
    rate = dict.fromkeys(("s3d.2", "s3d.3", "recognition", "mapper", "translation"), 0.002)
    assert train[0]["lr"] == {**rate, "s3d.4": 0.003}
    assert train[0]["losses"].keys() == train[0]["weights"].keys() == {"translation", "recognition"}
    scores = {"bleu1", "bleu2", "bleu3", "bleu4", "rouge", "chrf", "wer", "gloss2text_bleu4", "sign2gloss2text_bleu4"}
    assert len(dev) == 2 and all(scores <= line.keys() for line in dev)
    assert dev[0]["gloss2text_bleu4"] == dev[1]["gloss2text_bleu4"]


def test_every_part_that_is_not_frozen_has_learnt(toy, joint):
    def moved(name: str) -> bool:
        return not torch.equal(now[name], before[name])

    start = JointStart.of(joint.recipe).build()
    before, now = start.state_dict(), best_checkpoint(joint.folder, made_by="").weights
    names = [name for name, _ in start.named_parameters()]
    frozen = [name for name in names if name.startswith("front.encoder.s3d.features.0.")]
    assert frozen and not any(moved(name) for name in frozen)
    for part in ("front.encoder.s3d.features.2.", "front.encoder.head.", "translator.mapper.", "translator.mbart."):
        assert any(moved(name) for name in names if name.startswith(part)), part


def test_frozen_parts_keep_every_number(toy, tmp_path):
    frozen = "[s3d.2, recognition, mapper]"
    recipe = recipe_of(toy, tmp_path, joint_train__freeze=frozen, joint_train__training__epochs=1)
    joint_train(recipe, device="cpu")
    before, now = (
        JointStart.of(recipe).build().state_dict(),
        best_checkpoint(recipe.run_folder("joint_train"), "").weights,
    )
    changed = {name for name, value in now.items() if not torch.equal(value, before[name])}
    kept = ("front.encoder.head.", "translator.mapper.", *(f"front.encoder.s3d.features.{i}." for i in range(4)))
    assert not [name for name in changed if name.startswith(kept)]
    assert any(name.startswith("front.encoder.s3d.features.5.") for name in changed)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"joint_train__freeze": "[s3d.9]"}, "joint_train.freeze names s3d.9; .*did you mean s3d.4"),
        ({"joint_train__freeze": "[recogniton]"}, "did you mean recognition"),
        ({"joint_train__freeze": "[s3d, recognition, mapper, translation]"}, "leaves nothing to learn"),
        (
            {"joint_train__objective": "{prior: 1}"},
            "joint_train.objective names prior; .*-o 'joint_train.objective={}'",
        ),
        (
            {"joint_train__objective": "{translation: 0, recognition: 0}"},
            "joint_train.objective leaves nothing to learn",
        ),
        (
            {"joint_train__training__optimiser__lr": "{s3d.7: 1, default: 1}"},
            "joint_train.*names s3d.7; .*did you mean s3d",
        ),
        ({"joint_train__training__optimiser__lr": "{s3d: 1}"}, "has no rate for recognition and no default"),
        ({"joint_train__training__schedule": "{name: constant, t_max: 3}"}, "schedule.t_max = 3 does nothing"),
    ],
)
def test_what_the_recipe_gets_wrong_is_refused_when_it_loads(toy, tmp_path, values, words):
    with pytest.raises(SltError, match=words):
        recipe_of(toy, tmp_path, **values)


def test_what_no_loss_reaches_cannot_be_all_that_is_left(toy, tmp_path):
    recipe = recipe_of(
        toy, tmp_path, joint_train__objective="{translation: 0}", joint_train__freeze="[s3d, recognition]"
    )
    assert "leaves nothing to learn: recognition reaches nothing else; " in refusal(joint_train, recipe)


def test_objectives_go_on_from_phase_two(toy, tmp_path):
    assert recipe_of(toy, tmp_path).joint_objective == {"translation": 1.0, "recognition": 1.0}
    bridged = recipe_of(toy, tmp_path, **BRIDGED, joint_train__objective="{posterior: 0.5}").joint_objective
    assert bridged == {"prior": 1, "posterior": 0.5, "gaussian_kl": 0.1, "output_kl": 1, "recognition": 1}


def frames_of(trainable: Trainable, *numbers: int) -> dict[str, torch.Tensor]:
    assert isinstance(trainable.dataset, ClipDataset)
    return trainable.collate([trainable.dataset[0, number] for number in numbers])


def test_clips_without_gloss_take_no_part_in_ctc(own, monkeypatch, tmp_path):
    bare = own.of("train")[0]
    change_clips(own.root / "corpus" / "manifest.jsonl", {bare.id: {"gloss": None}})
    recipe = recipe_of(own, tmp_path)
    trainable = trainable_of(monkeypatch, lambda: joint_train(recipe, device="cpu"))
    model = trainable.model.eval()
    with torch.no_grad():
        losses = trainable.losses(model, frames_of(trainable, 0))
    assert losses["recognition"] == 0 and losses["translation"] > 0


def test_without_a_language_model_two_of_the_tasks_are_left_out(own, tmp_path, caplog):
    (own.recipe().language_folder / "best.json").unlink()
    recipe = recipe_of(own, tmp_path, joint_train__training__epochs=1)
    with caplog.at_level("INFO"):
        joint_train(recipe, device="cpu")
    assert "Gloss2Text and Sign2Gloss2Text are not validated" in caplog.text
    dev = read_json_lines(recipe.run_folder("joint_train") / "metrics.jsonl")[-1]
    assert "bleu4" in dev and not [name for name in dev if "gloss2text" in name]


def test_killed_after_a_checkpoint_it_goes_on_to_the_same_end_bit_for_bit(toy, tmp_path, monkeypatch):
    values = {"joint_train__training__batch_size": 2, "joint_train__training__accumulate": 2}
    whole, broken = (recipe_of(toy, tmp_path / name, **values) for name in ("whole", "broken"))
    assert whole.runs_dir != broken.runs_dir
    expected = joint_train(whole, device="cpu")
    from slt_pipeline.training import loop

    def save(*arguments: Any) -> Any:
        saved.append(keep(*arguments))
        raise KilledError

    saved, keep = [], loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", save)
    with pytest.raises(KilledError):
        joint_train(broken, device="cpu")
    monkeypatch.setattr(loop, "save_checkpoint", keep)
    assert joint_train(broken, device="cpu") == expected
    ends = [list_checkpoints(each.run_folder("joint_train") / "checkpoints")[-1] for each in (whole, broken)]
    assert all(torch.equal(value, ends[1].weights[name]) for name, value in ends[0].weights.items())


def test_another_setting_on_a_finished_run_is_refused(joint):
    overrides = {
        "joint_train.freeze=[mapper]": "freeze",
        "joint_train.objective.recognition=0": "objective.recognition",
        "joint_train.training.optimiser.lr.s3d=1": "training.optimiser.lr.s3d",
        "joint_train.beam_size=2": "beam_size",
        "seed=9": "seed",
    }
    for override, key in overrides.items():
        recipe = load_recipe(str(joint.folder / "recipe.yaml"), [override])
        assert f"was made with {key} = " in refusal(joint_train, recipe)


def test_a_run_is_kept_beside_another_one_by_the_options_that_the_refusal_names(joint, tmp_path):
    recipe = str(joint.folder / "recipe.yaml")
    message = refusal(joint_train, load_recipe(recipe, ["seed=9"]))
    options = message.partition(", or ")[2].removesuffix(" to keep both")
    named = [each.replace("...", "beside") for each in options.split(" -o ")]
    named[0] = named[0].removeprefix("-o ")
    beside = load_recipe(recipe, ["seed=9", *named])
    assert beside.run_folder("joint_train") != joint.folder
    assert joint_plan(beside)[0] == joint_plan(load_recipe(recipe))[0]
