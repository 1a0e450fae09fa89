"""Recipes as people write them: a value means what they think, or is refused with its line."""

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe_refusals import refusal

from slt_pipeline.cli.main import cli
from slt_pipeline.config.recipe import dump_recipe, load_recipe, recipe_of_encoder, save_recipe
from slt_pipeline.config.variants import runs_of
from slt_pipeline.config.written import read_json_text, read_yaml, write_yaml
from slt_pipeline.errors import SltError

CORPUS = "corpus: {manifest: m.jsonl}\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "at home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "at home"


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("seed: 1\n# why\nseed: 2\n", "seed", "lines 2 and 4"),
        ("visual_train:\n  beam_size: 1\n  beam_size: 2\n", "beam_size", "lines 3 and 4"),
        ("visual_train: {training: {epochs: 1,\n  epochs: 2}}\n", "epochs", "lines 2 and 3"),
        ("sweep: {grid: {seed: [1], seed: [2]}}\n", "seed", "line 2"),
        ("sweep:\n  variants:\n    a: {}\n    a: {seed: 1}\n", "a", "lines 4 and 5"),
        ("corpus: {manifest: n.jsonl}\n", "corpus", "lines 1 and 2"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\n", "x", "lines 2 and 5"),
    ],
)
def test_a_section_twice_in_one_file_is_refused_with_both_lines(write, text, key, lines):
    assert f"the key {key} is there twice, on {lines}; keep one of them" in refusal(write(CORPUS + text))


def test_a_key_twice_in_an_override_is_refused():
    message = refusal("demo/mmtlb", "translate_train.training.optimiser.lr={default: 1, default: 2}")
    assert "the key default is there twice, on line 1" in message


@pytest.mark.parametrize(
    "value", ["010", "0o10", "0x1F", "0b11", "1:30", "1_0", "-010", "00.5", "None", "~", "!!int '010'"]
)
def test_a_value_that_may_be_read_in_two_ways_is_refused_with_its_line(write, value):
    for text in (f"seed: {value}\n", f"sweep:\n  grid: {{seed: [1, {value}]}}\n"):
        assert re.search(r"line [23]: .*may be read in two ways; write ", refusal(write(CORPUS + text)))
    assert "may be read in two ways" in refusal("demo/mmtlb", f"seed={value}")


@pytest.mark.parametrize(
    "value", ["yes", "on", "y", "true", "nan", "inf", ".inf", ".nan", "1e-5", "2024-01-01", "1,5", "1e999", "７"]
)
def test_what_is_no_whole_number_is_refused_with_file_and_line(write, value):
    path = write(f"{CORPUS}\nseed: {value}\n")
    assert refusal(path).startswith(f"recipe {path}:3: seed = ")
    assert "seed = " in refusal("demo/mmtlb", f"seed={value}")


@pytest.mark.parametrize("value", ["yes", "on", "true"])
def test_a_truth_value_among_numbers_is_refused(value):
    for key in ("translate_train.training.optimiser.lr", "translate_train.objective"):
        assert f"{key}" in refusal("demo/mmtlb", f"{key}={{default: {value}, translation: {value}, recognition: 1}}")


@pytest.mark.parametrize(
    ("value", "number"),
    [("7", 7), ("1_000", 1000), ("1e5", 100000), ("5.0", 5), ("+7", 7), ("'7'", 7), ("!!str 7", 7), ("0", 0)],
)
def test_numbers_that_everybody_reads_alike_are_read(write, value, number):
    assert load_recipe(write(f"{CORPUS}seed: {value}\n")).seed == number
    assert load_recipe("demo/mmtlb", [f"seed={value}"]).seed == number


@pytest.mark.parametrize("value", [".5", "5e-1", "5.0e-1", "0.5", "+.5"])
def test_fractions_are_read(value):
    rates = load_recipe("demo/mmtlb", [f"visual_train.training.optimiser.lr={{default: {value}}}"])
    assert rates.visual_train.training.optimiser.lr == {"default": 0.5}


