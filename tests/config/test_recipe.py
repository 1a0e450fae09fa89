from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from recipe_refusals import refusal

from slt_pipeline.config.recipe import (
    Recipe,
    default_recipe,
    dump_recipe,
    list_recipes,
    load_recipe,
    recipe_from_data,
    save_recipe,
    with_values,
)
from slt_pipeline.errors import SltError


@pytest.fixture
def write(tmp_path):
    """Write a recipe file below the test's folder."""

    def write(name: str, text: str = "corpus: {manifest: m.jsonl}\n") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def mine(write) -> str:
    return write("mine.yaml")


# --- names


def test_a_shipped_recipe_is_named_by_its_path_and_a_file_by_its_stem(mine):
    assert load_recipe("demo/mmtlb").name == "demo/mmtlb"
    assert load_recipe(mine).name == "mine"


def test_a_shipped_recipe_given_as_a_file_keeps_its_name():
    import recipes

    file = Path(recipes.__file__).parent / "demo" / "mmtlb.yaml"
    assert load_recipe(str(file)) == load_recipe("demo/mmtlb")


def test_a_name_in_the_file_wins_and_is_not_inherited(write):
    base = write("base.yaml", "name: given\ncorpus: {manifest: m.jsonl}\n")
    assert load_recipe(base).name == "given"
    assert load_recipe(write("child.yaml", "extends: base\n")).name == "child"


def test_runs_go_to_a_folder_of_the_recipe_and_stage(mine):
    recipe = load_recipe(mine, ["runs_dir=out"])
    assert recipe.run_folder("visual_train") == Path("out/mine/visual_train")
    assert recipe.store == Path("out/mine/features")
    assert load_recipe(mine, ["extract.store=elsewhere"]).store == Path("elsewhere")


def test_the_list_leaves_out_files_that_are_only_there_to_be_extended(tmp_path, monkeypatch, write):
    for name in ("a/one.yaml", "a/_shared.yaml", "two.yaml"):
        write(name)
    monkeypatch.setattr("slt_pipeline.config.recipe._root", lambda: tmp_path)
    assert list_recipes() == ["a/one", "two"]
    assert load_recipe("a/_shared").name == "a/_shared"


def test_the_default_recipe_is_that_of_the_environment_else_the_demo(monkeypatch):
    monkeypatch.delenv("SLT_RECIPE", raising=False)
    assert default_recipe() == "demo/mmtlb"
    monkeypatch.setenv("SLT_RECIPE", "mine.yaml")
    assert default_recipe() == "mine.yaml"


def test_an_unknown_name_is_answered_with_the_nearest():
    assert "no recipe is called demo/mmtbl; did you mean demo/mmtlb?" in refusal("demo/mmtbl")


@pytest.mark.parametrize("name", ["../pyproject", "/etc/passwd", "demo", ""])
def test_a_name_that_leads_out_of_the_recipes_is_unknown(name):
    assert "no recipe is called" in refusal(name)


def test_a_missing_file_is_named(tmp_path):
    assert "recipe file" in refusal(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("text", ["[1, 2]\n", "", "just words\n"])
def test_a_file_without_sections_is_refused(write, text):
    assert "not a mapping of sections" in refusal(write("odd.yaml", text))


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\tx: 1\n"])
def test_broken_yaml_is_refused_in_one_line(write, text):
    assert "cannot be read" in refusal(write("odd.yaml", text))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "odd.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(str(tmp_path / "odd.yaml"))


# --- extends


def test_a_child_changes_only_what_it_names(write):
    write("base.yaml", "corpus: {manifest: m.jsonl, protocol: phoenix14t}\nvisual_train: {training: {epochs: 7}}\n")
    child = load_recipe(write("child.yaml", "extends: base.yaml\nvisual_train: {training: {batch_size: 3}}\n"))
    assert (child.visual_train.training.epochs, child.visual_train.training.batch_size) == (7, 3)
    assert child.corpus.protocol == "phoenix14t"


def test_extends_makes_a_chain_relative_to_each_file(write):
    write("base.yaml", "seed: 1\ncorpus: {manifest: m.jsonl}\nextract: {dtype: float32}\n")
    write("sub/middle.yaml", "extends: ../base\nseed: 2\ndescription: middle\n")
    top = load_recipe(write("top.yaml", "extends: sub/middle\nseed: 3\n"))
    assert (top.seed, top.description, top.extract.dtype, top.corpus.manifest) == (3, "middle", "float32", "m.jsonl")


def test_a_file_of_ones_own_extends_a_shipped_recipe_by_name(write):
    mine = load_recipe(write("mine.yaml", "extends: demo/mmtlb\nseed: 9\n"))
    demo = load_recipe("demo/mmtlb")
    assert mine == demo.model_copy(update={"seed": 9, "name": "mine"})


def test_a_list_replaces_a_list_and_null_replaces_a_section(write):
    write("base.yaml", "corpus: {manifest: m.jsonl}\nsynth: {num_train: 3}\nextract: {streams: [s3d, gloss_rep]}\n")
    child = load_recipe(write("child.yaml", "extends: base\nsynth: null\nextract: {streams: [gloss_logits]}\n"))
    assert child.synth is None
    assert child.extract.streams == ("gloss_logits",)


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("b", "a")])
def test_a_cycle_is_refused_and_shown(write, first, second):
    a = write("a.yaml", f"extends: {first}\n")
    write("b.yaml", f"extends: {second}\n")
    message = refusal(a)
    assert "extends itself" in message
    assert message.count("a.yaml") >= 2


