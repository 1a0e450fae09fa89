"""A store against its manifest: clips that are gone or have changed, clips that are new, clips of a split."""

from dataclasses import replace

import pytest
from cache_tools import contents, files

from cache import FeatureStore
from cache.care.convert import convert
from cache.care.verify import verify
from cache.testing import assert_holds
from slt_pipeline.corpora.features import clip_source
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.stages.cache_care import unused_clips

# --- clips that the manifest does not have, or has in another version


@pytest.fixture
def moved_on(own) -> tuple[str, list[str]]:
    """The copy, whose manifest has lost a clip and names another video for two: the one that is gone, those changed."""
    gone, clips, other = own.clips[0], list(own.clips), own.clips[5]
    changed = [own.clips[number].id for number in (1, 7)]
    moved = {clip: {"video": other.video, "num_frames": other.num_frames} for clip in changed}
    write_manifest(own.root / "corpus" / "manifest.jsonl", [replace(c, **moved.get(c.id, {})) for c in clips[1:]])
    return gone.id, changed


def test_clips_that_are_gone_or_changed_are_told_apart(own, moved_on):
    gone, changed = moved_on
    unused = unused_clips(own.recipe(), FeatureStore.open(own.recipe().store))
    assert (unused.gone, unused.changed) == ([gone], changed)


def test_other_text_is_no_change(own):
    clips = [replace(clip, text="x", gloss=("Y",), signer="z") for clip in own.clips]
    write_manifest(own.root / "corpus" / "manifest.jsonl", clips)
    unused = unused_clips(own.recipe(), FeatureStore.open(own.recipe().store))
    assert (unused.gone, unused.changed) == ([], [])


def test_a_dry_run_lists_them_and_changes_nothing(own, moved_on, slt):
    gone, changed = moved_on
    store, manifest = own.recipe().store, own.root / "corpus" / "manifest.jsonl"
    before = files(store)
    run = slt("cache", "rm", store, "--unused", "-r", own.file, "--dry-run")
    assert run.status == 0
    assert f"{store}: 3 of 10 clips, " in run.out
    assert f"  1 not in {manifest}\n  2 has changed since it was stored, in {manifest} or in its video\n" in run.out
    assert f"    {gone}: not in {manifest}\n" in run.out
    for clip in changed:
        assert f"    {clip}: has changed since it was stored, in {manifest} or in its video\n" in run.out
    assert files(store) == before


@pytest.mark.parametrize("backend", ["zarr", "hdf5"])
def test_they_are_removed_and_the_others_stay_bit_for_bit(own, moved_on, slt, backend):
    gone, changed = moved_on
    store = own.root / "copy"
    convert(FeatureStore.open(own.recipe().store), store, backend=backend)
    before = contents(store)
    sources = {clip.id: clip_source(clip, own.root / "corpus") for clip in own.clips}
    run = slt("cache", "rm", store, "--unused", "-r", own.file, "--yes")
    assert (run.status, run.out.splitlines()[-1].partition(";")[0]) == (0, f"{store}: 3 clips removed")
    kept = {clip: features for clip, features in before.items() if clip not in (gone, *changed)}
    assert len(kept) == 7
    assert_holds(FeatureStore.open(store), kept)
    FeatureStore.open(store).require_sources({clip: sources[clip] for clip in kept})
    assert verify(store) == []


def test_a_store_without_such_clips_is_left_alone(own, slt):
    store = own.recipe().store
    before = files(store)
    run = slt("cache", "rm", store, "--unused", "-r", own.file, "--yes")
    assert (run.status, run.out) == (0, f"{store}: 0 of 10 clips, 0 B\n")
    assert files(store) == before


def test_the_manifest_of_another_corpus_empties_no_store(own, slt):
    store, manifest = own.recipe().store, own.root / "corpus" / "manifest.jsonl"
    write_manifest(manifest, [replace(clip, id=f"other-{clip.id}") for clip in own.clips])
    before = files(store)
    run = slt("cache", "rm", store, "--unused", "-r", own.file, "--yes")
    assert run.status == 2
    assert f"{manifest} has none of the 10 clips of {store}, so it is not its manifest: name the right" in run.err
    assert files(store) == before


def test_extraction_refuses_changed_clips_by_name_and_says_what_to_do(own, moved_on, slt, encoded):
    _, (one, two) = moved_on
    store = own.recipe().store
    before = files(store)
    run = slt("extract", "-r", own.file, "--device", "cpu")
    assert run.status == 2
    assert f"2 clips have changed since they were put into {store}: {one}, {two}; drop them with " in run.err
    assert f"`slt cache rm {store} --unused -r RECIPE` and extract again" in run.err
    assert encoded == []
    assert files(store) == before


