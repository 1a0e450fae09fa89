"""Eight sentences of glosses and text, and a recipe of Gloss2Text at the smallest size: no video, no store."""

from pathlib import Path
from typing import Any

from toy_system import toy_recipe

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.stages.gloss2text_train import gloss2text_train

PLACES, WEATHER = ("norden", "süden", "westen", "osten"), ("regen", "schnee")
SIZES = "{d_model: 32, num_layers: 1, num_heads: 2, ffn_dim: 64, max_positions: 64, dropout: 0.1, position_std: 0.2}"
RECIPE = """
seed: 3
runs_dir: {root}/runs
corpus: {{manifest: {root}/manifest.jsonl}}
text: {{vocab_size: 80}}
translator:
  {model}: {sizes}
  language_model: {model}
gloss2text_train:
  generation: {{num_beams: 2, max_length: 12}}
  training:
    epochs: 40
    validate_every: 20
    batch_size: 4
    num_workers: 0
    log_every: 5
    optimiser: {{lr: {{default: 0.01}}, weight_decay: 0.0}}
    schedule: {{name: constant}}
translate_train: {{generation: {{num_beams: 2, max_length: 12}}}}
evaluate: {{tasks: [gloss2text], splits: [dev], generation: {{num_beams: 2, max_length: 12}}}}
translate: {{generation: {{num_beams: 2, max_length: 12}}}}
"""


class GlossCorpus:
    """The corpus in a folder; dev has the sentences of train."""

    def __init__(self, root: Path):
        self.root = root
        clips = [
            Clip(f"{split}-{p}-{w}", "no.mp4", 9, 25.0, "A", (w.upper(), p.upper()), f"im {p} gibt es {w} .", split)
            for split in ("train", "dev")
            for p in PLACES
            for w in WEATHER
        ]
        write_manifest(root / "manifest.jsonl", clips)

    def file(self, model: str = "gpt2") -> Path:
        path = self.root / f"{model}.yaml"
        path.write_text(RECIPE.format(root=self.root, model=model, sizes=SIZES), encoding="utf-8")
        return path

    def recipe(self, model: str = "gpt2", **values: Any) -> Recipe:
        return toy_recipe(self.file(model), **values)


def trained_on(root: Path) -> GlossCorpus:
    """The corpus, with a GPT-2 and an mBART that have learned it."""
    corpus = GlossCorpus(root)
    for model in ("gpt2", "mbart"):
        gloss2text_train(corpus.recipe(model), device="cpu")
    return corpus
