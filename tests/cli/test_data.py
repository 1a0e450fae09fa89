import json
import pickle
import re
import shlex

import pytest

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.text.train_tokenizer import train_tokenizer


@pytest.fixture
def corpus(tmp_path, write_video):
    """Three clips of 12 frames with a manifest that is right."""
    clips = []
    for number, split in enumerate(("train", "train", "dev")):
        video = f"videos/{number}.mp4"
        write_video(tmp_path / video)
        clips.append(Clip(f"c{number}", video, 12, 25.0, "anna", ("TAG", "WARM"), "am tag warm .", split))
    manifest = tmp_path / "manifest.jsonl"
    write_manifest(manifest, clips)
    return manifest


def test_a_sound_corpus_validates_with_status_0_and_is_left_alone(slt, corpus):
    before = {path: path.read_bytes() for path in corpus.parent.rglob("*") if path.is_file()}
    run = slt("data", "validate", corpus)
    assert run.exit_code == 0
    assert "no problems" in run.output
    assert {path: path.read_bytes() for path in corpus.parent.rglob("*") if path.is_file()} == before


def test_problems_are_listed_by_line_with_status_1(slt, corpus, write_video):
    (corpus.parent / "videos/1.mp4").write_text("no video")
    write_video(corpus.parent / "videos/2.mp4", num_frames=9)
    with corpus.open("a") as file:
        file.write("{oops\n")
    run = slt("data", "validate", corpus)
    assert run.exit_code == 1
    by_line = {
        line.partition(": ")[0].rpartition(":")[2]: line for line in run.output.splitlines() if ".jsonl:" in line
    }
    assert sorted(by_line) == ["2", "3", "4"]
    assert "1.mp4" in by_line["2"]
    assert "[frame-count]" in by_line["3"]
    assert "12" in by_line["3"]
    assert "9" in by_line["3"]
    assert "[bad-line]" in by_line["4"]


def test_problems_as_json_are_one_object_a_line(slt, corpus):
    (corpus.parent / "videos/0.mp4").unlink()
    run = slt("data", "validate", corpus, "--json")
    assert run.exit_code == 1
    (problem,) = [json.loads(line) for line in run.stdout.splitlines()]
    assert (problem["line"], problem["id"], problem["kind"]) == (1, "c0", "video")


def test_without_the_videos_only_the_lines_are_checked(slt, corpus):
    (corpus.parent / "videos/0.mp4").unlink()
    assert slt("data", "validate", corpus, "--no-video").exit_code == 0


@pytest.mark.parametrize("option", ["--decode", "--strict"])
def test_what_is_asked_of_videos_that_are_not_opened_is_refused(slt, corpus, option):
    run = slt("data", "validate", corpus, "--no-video", option)
    assert run.exit_code == 2 and f"{option} is of videos" in run.output


def test_a_split_that_nothing_reads_is_told_and_is_no_problem(slt, corpus):
    corpus.write_text(corpus.read_text().replace('"dev"', '"val"'))
    run = slt("data", "validate", corpus)
    assert run.exit_code == 0
    assert "split val: training and evaluation read train, dev, test" in run.output


def test_glosses_that_an_encoder_does_not_know_are_problems(slt, corpus, tmp_path):
    vocabulary = tmp_path / "glosses.json"
    vocabulary.write_text(json.dumps(["<si>", "<unk>", "<pad>", "</s>", "tag"]))
    run = slt("data", "validate", corpus, "--vocabulary", vocabulary)
    assert run.exit_code == 1
    assert run.output.count("[unknown-gloss]") == 3


def test_the_status_reaches_the_shell(slt_process, corpus):
    assert slt_process("data", "validate", corpus, "--no-video").returncode == 0
    corpus.write_text("{oops\n")
    run = slt_process("data", "validate", corpus, "--no-video")
    assert run.returncode == 1
    assert "[bad-line]" in run.stdout


