"""ELAN's files as annotators leave them become clips: times, tiers, videos that were elsewhere."""

import pytest
from video_files import grey_pictures, write_stamped

from slt_pipeline.corpora.elan import import_elan
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.times import reference_times
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0" VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">{media}</HEADER><TIME_ORDER>{slots}</TIME_ORDER>"""
MEDIA = '<MEDIA_DESCRIPTOR MEDIA_URL="{}" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="{}"/>'


def aligned(name, start, end, value):
    slots = f'ANNOTATION_ID="{name}" TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{end}"'
    return (
        f"<ANNOTATION><ALIGNABLE_ANNOTATION {slots}><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>"
        "</ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


def referring(name, to, value, after=None):
    previous = f' PREVIOUS_ANNOTATION="{after}"' if after else ""
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{to}"{previous}>'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def tier(name, *annotations, participant="Anna"):
    return f'<TIER TIER_ID="{name}" PARTICIPANT="{participant}">' + "".join(annotations) + "</TIER>"


def write(path, slots, *tiers, media=None):
    """Write a file; a slot without a time has None."""
    listed = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + ("/>" if time is None else f' TIME_VALUE="{time}"/>')
        for name, time in slots.items()
    )
    media = MEDIA.format("file:///somewhere/else/a.mp4", "./a.mp4") if media is None else media
    path.write_text(
        HEAD.format(media=media, slots=listed) + "".join(tiers) + "</ANNOTATION_DOCUMENT>", encoding="utf-8"
    )
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder with `a.mp4`, 2 s at 25 frames a second."""
    write_stamped(tmp_path / "a.mp4", grey_pictures(50), range(0, 2000, 40))
    return tmp_path


SLOTS = {"s0": 0, "s1": 1000, "s2": 1000, "s3": 2000}
SENTENCES = tier("Text", aligned("t1", "s0", "s1", "Guten  Tag &amp; so."), aligned("t2", "s2", "s3", "Es regnet."))


def imported(folder, path, glosses=(), **options):
    report = import_elan(path, folder / "m.jsonl", ["Text"], glosses, **options)
    return report, read_manifest(folder / "m.jsonl")


def test_sentences_with_the_glosses_that_are_signed_meanwhile_and_their_times(folder):
    times = {"g0": 40, "g1": 300, "g2": 320, "g3": 800, "g4": 900, "g5": 1400, "g6": 1500, "g7": 2000}
    glosses = [("g2", "g3", "TAG"), ("g0", "g1", "GUT"), ("g4", "g5", "REGEN  STARK"), ("g6", "g7", "")]
    found = [aligned(f"a{number}", *gloss) for number, gloss in enumerate(glosses)]
    path = write(folder / "talk.eaf", SLOTS | times, SENTENCES, tier("Gloss", *found))
    _, (first, second) = imported(folder, path, ["Gloss"], split="dev")
    assert (first.id, first.text, first.gloss, first.signer) == ("talk/t1", "Guten Tag & so.", ("GUT", "TAG"), "Anna")
    assert (first.start, first.end, first.num_frames, first.split) == (0.0, 1.0, 25, "dev")
    assert reference_times(first) == [pytest.approx((0.04, 0.3)), pytest.approx((0.32, 0.8))]
    assert (second.gloss, second.start, second.end) == (("REGEN-STARK",), 1.0, 2.0)
    assert reference_times(second) == [pytest.approx((0.0, 0.4))]  # what comes before the sentence is cut off
    assert validate(folder / "m.jsonl").ok


def test_annotations_that_refer_to_others_have_their_times(folder):
    base = tier("Segments", aligned("p1", "s0", "s1", "x"), aligned("p2", "s2", "s3", "y"))
    text = tier("Text", referring("t1", "p1", "Eins."), referring("t2", "p2", "Zwei."))
    glosses = tier(
        "Gloss", referring("g2", "t1", "B", after="g1"), referring("g1", "t1", "A"), referring("g3", "t2", "C")
    )
    _, clips = imported(folder, write(folder / "a.eaf", SLOTS, glosses, text, base), ["Gloss"])
    assert [(c.text, c.gloss, c.start, c.end) for c in clips] == [
        ("Eins.", ("A", "B"), 0.0, 1.0),
        ("Zwei.", ("C",), 1.0, 2.0),
    ]
    assert reference_times(clips[0]) == [pytest.approx((0, 0.5)), pytest.approx((0.5, 1))]


def test_time_slots_without_a_time_lie_evenly_between_those_that_have_one(folder):
    slots = {"s0": 0, "x": None, "y": None, "s3": 1500, "z": None}
    text = tier(
        "Text",
        aligned("t1", "s0", "x", "Eins."),
        aligned("t2", "x", "y", "Zwei."),
        aligned("t3", "y", "s3", "Drei."),
        aligned("t4", "s3", "z", "Nie."),
    )
    report, clips = imported(folder, write(folder / "a.eaf", slots, text))
    assert [(c.text, c.start, c.end) for c in clips] == [("Eins.", 0, 0.5), ("Zwei.", 0.5, 1), ("Drei.", 1, 1.5)]
    assert clips[0].gloss is None
    assert report.rejected == [{"id": "a/t4", "reason": "a.eaf: t4 of Text: the annotation has no time"}]


