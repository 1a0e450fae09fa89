"""A store that was copied to an object store: a recipe trains and scores from there as from the folder."""

import shutil

import pytest
from object_server import URL, s3_from
from stage_tools import rows

from slt_pipeline.files import read_json_lines


@pytest.mark.parametrize("features_in", ["files", "memory"])
def test_a_recipe_trains_and_scores_from_a_bucket_as_from_the_folder(toy, stages, monkeypatch, tmp_path, features_in):
    def run(name: str, store: str) -> tuple:
        recipe = toy.recipe(
            extract__store=store,
            runs_dir=str(tmp_path / name),
            uses__encoder=str(toy.recipe().encoder_folder),
            uses__language=str(toy.recipe().language_folder),
            translate_train__features_in=features_in,
            evaluate__tasks="[sign2text]",
        )
        stages["translate_train"](recipe, device="cpu")
        scores = {key: row["bleu4"] for key, row in rows(stages["evaluate"](recipe, device="cpu")).items()}
        return scores, read_json_lines(recipe.run_folder("translate_train") / "metrics.jsonl")

    store = shutil.copytree(toy.recipe().store, tmp_path / "bucket" / "features")
    with s3_from(tmp_path, monkeypatch) as server:
        from_bucket = run("from_bucket", URL)
        assert server.sent() > 0
    assert from_bucket == run("from_folder", str(store))