@pytest.mark.parametrize("number", [1, 7], ids=["train", "dev"])
def test_training_refuses_a_changed_clip_by_name(own, slt, number):
    clips = list(own.clips)
    clips[number] = replace(clips[number], num_frames=clips[number].num_frames - 1)
    write_manifest(own.root / "corpus" / "manifest.jsonl", clips)
    folder = own.recipe().run_folder("translate_train")
    before = files(folder)
    run = slt("translate-train", "-r", own.file, "--device", "cpu", "--overwrite")
    assert run.status == 2
    assert f"1 clips have changed since they were put into {own.recipe().store}: {clips[number].id}; " in run.err
    assert files(folder) == before, "the earlier run is gone, and no new one can take its place"


def test_extraction_makes_them_again_and_only_new_clips_besides(own, moved_on, slt, encoded):
    gone, changed = moved_on
    store, manifest = own.recipe().store, own.root / "corpus" / "manifest.jsonl"
    before = contents(store)
    assert slt("cache", "rm", store, "--unused", "-r", own.file, "--yes").status == 0
    new = [replace(own.clips[0], id="new/1"), replace(own.clips[0], id="new/2", split="test")]
    write_manifest(manifest, [*read_manifest(manifest), *new])
    run = slt("extract", "-r", own.file, "--device", "cpu")
    assert run.status == 0
    assert "4 clips written, 7 were there, 0 rejected" in run.out
    assert sorted(encoded) == sorted([*changed, "new/1", "new/2"])
    expected = {clip: features for clip, features in before.items() if clip != gone}
    expected |= dict.fromkeys(changed, before[own.clips[5].id]) | dict.fromkeys(["new/1", "new/2"], before[gone])
    assert_holds(FeatureStore.open(store), expected)


def test_a_manifest_that_grew_costs_its_new_clips_alone(own, slt, encoded):
    store = own.recipe().store
    before = contents(store)
    new = replace(own.clips[6], id="new")
    write_manifest(own.root / "corpus" / "manifest.jsonl", [new, *own.clips])
    run = slt("extract", "-r", own.file, "--device", "cpu")
    assert "1 clips written, 10 were there, 0 rejected" in run.out
    assert encoded == ["new"]
    assert_holds(FeatureStore.open(store), {**before, "new": before[own.clips[6].id]})


# --- a split of a store


def test_a_subset_holds_the_clips_of_a_split(toy, tmp_path, slt):
    source = FeatureStore.open(toy.recipe().store)
    run = slt("cache", "subset", source.path, tmp_path / "dev", "--split", "dev", "-r", toy.file)
    assert run.status == 0
    assert run.out.startswith(f"subset: {tmp_path / 'dev'}: 2 clips, 14 steps of s3d, gloss_rep, gloss_logits; ")
    copy = FeatureStore.open(tmp_path / "dev", fingerprint=source.fingerprint)
    assert_holds(copy, {clip.id: contents(source.path)[clip.id] for clip in toy.of("dev")})
    assert [copy.source(clip.id) for clip in toy.of("dev")] == [
        clip_source(clip, toy.root / "corpus") for clip in toy.of("dev")
    ]


def test_a_subset_leaves_out_what_extraction_rejected_and_says_so(own, stages, slt):
    good, bad = own.of("dev")
    own.video(bad).write_text("no video at all")
    recipe = own.recipe(extract__store=own.root / "new" / "store")
    stages["extract"](recipe, split="dev", device="cpu")
    chosen = ("--split", "dev", "-r", own.file, "-o", f"extract.store={recipe.store}")
    run = slt("cache", "subset", recipe.store, own.root / "dev", *chosen)
    assert run.status == 0
    assert f"1 of 2 clips are left out: see {own.root / 'new' / 'rejected.jsonl'}" in run.err
    assert FeatureStore.open(own.root / "dev").keys() == [good.id]


def test_a_subset_of_clips_that_have_changed_or_are_not_there_is_not_made(own, moved_on, slt):
    store = own.recipe().store
    run = slt("cache", "subset", store, own.root / "dev", "--split", "dev", "-r", own.file)
    assert run.status == 2
    assert f"1 clips have changed since they were put into {store}: {own.clips[7].id}; " in run.err
    new = replace(own.clips[6], id="new")
    write_manifest(own.root / "corpus" / "manifest.jsonl", [own.clips[6], new])
    run = slt("cache", "subset", store, own.root / "dev", "--split", "dev", "-r", own.file)
    assert run.status == 2
    assert "the store lacks 1 of 2 clips, such as new; add them with `slt extract --split dev`" in run.err
    assert not (own.root / "dev").exists()


def test_a_split_that_the_manifest_does_not_have_is_refused(toy, tmp_path, slt):
    run = slt("cache", "subset", toy.recipe().store, tmp_path / "x", "--split", "all", "-r", toy.file)
    assert run.status == 2
    assert "manifest.jsonl has no clips of split all" in run.err