@pytest.mark.parametrize(("words", "truth"), [("yes on y true True", True), ("no off n false NO", False)])
def test_yes_and_no_are_true_and_false_where_that_is_asked_for_and_words_elsewhere(words, truth):
    for word in words.split():
        assert load_recipe("demo/mmtlb", [f"visual_train.training.bucket={word}"]).visual_train.training.bucket is truth
    for word in ("no", "on", "2024-01-01", "="):
        assert load_recipe("demo/mmtlb", [f"description={word}"]).description == word


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds nothing, not a mapping of sections"),
        (b"# nothing yet\n", "holds nothing"),
        (b"- seed: 1\n", "holds a list, not a mapping"),
        (b"corpus:\n\tmanifest: m\n", "line 2: .*indented by spaces, not by tabs"),
        (b"1: 2\n", "line 1: the key 1 is no word"),
        (b"? [a, b]\n: 2\n", "line 1: the key is no word"),
        (b"a: &a {b: *a}\n", "line 1: found unconstructable recursive node"),
        (b"a: 1\n---\na: 2\n", "line 2: but found another document"),
        (b"a: !!python/object:os.system x\n", "line 1: the tag .* is not known"),
        (b"\xff\xfea\x00", "save it as UTF-8"),
        (b"[" * 1200, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_clear_line(write, text, message):
    assert re.search(message, refusal(write(text)))


def test_windows_line_ends_a_byte_order_mark_and_anchors_are_read(write):
    text = (
        CORPUS
        + "visual_train:\n  training: &t {epochs: 7}\ntranslate_train:\n  training:\n    <<: *t\n    bucket: true\n"
    )
    for written in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        recipe = load_recipe(write(written))
        assert (recipe.translate_train.training.epochs, recipe.translate_train.training.bucket) == (7, True)


def test_a_remark_behind_an_override_does_not_cut_its_value():
    assert "takes what is behind # for a comment" in refusal("demo/mmtlb", "corpus.manifest=take #2/m.jsonl")
    assert load_recipe("demo/mmtlb", ["corpus.manifest='take #2/m.jsonl'"]).corpus.manifest == "take #2/m.jsonl"


def test_a_person_writes_a_tilde_in_every_path(write, home, monkeypatch):
    monkeypatch.setenv("DATA", "/data {1}")
    text = """
runs_dir: ~/runs
uses: {encoder: ~/runs/x, language: $HOME/runs/y, translator: "${HOME}/runs/z"}
corpus:
  {manifest: ~/m.jsonl, media_root: $DATA/videos, isolated_manifest: "{runs_dir}/i", isolated_media_root: "${DATA}"}
synth: {source: annotations, annotations: {manifest: ~/s.jsonl}}
text: {tokenizer: ~/t}
translator: {mbart: {folder: ~/mbart}}
visual_pretrain: {init: ~/p}
visual_train: {init: ~/w, vocabulary: ~/v.json}
extract: {store: ~/store}
"""
    recipe = load_recipe(write(text))
    assert "~" not in dump_recipe(recipe) and "$HOME" not in dump_recipe(recipe)
    assert recipe.run_folder("extract") == home / "runs" / "mine" / "extract"
    assert (recipe.corpus.manifest, recipe.corpus.media_root) == (f"{home}/m.jsonl", "/data {1}/videos")
    assert recipe.corpus.isolated_manifest == f"{home}/runs/i"
    assert recipe.uses.language == f"{home}/runs/y"
    saved = save_recipe(recipe, home)
    monkeypatch.delenv("DATA")
    assert load_recipe(str(saved)) == recipe


@pytest.mark.parametrize("path", ["$NOT_SET_HERE/m", "${NOT_SET_HERE}/m", "~nobody.at.all/m", "${}/m"])
def test_a_path_that_cannot_be_expanded_is_refused(path):
    assert "corpus.manifest = " in refusal("demo/mmtlb", f"corpus.manifest='{path}'")


@settings(max_examples=15, deadline=None)
@given(st.text(st.sampled_from("a~$/{}. HOME#'\"0"), min_size=1, max_size=8).filter(lambda name: name.strip() == name))
def test_any_folder_has_a_way_to_be_written(name):
    given_as = name.replace("$", "$$").replace("{", "{{").replace("}", "}}")
    given_as = f"./{given_as}" if name.startswith("~") else given_as
    recipe = load_recipe("demo/mmtlb", [f"corpus.manifest={json.dumps(given_as)}"])
    assert Path(recipe.corpus.manifest) == Path(name)
    assert read_yaml(dump_recipe(recipe))["corpus"]["manifest"] in (given_as, f"./{given_as}")


def test_paths_of_the_command_line_and_the_environment_need_no_shell(write, home, monkeypatch):
    home.mkdir()
    (home / "mine.yaml").write_text(CORPUS + "seed: 77\n")
    for arguments in (
        ["--recipe=~/mine.yaml"],
        ["-r", "$HOME/mine.yaml"],
        ["--recipe=${HOME}/mine.yaml"],
        ["~/mine.yaml"],
    ):
        assert "seed: 77" in CliRunner().invoke(cli, ["recipe", "show", *arguments], catch_exceptions=False).output
    monkeypatch.setenv("SLT_RECIPE", "~/mine.yaml")
    assert "seed: 77" in CliRunner().invoke(cli, ["recipe", "show"], catch_exceptions=False).output
    (home / "child.yaml").write_text("extends: ~/mine.yaml\n")
    assert load_recipe("~/child.yaml").seed == 77


def test_a_folder_that_is_called_tilde_is_meant_as_it_is(home, monkeypatch):
    Path("~").mkdir()
    Path("~/mine.yaml").write_text(CORPUS + "seed: 5\n")
    assert os.path.lexists("~/mine.yaml")
    assert load_recipe("./~/mine.yaml").seed == 5


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
ODD = ["010", "yes", "no", "1:30", "1e5", "~", "null", "None", "<<", "=", ".5", "2024-01-01", "0x1", "1_000"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    SCALARS | WORDS | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(PLAIN)
def test_any_plain_data_is_read_as_it_was_written(data):
    assert read_yaml(write_yaml(data)) == data


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**12),
    rate=st.floats(0, 100),
    bucket=st.booleans(),
    words=st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12),
)
def test_overrides_come_out_of_recipe_show_as_they_went_in(tmp_path, seed, rate, bucket, words):
    given_as = [
        f"seed={seed}",
        f"visual_train.training.optimiser.lr.default={rate!r}",
        f"visual_train.training.bucket={str(bucket).lower()}",
        f"description={write_yaml(words).removesuffix('...' + chr(10)).strip(chr(10))}",
    ]
    arguments = [part for override in given_as for part in ("-o", override)]
    shown = CliRunner().invoke(cli, ["recipe", "show", *arguments], catch_exceptions=False).output
    (tmp_path / "again.yaml").write_text(shown, encoding="utf-8")
    recipe = load_recipe(str(tmp_path / "again.yaml"))
    assert recipe == load_recipe("demo/mmtlb", given_as)
    assert (recipe.seed, recipe.visual_train.training.optimiser.lr["default"]) == (seed, rate)
    assert (recipe.visual_train.training.bucket, recipe.description) == (bucket, words)