@pytest.mark.parametrize("base", ["absent", "absent.yaml"])
def test_extending_what_is_not_there_is_refused(write, base):
    assert "absent" in refusal(write("child.yaml", f"extends: {base}\n"))


def test_only_one_recipe_can_be_extended(write):
    assert "extends is ['demo/mmtlb', 3]" in refusal(write("child.yaml", "extends: [demo/mmtlb, 3]\n"))


# --- overrides


def _rates(recipe: Recipe) -> dict[str, float]:
    return recipe.translate_train.training.optimiser.lr


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("seed=7", lambda r: r.seed, 7),
        ("visual_train.training.epochs=2", lambda r: r.visual_train.training.epochs, 2),
        ("visual_train.init=null", lambda r: r.visual_train.init, None),
        ("visual_train.init=", lambda r: r.visual_train.init, None),
        ("translate_train.training.optimiser.lr.mapper=1e-3", _rates, {"default": 1e-3, "mapper": 1e-3}),
        ("translate_train.training.optimiser.lr={default: 0.5}", _rates, {"default": 0.5}),
        ("extract.streams=[s3d, gloss_rep]", lambda r: r.extract.streams, ("s3d", "gloss_rep")),
        ("evaluate.splits=[dev]", lambda r: r.evaluate.splits, ("dev",)),
        ("description=a=b, c", lambda r: r.description, "a=b, c"),
        ("description='1'", lambda r: r.description, "1"),
        ("visual_train.training.bucket=true", lambda r: r.visual_train.training.bucket, True),
        ("sweep.grid={translator.mapper.input: [s3d]}", lambda r: r.sweep.grid, {"translator.mapper.input": ["s3d"]}),
        ("sweep.grid.translator.mapper.input=[s3d]", lambda r: r.sweep.grid, {"translator.mapper.input": ["s3d"]}),
        ("video.transform.pre_resize=[320, 256]", lambda r: r.video.transform.pre_resize, (320, 256)),
        ("synth.num_train=5", lambda r: r.synth.num_train, 5),
        ("translate_train.features_in=memory", lambda r: r.translate_train.features_in, "memory"),
        ("translate_train.training.precision=bf16", lambda r: r.translate_train.training.precision, "bf16"),
        ("synth={num_train: 5}", lambda r: r.synth.num_train, 5),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_override_sets_a_value(write, override, read, value):
    lr = "translate_train: {training: {optimiser: {lr: {default: 1.0e-3}}}}\n"
    mine = write("mine.yaml", "corpus: {manifest: m.jsonl}\nsynth: null\n" + lr)
    assert read(load_recipe(mine, [override])) == value


def test_an_override_leaves_its_neighbours_alone():
    demo = load_recipe("demo/mmtlb")
    changed = load_recipe("demo/mmtlb", ["visual_train.training.epochs=99"])
    assert changed != demo
    training = changed.visual_train.training.model_copy(update={"epochs": demo.visual_train.training.epochs})
    assert changed.model_copy(
        update={"visual_train": changed.visual_train.model_copy(update={"training": training})}
    ) == (demo)


