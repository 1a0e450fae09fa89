"""Which sources are decoded together: those of like length, as many as fill a batch."""

from collections.abc import Iterator, Sequence

MOST = 4
"""How many times as many short sources as long ones a batch may hold: what is decoded takes memory too."""


def decoding_batches(lengths: Sequence[int], batch_size: int, *, alike: bool = False) -> Iterator[list[int]]:
    """Yield the indices of all sources in batches, the longest first: little padding, and memory fails at once if ever.

    Args:
        lengths: of the sources, in steps or glosses.
        batch_size: sources of the first batch; the next ones hold as many steps, in up to `MOST` times as many sources.
        alike: put only sources of one length together.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    steps = batch_size * max(1, lengths[order[0]]) if order else 0
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        end = start + min(MOST * batch_size, max(1, steps // max(1, longest)))
        batch = [index for index in order[start:end] if not alike or lengths[index] == longest]
        yield batch
        start += len(batch)
