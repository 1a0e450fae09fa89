"""speed.jsonl: how fast each epoch went, and how long it waited for data. Nothing here decides anything."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from slt_pipeline.training import distributed
from slt_pipeline.training.runlog import RunLog


class Speed:
    """A stop watch for epochs, or for what of an epoch a resumed run has done."""

    def __init__(self):
        self.clips = 0
        self.log: RunLog | None = None
        self._waited, self._started, self._last = 0.0, time.monotonic(), ""

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield batches and take the time that each lets wait."""
        found = iter(batches)
        self.resume()
        while True:
            asked = time.monotonic()
            try:
                batch = next(found)
            except StopIteration:
                return
            self._waited += time.monotonic() - asked
            yield batch

    def resume(self) -> None:
        """Start anew, after something else that took time."""
        self.clips, self._waited, self._started = 0, 0.0, time.monotonic()

    def end_epoch(self, epoch: int, step: int) -> None:
        """Note the epoch that has just ended, of all processes, and start anew."""
        seconds = max(1e-9, time.monotonic() - self._started)
        found = distributed.gathered((self.clips, self._waited / seconds))
        rate, waiting = sum(clips for clips, _ in found) / seconds, max(share for _, share in found)
        self._last = f"  ({rate:.3g} clips/s, {waiting:.0%} of the time waiting for data)"
        if self.log is not None:
            record = {"epoch": epoch, "step": step, "seconds": round(seconds, 2), "clips_per_second": round(rate, 2)}
            self.log.write({**record, "waiting": round(waiting, 3), "processes": distributed.world()})
        self.resume()

    def text(self) -> str:
        """Return the speed of the last epoch, for a log line."""
        return self._last
