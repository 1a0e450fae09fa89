"""Wrong pairings that were once answered with a number, and work that was once lost."""

import shutil
from pathlib import Path

import pytest
from stage_tools import CPU, change_clips, change_json, refusal

from cache import DamagedError, FeatureStore
from slt_pipeline.errors import SltError
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.features import open_features
from slt_pipeline.systems.tasks import Systems
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.text.train_tokenizer import train_tokenizer
from slt_pipeline.training.checkpoint import best_checkpoint


def test_a_rate_that_is_added_to_a_finished_run_is_refused(toy, stages):
    recipe = toy.recipe(translate_train__training__optimiser__lr="{default: 0.01, mapper: 0.5}")
    assert "training.optimiser.lr.mapper = None, but now it is 0.5" in refusal(stages["translate_train"], recipe)


def test_an_mbart_folder_for_a_run_that_started_at_random_is_refused(own, stages):
    open_gloss2text(own.recipe(), CPU).model.mbart.save_pretrained(own.root / "mbart")
    recipe = own.recipe(translator__mbart__folder=own.root / "mbart")
    assert "mbart_files.config_json = None" in refusal(stages["gloss2text_train"], recipe)


def _swap_last_two(names: list[str]) -> None:
    names[-1], names[-2] = names[-2], names[-1]


@pytest.mark.parametrize(
    ("stage", "file", "key", "task"),
    [
        ("visual_train", "glosses.json", "classes", "sign2gloss"),
        ("gloss2text_train", "gloss_inputs.json", "gloss_inputs", "gloss2text"),
        ("translate_train", "glosses.json", "classes", "sign2text"),
    ],
)
def test_glosses_that_were_changed_beside_their_weights_are_refused(own, stages, stage, file, key, task):
    change_json(own.recipe().run_folder(stage) / file, _swap_last_two)
    message = refusal(stages["evaluate"], own.recipe(), tasks=[task])
    assert str(own.recipe().run_folder(stage)) in message
    assert f"was made with {key} = " in message


def test_a_video_is_not_read_by_changed_classes(own):
    change_json(own.recipe().run_folder("visual_train") / "glosses.json", _swap_last_two)
    assert "was made with classes = " in refusal(Translate, own.recipe())


def test_another_tokenizer_of_the_same_size_is_refused(own, stages):
    folder = own.recipe().run_folder("translate_train")
    texts = [clip.text or "" for clip in own.of("train")]
    train_tokenizer([*texts[:5], "xyz qq"], vocab_size=80, language="de_DE", detokenise="none").save(
        folder / "tokenizer"
    )
    assert "was made with pieces = " in refusal(stages["evaluate"], own.recipe(), tasks=["sign2text"])


def test_a_run_that_lost_its_inputs_answers_for_nothing(own, stages):
    (own.recipe().run_folder("gloss2text_train") / "inputs.json").unlink()
    assert "a run without inputs.json" in refusal(stages["gloss2text_train"], own.recipe(seed=4))
    assert stages["gloss2text_train"](own.recipe(), device="cpu", overwrite=True) == own.results["gloss2text_train"]


def _imported(own, path: Path) -> None:
    """A store as `slt cache import-pickle` makes it: it knows no encoder."""
    store = FeatureStore.open(own.recipe().store)
    made = FeatureStore.create(path, streams=dict(store.streams), fingerprint={"imported_from": ["abc"]})
    with made.writer() as writer:
        for clip in own.clips:
            writer.write(clip.id, {name: store.read(clip.id, name) for name in store.streams})


def test_a_translator_does_not_read_imported_features_that_it_was_not_trained_on(own, stages):
    _imported(own, own.root / "imported")
    shutil.rmtree(own.recipe().encoder_folder)
    recipe = own.recipe(extract__store=own.root / "imported")
    message = refusal(stages["evaluate"], recipe, tasks=["sign2text"])
    assert "was made with store.encoder_weights = '" in message
    assert "', but now it is None; " in message


def test_a_translator_of_imported_features_does_not_read_those_of_an_encoder(own, stages):
    _imported(own, own.root / "imported")
    shutil.move(own.recipe().encoder_folder, own.root / "encoder")
    trained = {"translator__head": "trained", "translate_train__init_head": "null"}
    settings = {**trained, "translate_train__training__epochs": 1, "extract__store": own.root / "imported"}
    stages["translate_train"](own.recipe(**settings), device="cpu", overwrite=True)
    shutil.move(own.root / "encoder", own.recipe().encoder_folder)
    message = refusal(Translate, own.recipe(**trained))
    assert "was made with store.encoder_weights = None, but now it is '" in message


