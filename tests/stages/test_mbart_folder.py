"""A run whose mBART comes from a folder hashes what lies in it, and afterwards opens without it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_tools import refusal

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.translator import MBartConfig
from slt_pipeline.models.mbart import TIED_NAMES, build_mbart
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.features import open_features
from slt_pipeline.systems.translator import open_sign2text
from slt_pipeline.systems.vocabularies import Vocabularies

SIZE = MBartConfig(d_model=16, num_layers=1, num_heads=2, ffn_dim=16, max_positions=64)


def recipe_on_folder(toy, tmp_path: Path, **changes: Any) -> Path:
    """A recipe of the toy's encoder and store whose mBART comes from a folder, in runs of its own."""
    folder, file = tmp_path / "mbart", tmp_path / "theirs.yaml"
    folder.mkdir()
    write_folder(toy, folder)
    changes["translator"] = {**changes.get("translator", {}), "mbart": {"folder": str(folder)}}
    own = {
        "extends": str(toy.file),
        "runs_dir": str(tmp_path / "runs"),
        "uses": {"encoder": str(toy.root / "runs" / "toy")},
        "text": {"tokenizer": str(folder)},
    }
    file.write_text(json.dumps({**own, **changes}))
    return file


def write_folder(toy, folder: Path) -> None:
    """The smallest mBART with a tokenizer of the corpus, pruned by nothing, as a Hugging Face folder."""
    tokenizer = Vocabularies.build(toy.recipe().corpus, toy.recipe().text).text
    tokenizer.save(folder)
    (folder / "slt_tokenizer.json").unlink()
    ids = {str(number): number for number in range(tokenizer.vocab_size)}
    (folder / "map_ids.json").write_text(json.dumps(ids))
    torch.manual_seed(0)
    state = build_mbart(SIZE, tokenizer.vocab_size).state_dict()
    kept = {name: value.contiguous() for name, value in state.items() if name not in TIED_NAMES}
    save_file(kept, folder / "model.safetensors")
    settings = {"model_type": "mbart", "vocab_size": tokenizer.vocab_size, "d_model": 16, "scale_embedding": False}
    for side in ("encoder", "decoder"):
        settings |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 16}
    (folder / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 64}))


@pytest.fixture
def from_folder(toy, tmp_path) -> Recipe:
    folder = tmp_path / "mbart"
    folder.mkdir()
    write_folder(toy, folder)
    values = {
        f"{stage}__training__{key}": 1
        for stage in ("gloss2text_train", "translate_train")
        for key in ("epochs", "validate_every")
    }
    return toy.recipe(
        **values,
        runs_dir=tmp_path / "runs",
        uses__encoder=toy.root / "runs" / "toy",
        text=f"{{tokenizer: {folder}}}",
        translator__mbart=f"{{folder: {folder}, dropout: 0.1}}",
        evaluate__tasks="[gloss2text, sign2text]",
    )


def test_a_trained_run_opens_with_the_folder_moved_away(toy, stages, from_folder, tmp_path):
    for stage in ("gloss2text_train", "translate_train"):
        stages[stage](from_folder, device="cpu")
    before = stages["evaluate"](from_folder, device="cpu")
    (tmp_path / "mbart").rename(tmp_path / "elsewhere")
    assert stages["evaluate"](from_folder, device="cpu") == before
    video = str(toy.video(toy.of("test")[0]))
    assert isinstance(Translate(from_folder, device="cpu").video(video)["text"], str)
    reads = {"store": open_features(from_folder).fingerprint}
    opened = open_sign2text(from_folder, torch.device("cpu"), reads).model.translator
    assert opened.scale == 1.0  # the folder's own setting, which lies in the run
    assert opened.mbart.config.scale_embedding is False


def test_the_folder_may_lie_elsewhere(stages, from_folder, tmp_path):
    result = stages["gloss2text_train"](from_folder, device="cpu")
    (tmp_path / "mbart").rename(tmp_path / "elsewhere")
    mbart = from_folder.translator.mbart.model_copy(update={"folder": tmp_path / "elsewhere"})
    moved = from_folder.model_copy(
        update={
            "translator": from_folder.translator.model_copy(update={"mbart": mbart}),
            "text": from_folder.text.model_copy(update={"tokenizer": tmp_path / "elsewhere"}),
        }
    )
    assert stages["gloss2text_train"](moved, device="cpu") == result


def _other_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)


def _other_ids(folder: Path) -> None:
    file = folder / "map_ids.json"
    ids = json.loads(file.read_text())
    ids["10"], ids["11"] = ids["11"], ids["10"]
    file.write_text(json.dumps(ids))


def _other_settings(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "scale_embedding": True}))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (_other_weights, "mbart_files.model_safetensors"),
        (_other_settings, "mbart_files.config_json"),
        (_other_ids, "tokenizer_files.map_ids_json"),
    ],
)
@pytest.mark.parametrize("stage", ["gloss2text_train", "translate_train"])
def test_what_is_changed_in_place_changes_the_inputs(stages, from_folder, tmp_path, stage, change, key):
    recipe = from_folder.model_copy(
        update={"translate_train": from_folder.translate_train.model_copy(update={"init_language": None})}
    )
    result = stages[stage](recipe, device="cpu")
    assert stages[stage](recipe, device="cpu") == result
    change(tmp_path / "mbart")
    message = refusal(stages[stage], recipe)
    assert f"{key} = '" in message
    assert "', but now it is '" in message