@pytest.mark.parametrize(
    "media",
    [
        MEDIA.format("file:///C:/Users/Anna/Videos/my%20talk.mp4", ""),
        MEDIA.format("file:///home/anna/my%20talk.mp4", "../videos/my%20talk.mp4"),
        MEDIA.format(r"C:\Users\Anna\my talk.mp4", r".\my talk.mp4"),
        MEDIA.format("", "./my talk.mp4"),
        '<MEDIA_DESCRIPTOR MEDIA_URL="a.wav" MIME_TYPE="audio/x-wav"/>' + MEDIA.format("x", "file:///my%20talk.mp4"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_video_is_found_by_its_name_wherever_it_was(folder, media, elsewhere):
    place = folder / "videos" if elsewhere else folder
    place.mkdir(exist_ok=True)
    (folder / "a.mp4").rename(place / "my talk.mp4")
    path = write(folder / "a.eaf", SLOTS, SENTENCES, media=media)
    _, clips = imported(folder, path, videos=place if elsewhere else None)
    assert [clip.video for clip in clips] == [(place / "my talk.mp4").relative_to(folder).as_posix()] * 2


def test_a_video_that_starts_before_its_annotations(folder):
    media = MEDIA.format("", "./a.mp4").replace("MIME_TYPE", 'TIME_ORIGIN="200" MIME_TYPE')
    text = tier("Text", aligned("t1", "s0", "s1", "Eins."))
    _, (clip,) = imported(folder, write(folder / "a.eaf", SLOTS, text, media=media))
    assert (clip.start, clip.end) == (0.2, 1.2)


@pytest.mark.parametrize(("gone", "there", "start"), [("400", "200", 0.2), ("200", None, 0.0), (None, "200", 0.2)])
def test_of_several_videos_the_one_that_is_there_has_its_own_start(folder, gone, there, start):
    def media(name, origin):
        said = "" if origin is None else f'TIME_ORIGIN="{origin}" '
        return MEDIA.format("", name).replace("MIME_TYPE", f"{said}MIME_TYPE")

    path = write(folder / "a.eaf", SLOTS, SENTENCES, media=media("./side.mp4", gone) + media("./a.mp4", there))
    _, clips = imported(folder, path)
    assert [(clip.video, clip.start) for clip in clips[:1]] == [("a.mp4", start)]


def test_a_video_is_found_in_a_folder_of_whatever_name(folder):
    place = folder / "outside"
    place.mkdir()
    (folder / "a.mp4").rename(place / "a.mp4")
    _, clips = imported(folder, write(place / "a.eaf", SLOTS, SENTENCES, media=MEDIA.format("", "./gone/a.mp4")))
    assert [clip.video for clip in clips] == ["outside/a.mp4"] * 2


def test_files_of_a_folder_are_known_by_their_suffix_in_whatever_capitals(folder):
    write(folder / "A.EAF", SLOTS, SENTENCES)
    assert len(imported(folder, folder)[1]) == 2


def test_one_bad_file_of_a_folder_is_left_out_by_name(folder):
    for split in ("train", "dev"):
        (folder / split).mkdir()
        write(folder / split / "a.eaf", SLOTS, SENTENCES, media=MEDIA.format("", "../a.mp4"))
    (folder / "dev" / "torn.eaf").write_text("<ANNOTATION_DOCUMENT><HEADER>")
    (folder / "dev" / "page.eaf").write_text("<html/>")
    write(folder / "dev" / "other.eaf", SLOTS, tier("Words"), media=MEDIA.format("", "../a.mp4"))
    write(folder / "dev" / "gone.eaf", SLOTS, SENTENCES, media=MEDIA.format("", "gone.mp4"))
    write(folder / "dev" / "time.eaf", {"s0": "bald"}, SENTENCES, media=MEDIA.format("", "../a.mp4"))
    report, clips = imported(folder, folder)
    assert [clip.id for clip in clips] == ["dev/a/t1", "dev/a/t2", "train/a/t1", "train/a/t2"]
    assert report.num_clips == {"train": 2, "dev": 2}
    reasons = {row["id"]: row["reason"] for row in report.rejected}
    assert "is damaged" in reasons["dev/torn"] and "outermost element is html" in reasons["dev/page"]
    assert "no tier 'Text'; there are Words (0)" in reasons["dev/other"]
    assert "none of its videos is there: gone.mp4" in reasons["dev/gone/t1"]
    assert "'bald' is no time" in reasons["dev/time"]


@pytest.mark.parametrize(
    "declared",
    [
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_a_file_that_declares_entities_is_refused(folder, declared):
    path = write(folder / "a.eaf", SLOTS, SENTENCES.replace("Es regnet", "&a;"))
    path.write_text(path.read_text().replace("?>\n", f"?>\n{declared}\n"))
    with pytest.raises(SltError, match="a document type, which no ELAN file has"):
        imported(folder, path)


def test_two_signers_each_with_a_tier_of_glosses(folder):
    tiers = [
        tier("Text_B", aligned("t2", "s0", "s1", "B."), participant="Ben"),
        tier("Text_A", aligned("t1", "s0", "s1", "A."), participant=""),
        tier("Gloss_A", aligned("g1", "s0", "s1", "AA")),
        tier("Gloss_B", aligned("g2", "s0", "s1", "BB")),
    ]
    path = write(folder / "a.eaf", SLOTS, *tiers)
    import_elan(path, folder / "m.jsonl", ["Text_A", "Text_B"], ["Gloss_A", "Gloss_B"])
    clips = read_manifest(folder / "m.jsonl")
    assert [(c.text, c.gloss, c.signer) for c in clips] == [("A.", ("AA",), "unknown"), ("B.", ("BB",), "Ben")]
    with pytest.raises(SltError, match="2 text tiers have 1 gloss tiers; name one for each, or none"):
        import_elan(path, folder / "m.jsonl", ["Text_A", "Text_B"], ["Gloss_A"])
