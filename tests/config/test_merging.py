"""`extends`, `-o` and null: sections are merged, free mappings replaced; paths and seeds follow what they repeat."""

import pytest

from slt_pipeline.config.recipe import (
    dump_recipe,
    load_recipe,
    recipe_of_run,
    recipes_using,
    save_recipe,
    with_values,
)
from slt_pipeline.errors import SltError

LR = "translate_train.training.optimiser.lr"
OBJECTIVE = "translate_train.objective"
CVSLT = "{prior: 1, posterior: 1, gaussian_kl: 1, output_kl: 3, recognition: 0}"
PUBLISHED = {"recognition": 1e-3, "mapper": 1e-3, "translation": 1e-5, "default": 1e-3}


@pytest.fixture
def child(tmp_path):
    """A recipe that extends another one."""

    def write(base: str, text: str, name: str = "child.yaml") -> str:
        path = tmp_path / name
        path.write_text(f"extends: {base}\n{text}\n", encoding="utf-8")
        return str(path)

    return write


def rates(text: str) -> str:
    return f"translate_train: {{training: {{optimiser: {{lr: {text}}}}}}}"


def lr(name: str, *overrides: str) -> dict[str, float]:
    return load_recipe(name, overrides).translate_train.training.optimiser.lr


def test_the_most_obvious_ablation_of_a_shipped_recipe_is_a_short_diff(child):
    text = "translator: {head: stored}\n" + rates("{default: 1.0e-3}")
    recipe = load_recipe(child("mmtlb/phoenix14t", text))
    assert recipe.translate_train.training.optimiser.lr == {"default": 1e-3}
    assert recipe.translator.head == "stored"
    assert recipe.translate_train.generation == load_recipe("mmtlb/phoenix14t").translate_train.generation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{default: 1.0e-4}", {"default": 1e-4}),
        ("{recognition: null}", {"mapper": 1e-3, "translation": 1e-5, "default": 1e-3}),
        ("{recognition: null, mapper: 0.5}", {"mapper": 0.5, "translation": 1e-5, "default": 1e-3}),
    ],
)
def test_a_free_mapping_of_a_child_replaces_and_null_deletes(child, text, expected):
    assert lr(child("mmtlb/phoenix14t", rates(text))) == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (f"{LR}.recognition=null", {"mapper": 1e-3, "translation": 1e-5, "default": 1e-3}),
        (f"{LR}.mapper=0.5", {**PUBLISHED, "mapper": 0.5}),
        (f"{LR}={{default: 0.5}}", {"default": 0.5}),
        (f"{LR}={{recognition: null}}", {"mapper": 1e-3, "translation": 1e-5, "default": 1e-3}),
    ],
)
def test_an_override_replaces_a_free_mapping_or_changes_one_key_of_it(override, expected):
    assert lr("mmtlb/phoenix14t") == PUBLISHED
    assert lr("mmtlb/phoenix14t", override, "translator.head=stored") == expected


def test_a_grandchild_replaces_what_its_parent_replaced(child):
    child("mmtlb/phoenix14t", rates("{mapper: 0.1, translation: 0.2, default: 0.3}"), "parent.yaml")
    assert lr(child("parent", rates("{mapper: null}"))) == {"translation": 0.2, "default": 0.3}


def test_null_below_a_mapping_that_no_file_sets_takes_from_its_default(child):
    path = child("demo/mmtlb", "translate_train: {objective: {recognition: {to: 1, over: 5}, translation: null}}")
    with pytest.raises(SltError, match=r"translate_train\.objective does not list translation"):
        load_recipe(path)


@pytest.mark.parametrize("override", [f"{LR}.recogniton=null", f"{LR}={{recogniton: null}}"])
def test_deleting_what_is_not_there_is_refused(override):
    with pytest.raises(SltError, match=rf"{LR} has no recogniton to delete; it has recognition, mapper"):
        load_recipe("mmtlb/phoenix14t", [override])


def test_one_key_of_a_default_mapping_is_changed_and_the_others_stay():
    demo = load_recipe("demo/mmtlb", ["translate_train.objective.recognition=0"])
    assert demo.translate_train.objective == {"translation": 1.0, "recognition": 0.0}
    grid = load_recipe("mmtlb/phoenix14t", ["sweep.grid.translator.head=[stored, trained]"]).sweep.grid
    assert list(grid) == ["translator.mapper.input", "translator.head"]
    assert len(grid["translator.mapper.input"]) == 4


def test_a_ramp_is_a_value_like_another():
    ramp = "translate_train.objective.recognition={to: 3, over: 4000}"
    recipe = load_recipe("demo/mmtlb", ["translator.head=trained", ramp])
    ramp = recipe.translate_train.objective["recognition"]
    assert (ramp.start, ramp.to, ramp.over) == (0.0, 3.0, 4000)


