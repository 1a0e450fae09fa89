"""A store against its encoder: clips that are encoded again agree with it, or are named."""

import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_tools import contents
from safetensors.torch import load_file, save_file

from cache import Compression, FeatureStore
from cache.care.convert import convert
from cache.care.verify import verify
from cache.seal import seal
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.stages.cache_care import Sampler
from slt_pipeline.training.checkpoint import best_checkpoint

pytestmark = pytest.mark.long

STREAMS = ("s3d", "gloss_rep", "gloss_logits")
Change = Callable[[np.ndarray], Any]


def altered(source: Path, target: Path, changes: dict[tuple[str, str], Change]) -> Path:
    """A copy that says it is the same, in which some streams of some clips are not: nothing that `verify` could see."""
    store = FeatureStore.open(source)
    kind = {name: getattr(store, name) for name in ("streams", "fingerprint", "backend", "shard_steps", "compression")}
    with FeatureStore.create(target, **kind, durable=False).writer() as writer:
        for clip, features in contents(source).items():
            for name in features:
                features[name] = changes.get((clip, name), np.array)(features[name])
            writer.write(clip, features, source=store.source(clip))
    return target


def largest_times(factor: float) -> Change:
    """Multiply the largest number of a clip."""

    def change(features: np.ndarray) -> np.ndarray:
        features[np.unravel_index(np.abs(features).argmax(), features.shape)] *= factor
        return features

    return change


def overwrite_first_number(path: Path, clip: str, stream: str, value: float) -> None:
    """Change a number in the files of a plain store, and the checksums with it."""
    records = {file: json.loads(file.read_bytes()) for file in (path / "index").glob("*.json")}
    ((file, record),) = [(file, record) for file, record in records.items() if clip in record["clips"]]
    spec, extent = FeatureStore.open(path).streams[stream], record["extents"][stream]
    number = record["clips"].index(clip)
    data = bytearray((path / extent["file"]).read_bytes())
    start = extent["offset"] + record["rows"][number] * spec.row_bytes
    rows = memoryview(data)[start : start + record["lengths"][number] * spec.row_bytes]
    rows[: spec.numpy_dtype.itemsize] = np.array(value, spec.numpy_dtype).tobytes()
    (path / extent["file"]).write_bytes(data)
    record["checksums"][stream][number] = f"{zlib.crc32(rows):08x}"
    del record["crc32"]
    file.write_bytes(seal(record))
    (path / f"{min(record['files'])}.json").write_bytes(seal(record))


@pytest.fixture(scope="module")
def half(toy, stages, tmp_path_factory) -> Path:
    """The dev split in half precision."""
    recipe = toy.recipe(extract__store=tmp_path_factory.mktemp("half") / "store", extract__dtype="float16")
    stages["extract"](recipe, split="dev", device="cpu")
    return recipe.store


# --- a sample is encoded again


def sampling(system, number: int) -> tuple:
    """The command, to be followed by a store and by more options."""
    return "cache", "verify", "--sample", number, "-r", system.file, "--device", "cpu"


def test_clips_of_a_sound_store_are_equal_in_every_bit(toy, slt):
    run = slt(*sampling(toy, 99), toy.recipe().store)
    assert run.status == 0
    assert f"{toy.recipe().store}: all is well\n10 of 10 clips encoded again and compared\n" in run.out
    for stream in STREAMS:
        assert f"  {stream:<12}  largest difference 0 " in run.out
    assert run.out.count("10 clips equal in every bit, 0 differ\n") == 3