def test_the_last_override_wins(mine):
    assert load_recipe(mine, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("sed=1", "seed"),
        ("visual_trian.training.epochs=1", "visual_train"),
        ("visual_train.training.epocs=1", "visual_train.training.epochs"),
        ("visual_train.epochs=1", "visual_pretrain.training.epochs"),  # the first place where there is such a key
        ("synth.num_trian=1", "synth.num_train"),
        ("encoder.s3d.widht=1", "encoder.s3d.width"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(mine, override, nearest):
    message = refusal(mine, override)
    assert f"recipe has no key {override.partition('=')[0]}"[:20] in message
    assert message.endswith(f"did you mean {nearest}?")


def test_an_unknown_key_without_a_near_one_is_answered_with_all_valid_ones(mine):
    assert "valid keys here: manifest, media_root" in refusal(mine, "corpus.qqqq=1")


@pytest.mark.parametrize("override", ["seed.x=1", "extract.dtype.bits=16", "extract.streams.0=s3d"])
def test_a_value_has_no_parts(mine, override):
    assert "is a value without parts" in refusal(mine, override)


@pytest.mark.parametrize("override", ["seed", "=1", "", "seed 3"])
def test_an_override_has_a_key_and_a_value(mine, override):
    assert "is not of the form key.path=value" in refusal(mine, override)


def test_an_override_that_is_no_yaml_is_refused(mine):
    assert "the value is not YAML" in refusal(mine, "extract.streams=[s3d")


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("visual_train.training.epochs=many", "visual_train.training.epochs = 'many': Input should be a valid integer"),
        ("visual_train.training.epochs=0", "visual_train.training.epochs = 0: Input should be greater than"),
        ("extract.backend=tar", "extract.backend = 'tar': Input should be 'zarr' or 'hdf5'"),
        ("extract.streams=s3d", "extract.streams = 's3d': Input should be a valid tuple"),
        ("extract.streams=[s3d, s4d]", "extract.streams.1 = 's4d': Input should be 's3d'"),
        ("corpus=null", "corpus = None: Input should be a valid dictionary"),
        ("evaluate.tasks=[sign2txt]", "evaluate.tasks.0 = 'sign2txt'"),
        ("translate_train.training.optimiser.lr.mapper=fast", "translate_train.training.optimiser.lr.mapper = 'fast'"),
        ("encoder.s3d.freeze_blocks=5", "encoder.s3d: freeze_blocks 5 exceeds use_blocks 4"),
        ('description="two\\nlines"', None),
        ("extract.keep_bits=6", "extract: keep_bits is 6 and compression is none"),
        (
            "translate_train={features_in: device, training: {num_workers: 2}}",
            "translate_train: features_in is device and training.num_workers is 2",
        ),
        ("seed=[1,2]", "seed = [1, 2]: Input should be a valid integer"),
    ],
)
def test_a_bad_value_is_one_line_that_names_key_and_value(mine, override, shown):
    if shown is None:
        assert load_recipe(mine, [override]).description == "two\nlines"
    else:
        assert f"recipe {mine}: {shown}" in refusal(mine, override)


def test_further_mistakes_are_counted(write):
    path = write("odd.yaml", "corpus: {manifest: m.jsonl}\nseed: x\nextract: {dtype: int8, backend: tar}\n")
    message = refusal(path)
    assert "seed = 'x'" in message
    assert message.endswith("(and 2 more)")


# --- files


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("sead: 3", "seed"),
        ("visual_train: {training: {epoch: 3}}", "visual_train.training.epochs"),
        ("corpus: {manifst: x}", "corpus.manifest"),
    ],
)
def test_an_unknown_key_of_a_file_is_answered_with_the_nearest(write, text, nearest):
    assert f"did you mean {nearest}?" in refusal(write("odd.yaml", f"extends: demo/mmtlb\n{text}\n"))


def test_a_misspelt_key_is_named_rather_than_the_missing_one(write):
    assert "did you mean corpus?" in refusal(write("odd.yaml", "corups: {manifest: m.jsonl}\n"))


def test_a_missing_section_is_named(write):
    assert "key corpus is missing" in refusal(write("odd.yaml", "seed: 3\n"))


def test_a_recipe_cannot_be_changed():
    recipe = load_recipe("demo/mmtlb")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 5
    with pytest.raises(ValidationError, match="frozen"):
        recipe.visual_train.training.epochs = 5


