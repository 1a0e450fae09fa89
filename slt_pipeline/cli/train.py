"""The commands that train a model."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import click

from slt_pipeline.cli.options import (
    Resuming,
    extend_option,
    load,
    overwrite_option,
    processes_option,
    run_options,
    show_plan,
    strict_option,
)
from slt_pipeline.errors import SltError


def train_stage(
    stage: str,
    recipe_name: str | None,
    overrides: tuple[str, ...],
    device: str,
    dry_run: bool,
    overwrite: bool,
    **options: bool,
) -> None:
    """Run a stage that trains as the options say, or show what it would do."""
    module = import_module(f"slt_pipeline.stages.{stage}")
    recipe = load(recipe_name, overrides)
    if dry_run:
        show_plan(recipe, *module.plan(recipe))
        return
    if overwrite:
        _require_kept(*module.plan(recipe))
    result = getattr(module, stage)(recipe, device=device, overwrite=overwrite, **options)
    best = f"best {result['score']} {result['best_score']:.4g} at step {result['best_step']}"
    click.echo(f"{stage}: {best}; {recipe.run_folder(stage)}")


def _require_kept(reads: Mapping[str, Path | str | None], writes: Mapping[str, Path | str]) -> None:
    """Refuse to give up a run in whose folder lies what the new one is to read."""
    for what, path in reads.items():
        place = Path(path).resolve() if path else None
        for folder in (Path(folder) for folder in writes.values() if place):
            if place and place.is_relative_to(folder.resolve()):
                raise SltError(
                    f"--overwrite gives up {folder}, and with it the {what} that is read, {path}: move that elsewhere, "
                    "or give this run another name (-o name=...)"
                )


@click.command("visual-pretrain", cls=Resuming)
@run_options
@overwrite_option
@extend_option
@strict_option
@processes_option
def visual_pretrain(**options) -> None:
    """Train the S3D trunk to name isolated signs.

    \b
    Reads corpus.isolated_manifest, writes runs/<recipe>/visual_pretrain/. Run again, it resumes. Clips that cannot be
    read are left out, and listed there in rejected.jsonl.
    Example:
      $ slt visual-pretrain -r demo/mmtlb -o visual_pretrain.training.epochs=3
    """
    train_stage("visual_pretrain", **options)


@click.command("visual-train", cls=Resuming)
@run_options
@overwrite_option
@extend_option
@strict_option
@processes_option
def visual_train(**options) -> None:
    """Train the visual encoder with CTC (Sign2Gloss). WER is reported on dev.

    \b
    Reads corpus.manifest and the weights of visual-pretrain, writes runs/<recipe>/visual_train/. Run again, it resumes.
    Clips that cannot be read are left out, and listed in runs/<recipe>/rejected.jsonl.
    Example:
      $ slt visual-train -r demo/mmtlb --device cuda
    """
    train_stage("visual_train", **options)


@click.command("gloss2text-train", cls=Resuming)
@run_options
@overwrite_option
@extend_option
@processes_option
def gloss2text_train(**options) -> None:
    """Train mBART to turn glosses into text. This is language pre-training within the domain.

    \b
    Reads corpus.manifest, writes runs/<recipe>/gloss2text_train/. Run again, it resumes.
    Example:
      $ slt gloss2text-train -r demo/mmtlb
    """
    train_stage("gloss2text_train", **options)


@click.command("translate-train", cls=Resuming)
@run_options
@overwrite_option
@extend_option
@processes_option
def translate_train(**options) -> None:
    """Train a translator on the feature store. It is a V-L mapper and mBART, with a visual head in front or without.

    \b
    Reads the store that `slt extract` wrote and the weights of gloss2text-train, writes runs/<recipe>/translate_train/.
    Example:
      $ slt translate-train -r demo/mmtlb
      $ slt translate-train -r variant.yaml   (which `uses` the encoder, store and language model of another recipe)
    """
    train_stage("translate_train", **options)


@click.command("joint-train", cls=Resuming)
@run_options
@overwrite_option
@extend_option
@strict_option
@processes_option
def joint_train(**options) -> None:
    """Train encoder and translator together, from video to text. Both start as they were trained alone.

    \b
    Reads corpus.manifest, the encoder of visual-train and the translator of translate-train (`uses` names them), writes
    runs/<recipe>/joint_train/. Run again, it resumes. extract, sweep, evaluate and translate open it with --run.
    Example:
      $ slt joint-train -r demo/joint
      $ slt extract --run runs/demo/joint/joint_train
    """
    train_stage("joint_train", **options)