def test_sweeps_set_and_delete_in_the_same_way():
    recipe = load_recipe("mmtlb/phoenix14t")
    values = {f"{LR}.recognition": None, f"{LR}.mapper": 0.5, "translator.head": "stored"}
    changed = with_values(recipe, values).translate_train.training.optimiser.lr
    assert changed == {"mapper": 0.5, "translation": 1e-5, "default": 1e-3}


def test_a_key_below_a_ramp_is_changed_alone():
    ramp = load_recipe("cvslt/phoenix14t", [f"{OBJECTIVE}.output_kl.to=5"]).translate_train.objective["output_kl"]
    assert (ramp.to, ramp.over) == (5.0, 4000)
    recipe = with_values(load_recipe("cvslt/phoenix14t"), {f"{OBJECTIVE}.output_kl.after": 10})
    ramp = recipe.translate_train.objective["output_kl"]
    assert (ramp.to, ramp.over, ramp.after) == (3.0, 4000, 10)
    assert recipe.translate_train.objective["prior"] == 1.0
    with pytest.raises(SltError, match=r"prior\.over is missing"):
        load_recipe("cvslt/phoenix14t", [f"{OBJECTIVE}.prior.to=5"])


# --- a section that is one of several


def test_another_system_takes_over_what_was_set_and_its_own_defaults(child):
    text = f"translator: {{system: cvslt, latent: 16}}\ntranslate_train: {{objective: {CVSLT}}}"
    mmtlb, cvslt = load_recipe("demo/mmtlb").translator, load_recipe(child("demo/mmtlb", text)).translator
    shared = mmtlb.model_dump(exclude={"system", "suffix"})
    assert cvslt.model_dump(include=set(shared)) == shared
    assert (cvslt.suffix, mmtlb.suffix) == ("txt", "gls")
    assert cvslt.latent == 16
    kept = [f"translator.suffix={mmtlb.suffix}", "translator.system=cvslt", f"{OBJECTIVE}={CVSLT}"]
    assert load_recipe("demo/mmtlb", kept).translator.suffix == "txt"  # at its default, it was nobody's choice
    kept = ["translator.system=cvslt", "translator.suffix=gls", f"{OBJECTIVE}={CVSLT}"]
    assert load_recipe("demo/mmtlb", kept).translator.suffix == "gls"


def test_another_system_drops_the_keys_of_the_former(child):
    path = child(
        "demo/cvslt", "translator: {system: mmtlb}\ntranslate_train: {objective: {translation: 1, recognition: 1}}"
    )
    values = {"translator.system": "mmtlb", OBJECTIVE: {"translation": 1, "recognition": 1}}
    for recipe in (load_recipe(path), with_values(load_recipe("demo/cvslt"), values)):
        assert recipe.translator == load_recipe("demo/mmtlb").translator
        assert not hasattr(recipe.translator, "latent")


def test_a_child_of_a_system_changes_one_of_its_keys(child):
    parent, recipe = load_recipe("demo/cvslt"), load_recipe(child("demo/cvslt", "translator: {attention: separate}"))
    assert recipe.translator == parent.translator.model_copy(update={"attention": "separate"})