@pytest.mark.parametrize("name", list_recipes())
def test_a_saved_recipe_reads_back_equal(name, tmp_path):
    recipe = load_recipe(name)
    path = save_recipe(recipe, tmp_path / "run" / "visual_train")
    assert path == tmp_path / "run" / "visual_train" / "recipe.yaml"
    assert load_recipe(str(path)) == recipe
    assert [p.name for p in path.parent.iterdir()] == ["recipe.yaml"]


def test_odd_values_survive_being_saved(mine, tmp_path):
    overrides = ["description='größer: # {x}'", "runs_dir='1e3'", "visual_train.training.optimiser.eps=1e-12"]
    recipe = load_recipe(mine, overrides)
    assert recipe.visual_train.training.optimiser.eps == 1e-12
    assert load_recipe(str(save_recipe(recipe, tmp_path))) == recipe


def test_a_dump_is_yaml_of_every_section():
    data = yaml.safe_load(dump_recipe(load_recipe("demo/mmtlb")))
    assert list(data) == list(Recipe.model_fields)


# --- values for sweeps


def test_with_values_changes_values_by_key_and_keeps_the_rest():
    recipe = load_recipe("demo/mmtlb")
    values = {"translator.mapper.input": "s3d", "seed": 5, "translate_train.training.optimiser.lr.mapper": 1e-05}
    changed = with_values(recipe, values)
    assert (changed.translator.mapper.input, changed.seed, changed.name) == ("s3d", 5, recipe.name)
    assert changed.translate_train.training.optimiser.lr["mapper"] == 1e-05
    back = {"translator.mapper.input": recipe.translator.mapper.input, "seed": recipe.seed}
    lr = {"translate_train.training.optimiser.lr": recipe.translate_train.training.optimiser.lr}
    assert with_values(changed, back | lr) == recipe


def test_with_values_of_nothing_is_the_same_recipe():
    recipe = load_recipe("demo/mmtlb")
    assert with_values(recipe, {}) == recipe
    assert with_values(recipe, {}, name="other").name == "other"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"translator.maper.input": "s3d"}, "did you mean translator.mapper"),
        ({"translator.mapper.input": "s4d"}, "translator.mapper.input = 's4d'"),
    ],
)
def test_with_values_refuses_unknown_keys_and_bad_values(values, message):
    with pytest.raises(SltError, match=message):
        with_values(load_recipe("demo/mmtlb"), values)


def test_plain_data_is_validated_under_the_name_given():
    with pytest.raises(SltError, match=r"recipe there: key corpus is missing"):
        recipe_from_data({"name": "x"}, where="there")


@pytest.mark.parametrize("what", ["encoder", "language"])
def test_recipes_that_borrow_in_a_circle_are_refused(tmp_path, what):
    corpus, a, b = "corpus: {manifest: m.jsonl}\n", tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(f"{corpus}uses: {{{what}: {b}}}\n")
    b.write_text(f"{corpus}uses: {{{what}: {a}}}\n")
    with pytest.raises(SltError, match=rf"uses\.{what} goes in a circle: a -> .*b\.yaml -> .*a\.yaml -> .*b\.yaml; "):
        getattr(load_recipe(str(a)), f"{what}_folder")


def test_a_recipe_borrows_through_another(tmp_path):
    first, second, third = (tmp_path / f"{name}.yaml" for name in ("first", "second", "third"))
    first.write_text("runs_dir: r\ncorpus: {manifest: m.jsonl}\n")
    second.write_text(
        f"runs_dir: r\ncorpus: {{manifest: m.jsonl}}\nuses: {{encoder: {first}}}\nextract: {{store: s}}\n"
    )
    third.write_text(f"runs_dir: r\ncorpus: {{manifest: m.jsonl}}\nuses: {{encoder: {second}}}\n")
    recipe = load_recipe(str(third))
    assert (recipe.encoder_folder, recipe.store) == (Path("r/first/visual_train"), Path("s"))
    assert load_recipe(str(second), ["extract.store=null"]).store == Path("r/first/features")


@pytest.mark.parametrize("name", ["", "..", "/abs", "a/../../b", "a//b", "a/"])
def test_a_name_is_a_folder_below_the_runs(name):
    with pytest.raises(SltError, match="folder of its runs below runs_dir"):
        load_recipe("demo/mmtlb", [f"name='{name}'"])
