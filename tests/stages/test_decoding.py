"""Which sources are decoded together."""

import pytest

from slt_pipeline.systems.decoding import MOST, decoding_batches


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_every_source_is_decoded_once(batch_size, alike):
    lengths = [(7 * n) % 13 for n in range(40)]
    batches = list(decoding_batches(lengths, batch_size, alike=alike))
    assert sorted(index for batch in batches for index in batch) == list(range(40))
    for batch in batches:
        of_each = [lengths[index] for index in batch]
        assert of_each == sorted(of_each, reverse=True)
        assert len(batch) <= MOST * batch_size
        assert len(batch) * of_each[0] <= batch_size * max(lengths)
        assert not alike or len(set(of_each)) == 1


def test_short_sources_fill_the_room_of_long_ones():
    assert [len(batch) for batch in decoding_batches([8, 8, *[2] * 20], 2)] == [2, 8, 8, 4]


def test_nothing_to_decode_is_no_batch():
    assert list(decoding_batches([], 4)) == []
    assert list(decoding_batches([0, 0], 4)) == [[0, 1]]