@pytest.mark.parametrize(
    ("values", "copied"),
    [
        ({"dtype": "float16"}, None),
        ({"dtype": "float16"}, {"dtype": "float32"}),
        ({"dtype": "float16"}, {"compression": Compression("zstd", keep_bits=4)}),
        ({"dtype": "float16"}, {"dtype": "float32", "compression": Compression("blosc", keep_bits=4)}),
        ({"dtype": "float32"}, {"dtype": "float16", "backend": "hdf5"}),
        ({"dtype": "float32"}, {"backend": "hdf5", "compression": Compression("gzip", keep_bits=7)}),
        ({"dtype": "float32"}, {"dtype": "float16", "compression": Compression("blosc", keep_bits=10)}),
    ],
    ids=lambda value: "-".join(str(getattr(v, "codec", v)) for v in value.values()) if value else "as_it_is",
)
def test_a_store_that_rounds_is_equal_once_it_is_rounded_again(toy, half, tmp_path, values, copied):
    path = half if values["dtype"] == "float16" else toy.recipe().store
    if copied:
        path = convert(FeatureStore.open(path), tmp_path / "copy", **copied).path
    sample = Sampler(toy.recipe(extract__dtype=values["dtype"]), path, device="cpu").run(2)
    assert sample.ok
    assert list(sample.streams) == list(STREAMS)
    for name, stream in sample.streams.items():
        assert (stream.num_equal, stream.largest_difference, stream.differing) == (2, 0.0, []), name
        assert stream.largest_value == max(np.abs(contents(path)[clip][name]).max() for clip in sample.clips)


def test_what_extraction_compressed_agrees(toy, stages, tmp_path, slt):
    chosen = {"store": tmp_path / "small", "dtype": "float16", "compression": "blosc", "keep_bits": 4}
    stages["extract"](toy.recipe(**{f"extract__{k}": v for k, v in chosen.items()}), split="dev", device="cpu")
    run = slt(*sampling(toy, 2), chosen["store"], "-o", "extract.dtype=float16")
    assert run.status == 0
    assert run.out.count("2 clips equal in every bit, 0 differ\n") == 3


def test_altered_rows_that_no_checksum_shows_are_found_and_named(toy, tmp_path, slt):
    one, two = toy.clips[3].id, toy.clips[8].id
    path = altered(
        toy.recipe().store,
        tmp_path / "altered",
        {
            (one, "gloss_rep"): largest_times(1.001),
            (two, "s3d"): lambda features: features[::-1],
            (two, "gloss_logits"): lambda features: -features,
        },
    )
    assert verify(path) == []
    run = slt(*sampling(toy, 10), path)
    assert run.status == 1
    named = [line for line in run.out.splitlines() if ": differs in " in line]
    assert sorted(named) == sorted([f"{one}: differs in gloss_rep", f"{two}: differs in s3d, gloss_logits"])
    assert run.out.count("9 clips equal in every bit, 1 differ\n") == 3


@pytest.mark.parametrize(("factor", "num_differing"), [(1 + 1.2e-5, 1), (1 + 0.8e-5, 0)])
def test_the_tolerance_is_a_part_of_the_largest_number(toy, tmp_path, factor, num_differing):
    clip = toy.clips[3].id
    changes = {(clip, "gloss_rep"): largest_times(factor)}
    path = altered(toy.recipe().store, tmp_path / "altered", changes)
    sampler = Sampler(toy.recipe(), path, device="cpu")
    found, largest = sampler.run(10).streams["gloss_rep"], np.abs(contents(path)[clip]["gloss_rep"]).max()
    assert largest > 1.5  # so that it makes a difference
    assert (found.differing, found.num_equal) == ([clip] * num_differing, 9)
    assert found.largest_difference == pytest.approx((factor - 1) * largest, 0.02)
    assert sampler.run(10, tolerance=1e-4).ok
    assert not sampler.run(10, tolerance=0).ok


