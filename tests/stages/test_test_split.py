"""What only a score needs of a test split, training does not ask for."""

from stage_tools import change_clips

from slt_pipeline.config.corpus import CorpusConfig
from slt_pipeline.config.recipe import list_recipes, load_recipe
from slt_pipeline.config.text import TextConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.systems.vocabularies import Vocabularies


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
    published = [name for name in list_recipes() if name.split("/")[0] in ("mmtlb", "cvslt")]
    assert published
    for name in published:
        assert load_recipe(name).visual_train.vocabulary_splits == ("train", "dev", "test"), name


def test_glosses_of_dev_and_test_have_rows_of_the_gloss_table_where_the_recipe_says_so(tmp_path):
    """As the published Gloss2Text has, whose rows come from a pre-trained mBART; from scratch nothing learns them."""
    said = {"train": ("REGEN", "NORD"), "dev": ("SCHNEE",), "test": ("WIND",)}
    shared = {"video": "a.mp4", "num_frames": 8, "fps": 25.0, "signer": "s", "text": "es regnet ."}
    clips = [Clip(id=split, split=split, gloss=glosses, **shared) for split, glosses in said.items()]
    write_manifest(tmp_path / "clips.jsonl", clips)
    corpus, known = CorpusConfig(manifest=str(tmp_path / "clips.jsonl")), {}
    for splits in (("train",), ("train", "dev", "test")):
        glosses = Vocabularies.build(corpus, TextConfig(vocab_size=60, gloss_splits=splits)).glosses
        known[splits] = [gloss in glosses for gloss in ("REGEN", "SCHNEE", "WIND")]
    assert known == {("train",): [True, False, False], ("train", "dev", "test"): [True, True, True]}


def test_published_recipes_have_rows_for_the_glosses_of_all_splits():
    for name in ("mmtlb/phoenix14t", "mmtlb/csl_daily", "cvslt/phoenix14t", "cvslt/csl_daily"):
        assert load_recipe(name).text.gloss_splits == ("train", "dev", "test"), name
