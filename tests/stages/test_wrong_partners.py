"""Things that were not made for each other are refused by key, both values and the command that cures it."""

import os
import shutil

import pytest
from stage_tools import change_header, change_json, negative, refusal

from cache import FeatureStore
from slt_pipeline.config.recipe import with_values
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems import recogniser
from slt_pipeline.systems.start import Start
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.text.train_tokenizer import train_tokenizer
from slt_pipeline.training.checkpoint import best_checkpoint


def opened(recipe, *, device) -> Translate:
    """Make a translator of videos; a stage as far as `refusal` is concerned."""
    return Translate(recipe, device=device)


# --- a language model and its vocabularies


def test_a_translator_takes_tokenizer_and_gloss_inputs_of_its_language_model(own, stages):
    """Although the manifest has fewer training clips now, of which other vocabularies would be made."""
    manifest, gone = own.root / "corpus" / "manifest.jsonl", own.of("train")[:3]
    write_manifest(manifest, [clip for clip in own.clips if clip not in gone])
    recipe = own.recipe(translate_train__training__epochs=1)
    language, run = recipe.language_folder, recipe.run_folder("translate_train")
    anew = Vocabularies.build(recipe.corpus, recipe.text)
    assert anew.digests()["pieces"] != Vocabularies.load(language).digests()["pieces"]
    assert anew.digests()["gloss_inputs"] != Vocabularies.load(language).digests()["gloss_inputs"]
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    for name in ("tokenizer/sentencepiece.bpe.model", "tokenizer/slt_tokenizer.json", "gloss_inputs.json"):
        assert (run / name).read_bytes() == (language / name).read_bytes(), name
    alone = own.recipe(translate_train__training__epochs=1, translate_train__init_language="null")
    stages["translate_train"](alone, device="cpu", overwrite=True)
    assert Vocabularies.load(run).text.digest() == anew.text.digest()


def test_a_language_model_is_not_opened_with_other_settings_than_its_weights_were_trained_with(own, slt):
    """Its weights would fit them."""
    folder = own.recipe().language_folder
    change_json(folder / "mbart.json", lambda data: data.update(scale_embedding=False))
    ended = slt("evaluate", "--run", folder)
    assert ended.status == 2 and f"{folder}/mbart.json was changed since its run wrote it; put it back" in ended.err
    change_json(folder / "mbart.json", lambda data: data.update(scale_embedding=True))
    change_json(folder / "mbart.json", lambda data: data.pop("digest"))  # a run of before has none
    assert slt("evaluate", "--run", folder).status == 0


@pytest.mark.parametrize(
    ("key", "before", "now"),
    [("text.vocab_size", "80", "60"), ("text.gloss_splits", r"\['train'\]", r"\['train', 'dev'\]")],
)
def test_a_language_model_of_other_vocabularies_than_its_recipe_says_is_refused(toy, stages, key, before, now):
    values = {key.replace(".", "__"): now.replace("\\", "")}
    said = f"was made with {key} = {before}, but now it is {now}; set it back, or train anew with `slt gloss2text-train"
    with pytest.raises(SltError, match=said):
        stages["translate_train"](toy.recipe(**values), device="cpu")
    lent = toy.recipe(**values, uses__language=toy.recipe().language_folder)  # another's is as it is
    assert Start.of(lent).vocabularies.digests() == Start.of(toy.recipe()).vocabularies.digests()


def test_a_language_model_of_another_tokenizer_than_its_recipe_names_is_refused(toy, stages, tmp_path):
    """Trained pieces and given ones, and two that were given."""
    own, other = toy.recipe().language_folder / "tokenizer", tmp_path / "other"
    train_tokenizer(["ein ganz anderer satz ."], other)
    trained = {"runs_dir": tmp_path / "runs", "gloss2text_train__training__epochs": 1}
    given = toy.recipe(text__tokenizer=own, **trained)
    stages["gloss2text_train"](given, device="cpu")
    lent = {**trained, "uses__encoder": toy.recipe().run_folder("visual_train").parent}
    for recipe in (
        toy.recipe(text__tokenizer=other),
        toy.recipe(text__tokenizer=other, **lent),
        toy.recipe(**lent),
    ):
        said = f"the language model in {recipe.language_folder} was made with tokenizer = "
        for stage in ("translate_train", "evaluate"):
            message = refusal(stages[stage], with_values(recipe, {"evaluate.tasks": ["gloss2text"]}))
            assert message.startswith(said) and "`slt gloss2text-train --overwrite`" in message
    gone = shutil.copytree(own, tmp_path / "gone")
    stages["gloss2text_train"](toy.recipe(text__tokenizer=gone, **trained), device="cpu", overwrite=True)
    shutil.rmtree(gone)  # the run has it
    opened = toy.recipe(text__tokenizer=gone, evaluate__tasks="[gloss2text]", evaluate__splits="[dev]", **lent)
    assert stages["evaluate"](opened, device="cpu")["rows"]


