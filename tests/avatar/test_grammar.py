"""The weather report: glosses and German that teach something, with adverbs only in the face."""

from collections import Counter

import numpy as np
import pytest

from slt_pipeline.avatar import grammar
from slt_pipeline.avatar.face import FACES
from slt_pipeline.avatar.grammar import write_report
from slt_pipeline.avatar.jobs import grammar_jobs, perform
from slt_pipeline.avatar.lexicon import LEXICON
from slt_pipeline.config.synth import SynthConfig
from slt_pipeline.errors import SltError

CONFIG = SynthConfig(isolated_per_gloss=2, isolated_dev_per_gloss=1)


@pytest.fixture(scope="module")
def sentences():
    return grammar_jobs(CONFIG, seed=3)[0]


def test_each_split_has_the_sentences_asked_for(sentences):
    assert Counter(job.split for job in sentences) == {"train": 400, "dev": 60, "test": 60}


def test_no_text_of_one_split_is_in_another(sentences):
    texts = {split: {job.text for job in sentences if job.split == split} for split in ("train", "dev", "test")}
    assert not texts["train"] & texts["dev"]
    assert not texts["train"] & texts["test"]
    assert not texts["dev"] & texts["test"]


def test_more_training_sentences_leave_dev_and_test_as_they_are(sentences):
    more = grammar_jobs(CONFIG.model_copy(update={"num_train": 500}), seed=3)[0]
    assert [job for job in more if job.split != "train"] == [job for job in sentences if job.split != "train"]


def test_text_is_lower_case_and_ends_in_a_dot(sentences):
    for job in sentences:
        assert job.text == job.text.lower()
        assert job.text.endswith(" .")
        assert job.text.count(".") == 1


def test_sentences_have_three_to_eight_glosses_of_the_lexicon(sentences):
    assert {len(job.gloss) for job in sentences} == {3, 4, 5, 6, 7, 8}
    assert {gloss for job in sentences for gloss in job.gloss} <= LEXICON.keys()
    assert len(LEXICON) >= 60


def test_three_quarters_of_the_sentences_have_an_adverb_on_the_face(sentences):
    modified = [job for job in sentences if set(job.mouths) != {"neutral"}]
    assert 0.7 <= len(modified) / len(sentences) <= 0.8
    assert {mouth for job in sentences for mouth in job.mouths} == FACES.keys()


def test_words_of_dev_and_test_all_come_in_training(sentences):
    words = {
        split: {word for job in sentences if job.split == split for word in job.text.split()}
        for split in ("train", "dev", "test")
    }
    assert words["dev"] | words["test"] <= words["train"]
    assert 90 <= len(words["train"]) <= 150


def test_glosses_alone_do_not_tell_the_text():
    report = write_report(900, np.random.default_rng(0), set())
    texts = {}
    for sentence in report:
        texts.setdefault(sentence.gloss, set()).add(sentence.text)
    assert sum(len(found) > 1 for found in texts.values()) > 20


def test_glosses_and_faces_together_tell_the_text():
    report = write_report(900, np.random.default_rng(1), set())
    texts = {}
    for sentence in report:
        texts.setdefault((sentence.gloss, sentence.mouths), set()).add(sentence.text)
    assert all(len(found) == 1 for found in texts.values())


def test_every_clip_is_long_enough_for_ctc(sentences):
    for job in sentences:
        motion, _ = perform(job, CONFIG, seed=3)
        repeats = sum(a == b for a, b in zip(job.gloss, job.gloss[1:], strict=False))
        assert len(motion.hands) // 4 >= len(job.gloss) + repeats


def test_a_grammar_that_runs_out_of_sentences_says_so(monkeypatch):
    few = {"NORD": "im norden"}
    for table in ("_DAYS", "_TIMES", "_REGIONS", "_ORIGINS", "_PROPERTIES", "_PRESSURE"):
        monkeypatch.setattr(grammar, table, few)
    monkeypatch.setattr(grammar, "_CLAUSES", (grammar._stays,))
    monkeypatch.setattr(grammar, "_SHARES", np.array([1.0]))
    with pytest.raises(SltError, match=r"ran out after \d+ of 30 new sentences; ask for fewer"):
        write_report(30, np.random.default_rng(0), set())


def test_isolated_clips_show_every_gloss_once_a_take_by_changing_signers():
    _, isolated = grammar_jobs(CONFIG, seed=3)
    assert Counter((job.split, job.gloss) for job in isolated) == {
        (split, (gloss,)): num for gloss in LEXICON for split, num in (("train", 2), ("dev", 1))
    }
    assert {job.signer.name for job in isolated} == {job.signer.name for job in grammar_jobs(CONFIG, seed=3)[0]}
    assert {job.mouths[0] for job in isolated} == FACES.keys()
