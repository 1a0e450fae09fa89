"""Published Sign2Gloss and Gloss2Text: imported, extracted, evaluated, with the numbers of the published code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cache import FeatureStore
from slt_pipeline.config.recipe import Recipe, load_recipe, with_values
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.evaluate import evaluate
from slt_pipeline.stages.extract import extract
from slt_pipeline.stages.weights_import import Said, weights_import
from slt_pipeline.systems.recogniser import open_recogniser, recognise
from slt_pipeline.systems.tasks import Systems

CLASSES = "checkpoints/recognition_gloss2ids.pkl"
CPU = torch.device("cpu")


def recipe_of(name: str, folder: Path, clips: list[Clip], **settings) -> Recipe:
    write_manifest(folder / "manifest.jsonl", clips)
    values = {"corpus.manifest": folder / "manifest.jsonl", "runs_dir": folder / "runs", **settings}
    return load_recipe(name, [f"{key}={json.dumps(value, default=str)}" for key, value in values.items()])


@pytest.fixture
def s2g(load_part):
    return load_part("checkpoints")


@pytest.fixture
def recognised(s2g, tmp_path) -> Recipe:
    """The golden clips as folders of pictures, which hold every bit, and the recipe that the checkpoint is of."""
    described, clips = s2g.json["cases"]["s2g"], []
    videos = s2g.tensors["s2g/frames_uint8"]
    for row, (video, gloss) in enumerate(zip(videos, described["glosses"], strict=True)):
        (tmp_path / str(row)).mkdir()
        for number, frame in enumerate(video):
            Image.fromarray(frame).save(tmp_path / str(row) / f"{number:04d}.png")
        for split in ("train", "dev"):
            clips.append(Clip(f"{split}-{row}", str(row), len(video), 25.0, "", tuple(gloss.split()), "text", split))
    sizes, transform = described["visual_head"], described["transform_cfg"]
    settings = {
        "encoder.head.hidden": sizes["hidden_size"],
        "encoder.head.feedforward": sizes["ff_size"],
        "video.transform.center_crop": transform["center_crop_size"],
        "video.transform.image_size": transform["img_size"],
        "extract.dtype": "float32",
        "translator.head": "stored",  # glosses are scored as the encoder made them: there is no translator yet
        "evaluate.tasks": ["sign2gloss"],
        "evaluate.splits": ["dev"],
    }
    return recipe_of("mmtlb/phoenix14t", tmp_path, clips, **settings)


def test_sign2gloss_is_imported_extracted_and_evaluated(s2g, recognised):
    described = s2g.json["cases"]["s2g"]
    checkpoint = s2g.file(described["checkpoint"]["file"])
    result = weights_import(recognised, checkpoint, said=Said(classes=s2g.file(CLASSES)))
    assert (result["kind"], result["matched"], result["missing"]) == ("sign2gloss", 383, [])
    assert (result["best_score"], result["best_step"]) == (21.9, described["checkpoint"]["global_step"])
    recogniser = open_recogniser(recognised, CPU)
    assert list(recogniser.classes) == s2g.json["recognition_gloss_vocabulary"]

    # The published batch fills clips up with their last frame; so do these videos, whose first steps are then equal.
    extract(recognised, split="dev", device="cpu")
    store, golden = FeatureStore.open(recognised.store), {"s3d": "head_rgb_input", "gloss_rep": "gloss_feature"}
    rows = [(f"dev-{row}", row, steps) for row, steps in enumerate(s2g.tensors["s2g/input_lengths"].tolist())]
    for clip, row, steps in rows:
        for stream, name in {**golden, "gloss_logits": "gloss_logits"}.items():
            found, want = store.read(clip, stream)[:steps], s2g.tensors[f"s2g/{name}"][row, :steps]
            entry = s2g.json["tensors"][f"s2g/{name}"]
            np.testing.assert_allclose(found, want, rtol=entry["rtol"], atol=entry["atol"])

    logits = [torch.from_numpy(store.read(clip, "gloss_logits")[:steps]) for clip, _, steps in rows]
    for beam in (1, 5):
        decoded = [" ".join(found).lower() for found in recognise(logits, recogniser.classes, beam)]
        assert decoded == described["decoded"][f"beam{beam}"]
        evaluate(with_values(recognised, {"evaluate.beam_size": beam}), device="cpu")
        clips = read_json_lines(recognised.run_folder("evaluate") / "sign2gloss-dev.jsonl")
        whole = [row for clip, row, steps in rows if steps == store.length(clip)]
        assert whole != []
        for row in whole:
            assert clips[row]["hypothesis"].lower() == described["decoded"][f"beam{beam}"][row]


def test_gloss2text_is_imported_and_decodes(load_part, tmp_path):
    part = load_part("checkpoints")
    described, folder = part.json["cases"]["g2t"], part.file("tiny_mbart/config.json").parent
    for name in ("pytorch_model.bin", "sentencepiece.bpe.model", "map_ids.json", "gloss2ids.json"):
        part.file(f"tiny_mbart/{name}")
    rows = enumerate(zip(described["glosses"], described["texts"], strict=True))
    clips = [Clip(f"{n}", f"{n}.mp4", 40, 25.0, "", tuple(g.split()), text, "train") for n, (g, text) in rows]
    recipe = recipe_of(
        "mmtlb/phoenix14t", tmp_path, clips, **{"text.tokenizer": folder, "translator.mbart.folder": folder}
    )
    result = weights_import(recipe, part.file(described["checkpoint"]["file"]))
    assert (result["kind"], result["missing"], result["best_score"]) == ("gloss2text", [], 26.4)
    system = Systems(recipe, CPU).gloss2text
    generation = recipe.evaluate.generation.model_copy(update=described["generate"])
    found = system.translate([clip.gloss or () for clip in clips], generation, batch_size=3)
    assert found == described["decoded"]