@pytest.mark.parametrize("copied", [{}, {"compression": Compression("blosc", keep_bits=4)}], ids=["half", "rounded"])
def test_two_steps_of_rounding_beside_the_right_number_are_found(toy, half, tmp_path, copied):
    source = convert(FeatureStore.open(half), tmp_path / "copy", **copied)
    step = 2.0 ** -(4 if copied else 10)
    changes = {(toy.of("dev")[0].id, "s3d"): largest_times(1 + 2 * step)}
    path = altered(Path(source.path), tmp_path / "altered", changes)
    sample = Sampler(toy.recipe(extract__dtype="float16"), path, device="cpu").run(2)
    assert {name: stream.differing for name, stream in sample.streams.items()} == {
        "s3d": [toy.of("dev")[0].id],
        "gloss_rep": [],
        "gloss_logits": [],
    }


@pytest.mark.parametrize("value", [65504, -65504, np.inf, -np.inf, np.nan])
def test_the_largest_number_of_half_precision_and_what_is_none_are_found(toy, half, tmp_path, value):
    shutil.copytree(half, tmp_path / "altered")
    clip = toy.of("dev")[1].id
    overwrite_first_number(tmp_path / "altered", clip, "gloss_rep", value)
    assert verify(tmp_path / "altered") == []
    sample = Sampler(toy.recipe(extract__dtype="float16"), tmp_path / "altered", device="cpu").run(2)
    assert sample.streams["gloss_rep"].differing == [clip]
    assert not sample.ok


def test_a_clip_of_another_length_differs(toy, tmp_path, slt):
    clip = toy.clips[0].id
    changes = {(clip, name): lambda features: features[:-1] for name in STREAMS}
    path = altered(toy.recipe().store, tmp_path / "altered", changes)
    run = slt(*sampling(toy, 10), path)
    assert run.status == 1
    assert f"{clip}: differs in s3d, gloss_rep, gloss_logits\n" in run.out
    assert run.out.count("largest difference inf ") == 3


def test_a_video_that_was_replaced_under_its_name_is_found(own, slt, encoded):
    old, new = own.clips[0], next(clip for clip in own.clips if clip.num_frames != own.clips[0].num_frames)
    own.video(old).write_bytes(own.video(new).read_bytes())
    run = slt(*sampling(own, 10), own.recipe().store)
    assert run.status == 1
    assert [line.strip() for line in run.out.splitlines() if "not compared" in line] == [
        f"{old.id}: not compared: its video is another than the one that its features were made of"
    ]
    assert sorted(encoded) == sorted(clip.id for clip in own.clips if clip != old)


def test_clips_that_cannot_be_compared_are_listed_with_the_reason(own, slt, encoded):
    no_video, not_there, changed, *others = own.clips
    own.video(no_video).unlink()
    manifest = own.root / "corpus" / "manifest.jsonl"
    write_manifest(manifest, [no_video, replace(changed, fps=changed.fps + 1), *others])
    run = slt(*sampling(own, 10), own.recipe().store)
    assert run.status == 1
    assert "7 of 10 clips encoded again and compared\n" in run.out
    assert run.out.count("7 clips equal in every bit, 0 differ\n") == 3
    listed = {line for line in run.out.splitlines() if "not compared" in line}
    assert listed == {
        f"{no_video.id}: not compared: {own.video(no_video)}: no such video file or folder of frames",
        f"{not_there.id}: not compared: it is not in {manifest}",
        f"{changed.id}: not compared: it has changed in {manifest} since its features were made",
    }
    assert sorted(encoded) == sorted(clip.id for clip in [no_video, *others])


def test_a_clip_whose_source_nobody_noted_is_compared(own, tmp_path):
    store = FeatureStore.open(own.recipe().store)
    kind = {"streams": store.streams, "fingerprint": store.fingerprint}
    with FeatureStore.create(tmp_path / "bare", **kind, durable=False).writer() as writer:
        writer.write(own.clips[0].id, contents(store.path)[own.clips[0].id])
    sample = Sampler(own.recipe(), tmp_path / "bare", device="cpu").run(1)
    assert sample.ok
    assert sample.streams["s3d"].num_equal == 1


