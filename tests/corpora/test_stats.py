"""Counts of a corpus small enough to count by hand."""

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.stats import corpus_stats, stats_table


def clip(clip_id, split, gloss, text, num_frames=25, signer="x"):
    return Clip(clip_id, "v", num_frames, 25.0, signer, gloss, text, split)


CLIPS = [
    clip("d", "dev", ("A", "D"), "x y", signer="z"),
    clip("a", "train", ("A", "A", "B"), "x y z", 10),
    clip("b", "train", ("A",), "x", 30),
    clip("c", "train", None, None, 500),
]


def test_counts():
    stats = corpus_stats(CLIPS)
    assert list(stats) == ["train", "dev"]
    train, dev = stats["train"], stats["dev"]
    assert (train.num_clips, train.num_frames, train.over_cap) == (3, 540, 1)
    assert (train.gloss_tokens, train.gloss_types, train.with_repeats) == (4, 2, 1)
    assert (train.words, train.word_types, train.texts, train.char_types) == (4, 3, 2, 4)
    assert (train.without_gloss, train.without_text) == (1, 1)
    assert (train.frames.min, train.frames.median, train.frames.max) == (10, 30.0, 500)
    assert (train.ctc_infeasible, train.ctc_infeasible_half, train.oov_gloss_types) == (1, 1, 0)
    assert (dev.oov_gloss_types, dev.oov_word_types, dev.texts_in_train, dev.signers) == (1, 0, 0, 1)
    assert dev.as_dict()["frames"]["max"] == 25


def test_table_has_one_column_a_split():
    lines = stats_table(corpus_stats(CLIPS)).splitlines()
    assert lines[0].split() == ["train", "dev"]
    assert lines[1].split() == ["clips", "3", "1"]
    assert len({len(line) for line in lines}) == 1


def test_corpus_without_labels_can_be_counted():
    stats = corpus_stats([clip("a", "train", None, None)])
    assert stats["train"].gloss_length.max == 0 and "clips" in stats_table(stats)