def test_a_key_twice_in_json_is_refused_with_both_lines():
    with pytest.raises(ValueError, match=r"the key regen is there twice \(lines 2 and 3\)"):
        read_json_text('{"wind": 0,\n"regen": 1,\n"regen": 2}')


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        ("{translator.mapper.hidden: [4, '4']}", "lists 4 and '4', which is one run"),
        ("{translate_train.training.bucket: [true, yes]}", "lists True and 'yes', which is one run"),
        ("{extract.store: [a b, a-b]}", "lists 'a b' and 'a-b', and both runs would go to"),
    ],
)
def test_two_values_of_a_sweep_that_are_one_run_or_one_folder_are_refused(grid, why):
    recipe = load_recipe("demo/mmtlb", [f"sweep.grid={grid}"])
    with pytest.raises(SltError, match=re.escape(why)):
        runs_of(recipe, recipe.sweep)


def test_a_misspelt_key_of_a_variant_is_told_as_one_of_a_variant():
    message = refusal("demo/mmtlb", "sweep.variants={a: {translator.maper.input: s3d}}")
    assert "sweep.variants: recipe has no key translator.maper; did you mean translator.mapper?" in message


def test_a_gate_goes_with_the_corpus_that_it_was_measured_on(write):
    mine = load_recipe(
        write("extends: demo/mmtlb\ncorpus: {manifest: mine.jsonl}\ngloss2text_train: {training: {gate: 9}}\n")
    )
    assert (mine.visual_train.training.gate, mine.gloss2text_train.training.gate) == (None, 9)
    assert load_recipe(write("extends: demo/mmtlb\nseed: 3\n")).visual_train.training.gate == 12


def test_a_run_that_was_copied_is_swept_where_it_lies(tmp_path):
    recipe = load_recipe("demo/mmtlb", [f"runs_dir={tmp_path / 'first'}"])
    for runs in ("first", "copy"):
        folder = tmp_path / runs / "demo" / "mmtlb" / "visual_train"
        save_recipe(recipe, folder)
        (folder / "frames.json").write_text("{}")
        assert recipe_of_encoder(folder).run_folder("sweep") == tmp_path / runs / "demo" / "mmtlb" / "sweep"
    assert recipe_of_encoder(folder, ["runs_dir=elsewhere"]).runs_dir == "elsewhere"


def test_cv_slt_on_csl_daily_is_scored_as_it_was_published():
    assert load_recipe("cvslt/csl_daily").corpus.protocol == "csl-daily-halfwidth"
    assert load_recipe("mmtlb/csl_daily").corpus.protocol == "csl-daily"
