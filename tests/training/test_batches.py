import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from slt_pipeline.training.batches import EpochBatches

LENGTHS = [3 + 7 * i % 40 for i in range(50)]


def in_full(num_items=50, batch_size=4, *, epochs=3, seed=1, **share):
    return list(EpochBatches(num_items, batch_size, epochs=epochs, seed=seed, **share))


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["shuffled", "bucketed"])
def test_every_item_comes_once_in_every_epoch(lengths):
    batches = in_full(lengths=lengths)
    assert len(batches) == 3 * 13
    for epoch in range(3):
        items = [index for batch in batches for e, index in batch if e == epoch]
        assert sorted(items) == list(range(50))


def test_a_batch_never_mixes_epochs_and_the_last_one_may_be_small():
    batches = in_full()
    assert all(len({epoch for epoch, _ in batch}) == 1 for batch in batches)
    assert sorted(map(len, batches))[:4] == [2, 2, 2, 4]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["shuffled", "bucketed"])
def test_the_order_is_a_function_of_seed_and_epoch(lengths):
    assert in_full(lengths=lengths) == in_full(lengths=lengths)
    assert in_full(lengths=lengths)[:13] == in_full(lengths=lengths, epochs=1)
    assert in_full(lengths=lengths, seed=2) != in_full(lengths=lengths)
    first, second = ([i for b in in_full(lengths=lengths) for e, i in b if e == epoch] for epoch in (0, 1))
    assert first != second


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["shuffled", "bucketed"])
@pytest.mark.parametrize(("epoch", "batch"), [(0, 0), (0, 5), (1, 0), (2, 12), (3, 0)])
def test_starting_at_a_position_gives_the_tail_of_the_full_order(epoch, batch, lengths):
    sampler = EpochBatches(50, 4, epochs=3, seed=1, lengths=lengths)
    sampler.start_at(epoch, batch)
    tail = in_full(lengths=lengths)[13 * epoch + batch :]
    assert list(sampler) == tail
    assert len(sampler) == len(tail)


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["shuffled", "bucketed"])
def test_processes_share_out_the_batches_of_one(world, lengths):
    shares = [in_full(rank=rank, world=world, lengths=lengths) for rank in range(world)]
    for whole, *parts in zip(in_full(lengths=lengths), *shares, strict=True):
        together = [key for part in parts for key in part]
        assert set(together) == set(whole)
        assert len(together) == max(len(whole), world)  # of a last batch of two, three have one each
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_weights_make_the_mean_over_all_items_of_an_optimiser_step(world, accumulate):
    """Whatever the number of processes, and for batches and steps that are smaller than the others."""
    values = np.random.default_rng(0).standard_normal(50)
    ranks = [EpochBatches(50, 4, epochs=1, seed=1, rank=rank, world=world) for rank in range(world)]
    batches = in_full(epochs=1)
    for first in range(0, len(batches), accumulate):
        step = range(first, min(first + accumulate, len(batches)))
        found = sum(
            values[rank.share(0, batch)].mean() / rank.weight(0, batch, accumulate) / world
            for rank in ranks
            for batch in step
        )
        assert found == pytest.approx(values[[index for batch in step for _, index in batches[batch]]].mean())


def test_bucketing_puts_similar_lengths_together():
    def padding(batches):
        return sum(max(LENGTHS[i] for _, i in b) - LENGTHS[j] for b in batches for _, j in b)

    assert padding(in_full(lengths=LENGTHS)) < 0.3 * padding(in_full())


def test_bucketing_does_not_sort_the_epoch_by_length():
    longest = [max(LENGTHS[i] for _, i in batch) for batch in in_full(lengths=LENGTHS, epochs=1)]
    assert longest != sorted(longest)


def test_a_loader_asks_the_data_set_for_epoch_and_index():
    class Keys(torch.utils.data.Dataset):
        def __getitem__(self, key):
            return np.array(key)

    batches = EpochBatches(5, 2, epochs=2, seed=0)
    seen = [tuple(map(int, key)) for batch in DataLoader(Keys(), batch_sampler=batches) for key in batch]
    assert seen == [key for batch in in_full(5, 2, epochs=2, seed=0) for key in batch]
