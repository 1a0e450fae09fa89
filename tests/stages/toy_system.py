"""The whole system at the smallest size that is still the real one: ten rendered clips, an S3D of eight channels, an
mBART of one layer. As a program it extracts and is killed before the clip given."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from slt_pipeline.avatar import synthesize
from slt_pipeline.config.recipe import Recipe, load_recipe
from slt_pipeline.config.synth import SynthConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest, write_manifest

RECIPE = """
seed: 3
runs_dir: {root}/runs
corpus: {{manifest: {root}/corpus/manifest.jsonl, isolated_manifest: {root}/corpus/isolated.jsonl}}
video:
  sampling: {{tmin: 0.9, tmax: 1.1, max_frames: 64}}
  transform: {{center_crop: null, image_size: 32, color_order: rgb}}
encoder:
  s3d: {{width: 0.03, norm_momentum: 0.1}}
  head: {{hidden: 16, feedforward: 16}}
text: {{vocab_size: 80}}
translator:
  mbart: {{d_model: 16, num_layers: 1, num_heads: 2, ffn_dim: 16, max_positions: 64, dropout: 0.1}}
  gloss_table: random
visual_pretrain: {{training: {{epochs: 2, {training}}}}}
visual_train: {{training: {{epochs: 2, {training}}}}}
extract: {{shard_clips: 2, dtype: float32}}
gloss2text_train: {{training: {{epochs: 15, validate_every: 15, {training}}}, {generation}}}
translate_train: {{training: {{epochs: 15, validate_every: 15, {training}}}, {generation}}}
sweep: {{grid: {{translator.mapper.input: [gloss_rep, gloss_probs]}}, seeds: [3, 4]}}
evaluate: {{beam_size: 1, {generation}}}
translate: {{beam_size: 1, {generation}}}
"""
TRAINING = (
    "batch_size: 3, log_every: 1, num_workers: 0, "
    "optimiser: {lr: {default: 0.01}, weight_decay: 0.0}, schedule: {name: constant}"
)
GENERATION = "generation: {num_beams: 2, max_length: 12}"


def render(root: Path) -> list[Clip]:
    """Six training, two dev and two test clips; the isolated signs are the same videos, each under its first gloss."""
    counts = {"num_train": 6, "num_dev": 2, "num_test": 2, "isolated_per_gloss": 0, "isolated_dev_per_gloss": 0}
    config = SynthConfig(**counts, width=32, height=32, signers=2, stroke_frames=(3, 4), transition_frames=(1.5, 2))
    synthesize(config, root / "corpus", seed=1, workers=1, progress=False)
    clips = read_manifest(root / "corpus" / "manifest.jsonl")
    isolated = [replace(clip, gloss=(clip.gloss or ())[:1]) for clip in clips if clip.split != "test"]
    write_manifest(root / "corpus" / "isolated.jsonl", isolated)
    return clips


def write_recipe(root: Path) -> Path:
    path = root / "toy.yaml"
    path.write_text(RECIPE.format(root=root, training=TRAINING, generation=GENERATION), encoding="utf-8")
    return path


def toy_recipe(path: Path, **values: Any) -> Recipe:
    """The recipe with other values; `__` in a name stands for the dot of a key."""
    return load_recipe(str(path), [f"{key.replace('__', '.')}={value}" for key, value in values.items()])


def extract_until_killed(recipe: Recipe, number: int) -> None:
    """Extract, and die like a process that the kernel kills before clip `number` (from 1)."""
    from slt_pipeline.stages.extract import extract
    from slt_pipeline.systems.encoding import ClipEncoder

    encode = ClipEncoder.clips

    def clips(*arguments: Any) -> Iterator[Any]:
        for seen, found in enumerate(encode(*arguments), 1):
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield found

    ClipEncoder.clips = clips
    extract(recipe, device="cpu")


if __name__ == "__main__":
    extract_until_killed(load_recipe(sys.argv[1], sys.argv[3:]), int(sys.argv[2]))
