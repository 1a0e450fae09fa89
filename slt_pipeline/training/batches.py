"""The order in which items are seen: a pure function of (seed, epoch), so that a resumed run continues it exactly."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, index) of one item: a data set draws its augmentation from (seed, epoch, index) and keeps no state."""


class EpochBatches(Sampler[list[Key]]):
    """Yields a process's shares of batches of (epoch, index) over several epochs, from any position on.

    The batches are those of one process, whatever the number of processes; each of them sees its share of every batch.
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int,
        *,
        epochs: int,
        seed: int,
        lengths: Sequence[int] | None = None,
        rank: int = 0,
        world: int = 1,
    ):
        """Describe the run.

        Args:
            num_items: items of the data set.
            batch_size: items of a batch of all processes; the last of an epoch may be smaller, none is dropped.
            epochs: passes over the data set.
            seed: with the epoch's number it decides the order.
            lengths: where given, items of similar length share a batch (`bucket`).
            rank: number of this process, which decides its share.
            world: number of processes, at most `batch_size`.
        """
        self.num_items, self.batch_size, self.epochs, self.seed = num_items, batch_size, epochs, seed
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.rank, self.world = rank, world
        self.start_epoch, self.start_batch = 0, 0
        self._epoch = lru_cache(maxsize=2)(self._batches_of)  # the loader is ahead of who asks for weights

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-self.num_items // self.batch_size)

    def start_at(self, epoch: int, batch: int) -> None:
        """Continue before batch number `batch` of `epoch`."""
        self.start_epoch, self.start_batch = epoch, batch

    def __len__(self) -> int:
        return (self.epochs - self.start_epoch) * self.batches_per_epoch - self.start_batch

    def __iter__(self) -> Iterator[list[Key]]:
        for epoch in range(self.start_epoch, self.epochs):
            first = self.start_batch if epoch == self.start_epoch else 0
            for batch in range(first, self.batches_per_epoch):
                yield [(epoch, index) for index in self.share(epoch, batch)]

    def share(self, epoch: int, batch: int) -> list[int]:
        """Return the indices of this process's items of a batch, at least one.

        Of a batch with fewer items than processes every process has one, and some are seen by several.
        """
        items = self._epoch(epoch)[batch]
        mine = items[self.rank :: self.world] if len(items) >= self.world else [items[self.rank % len(items)]]
        return [int(index) for index in mine]

    def weight(self, epoch: int, batch: int, accumulate: int) -> float:
        """Return what a mean over this process's share is divided by, so that all count alike in an optimiser step.

        The mean over processes of the sum over an optimiser step's batches of (mean over the share / weight) is the
        mean over all items of the step.

        Args:
            epoch: of the batch.
            batch: its number.
            accumulate: batches of a step.
        """
        first = batch - batch % accumulate
        items = sum(len(each) for each in self._epoch(epoch)[first : first + accumulate])
        size = len(self._epoch(epoch)[batch])
        # of an item that several processes see, each counts its part
        seen = len(range(self.rank, size, self.world)) if size >= self.world else 1 / self._sharers(size)
        return items / (seen * self.world)

    def _sharers(self, size: int) -> int:
        """Processes that see this one's item of a batch with fewer items than processes."""
        return len(range(self.rank % size, self.world, size))

    def _batches_of(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.num_items)
        if self.lengths is not None:
            span = self.batch_size * 16  # sort within windows: similar lengths meet, the order stays random at large
            windows = [order[i : i + span] for i in range(0, self.num_items, span)]
            order = np.concatenate([w[np.argsort(self.lengths[w], kind="stable")] for w in windows])
        batches = [order[i : i + self.batch_size] for i in range(0, self.num_items, self.batch_size)]
        if self.lengths is not None:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches
