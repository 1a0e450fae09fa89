import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joint_tools import Joint, recipe_of
from stage_tools import rows
from toy_system import render, toy_recipe, write_recipe

from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.corpora.clip import Clip


@dataclass(frozen=True)
class Toy:
    """The toy system, trained."""

    root: Path
    file: Path
    """Its recipe."""
    clips: list[Clip]
    results: dict[str, Any]
    """What each stage returned, in the order in which they ran."""

    def recipe(self, **values: Any) -> Recipe:
        return toy_recipe(self.file, **values)

    def video(self, clip: Clip) -> Path:
        return self.root / "corpus" / clip.video

    def of(self, split: str) -> list[Clip]:
        return [clip for clip in self.clips if clip.split == split]


def _stages() -> dict[str, Callable[..., Any]]:
    from slt_pipeline.stages.evaluate import evaluate
    from slt_pipeline.stages.extract import extract
    from slt_pipeline.stages.gloss2text_train import gloss2text_train
    from slt_pipeline.stages.sweep import sweep
    from slt_pipeline.stages.translate_train import translate_train
    from slt_pipeline.stages.visual_pretrain import visual_pretrain
    from slt_pipeline.stages.visual_train import visual_train

    found = (visual_pretrain, visual_train, extract, gloss2text_train, translate_train, sweep, evaluate)
    return {stage.__name__: stage for stage in found}


@pytest.fixture(scope="session")
def stages() -> dict[str, Callable[..., Any]]:
    """Every stage that computes, by name, in the order of the pipeline."""
    return _stages()


@pytest.fixture(scope="session")
def toy(tmp_path_factory, stages) -> Toy:
    """The pipeline run once. Tests read it; one that changes something works on `own`."""
    root = tmp_path_factory.mktemp("toy")
    clips, file = render(root), write_recipe(root)
    recipe = toy_recipe(file)
    return Toy(root, file, clips, {name: stage(recipe, device="cpu") for name, stage in stages.items()})


@pytest.fixture(scope="session")
def joint(toy, stages, tmp_path_factory) -> Joint:
    """Encoder and translator of the toy system trained together, with the store of the new encoder, and scored."""
    from slt_pipeline.stages.joint_train import joint_train

    recipe = recipe_of(toy, tmp_path_factory.mktemp("joint"))
    joint_train(recipe, device="cpu")
    folder = recipe.run_folder("joint_train")
    opened = recipe_of_run(folder)
    stages["extract"](opened, device="cpu")
    return Joint(recipe, folder, rows(stages["evaluate"](opened, device="cpu", run=folder)))


@pytest.fixture
def own(toy, tmp_path) -> Toy:
    """A copy of the trained system for one test alone."""
    shutil.copytree(toy.root, tmp_path / "toy")
    return Toy(tmp_path / "toy", write_recipe(tmp_path / "toy"), toy.clips, toy.results)


@pytest.fixture
def slt(monkeypatch, capsys):
    """Run a command as a user does, in this process."""
    from cache_tools import commands

    yield from commands(monkeypatch, capsys)


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """The ids of the clips that are encoded from now on, in order."""
    from cache_tools import note_encoded

    return note_encoded(monkeypatch)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A whole mBART folder, as others publish it."""
    from whole_mbart import whole_mbart

    return whole_mbart(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def pruned(theirs):
    """It for the texts of a corpus."""
    from whole_mbart import prune

    return prune(theirs, theirs.root / "pruned")