@pytest.mark.parametrize("stage", ["gloss2text_train", "visual_train"])
def test_a_run_that_is_no_translator_is_named_as_such(toy, stages, stage):
    message = refusal(stages["evaluate"], toy.recipe(), run=toy.recipe().run_folder(stage), tasks=["sign2text"])
    assert "holds no translator of signs; name a run of `slt translate-train`" in message


def test_a_translator_of_signs_is_no_language_model(toy, stages):
    recipe = toy.recipe(uses__language=toy.recipe().run_folder("translate_train"))
    assert "a translator of signs, not Gloss2Text" in refusal(stages["evaluate"], recipe, tasks=["gloss2text"])


ONE_RUN = {"sweep__grid": "{translator.mapper.input: [gloss_rep]}", "sweep__seeds": "[3]"}


def test_a_sweep_that_cannot_begin_gives_up_no_earlier_run(own, stages):
    folder = Path(stages["sweep"](own.recipe(**ONE_RUN), device="cpu")["folder"])
    before = sorted(path.name for path in folder.iterdir())
    shutil.move(own.recipe().store, own.root / "away")
    assert "no feature store" in refusal(stages["sweep"], own.recipe(**ONE_RUN), overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_sweep_started_anew_trains_anew(own, stages):
    first = stages["sweep"](own.recipe(**ONE_RUN), device="cpu")
    run = Path(first["folder"]) / first["results"][0]["folder"]
    (run / "left-over").touch()
    assert stages["sweep"](own.recipe(**ONE_RUN), device="cpu", overwrite=True)["results"] == first["results"]
    assert not (run / "left-over").exists()


def _swept(stages, recipe) -> list[str]:
    rows = stages["sweep"](recipe, device="cpu")["results"]
    return [row["values"]["translator.mapper.input"] for row in rows]


def test_a_table_keeps_the_rows_of_an_earlier_grid_unless_they_were_scored_otherwise(own, stages):
    other = {**ONE_RUN, "sweep__grid": "{translator.mapper.input: [s3d]}"}
    assert _swept(stages, own.recipe(**ONE_RUN)) == ["gloss_rep"]
    assert _swept(stages, own.recipe(**other)) == ["gloss_rep", "s3d"]
    assert _swept(stages, own.recipe(evaluate__generation__max_length=3, **other)) == ["s3d"]


@pytest.mark.parametrize("name", ["..", "../other", "a/b", "", "-x"])
def test_a_sweep_is_not_named_like_a_way_out_of_its_folder(toy, name):
    with pytest.raises(SltError, match="sweeps"):
        toy.recipe(sweeps=f'{{"{name}": {{}}}}')


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("translate_train.objective.recognition", "[0, 1]"),
        ("translate_train.training.optimiser.lr.recognition", "[0.1, 0.2]"),
        ("evaluate.beam_size", "[1, 5]"),
        ("translate_train.beam_size", "[1, 5]"),
        ("text.vocab_size", "[60, 80]"),
        ("text.gloss_splits", "[[train], [train, dev]]"),
        ("translator.gloss_table", "[pieces, random]"),
        ("translator.mbart.position_std", "[0.02, 0.2]"),
    ],
)
def test_what_gives_equal_runs_is_not_swept(toy, key, values):
    with pytest.raises(SltError, match=f"sweep.grid names {key}, which tells no two runs apart"):
        toy.recipe(sweep__grid=f"{{{key}: {values}}}")


def test_what_a_run_from_scratch_or_with_a_head_reads_is_swept(toy):
    toy.recipe(sweep__grid="{text.vocab_size: [60, 80]}", translate_train__init_language="null")
    toy.recipe(sweep__grid="{translator.head: [stored, trained], evaluate.beam_size: [1, 5]}")


SHORT = {
    "translator__mbart__max_positions": 9,
    **{
        f"{stage}__generation__max_length": 8
        for stage in ("gloss2text_train", "translate_train", "evaluate", "translate")
    },
    "translate_train__init_language": "null",
}


