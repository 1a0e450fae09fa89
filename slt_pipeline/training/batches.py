"""The order in which items are seen: a pure function of (seed, epoch), so that a resumed run continues it exactly."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, index) of one item: a data set draws its augmentation from (seed, epoch, index) and keeps no state."""


class EpochBatches(Sampler[list[Key]]):
    """Yields batches of (epoch, index) over several epochs, from any position on."""

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
            batch_size: items of a batch; the last batch of an epoch may be smaller, none is dropped.
            epochs: passes over the data set.
            seed: with the epoch's number it decides the order.
            lengths: where given, items of similar length share a batch (`bucket`).
            rank: number of this process, which decides its share.
            world: number of processes; short epochs are filled up with their own first batches.
        """
        self.num_items, self.batch_size, self.epochs, self.seed = num_items, batch_size, epochs, seed
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.rank, self.world = rank, world
        self.start_epoch, self.start_batch = 0, 0

    @property
    def batches_per_epoch(self) -> int:
        """Batches that each process sees in an epoch."""
        total = -(-self.num_items // self.batch_size)
        return -(-total // self.world)

    def start_at(self, epoch: int, batch: int) -> None:
        """Continue before batch number `batch` of `epoch`."""
        self.start_epoch, self.start_batch = epoch, batch

    def __len__(self) -> int:
        return (self.epochs - self.start_epoch) * self.batches_per_epoch - self.start_batch

    def __iter__(self) -> Iterator[list[Key]]:
        for epoch in range(self.start_epoch, self.epochs):
            first = self.start_batch if epoch == self.start_epoch else 0
            for batch in self._epoch(epoch)[first:]:
                yield [(epoch, int(index)) for index in batch]

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.num_items)
        if self.lengths is not None:
            span = self.batch_size * 16  # sort within windows: similar lengths meet, the order stays random at large
            windows = [order[i : i + span] for i in range(0, self.num_items, span)]
            order = np.concatenate([w[np.argsort(self.lengths[w], kind="stable")] for w in windows])
        batches = [order[i : i + self.batch_size] for i in range(0, self.num_items, self.batch_size)]
        if self.lengths is not None:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        share = self.batches_per_epoch * self.world
        batches = (batches * -(-share // len(batches)))[:share]
        return batches[self.rank :: self.world]
