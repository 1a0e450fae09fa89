"""A storm over a store: writers, readers and everybody who cares for it at once, killed at random.

    python -m cache.testing.storm STORE --minutes 10

STORE must not exist yet, nor STORE.copy, to which it is converted. What everybody does is noted in STORE.journal,
before and after, and compared with the store while the storm goes on and when it is over. The exit status is 1 if
anything was lost, torn, or back from the dead, if a sound clip was reported as lost, or if anybody met an error that is
none of the store's.
"""

import argparse
import json
import math
import os
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cache.care.convert import convert
from cache.care.delete import delete
from cache.care.info import info
from cache.care.lost import purge, restore
from cache.care.repair import Dropped, remove, repair
from cache.care.verify import verify
from cache.errors import NotFoundError, StoreError
from cache.header import StreamSpec
from cache.places.local import LocalFiles
from cache.store import FeatureStore

STREAMS = {"wide": StreamSpec(6, "float16"), "narrow": StreamSpec(3, "float32")}
ROLES = ("write", "write", "write", "remove", "remove", "restore", "repair", "verify", "convert", "read", "read")
PAUSES = {"repair": 1.0, "restore": 4.0, "convert": 1.0}  # seconds at most between two of them
ENOUGH = 300  # clips
_Done = TypeVar("_Done")
FAULTS = ("lost", "torn", "back", "alarm", "dropped", "error")
"""What must not be in the journal: clips lost, torn, back from the dead, wrongly reported; repairs without a cause."""


def storm(path: str | Path, seconds: float, *, backend: str = "zarr", seed: int = 0) -> Counter[str]:
    """Let a storm pass over a new store; return how often what happened, `FAULTS` among it."""
    path, journal, rng = Path(path), Path(f"{path}.journal"), random.Random(seed)
    FeatureStore.create(path, streams=STREAMS, fingerprint={}, backend=backend, shard_steps=32, durable=False)
    journal.mkdir()
    end, counts = time.monotonic() + seconds, Counter[str]()
    workers = [(role, _start(role, path, journal, counts)) for role in ROLES]
    while time.monotonic() < end:
        time.sleep(rng.uniform(0.05, 0.6))
        number = rng.randrange(len(workers))
        role, worker = workers[number]
        _kill(worker, journal)
        counts["kills"] += 1
        workers[number] = role, _start(role, path, journal, counts)
    for _, worker in workers:
        _kill(worker, journal)
    _end(path, journal)
    for event, said in (pair for _, line in _Journal(journal).lines() for pair in line.items() if pair[0] != "at"):
        counts[event] += len(said) if isinstance(said, list) else said if isinstance(said, int) else 1
    return counts


def _start(role: str, path: Path, journal: Path, counts: Counter[str]) -> ForkProcess:
    counts["started"] += 1
    number = counts["started"]
    worker = get_context("fork").Process(
        target=_run, args=(role, path, journal, number, os.getpid()), name=f"{number:06d}.{role}"
    )
    worker.start()
    return worker


def _kill(worker: ForkProcess, journal: Path) -> None:
    """End a worker; when it is over, that is noted: nothing that it had begun goes on."""
    worker.kill()
    worker.join()
    _Log(journal / worker.name).note(killed=True)


def _run(role: str, path: Path, journal: Path, number: int, parent: int) -> None:
    """Do one thing again and again, until killed, or the parent is."""
    log, rng = _Log(journal / f"{number:06d}.{role}"), random.Random(number)
    work: Callable[[FeatureStore, _Log, random.Random, _Journal], None] = globals()[f"_{role}"]
    seen, store = _Journal(journal), None
    while os.getppid() == parent:
        try:
            store = store or FeatureStore.open(path, mode="a", durable=False)
            work(store, log, rng, seen)
        except StoreError as error:
            log.note(refused=str(error).replace(str(path), "STORE"))
        except BaseException as error:
            log.note(error=f"{role}: {error!r}")
            raise
        if rng.random() < 0.2:
            store = None
        time.sleep(rng.uniform(0, PAUSES.get(role, 0.05)))


def features_of(clip: str) -> dict[str, np.ndarray]:
    """Return the features that a clip has by its name, (T, D) a stream."""
    number = zlib.crc32(clip.encode())
    steps = np.arange(1 + number % 7, dtype=np.float32)[:, None]
    return {
        name: (steps + number % 1999 + np.arange(spec.dim)).astype(spec.numpy_dtype) for name, spec in STREAMS.items()
    }


def _write(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    del seen
    if len(store) > ENOUGH:  # or removals, which look at all of it, would not end before they are killed
        time.sleep(0.5)
        store.refresh()
        return
    with store.writer() as writer:
        for _ in range(rng.randrange(1, 4)):
            clips = [f"{os.getpid()}.{time.monotonic_ns()}.{number}" for number in range(rng.randrange(1, 6))]
            for clip in clips:
                writer.write(clip, features_of(clip))
            writer.commit()
            log.note(committed=clips)


def _remove(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    del seen
    store.refresh()
    clips = store.keys()
    chosen = (
        clips[: rng.randrange(1, 40)]
        if rng.random() < 0.3 or len(clips) > ENOUGH
        else rng.sample(clips, min(len(clips), rng.randrange(1, 9)))
    )
    log.note(removing=chosen)
    removed = _in_turn(lambda: remove(store.path, chosen, files=_quick(store)))
    log.note(**({} if removed is None else {"removed": removed}))
    if rng.random() < 0.3:
        purge(store.path, files=_quick(store))
        log.note(purged=True)


def _restore(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    del rng, seen
    log.note(restoring=True)
    restored = _in_turn(lambda: restore(store.path, files=_quick(store)))
    log.note(**({} if restored is None else {"restored": restored.clips}))


def _convert(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    """Copy the store; a copy that was begun before is gone on with, or refused as it is of other clips by now."""
    del seen
    target = Path(f"{store.path}.copy")
    store.refresh()
    if FeatureStore.exists(target) and rng.random() < 0.8:
        delete(target)
    copy = convert(store, target, backend=rng.choice(["zarr", "hdf5"]))
    log.note(converted=len(copy), **_if_any(torn=[clip for clip in copy if not _is_whole(copy, clip)]))
    delete(target)


def _in_turn(care: Callable[[], _Done]) -> _Done | None:
    """Return what comes of care, which waits for its turn; None if it does not get one."""
    for _ in range(50):
        try:
            return care()
        except StoreError as error:
            if "another process" not in str(error):
                raise
            time.sleep(0.02)
    return None


def _repair(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    del rng, seen
    dropped = _in_turn(lambda: repair(store.path, yes=True, files=_quick(store)))
    log.note(
        **({} if dropped is None else {"repaired": True}),
        **_if_any(dropped=[] if dropped in (None, Dropped([])) else [str(dropped)]),
    )


def _verify(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    del rng, seen
    alarms = [str(damage) for damage in verify(store.path) if damage.clips != ()]
    log.note(verified=info(store)["clips"] >= 0, **_if_any(alarm=alarms))


def _read(store: FeatureStore, log: "_Log", rng: random.Random, seen: "_Journal") -> None:
    seen.look()
    alive, removed = dict(seen.alive), dict(seen.removed)
    store.refresh()
    there = set(store)
    seen.look()
    lost, back = seen.lost(alive, there), seen.back(removed, there)
    torn: list[str] = []
    for clip in rng.sample(sorted(there), min(len(there), 50)):
        try:
            torn += [] if _is_whole(store, clip) else [clip]
        except NotFoundError:  # removed and seen to be
            continue
        except StoreError as error:
            store.refresh()
            if clip in store and not _is_whole(store, clip):
                torn.append(f"{clip}: {error}")
    log.note(read=min(len(there), 50), **_if_any(lost=lost, back=back, torn=torn))


def _if_any(**faults: list[str]) -> dict[str, list[str]]:
    return {fault: clips for fault, clips in faults.items() if clips}


def _quick(store: FeatureStore) -> LocalFiles:
    return LocalFiles(store.path, durable=False)  # nobody cuts the power here


def _is_whole(store: FeatureStore, clip: str) -> bool:
    return all(np.array_equal(store.read(clip, name), rows) for name, rows in features_of(clip).items())


def _end(path: Path, journal: Path) -> None:
    """Compare what is left with what was noted."""
    log, seen = _Log(journal / "end"), _Journal(journal)
    seen.look()
    _repair(FeatureStore.open(path, mode="a", durable=False), log, random.Random(0), seen)
    store = FeatureStore.open(path)
    damage = [str(damage) for damage in verify(path)]
    log.note(
        lost=seen.lost(seen.alive, set(store)),
        back=seen.back(seen.removed, set(store)),
        torn=[clip for clip in store if not _is_whole(store, clip)],
        alarm=damage,
        left=len(store),
    )


class _Log:
    """The notes of one process; a note is whole or not there, whenever it is killed."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def note(self, **event: object) -> None:
        os.write(self._file, json.dumps({**event, "at": time.monotonic()}).encode() + b"\n")


class _Journal:
    """The notes of all, of which only the new ones are read.

    alive: clip -> when it was committed, or when the restoration began that brought it back.
    removed: clip that was told to be removed -> when that began.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._done = folder, Counter[str]()
        self.alive, self.removed = dict[str, float](), dict[str, float]()
        self._removal_ended: dict[str, float] = {}  # clip -> when the last removal that named it ended
        self._restoration_ended = -math.inf
        self._begun: dict[str, dict[str, Any]] = {}  # whose notes -> what it has begun, and has not ended

    def lost(self, alive: dict[str, float], there: set[str]) -> list[str]:
        """Return the clips that should be there: all that nobody has begun to remove since."""
        going = {clip for event in self._begun.values() for clip in event.get("removing", ())}
        left = alive.keys() - there - going
        return sorted(clip for clip in left if alive[clip] > self._removal_ended.get(clip, -math.inf))

    def back(self, removed: dict[str, float], there: set[str]) -> list[str]:
        """Return the clips that should not be there: those removed after all that was ever restored."""
        if any("restoring" in event for event in self._begun.values()):
            return []
        return sorted(clip for clip in removed.keys() & there if removed[clip] > self._restoration_ended)

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was noted since the last call, and by whom."""
        found = []
        for path in sorted(self._folder.iterdir()):
            with path.open("rb") as file:
                file.seek(self._done[path.name])
                whole = file.read().rpartition(b"\n")[0]
            self._done[path.name] += len(whole) + (1 if whole else 0)
            found += [(path.name, json.loads(line)) for line in whole.splitlines()]
        return found

    def look(self) -> None:
        """Take in what was noted."""
        for who, event in self.lines():
            begun = self._begun.pop(who, {})
            if "restoring" in begun:
                self._restoration_ended = max(self._restoration_ended, event["at"])
            for clip in begun.get("removing", ()):
                self._removal_ended[clip] = max(self._removal_ended.get(clip, -math.inf), event["at"])
            for clip in (*event.get("committed", ()), *event.get("restored", ())):
                self.alive[clip] = max(self.alive.get(clip, -math.inf), begun.get("at", event["at"]))
            for clip in event.get("removed", ()):
                self.removed[clip] = max(self.removed.get(clip, -math.inf), begun["at"])
            if "removing" in event or "restoring" in event:
                self._begun[who] = event


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--backend", choices=["zarr", "hdf5"], default="zarr")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts = storm(options.store, 60 * options.minutes, backend=options.backend, seed=options.seed)
    faults = {fault: counts[fault] for fault in FAULTS}
    sys.stdout.write(f"{json.dumps(dict(counts))}\nfaults: {json.dumps(faults)}\n")
    sys.exit(any(faults.values()))


if __name__ == "__main__":
    main()
