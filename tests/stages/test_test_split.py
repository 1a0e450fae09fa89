"""What only a score needs of a test split, training does not ask for."""

from stage_tools import change_clips


def test_a_test_split_without_glosses_or_without_clips_does_not_keep_an_encoder_from_training(own, stages, caplog):
    manifest = own.root / "corpus" / "manifest.jsonl"
    nobody = {own.of("train")[0].id: {"gloss": None}, own.of("train")[1].id: {"gloss": ()}}
    nobody |= {clip.id: {"gloss": None} for clip in (own.of("dev")[0], *own.of("test"))}
    change_clips(manifest, nobody)
    stages["visual_train"](
        own.recipe(runs_dir=own.root / "bare", visual_train__init="null", encoder__s3d__freeze_blocks=0), device="cpu"
    )
    assert "visual-train: 2 of 6 train clips have no gloss and are left out" in caplog.text
    assert "visual-train: 1 of 2 dev clips have no gloss and are left out" in caplog.text
    lines = [line for line in manifest.read_text(encoding="utf-8").splitlines(True) if '"split": "test"' not in line]
    manifest.write_text("".join(lines), encoding="utf-8")
    result = stages["visual_train"](
        own.recipe(runs_dir=own.root / "none", visual_train__init="null", encoder__s3d__freeze_blocks=0), device="cpu"
    )
    assert result["score"] == "wer"


def test_published_recipes_have_the_glosses_of_all_splits_as_classes():
    from slt_pipeline.config.recipe import list_recipes, load_recipe

    published = [name for name in list_recipes() if name.split("/")[0] in ("mmtlb", "cvslt")]
    assert published
    for name in published:
        assert load_recipe(name).visual_train.vocabulary_splits == ("train", "dev", "test"), name
