"""What every backend must pass: a test class to inherit. Needs pytest."""

# ruff: noqa: D102 (the name of a test says what it shows)

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from cache.care.repair import remove
from cache.care.verify import verify
from cache.compression import Compression
from cache.errors import StoreError
from cache.places.base import Files
from cache.places.local import LocalFiles
from cache.store import FeatureStore
from cache.testing import FINGERPRINT, SHARD_STEPS, STREAMS, assert_holds, make_clips


class StoreContract:
    """Inherit, name it Test..., set `backend`, and override `files` if the store is not in a local folder.

    compression: of the rows; with a `chunk_steps` that goes into 16.
    """

    backend: str = ""
    compression: Compression | None = None

    def files(self, folder: Path) -> Files:
        """Return the place of a new store."""
        return LocalFiles(folder / "features", durable=False)  # what syncing does cannot be seen here

    @pytest.fixture
    def place(self, tmp_path: Path) -> Files:
        """Return the place that the tests of one case share."""
        return self.files(tmp_path)

    @pytest.fixture
    def store(self, place: Files) -> FeatureStore:
        """Return an empty store."""
        return FeatureStore.create(
            place.root,
            backend=self.backend,
            streams=STREAMS,
            fingerprint=FINGERPRINT,
            shard_steps=SHARD_STEPS,
            compression=self.compression,
            files=place,
        )

    def reopen(self, store: FeatureStore, **options: Any) -> FeatureStore:
        """Open the same store once more."""
        return FeatureStore.open(store.path, files=store._files, **options)

    def fill(self, store: FeatureStore, clips: dict[str, Any]) -> None:
        """Write clips and commit them."""
        with store.writer() as writer:
            for clip_id, features in clips.items():
                writer.write(clip_id, features)

    def test_a_new_store_is_empty_and_knows_what_it_is(self, store: FeatureStore) -> None:
        reopened = self.reopen(store)
        assert len(reopened) == 0
        assert reopened.keys() == []
        assert reopened.streams == STREAMS
        assert reopened.fingerprint == FINGERPRINT
        assert reopened.backend == self.backend
        assert reopened.compression == self.compression

    def test_what_was_written_is_read_back_bit_for_bit(self, store: FeatureStore) -> None:
        clips = make_clips(30)
        self.fill(store, clips)
        assert_holds(store, clips)
        assert_holds(self.reopen(store), clips)

    def test_keys_come_in_the_order_of_writing(self, store: FeatureStore) -> None:
        clips = make_clips(30)
        self.fill(store, clips)
        assert self.reopen(store).keys() == list(clips)

    def test_a_part_of_a_clip_is_read_as_by_a_slice(self, store: FeatureStore) -> None:
        clips = make_clips(12)
        self.fill(store, clips)
        for clip_id, features in clips.items():
            for start, stop in [(0, 2), (1, None), (None, -1), (2, 1), (-2, 100)]:
                np.testing.assert_array_equal(
                    store.read(clip_id, "wide", start, stop), features["wide"][start:stop], strict=True
                )

    def test_a_batch_is_padded_with_zeros(self, store: FeatureStore) -> None:
        clips = make_clips(12)
        self.fill(store, clips)
        chosen = [*list(clips)[::-2], next(iter(clips))]
        features, lengths = store.read_batch(chosen, "narrow")
        assert lengths.dtype == np.int64
        assert features.dtype == np.float32
        assert (
            lengths.tolist() == [len(clips[clip_id]["narrow"]) for clip_id in chosen] == list(map(store.length, chosen))
        )
        assert features.shape == (len(chosen), max(lengths), 3)
        for clip_id, row, length in zip(chosen, features, lengths, strict=True):
            np.testing.assert_array_equal(row[:length], clips[clip_id]["narrow"])
            assert not row[length:].any()

    def test_an_empty_batch_is_empty(self, store: FeatureStore) -> None:
        features, lengths = store.read_batch([], "narrow")
        assert features.shape == (0, 0, 3)
        assert lengths.shape == (0,)

    def test_clips_never_straddle_a_shard(self, store: FeatureStore) -> None:
        self.fill(store, make_clips(30))
        for record in store._index.records.values():
            ends = [row + length for row, length in zip(record.rows, record.lengths, strict=True)]
            assert record.rows == [0, *ends[:-1]]
            assert ends[-1] == record.steps <= SHARD_STEPS

    def test_a_clip_may_fill_a_shard_exactly_but_not_exceed_it(self, store: FeatureStore) -> None:
        full = {name: np.ones((SHARD_STEPS, spec.dim), spec.dtype) for name, spec in STREAMS.items()}
        self.fill(store, {"full": full})
        assert_holds(self.reopen(store), {"full": full})
        long = {name: np.ones((SHARD_STEPS + 1, spec.dim), spec.dtype) for name, spec in STREAMS.items()}
        with pytest.raises(StoreError, match=r"clip 'long' has 17 steps, a shard holds 16.*shard_steps=17"):
            self.fill(store, {"long": long})

    def test_nothing_is_visible_before_its_commit(self, store: FeatureStore) -> None:
        clips = make_clips(3, max_steps=5)
        first, second, third = clips
        with store.writer() as writer:
            writer.write(first, clips[first])
            assert first not in store
            writer.commit()
            assert first in self.reopen(store)
            writer.write(second, clips[second])
            writer.write(third, clips[third])
            assert len(self.reopen(store)) == 1
        assert len(self.reopen(store)) == 3

    def test_leaving_by_an_exception_commits_nothing_half(self, store: FeatureStore) -> None:
        clips = make_clips(3, max_steps=4)
        first, second, third = clips
        with pytest.raises(ZeroDivisionError), store.writer() as writer:
            writer.write(first, clips[first])
            writer.commit()
            writer.write(second, clips[second])
            raise ZeroDivisionError
        assert self.reopen(store).keys() == [first]
        self.fill(store, {second: clips[second], third: clips[third]})
        assert_holds(self.reopen(store), clips)

    def test_a_store_is_resumed_after_closing(self, store: FeatureStore) -> None:
        clips = make_clips(20)
        some = dict(list(clips.items())[:7])
        self.fill(store, some)
        again = self.reopen(store, mode="a", fingerprint=FINGERPRINT)
        self.fill(again, {clip_id: clips[clip_id] for clip_id in clips if clip_id not in again})
        assert_holds(self.reopen(store), clips)

    def test_second_write_of_a_key_raises(self, store: FeatureStore) -> None:
        clips = make_clips(2, max_steps=4)
        first = next(iter(clips))
        self.fill(store, clips)
        with pytest.raises(StoreError, match=r"is already in .* written once"):
            self.fill(store, {first: clips[first]})
        with pytest.raises(StoreError, match="'new' is already in"), store.writer() as writer:
            writer.write("new", clips[first])
            writer.write("new", clips[first])
        assert_holds(self.reopen(store), clips)

    def test_several_writers_own_their_shards(self, store: FeatureStore) -> None:
        clips = make_clips(30)
        others = [self.reopen(store, mode="a") for _ in range(3)]
        writers = [other.writer() for other in others]
        for number, (clip_id, features) in enumerate(clips.items()):
            writers[number % 3].write(clip_id, features)
        for writer in writers:
            writer.commit()
        store.refresh()
        assert_holds(store, clips)

    def test_two_writers_of_one_key_are_told(self, store: FeatureStore) -> None:
        clips = make_clips(1)
        first = next(iter(clips))
        one, two = (self.reopen(store, mode="a").writer() for _ in range(2))
        one.write(first, clips[first])
        two.write(first, clips[first])
        one.commit()
        with pytest.raises(StoreError, match=r"written to .* by another process meanwhile"):
            two.commit()
        assert_holds(self.reopen(store), clips)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a: a[:0], r"clip 'bad' is empty"),
            (lambda a: a[:, :-1], r"clip 'bad', stream 'wide' has shape \(4, 5\), \(steps, 6\) is needed"),
            (lambda a: a[0], r"clip 'bad', stream 'wide' has shape \(6,\)"),
            (lambda a: a.astype(np.float64), r"clip 'bad', stream 'wide' has dtype float64, the store has float16"),
            (lambda a: a.astype(np.int32), r"clip 'bad', stream 'wide' has dtype int32"),
            (
                lambda a: np.where(a == a[2, 1], np.nan, a),
                r"'bad', stream 'wide': nan at step 2, feature 1 is not finite",
            ),
            (lambda a: np.where(a == a[2, 1], -np.inf, a), r"-inf at step 2, feature 1 is not finite"),
            (
                lambda a: np.where(a == a[2, 1], np.float32(7e4), a),
                r"70000.0 at step 2, feature 1 does not fit into float16",
            ),
        ],
    )
    def test_bad_features_are_refused_by_name(
        self, store: FeatureStore, change: Callable[[np.ndarray], np.ndarray], message: str
    ) -> None:
        good = {name: np.arange(4 * spec.dim, dtype=spec.dtype).reshape(4, -1) for name, spec in STREAMS.items()}
        wide = change(good["wide"])
        bad = {"wide": wide, "narrow": good["narrow"][: len(wide)] if wide.ndim == 2 else good["narrow"]}
        with store.writer() as writer:
            writer.write("before", good)
            with pytest.raises(StoreError, match=message):
                writer.write("bad", bad)
            writer.write("after", good)
        assert_holds(self.reopen(store), {"before": good, "after": good})

    def test_streams_must_be_all_there_and_equally_long(self, store: FeatureStore) -> None:
        good = {name: np.ones((4, spec.dim), spec.dtype) for name, spec in STREAMS.items()}
        with pytest.raises(
            StoreError, match=r"clip 'bad' has the streams \['wide'\], the store has \['narrow', 'wide'\]"
        ):
            store.writer().write("bad", {"wide": good["wide"]})
        with pytest.raises(StoreError, match=r"clip 'bad' has streams of different lengths"):
            store.writer().write("bad", {"wide": good["wide"], "narrow": good["narrow"][1:]})

    def test_float32_is_rounded_to_float16_and_float16_widened(self, store: FeatureStore) -> None:
        wide = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 6)
        narrow = np.linspace(0, 1, 6, dtype=np.float16).reshape(2, 3)
        self.fill(store, {"clip": {"wide": wide, "narrow": narrow}})
        assert_holds(store, {"clip": {"wide": wide.astype(np.float16), "narrow": narrow.astype(np.float32)}})

    def test_another_fingerprint_is_refused_in_words(self, store: FeatureStore) -> None:
        other = {"weights": "beef", "frames": {"size": 224}}
        with pytest.raises(
            StoreError, match=r'frames.step is 1 here, missing expected; weights is "f00d" here, "beef" exp'
        ):
            self.reopen(store, fingerprint=other)
        reordered = {"frames": {"step": 1, "size": 224}, "weights": "f00d"}
        assert self.reopen(store, fingerprint=reordered).fingerprint == FINGERPRINT

    def test_clips_whose_source_changed_are_refused_by_name(self, store: FeatureStore) -> None:
        clips = make_clips(3, max_steps=4)
        first, second, third = clips
        with store.writer() as writer:
            writer.write(first, clips[first], source="1")
            writer.write(second, clips[second], source="2")
            writer.write(third, clips[third])
        reopened = self.reopen(store)
        assert [reopened.source(clip_id) for clip_id in clips] == ["1", "2", None]
        reopened.require_sources({first: "1", third: "3", "appended": "4"})
        with pytest.raises(StoreError, match=f"1 clips have changed .*'{second}'"):
            reopened.require_sources({first: "1", second: "22"})

    def test_a_store_is_not_made_twice(self, store: FeatureStore) -> None:
        with pytest.raises(StoreError, match="exists: go on with it"):
            FeatureStore.create(store.path, streams=STREAMS, fingerprint={}, files=store._files)

    def test_a_store_open_for_reading_is_not_written(self, store: FeatureStore) -> None:
        with pytest.raises(StoreError, match="open it with mode='a'"):
            self.reopen(store).writer()

    def test_asking_for_what_is_not_there_names_it(self, store: FeatureStore) -> None:
        clips = make_clips(1)
        self.fill(store, clips)
        with pytest.raises(StoreError, match=r"clip 'nobody' is not in .* \(1 clips\)"):
            store.read("nobody", "wide")
        with pytest.raises(StoreError, match="clip 'nobody' is not in"):
            store.read_batch(["nobody"], "wide")
        with pytest.raises(StoreError, match=r"stream 'tall' is not in .*, it has wide, narrow"):
            store.read(next(iter(clips)), "tall")

    def test_a_reader_sees_new_commits_after_refresh(self, store: FeatureStore) -> None:
        clips = make_clips(4)
        reader = self.reopen(store)
        self.fill(store, clips)
        assert len(reader) == 0
        reader.refresh()
        assert_holds(reader, clips)

    def test_a_pickled_store_reads_the_same(self, store: FeatureStore) -> None:
        clips = make_clips(9)
        self.fill(store, clips)
        assert_holds(store, clips)
        assert_holds(pickle.loads(pickle.dumps(store)), clips)  # noqa: S301 (our own bytes)

    @pytest.mark.parametrize("resident", ["auto", "yes"])
    def test_a_store_that_is_held_in_memory_reads_the_same(
        self, store: FeatureStore, resident: Literal["auto", "yes"]
    ) -> None:
        clips = make_clips(20)
        self.fill(store, clips)
        held = self.reopen(store, resident=resident)
        assert_holds(held, clips)
        for found, expected in zip(held.read_batch([*clips], "wide"), store.read_batch([*clips], "wide"), strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)
        first = held.read_batch([next(iter(clips))], "wide")[0]
        first[:] = 1  # what was given away is no part of what is held
        assert_holds(held, clips)
        assert_holds(pickle.loads(pickle.dumps(held)), clips)  # noqa: S301 (our own bytes)

    def test_removed_clips_are_gone_and_the_others_stay(self, store: FeatureStore, place: Files) -> None:
        clips = make_clips(20)
        self.fill(store, clips)
        gone = list(clips)[3:11]
        assert remove(store.path, [*gone, "nobody"], files=place) == gone
        assert verify(store.path, files=place) == []
        assert_holds(self.reopen(store), {clip_id: clips[clip_id] for clip_id in clips if clip_id not in gone})
        self.fill(self.reopen(store, mode="a"), {clip_id: clips[clip_id] for clip_id in gone})
        assert_holds(self.reopen(store), clips)
        assert sorted(remove(store.path, list(clips), files=place)) == sorted(clips)
        assert self.reopen(store).keys() == []

    def test_a_reader_sees_removals_after_refresh_and_never_another_clip(
        self, store: FeatureStore, place: Files
    ) -> None:
        clips = make_clips(4)
        first, second, third, fourth = clips
        for clip_id in (first, second):
            self.fill(store, {clip_id: clips[clip_id]})
        readers = [self.reopen(store), self.reopen(store), self.reopen(store, resident="yes")]
        for reader in readers[1:]:
            assert_holds(reader, {first: clips[first], second: clips[second]})
        remove(store.path, [second], files=place)
        self.fill(self.reopen(store, mode="a"), {third: clips[third]})
        with contextlib.suppress(StoreError):  # what is gone may still be in a file that is open
            np.testing.assert_array_equal(readers[0].read(second, "wide"), clips[second]["wide"])
        for reader in readers:
            reader.refresh()
            assert_holds(reader, {first: clips[first], third: clips[third]})
        remove(store.path, [first, third], files=place)
        self.fill(self.reopen(store, mode="a"), {second: clips[fourth]})
        for reader in readers:
            reader.refresh()
            assert_holds(reader, {second: clips[fourth]})
        assert verify(store.path, files=place) == []

    def test_a_sound_store_verifies(self, store: FeatureStore, place: Files) -> None:
        self.fill(store, make_clips(20))
        assert verify(store.path, files=place) == []
