"""`slt extract`: video to feature store, once."""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cache import Compression, FeatureStore, StreamSpec
from slt_pipeline.config.provenance import plain
from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.config.stages import ExtractConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import require_unchanged
from slt_pipeline.corpora.importing import SPLITS
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import change_json_lines, held, require_place, text_hash
from slt_pipeline.models.taps import stream_widths
from slt_pipeline.systems.features import fingerprint, rejected_path, require_features_of
from slt_pipeline.systems.left_out import Unreadable
from slt_pipeline.systems.recogniser import Recogniser, open_recogniser, recorded
from slt_pipeline.training import distributed
from slt_pipeline.training.devices import pick_device
from slt_pipeline.training.run import Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What an extraction did, in clips."""

    written: int
    present: int
    rejected: int
    rejected_file: Path


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    reads = {"clips": recipe.corpus.manifest, "weights": recipe.encoder_folder}
    return reads, {"store": recipe.store}


def extract(recipe: Recipe, *, split: str = "all", device: str = "auto", strict: bool = False) -> Extraction:
    """Encode the clips of a split, or of all that there are, which the store lacks; bad ones go to rejected.jsonl.

    Args:
        recipe: the experiment.
        split: whose clips.
        device: where it computes.
        strict: stop at the first clip that cannot be read, rather than list it.

    Raises:
        SltError: the store was made by other weights or settings, or clips of it have other media now.
    """
    require_place(_local_store(recipe), folder=True)
    recogniser = open_recogniser(recipe, pick_device(device))
    manifest = recipe.corpus.manifest
    clips = read_manifest(manifest) if split == "all" else load_clips(manifest, split)
    if not clips:
        raise SltError(f"{manifest} has no clips")
    with ExitStack() as held_splits:
        distributed.first(lambda: _hold(recipe, {clip.split for clip in clips}, held_splits))
        todo = distributed.first(lambda: _todo(recipe, recogniser, clips))
        own = _write(recipe, recogniser, distributed.share(todo), strict)
        rejected = [row for rows in distributed.gathered(own) for row in rows]
        distributed.first(lambda: _list_rejected(recipe, clips, rejected))
    return Extraction(len(todo) - len(rejected), len(clips) - len(todo), len(rejected), rejected_path(recipe))


def _hold(recipe: Recipe, splits: set[str], until: ExitStack) -> None:
    """Keep other extractions of these splits out of the store: they would encode the same clips."""
    path = _local_store(recipe)
    for split in sorted(splits):
        name = split if split in SPLITS else text_hash(split)[:16]  # a manifest may call one what no file can be called
        until.enter_context(held(path.with_name(f".{path.name}.{name}.lock"), f"split {split} of the store {path}"))


def _todo(recipe: Recipe, recogniser: Recogniser, clips: list[Clip]) -> list[Clip]:
    """Return the clips that the store lacks, which is made if there is none."""
    store = _open_store(recipe, recogniser)
    require_unchanged(store, clips, media_root(recipe.corpus))
    return [clip for clip in clips if clip.id not in store]


def _list_rejected(recipe: Recipe, clips: list[Clip], rejected: list[dict[str, str]]) -> None:
    tried = {clip.id for clip in clips}
    change_json_lines(rejected_path(recipe), lambda rows: [row for row in rows if row["id"] not in tried] + rejected)


def _local_store(recipe: Recipe) -> Path:
    path = recipe.store
    if isinstance(path, str):
        raise SltError(f"{path} is an object store, which is only read; extract into a folder and copy it there")
    return path


def _open_store(recipe: Recipe, recogniser: Recogniser) -> FeatureStore:
    path, config = _local_store(recipe), recipe.extract
    if FeatureStore.exists(path):
        store = FeatureStore.open(path, mode="a")
        require_features_of(store, recipe, recogniser.checkpoint, recogniser.device)
        _check_form(config, store)
        return store
    widths = stream_widths(recogniser.model.s3d.out_channels, recipe.encoder.head.hidden, len(recogniser.classes))
    save_recipe(recipe, path.parent / "extract")
    packed = None if config.compression == "none" else Compression(config.compression, keep_bits=config.keep_bits)
    return FeatureStore.create(
        path,
        backend=config.backend,
        streams={name: StreamSpec(dim=widths[name], dtype=config.dtype) for name in config.streams},
        fingerprint=plain(fingerprint(recipe, recogniser.checkpoint, recogniser.device)),
        recorded=recorded(recipe, recogniser.device),
        compression=packed,
    )


def _check_form(config: ExtractConfig, store: FeatureStore) -> None:
    """Refuse to add to a store that is kept in another form than is asked for."""
    packed = store.compression
    forms = {
        "backend": (config.backend, store.backend),
        "streams": (sorted(config.streams), sorted(store.streams)),
        "dtype": (config.dtype, ", ".join({spec.dtype for spec in store.streams.values()})),
        "compression": (config.compression, packed.codec if packed else "none"),
        "keep_bits": (config.keep_bits, packed.keep_bits if packed else None),
    }
    for name, (asked, there) in forms.items():
        if asked != there:
            raise SltError(
                f"{store.path} has {name} {there}, but {asked} is asked for; leave extract.{name} as it is, "
                "choose another folder with -o extract.store=..., or copy the store with `slt cache convert`"
            )


def _write(recipe: Recipe, recogniser: Recogniser, todo: list[Clip], strict: bool) -> list[dict[str, str]]:
    """Encode and store clips, in shards of this process's own; return those that could not be encoded, and why."""
    rejected: list[dict[str, str]] = []
    on_video, started, frames_done = recogniser.on_video(recipe.extract.num_workers, sources=True), time.monotonic(), 0
    store, quiet = FeatureStore.open(_local_store(recipe), mode="a"), None if distributed.is_main() else True
    with (
        store.writer() as writer,
        tqdm(total=len(todo), desc="extract", unit="clip", disable=quiet, dynamic_ncols=True) as progress,
    ):
        for number, (clip, found) in enumerate(on_video.clips(todo, media_root(recipe.corpus)), 1):
            progress.update()
            if isinstance(found, Unreadable):
                if strict:
                    raise SltError(f"clip {clip.id}: {found.reason} (without --strict it would be left out)")
                rejected.append({"id": clip.id, "reason": found.reason, "by": "extract"})
                log.warning("rejected %s: %s", clip.id, found.reason)
                continue
            streams = {name: found.streams[name].float().cpu().numpy() for name in store.streams}
            writer.write(clip.id, streams, source=found.source)
            frames_done += clip.num_frames
            progress.set_postfix_str(f"{frames_done} frames", refresh=False)
            if number % recipe.extract.shard_clips == 0:
                writer.commit()
    if frames_done:
        seconds = max(1e-9, time.monotonic() - started)
        told = (frames_done, frames_done / seconds, on_video.reader.waited / seconds)
        log.info("extract: %d frames, %.3g a second, %.0f%% of the time waiting for frames", *told[:2], 100 * told[2])
    return rejected