def test_stats_counts_clips_by_split(slt, corpus):
    counts = json.loads(slt("data", "stats", corpus, "--json").output)
    assert {split: count["num_clips"] for split, count in counts.items()} == {"train": 2, "dev": 1}
    assert counts["train"]["num_frames"] == 24
    assert counts["dev"]["texts_in_train"] == 1
    table = slt("data", "stats", corpus).output.splitlines()
    assert table[0].split() == ["train", "dev"]
    assert table[1].split() == ["clips", "2", "1"]


@pytest.fixture
def toy(here):
    """A recipe of four clips and no isolated signs."""
    recipe = here / "toy.yaml"
    recipe.write_text(
        "corpus: {manifest: corpus/manifest.jsonl}\n"
        "synth: {num_train: 2, num_dev: 1, num_test: 1, isolated_per_gloss: 0, isolated_dev_per_gloss: 0,\n"
        "  width: 32, height: 32, signers: 2}\n"
    )
    return recipe


def test_synth_renders_once_and_keeps_what_is_there(slt, toy, here):
    first = slt("data", "synth", "-r", toy, "--workers", "1")
    assert "sentences 2 train, 1 dev, 1 test" in first.output
    assert "4 clips drawn, 0 kept" in first.output
    clips = read_manifest(here / "corpus/manifest.jsonl")
    assert [clip.split for clip in clips] == ["train", "train", "dev", "test"]
    files = {path: path.stat().st_mtime_ns for path in here.glob("corpus/videos/**/*.mp4")}
    assert len(files) == 4
    assert "0 clips drawn, 4 kept" in slt("data", "synth", "-r", toy, "--workers", "1").output
    assert {path: path.stat().st_mtime_ns for path in here.glob("corpus/videos/**/*.mp4")} == files
    assert slt("data", "validate", here / "corpus/manifest.jsonl").exit_code == 0
    with pytest.raises(SltError, match=r"was made with .*seed"):
        slt("data", "synth", "-r", toy, "-o", "seed=99")


def test_synth_needs_a_section_of_its_own(slt, toy):
    with pytest.raises(SltError, match="recipe toy has no `synth` section"):
        slt("data", "synth", "-r", toy, "-o", "synth=null")


def test_the_command_that_an_error_names_makes_a_published_folder_usable(slt, tmp_path):
    folder = tmp_path / "mbart de"
    whole = train_tokenizer(["am montag regen .", "am dienstag schnee ."])
    whole.save(folder)
    (folder / "slt_tokenizer.json").unlink()
    kept = [0, 1, 2, 3, whole.language_id, *dict.fromkeys(whole.encode("am montag regen ."))]
    (folder / "map_ids.pkl").write_bytes(pickle.dumps({old: new for new, old in enumerate(kept)}))
    with pytest.raises(SltError) as found:
        Tokenizer.load(folder)
    (command,) = re.findall(r"`slt ([^`]+)`", str(found.value))
    run = slt(*shlex.split(command))
    assert run.exit_code == 0
    assert f"{folder / 'map_ids.json'}: {len(kept)} ids" in run.output
    assert Tokenizer.load(folder).vocab_size == len(kept)
    assert Tokenizer.load(folder).round_trip("am montag regen .") == "am montag regen ."


@pytest.mark.parametrize("name", ["list.csv", "link", "videos/0.mp4"])
def test_no_import_writes_its_manifest_over_a_file_that_is_none(slt, corpus, name):
    table = corpus.parent / "list.csv"
    table.write_text("id,video,text\na,videos/0.mp4,am tag .\n")
    (corpus.parent / "link").symlink_to(table)
    before = {path: path.read_bytes() for path in corpus.parent.rglob("*") if path.is_file()}
    with pytest.raises(SltError, match=f"{name} is there and is not a manifest, which alone may be replaced"):
        slt("data", "import", "table", table, "--out", corpus.parent / name)
    assert {path: path.read_bytes() for path in corpus.parent.rglob("*") if path.is_file()} == before
    assert slt("data", "import", "table", table, "--out", corpus).exit_code == 0
    assert [clip.id for clip in read_manifest(corpus)] == ["a"]