@pytest.mark.parametrize(
    ("key", "before", "now"),
    [
        ("text.language", "de_DE", "en_XX"),
        ("text.gloss_language", "de_DGS", "zh_CSL"),
        ("text.detokenise", "none", "published"),
    ],
)
def test_a_language_model_of_another_language_or_spelling_is_refused(toy, stages, key, before, now):
    recipe = toy.recipe(**{key.replace(".", "__"): now}, evaluate__tasks="[gloss2text]")
    said = f"the language model in {recipe.language_folder} was made with {key} = '{before}', but now it is '{now}'; "
    for stage in ("translate_train", "evaluate"):
        message = refusal(stages[stage], recipe)
        assert message.startswith(said)
        assert "`slt gloss2text-train --overwrite`" in message
    for call, values in ((stages["evaluate"], {"evaluate__tasks": "[sign2text]"}), (opened, {})):
        message = refusal(call, toy.recipe(**{key.replace(".", "__"): now}, **values))
        assert f"translate_train was made with {key} = '{before}', but now it is '{now}'; " in message
        assert "`slt translate-train --overwrite`" in message


@pytest.mark.parametrize(
    ("what", "task", "stage", "message"),
    [
        ("language", "gloss2text", "visual_train", "holds no Gloss2Text; name a run of `slt gloss2text-train`"),
        ("language", "gloss2text", "visual_pretrain", "holds no Gloss2Text; name a run of `slt gloss2text-train`"),
        ("language", "gloss2text", "translate_train", "holds a translator of signs, not Gloss2Text; name a run of"),
        ("encoder", "sign2gloss", "gloss2text_train", "holds no visual encoder; name a run of `slt visual-train` or"),
        ("encoder", "sign2gloss", "translate_train", "holds no visual encoder; name a run of `slt visual-train` or"),
        ("encoder", "sign2gloss", "visual_pretrain", "holds no visual encoder; name a run of `slt visual-train` or"),
    ],
)
def test_a_run_of_another_kind_is_borrowed_by_mistake(toy, stages, what, task, stage, message):
    folder, store = toy.recipe().run_folder(stage), toy.recipe().store
    values = {f"uses__{what}": folder, "extract__store": store, "evaluate__tasks": f"[{task}]"}
    assert refusal(stages["evaluate"], toy.recipe(**values)).startswith(f"{folder} {message}")


# --- a translator and the encoder of its features


@pytest.fixture
def moved_on(own, stages):
    """The copy, whose encoder was trained anew, and its features made again; translators were forgotten."""
    before = best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash
    stages["visual_train"](own.recipe(visual_train__training__epochs=1), device="cpu", overwrite=True)
    shutil.rmtree(own.recipe().store)
    stages["extract"](own.recipe(), device="cpu")
    return before, best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash


def test_a_translator_is_not_run_on_the_features_of_another_encoder(own, stages, moved_on):
    before, now = moved_on
    said = f"translate_train was made with store.encoder_weights = '{before}', but now it is '{now}'; "
    for call, recipe in ((stages["evaluate"], own.recipe(evaluate__tasks="[sign2text]")), (opened, own.recipe())):
        message = refusal(call, recipe)
        assert said in message
        assert "`slt translate-train --overwrite`" in message


# --- an encoder and the settings that it was trained with


@pytest.mark.parametrize(
    ("key", "before", "now"),
    [("video.transform.color_order", "'rgb'", "'bgr'"), ("encoder.head.positional_encoding", "True", "False")],
)
def test_an_encoder_is_not_run_with_settings_that_it_was_not_trained_with(toy, stages, tmp_path, key, before, now):
    values = {key.replace(".", "__"): now.strip("'"), "extract__store": tmp_path / "features"}
    for call in (stages["extract"], opened):
        message = refusal(call, toy.recipe(**values))
        assert f"visual_train was made with {key} = {before}, but now it is {now}; " in message
        assert "`slt visual-train`" in message
    assert not (tmp_path / "features").exists()


def test_random_blocks_are_not_frozen(toy, stages):
    message = refusal(stages["visual_train"], toy.recipe(visual_train__init="null", runs_dir=toy.root / "other"))
    assert "visual_train.init is null and encoder.s3d.freeze_blocks is 1" in message
    assert "-o encoder.s3d.freeze_blocks=0" in message
    assert not (toy.root / "other").exists()


# --- clips and their media


@pytest.fixture
def copied(own) -> str:
    """A copy of the corpus, made at another time."""
    folder = shutil.copytree(own.root / "corpus", own.root / "elsewhere")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    return str(folder)


def test_a_copied_corpus_is_the_same(own, stages, encoded, copied):
    moved = {"corpus__manifest": f"{copied}/manifest.jsonl", "corpus__isolated_manifest": f"{copied}/isolated.jsonl"}
    for values in ({"corpus__media_root": copied}, moved):
        assert stages["extract"](own.recipe(**values), device="cpu").present == 10
        for stage in ("visual_pretrain", "visual_train", "translate_train"):
            assert stages[stage](own.recipe(**values), device="cpu") == own.results[stage]
    assert encoded == []