def test_the_same_seed_draws_the_same_clips_in_whatever_order_they_are_stored(own, tmp_path, slt):
    source = FeatureStore.open(own.recipe().store)
    turned, kind = tmp_path / "turned", {"streams": source.streams, "fingerprint": source.fingerprint}
    with FeatureStore.create(turned, **kind, durable=False).writer() as writer:
        for clip in reversed(source.keys()):
            writer.write(clip, contents(source.path)[clip])
    # Without a manifest's clip nothing is encoded, and all that are drawn are listed.
    write_manifest(own.root / "corpus" / "manifest.jsonl", [replace(own.clips[0], id="another")])

    def drawn(store, *options) -> list[str]:
        run = slt(*sampling(own, 3), store, *options)
        assert "0 of 3 clips encoded again and compared\n" in run.out
        return [line.partition(": not compared")[0] for line in run.out.splitlines() if "not compared" in line]

    first = drawn(source.path)
    assert len(set(first)) == 3
    assert first == drawn(source.path, "--seed", 0) == drawn(turned)
    assert drawn(source.path, "--seed", 1) == drawn(turned, "--seed", 1) != first


@pytest.mark.parametrize(
    ("override", "values"),
    [
        (
            "video.transform.color_order=bgr",
            "visual_train was made with video.transform.color_order = 'rgb', but now it is 'bgr'",
        ),
        ("extract.dtype=float16", "features was made with dtype = 'float32', but now it is 'float16'"),
    ],
)
def test_a_store_of_another_encoder_is_refused_by_key_and_both_values(toy, slt, encoded, override, values):
    run = slt(*sampling(toy, 1), toy.recipe().store, "-o", override)
    assert (run.status, run.out) == (2, "")
    assert f"{values}; set it back, or " in run.err
    assert encoded == []


def test_a_store_of_other_weights_is_refused_by_both_hashes(own, stages, slt, encoded):
    stages["visual_train"](own.recipe(visual_train__training__epochs=1), device="cpu", overwrite=True)
    encoded.clear()
    store = own.recipe().store
    run = slt(*sampling(own, 1), store)
    there = FeatureStore.open(store).fingerprint["encoder_weights"]
    now = best_checkpoint(own.recipe().encoder_folder, made_by="").weights_hash
    assert (run.status, run.out) == (2, "")
    assert f"encoder_weights = '{there}', but now it is '{now}'; " in run.err
    assert encoded == []


def test_weights_that_were_changed_in_place_are_refused(own, slt, encoded):
    for file in own.recipe().run_folder("visual_train").rglob("weights.safetensors"):
        save_file({name: 2 * weight for name, weight in load_file(file).items()}, file)
    run = slt(*sampling(own, 1), own.recipe().store)
    assert (run.status, run.out) == (2, "")
    assert "weights.safetensors cannot be read (its SHA-256 is " in run.err
    assert encoded == []


def test_damage_is_told_before_anything_is_encoded(own, slt, encoded):
    store = own.recipe().store
    clip = FeatureStore.open(store).keys()[0]
    data = bytearray((store / "data" / "s3d" / "c.0.0").read_bytes())
    data[5] ^= 1
    (store / "data" / "s3d" / "c.0.0").write_bytes(data)
    run = slt(*sampling(own, 10), store)
    assert run.status == 1
    assert f"1 clips are lost: {clip}\n" in run.out
    assert "all is well" not in run.out
    assert "no clip was encoded again: repair the store first\n" in run.err
    assert encoded == []


@pytest.mark.parametrize("file", ["index/00000001.json", "store.json"])
def test_damage_that_keeps_a_store_from_opening_is_listed_too(own, slt, encoded, file):
    store = own.recipe().store
    for path in (store / file, *(store / "data").rglob("c.1.0.json")):  # the copy of the record too
        path.write_bytes(path.read_bytes().replace(b'":', b'";', 1))
    run = slt(*sampling(own, 10), store)
    assert (run.status, encoded) == (1, [])
    assert f"{file}: its checksum does not match: its clips are lost\n" in run.out
