"""`slt extract`: video to feature store, once."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from cache import Compression, FeatureStore, StreamSpec
from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import clip_source
from slt_pipeline.errors import SltError
from slt_pipeline.stages._corpus import load_clips, media_root
from slt_pipeline.stages._encoder import TrainedEncoder, encode_clips, fingerprint, load_encoder
from slt_pipeline.stages._run import Plan
from slt_pipeline.stages._store import read_rejected, rejected_path
from slt_pipeline.training.devices import pick_device

log = logging.getLogger(__name__)


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    return {"clips": recipe.corpus.manifest, "weights": recipe.run_folder("visual_train")}, {
        "store": recipe.store_folder
    }


def extract(recipe: Recipe, *, split: str = "all", device: str = "auto") -> dict[str, Any]:
    """Encode the clips of a split that the store lacks; a clip whose video is bad is listed in rejected.jsonl.

    **Raises:** StoreError if the store was made by other weights or settings.
    """
    where = pick_device(device)
    encoder = load_encoder(recipe, where)
    store = _open_store(recipe, encoder)
    splits = ["train", "dev", "test"] if split == "all" else [split]
    clips = [clip for name in splits for clip in load_clips(recipe, name)]
    store.require_sources({clip.id: clip_source(clip) for clip in clips if clip.id in store})
    todo = [clip for clip in clips if clip.id not in store]
    rejected = _write(recipe, encoder, store, todo, where)
    rejected_file = rejected_path(recipe)
    tried = {clip.id for clip in clips}
    listed = [row for row in read_rejected(recipe) if row["id"] not in tried] + rejected
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in listed)
    if lines:
        rejected_file.write_text(lines, encoding="utf-8")
    else:
        rejected_file.unlink(missing_ok=True)
    return {
        "written": len(todo) - len(rejected),
        "present": len(clips) - len(todo),
        "rejected": len(rejected),
        "rejected_file": str(rejected_file),
    }


def _open_store(recipe: Recipe, encoder: TrainedEncoder) -> FeatureStore:
    path, config = recipe.store_folder, recipe.extract
    made_from = fingerprint(recipe, encoder.checkpoint)
    if path.exists():
        store = FeatureStore.open(path, fingerprint=made_from, mode="a")
        _check_same("backend", config.backend, store.backend, path)
        _check_same("streams", sorted(config.streams), sorted(store.streams), path)
        _check_same("dtype", config.dtype, ", ".join({spec.dtype for spec in store.streams.values()}), path)
        there = store.compression
        _check_same("compression", config.compression, there.codec if there else "none", path)
        _check_same("keep_bits", config.keep_bits, there.keep_bits if there else None, path)
        return store
    s3d = encoder.model.s3d.out_channels
    dims = {"s3d": s3d, "gloss_rep": recipe.encoder.head.hidden, "gloss_logits": len(encoder.vocabulary)}
    streams = {name: StreamSpec(dim=dims[name], dtype=config.dtype) for name in config.streams}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_recipe(recipe, path.parent / "extract")
    compression = None
    if config.compression != "none":
        compression = Compression(config.compression, keep_bits=config.keep_bits)
    return FeatureStore.create(
        path, backend=config.backend, streams=streams, fingerprint=made_from, compression=compression
    )


def _check_same(name: str, asked: Any, there: Any, path: Path) -> None:
    if asked != there:
        raise SltError(
            f"{path} has {name} {there}, but {asked} is asked for; leave extract.{name} as it is, "
            "choose another folder with -o extract.store=..., or copy the store with `slt cache convert`"
        )


def _write(
    recipe: Recipe, encoder: TrainedEncoder, store: FeatureStore, todo: list[Clip], device: torch.device
) -> list[dict[str, str]]:
    rejected: list[dict[str, str]] = []
    root = media_root(recipe)
    frames_done = 0
    with (
        store.writer() as writer,
        tqdm(todo, desc="extract", unit="clip", disable=None, dynamic_ncols=True) as progress,
    ):
        for number, clip in enumerate(progress, 1):
            try:
                ((_, streams),) = encode_clips(encoder.model, recipe, [clip], root, device)
            except SltError as error:
                rejected.append({"id": clip.id, "reason": str(error)})
                log.warning("rejected %s: %s", clip.id, error)
                continue
            writer.write(
                clip.id, {name: streams[name].float().cpu().numpy() for name in store.streams}, source=clip_source(clip)
            )
            frames_done += clip.num_frames
            progress.set_postfix_str(f"{frames_done} frames", refresh=False)
            if number % recipe.extract.shard_clips == 0:
                writer.commit()
    return rejected
