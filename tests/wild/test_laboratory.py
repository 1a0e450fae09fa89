"""The laboratory in other hands: outputs, scores, confidence and language models as they are found."""

import json
import shutil

import pytest
import torch
import yaml
from click.testing import CliRunner

from slt_pipeline.cli.main import cli
from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.corpora.gloss_tables import read_gloss_table
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, write_json
from slt_pipeline.models.measures import Density, Likeness
from slt_pipeline.systems.confidence import CONFIDENCE_FILE, Confidence, Limit, Term
from slt_pipeline.systems.confidence_fit import fit_limits, with_numbers
from slt_pipeline.systems.teachers import weights_of_teachers
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.text.train_tokenizer import train_tokenizer

LINE = {"id": "a", "hypothesis": "es regnet", "reference": "es regnet"}


def told(*arguments) -> str:
    """What a command is refused with, in one line."""
    found = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert isinstance(found.exception, SltError), (found.exception, found.output)
    assert "\n" not in str(found.exception)
    return str(found.exception)


# --- scores


@pytest.mark.parametrize("content", ["[]", "5", "null", '{"clips": 5}', '{"clips": [5]}', '{"clips": null}'])
def test_a_person_scores_json_that_is_no_outputs(tmp_path, content):
    path = tmp_path / "outputs.json"
    path.write_text(content)
    assert f"{path} is none of the files that `slt evaluate` writes" in told("score", path)


@pytest.mark.parametrize("content", ["5", "[5]", '{"a": 1}', '[{"task": "sign2text", "split": "dev", "protocol": 5}]'])
def test_the_scores_beside_outputs_are_no_scores(tmp_path, content):
    path = tmp_path / "sign2text-dev.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    path.with_name("scores.json").write_text(content)
    for command in (("score", path), ("compare", path, path)):
        assert "scores.json is none of" in (message := told(*command)) or "protocol '5'" in message


def test_a_row_of_scores_without_task_is_passed_over(tmp_path):
    path = tmp_path / "sign2text-dev.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    path.with_name("scores.json").write_text('[{}, {"task": "sign2text", "split": "dev", "protocol": "csl-daily"}]')
    assert '"protocol": "csl-daily"' in CliRunner().invoke(cli, ["score", str(path)]).output


@pytest.mark.parametrize("glosses", [5, {"A": 1}, [None], [["A"]], True])
def test_glosses_that_are_no_names_are_no_word_error_rate(tmp_path, glosses):
    path = tmp_path / "outputs.jsonl"
    path.write_text(json.dumps({**LINE, "glosses": glosses, "gloss_reference": ["A"]}) + "\n")
    assert "they have to be a list of names, or one sentence of them" in told("score", path, "--gloss")


def test_a_person_asks_for_a_split_or_task_of_two_files(tmp_path):
    path = tmp_path / "outputs.jsonl"
    path.write_text(json.dumps(LINE) + "\n")
    for option in (("--split", "dev"), ("--task", "gloss2text")):
        found = CliRunner().invoke(cli, ["compare", str(path), str(path), "--protocol", "plain-word", *option])
        assert found.exit_code == 2
        assert f"{option[0]} is of folders" in found.output


def test_references_without_a_word_are_counted(tmp_path):
    path = tmp_path / "outputs.jsonl"
    path.write_text(
        "".join(json.dumps({**LINE, "id": n, "reference": r}) + "\n" for n, r in enumerate(["", " ", "es"]))
    )
    found = CliRunner().invoke(cli, ["score", str(path)])
    assert found.exit_code == 0
    assert "2 of 3 references are empty" in found.output


# --- confidence


@pytest.fixture
def fitted(tmp_path):
    """A confidence in a run folder, and what it holds for."""
    density = Density(torch.zeros(4), torch.eye(4)[:1], torch.ones(1), 0.5)
    term, limit = Term(0.1, 0.2, 1, 0.3), Limit(9, 0.1, 0.9, None, 1.2)
    holds, likeness = {"translator": "t"}, Likeness(density, density, density)
    Confidence(holds, {"dev": 9}, "s3d", "gloss_rep", 0.7, 0.2, {"steps": term}, {"steps": limit}, likeness).save(
        tmp_path
    )
    return tmp_path, holds