@pytest.mark.parametrize("name", ["cvslt/phoenix14t", "demo/cvslt"])
def test_a_saved_recipe_of_a_system_loads_equal_and_as_it_is_shown(name, tmp_path):
    recipe = load_recipe(name, ["translator.posterior=absolute"])
    assert load_recipe(str(save_recipe(recipe, tmp_path))) == recipe
    assert recipe_of_run(tmp_path) == recipe.model_copy(update={"sweep": recipe_of_run(tmp_path).sweep})  # left out
    (tmp_path / "shown.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert dump_recipe(load_recipe(str(tmp_path / "shown.yaml"))) == dump_recipe(recipe)
    assert with_values(recipe, {}) == recipe


@pytest.mark.parametrize("stage", ["translate_train", "evaluate", "translate"])
def test_a_section_that_is_given_in_part_keeps_the_rest_of_its_own_default(child, stage):
    for recipe in (
        load_recipe(child("demo/mmtlb", f"{stage}: {{generation: {{max_length: 60}}}}")),
        load_recipe("demo/mmtlb", [f"{stage}.generation.max_length=60"]),
    ):
        generation = getattr(recipe, stage).generation
        assert (generation.max_length, generation.num_beams) == (60, 5)
    assert load_recipe("demo/mmtlb").gloss2text_train.generation.num_beams == 4


# --- what repeats another value follows it


def test_the_demo_reads_and_writes_below_its_runs_folder():
    recipe = load_recipe("demo/mmtlb", ["seed=2", "runs_dir=runs2"])
    assert recipe.corpus.manifest == "runs2/demo/data/manifest.jsonl"
    assert recipe.corpus.isolated_manifest == "runs2/demo/data/isolated.jsonl"
    assert recipe.seeds_of(recipe.sweep) == (2,)
    assert load_recipe("demo/mmtlb").corpus.manifest == "runs/demo/data/manifest.jsonl"
    avatar = load_recipe("phoenix14t_avatar/mmtlb", ["runs_dir=there"])
    assert avatar.corpus.manifest == "there/phoenix14t_avatar/data/manifest.jsonl"
    assert avatar.corpus.isolated_manifest == "there/phoenix14t_avatar/data/isolated.jsonl"


def test_a_variant_shares_the_clips_of_what_it_extends(child):
    recipe = load_recipe(child("demo/mmtlb", "runs_dir: mine"))
    assert (recipe.name, recipe.corpus.manifest) == ("child", "mine/demo/data/manifest.jsonl")


def test_seeds_that_are_listed_win():
    listed = load_recipe("demo/mmtlb", ["seed=2", "sweep.seeds=[5, 6]"])
    assert listed.seeds_of(listed.sweep) == (5, 6)


@pytest.mark.parametrize(
    "key",
    [
        "corpus.media_root",
        "corpus.isolated_media_root",
        "visual_pretrain.init",
        "visual_train.init",
        "extract.store",
        "text.tokenizer",
        "translator.mbart.folder",
    ],
)
def test_every_path_may_follow_the_runs_folder_and_is_saved_resolved(key, tmp_path):
    recipe = load_recipe("demo/mmtlb", ["runs_dir=a{b", f"{key}='{{runs_dir}}/x{{{{1}}}}'"])
    section, _, name = key.rpartition(".")
    value = recipe
    for part in [*section.split("."), name]:
        value = getattr(value, part)
    assert str(value) == "a{b/x{1}"
    assert load_recipe(str(save_recipe(recipe, tmp_path))) == recipe
    assert with_values(recipe, {}) == recipe


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "{run_dir}/m.jsonl",
            "no placeholder is called {run_dir}; there is {runs_dir}, and {{ and }} are plain braces",
        ),
        ("{}/m.jsonl", "no placeholder is called {}"),
        ("{runs_dir!r}/m.jsonl", "no placeholder is called {runs_dir}"),
        ("a{b", "a single brace; write {{ and }} for braces in a path"),
        ("a}b", "a single brace"),
    ],
)
def test_other_placeholders_are_refused(path, reason):
    with pytest.raises(SltError) as found:
        load_recipe("demo/mmtlb", [f"corpus.manifest='{path}'"])
    assert f"corpus.manifest = '{path}': {reason}" in str(found.value)


def test_of_several_that_are_extended_each_is_laid_upon_those_before_it(tmp_path):
    (tmp_path / "one.yaml").write_text("extends: demo/mmtlb\nseed: 2\ndescription: one\ntext: {vocab_size: 90}\n")
    (tmp_path / "two.yaml").write_text("seed: 3\ntext: {language: en_XX}\n")  # no recipe by itself: it names no clips
    (tmp_path / "both.yaml").write_text("extends: [one, two]\ndescription: both\n")
    both = load_recipe(str(tmp_path / "both.yaml"))
    assert (both.name, both.description, both.seed) == ("both", "both", 3)
    assert (both.text.vocab_size, both.text.language) == (90, "en_XX")


def test_what_two_of_several_extend_does_not_undo_what_the_first_has_changed(tmp_path):
    (tmp_path / "base.yaml").write_text("extends: demo/mmtlb\nseed: 2\ntext: {vocab_size: 90}\n")
    (tmp_path / "one.yaml").write_text("extends: base\nseed: 3\n")
    (tmp_path / "two.yaml").write_text("extends: base\ntext: {vocab_size: 91}\n")
    (tmp_path / "both.yaml").write_text("extends: [one, two]\n")
    both = load_recipe(str(tmp_path / "both.yaml"))
    assert (both.seed, both.text.vocab_size) == (3, 91)


def test_what_ships_beside_a_recipe_and_uses_its_encoder_is_found(caplog):
    def found(*overrides: str) -> list[str]:
        return [recipe.name for recipe in recipes_using(load_recipe("demo/mmtlb", overrides), overrides)]

    assert found("seed=4") == ["demo/cvslt", "demo/joint"]
    assert found("name=mine") == []
    assert caplog.text == ""
    assert found("translate_train.objective={translation: 2, recognition: 0}") == ["demo/joint"]
    assert "demo/cvslt is left out: recipe demo/cvslt: translate_train.objective names translation" in caplog.text