def test_a_video_that_was_replaced_is_noticed(own, stages, encoded):
    clip = own.of("train")[2]
    negative(own.video(clip))
    message = refusal(stages["extract"], own.recipe())
    assert f"1 clips have changed since they were put into {own.recipe().store}: {clip.id}; drop them" in message
    assert "holds a run that was made with media = " in refusal(stages["visual_train"], own.recipe())
    assert "holds a run that was made with media = " in refusal(stages["visual_pretrain"], own.recipe())
    assert encoded == []


def test_another_media_root_is_noticed(own, stages, encoded, copied):
    for clip in own.clips:
        negative(own.root / "elsewhere" / clip.video)
    recipe = own.recipe(corpus__media_root=copied)
    assert "10 clips have changed since they were put into " in refusal(stages["extract"], recipe)
    assert "media = " in refusal(stages["visual_train"], recipe)
    assert encoded == []


def test_a_translator_needs_no_media(own, stages):
    shutil.rmtree(own.root / "corpus" / "videos")
    assert stages["translate_train"](own.recipe(translate_train__training__epochs=1), device="cpu", overwrite=True)
    assert stages["evaluate"](own.recipe(), device="cpu")["rows"]


# --- later versions


def _without(path, *keys):
    change_json(path, lambda inputs: [inputs.pop(key) for key in keys])


def test_a_run_from_before_a_field_existed_is_returned_and_opened(own, stages):
    """A key that an account lacks counts as its default."""
    folder = own.recipe().run_folder
    _without(
        folder("visual_pretrain") / "inputs.json", "training.accumulate", "video.transform.antialias", "also_weight"
    )
    _without(folder("visual_train") / "inputs.json", "encoder.head.dropout", "training.bucket", "media")
    _without(folder("gloss2text_train") / "inputs.json", "language_model.suffix", "training.precision")
    _without(
        folder("translate_train") / "inputs.json", "translator.mapper.num_hidden", "generation.length_penalty", "head"
    )
    for stage in ("visual_pretrain", "visual_train", "gloss2text_train", "translate_train"):
        assert stages[stage](own.recipe(), device="cpu") == own.results[stage]
    assert stages["evaluate"](own.recipe(), device="cpu")["table"] == own.results["evaluate"]["table"]


def test_a_field_from_after_a_run_is_refused_at_another_value_than_its_default(own, stages):
    _without(own.recipe().run_folder("visual_train") / "inputs.json", "encoder.head.hidden")
    assert "encoder.head.hidden = 512, but now it is 16; " in refusal(stages["visual_train"], own.recipe())
    assert "encoder.head.hidden = 512, but now it is 16; " in refusal(stages["extract"], own.recipe())


def test_a_store_from_before_a_field_existed_is_read_and_added_to(own, stages):
    def forget(header):
        del header["fingerprint"]["encoder"]["head"]["kernel_sizes"]
        del header["fingerprint"]["transform"]["mean"]
        del header["fingerprint"]["features"]

    change_header(own.recipe().store, forget)
    gone = ("store.encoder.head.kernel_sizes", "store.transform.mean", "store.features")
    _without(own.recipe().run_folder("translate_train") / "inputs.json", *gone)
    assert stages["extract"](own.recipe(), device="cpu").present == 10
    assert stages["evaluate"](own.recipe(), device="cpu")["table"] == own.results["evaluate"]["table"]
    assert stages["translate_train"](own.recipe(), device="cpu") == own.results["translate_train"]


def test_versions_device_and_date_are_recorded_and_never_compared(own, stages):
    recorded = FeatureStore.open(own.recipe().store).recorded
    assert {"slt", "torch", "decoder", "device", "date"} <= recorded.keys()

    def pretend(header):
        header["recorded"] = dict.fromkeys(recorded, "another")
        header["fingerprint"] |= {"slt": "0.0.1", "decoder": "av 1.0"}  # where the first version had them

    change_header(own.recipe().store, pretend)
    assert stages["extract"](own.recipe(), device="cpu").present == 10
    assert stages["evaluate"](own.recipe(), device="cpu")["table"] == own.results["evaluate"]["table"]
    assert stages["translate_train"](own.recipe(), device="cpu") == own.results["translate_train"]


@pytest.mark.parametrize("stage", ["extract", "translate_train", "evaluate", "translate"])
def test_features_of_another_kind_are_refused_by_both_numbers(toy, stages, monkeypatch, stage):
    monkeypatch.setattr(recogniser, "FEATURES", 2)
    assert "features = 1, but now it is 2; " in refusal({**stages, "translate": opened}[stage], toy.recipe())


def test_a_finished_run_is_what_it_is_where_its_videos_are_away(own, stages):
    shutil.move(own.root / "corpus" / "videos", own.root / "elsewhere")
    for stage in ("visual_pretrain", "visual_train"):
        assert stages[stage](own.recipe(), device="cpu") == own.results[stage]