@pytest.mark.parametrize("stage", ["translate_train", "gloss2text_train"])
def test_a_source_longer_than_mbarts_positions_is_named_before_the_run_begins(own, stages, stage, caplog):
    long = ("SONNTAG",) * 20
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip.id: {"text": "a b"} for clip in own.clips})
    change_clips(own.root / "corpus" / "manifest.jsonl", {"dev-00001": {"gloss": long}})
    message = refusal(stages[stage], own.recipe(**SHORT), overwrite=True)
    assert "the source of " in message
    assert "mBART has 9 positions" in message
    assert "is as it was before" not in caplog.text
    assert "a perfect system would score" not in caplog.text


def test_decoding_further_than_the_positions_of_an_mbart_folder_is_refused(own, stages):
    open_gloss2text(own.recipe(), CPU).model.mbart.save_pretrained(own.root / "mbart")
    values = {"translator__mbart__folder": own.root / "mbart", "gloss2text_train__generation__max_length": 200}
    message = refusal(stages["gloss2text_train"], own.recipe(**values), overwrite=True)
    assert "max_length is 200, mBART has 64 positions" in message


def test_clips_without_gloss_do_not_end_an_evaluation_or_a_sweep(own, stages, caplog):
    head = {"translator__head": "trained", "translate_train__training__epochs": 1, **ONE_RUN}
    change_clips(own.root / "corpus" / "manifest.jsonl", {"dev-00000": {"gloss": None}})
    recipe = own.recipe(translate_train__init_language="null", **head)
    (row,) = stages["sweep"](recipe, device="cpu")["results"]
    assert row["scores"]["dev"]["wer"] >= 0
    assert "sign2gloss: 1 of 2 dev clips have no gloss and are not scored" in caplog.text


def test_a_split_without_any_gloss_is_refused_for_recognition(own, stages):
    nothing = {clip.id: {"gloss": None} for clip in own.of("dev")}
    change_clips(own.root / "corpus" / "manifest.jsonl", nothing)
    assert "none of 2 dev clips has a gloss" in refusal(stages["evaluate"], own.recipe(), tasks=["sign2gloss"])


@pytest.mark.parametrize("split", ["unseen", "train"])
def test_all_splits_are_those_of_the_manifest(own, stages, split):
    changes = {clip.id: {"split": split} for clip in own.of("test")}
    change_clips(own.root / "corpus" / "manifest.jsonl", changes)
    assert stages["extract"](own.recipe(extract__store=own.root / "all"), device="cpu").written == 10


@pytest.mark.parametrize(
    ("key", "value"), [("video__transform__color_order", "bgr"), ("encoder__s3d__norm_momentum", 0.2)]
)
def test_an_encoder_does_not_start_from_a_trunk_for_other_colours_or_of_another_kind(toy, stages, key, value):
    message = refusal(stages["visual_train"], toy.recipe(**{key: value}), overwrite=True)
    assert f"{toy.recipe().run_folder('visual_pretrain')} was made with " in message
    assert key.rpartition("__")[2] in message


@pytest.mark.parametrize(
    "key",
    ["gloss2text_train.freeze_embeddings", "translator.mbart.freeze_text_embedding", "translator.freeze_gloss_table"],
)
def test_random_vectors_are_not_frozen(toy, key):
    with pytest.raises(SltError, match=f"{key} is true and translator.mbart.folder null"):
        toy.recipe(**{key.replace(".", "__"): "true"})


def test_a_number_is_of_the_weights_that_were_loaded_whatever_is_best_by_now(own):
    recipe = own.recipe()
    systems, folder = Systems(recipe, CPU), recipe.run_folder("translate_train")
    systems.decode("sign2text", "dev")
    loaded = best_checkpoint(folder, made_by="").weights_hash
    change_json(next(folder.glob("checkpoints/*/meta.json")), lambda meta: meta.update(weights="0" * 64))
    assert systems.made_by("sign2text")["checkpoints"] == {"translator": loaded[:12]}


def test_a_bit_that_flipped_in_the_store_is_told_by_clip_and_not_trained_on(own):
    recipe = own.recipe()
    store = open_features(recipe)
    clip, stream = store.keys()[0], next(iter(store.streams))
    file = recipe.store / "data" / stream / "c.0.0"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    with pytest.raises(DamagedError, match=f"clip '{clip}', stream '{stream}' of .* is damaged: verify the store"):
        open_features(recipe).read_batch([clip], stream)