def test_confidence_is_read_as_it_was_fitted(fitted):
    folder, holds = fitted
    found = Confidence.open(folder, holds)
    assert found is not None and (found.mean_quality, found.terms["steps"].weight) == (0.7, 0.3)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(mean_quality=0.8),
        lambda data: data.update(limits={}),
        lambda data: data["terms"]["steps"].update(weight=0.4),
        lambda data: data["likeness"]["looks"]["mean"].reverse() or data["likeness"]["looks"].update(rest=0.6),
        lambda data: data.update(digest=5),
    ],
)
def test_one_number_of_a_confidence_is_another_and_it_never_speaks(fitted, change):
    folder, holds = fitted
    write_json(folder / CONFIDENCE_FILE, (data := read_json(folder / CONFIDENCE_FILE)) and (change(data), data)[1])
    with pytest.raises(SltError, match="fit it anew with `slt confidence --run"):
        Confidence.open(folder, holds)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(mean_quality=float("nan")),
        lambda data: data.update(mean_quality=5),
        lambda data: data.update(mean_quality="x"),
        lambda data: data.update(chance=-1),
        lambda data: data.update(looks="nix"),
        lambda data: data["terms"]["steps"].update(scale=0),
        lambda data: data["terms"]["steps"].update(weight=None),
        lambda data: data.update(terms=[]),
    ],
)
def test_a_confidence_without_a_digest_still_has_to_hold_numbers(fitted, change):
    folder, holds = fitted
    data = read_json(folder / CONFIDENCE_FILE)
    del data["digest"]
    change(data)
    write_json(folder / CONFIDENCE_FILE, data)
    with pytest.raises(SltError, match="is damaged"):
        Confidence.open(folder, holds)


def test_clips_of_damaged_features_are_left_out_of_the_fit_and_told(caplog):
    clips = [{"steps": 1.0}, {"steps": float("nan")}, {"steps": 3.0}]
    assert with_numbers(clips, "abc") == [0, 2]
    assert "1 of 3 dev clips are left out of the fit, such as b" in caplog.text
    assert fit_limits(clips)["steps"].clips == 2
    with pytest.raises(SltError, match="no dev clip has measures to fit a confidence to, such as b"):
        with_numbers(clips[1:2], "b")


# --- language models


def test_a_run_cannot_be_its_own_teacher(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    for folder in ("a", "b", "b/../a"):
        with pytest.raises(SltError, match="the run that they are to teach"):
            weights_of_teachers([str(tmp_path / folder)], tmp_path / "a")


@pytest.mark.parametrize("key", ["mapper.input=s3d", "mapper.num_hidden=2", "suffix=txt", "head=trained"])
def test_a_person_gives_a_gpt2_what_reads_signs(tmp_path, key):
    path = tmp_path / "g.yaml"
    path.write_text(yaml.safe_dump({"extends": "demo/mmtlb", "translator": {"language_model": "gpt2"}}))
    load_recipe(str(path))
    with pytest.raises(SltError, match=r"does nothing: translator\.language_model is gpt2, which reads no signs"):
        load_recipe(str(path), [f"translator.{key}"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sentencepiece.bpe.model", ""),
        ("sentencepiece.bpe.model", "\0" * 99),
        ("map_ids.json", "[]"),
        ("map_ids.json", '{"a": 1}'),
        ("map_ids.json", '{"0": null}'),
        ("slt_tokenizer.json", "[]"),
        ("slt_tokenizer.json", '{"kept": 5}'),
        ("slt_tokenizer.json", '{"language": 5}'),
    ],
)
def test_a_damaged_tokenizer_is_named_with_its_files(tmp_path, tokenizer_folder, name, content):
    folder = shutil.copytree(tokenizer_folder, tmp_path / "tokenizer")
    (folder / "slt_tokenizer.json").unlink()
    (folder / name).write_text(content)
    with pytest.raises(SltError, match=f"tokenizer folder {folder}: .*{name}.* damaged"):
        Tokenizer.load(folder)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train_tokenizer(["es regnet im norden", "die sonne scheint im süden"], vocab_size=40).save(folder)
    return folder


def test_a_table_of_glosses_with_a_byte_order_mark_is_json(tmp_path):
    path = tmp_path / "glosses.json"
    names = ("<s>", "<unk>", "<pad>", "</s>", "regen")
    path.write_text(json.dumps(names), encoding="utf-8-sig")
    assert read_gloss_table(path).names == names
    path.write_text("null")
    with pytest.raises(SltError, match="expected a list of names"):
        read_gloss_table(path)
