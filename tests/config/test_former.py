"""Keys and values of earlier versions: a recipe is told today's, an old run is read with them."""

import pytest
import yaml
from recipe_refusals import refusal

from slt_pipeline.config.former import ABSENT, BEFORE, upgrade, upgrade_recipe
from slt_pipeline.config.recipe import dump_recipe, load_recipe, recipe_from_data, with_values


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(f"extends: demo/mmtlb\n{text}\n", encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "translate_train.resident=yes",
            "translate_train.resident is called translate_train.features_in now; yes is memory",
        ),
        (
            "translate_train.resident=no",
            "translate_train.resident is called translate_train.features_in now; no is files",
        ),
        ("translate_train.resident=auto", "translate_train.resident is called translate_train.features_in now"),
        (
            "visual_train.training.mixed_precision=no",
            "visual_train.training.mixed_precision is called visual_train.training.precision now; no is fp32",
        ),
        (
            "visual_train.training.mixed_precision=bf16",
            "visual_train.training.mixed_precision is called visual_train.training.precision now",
        ),
        ("translator.head=frozen", "translator.head: frozen is called stored now"),
        (
            "translator.recognition_weight=0.5",
            "translator.recognition_weight is called translate_train.objective.recognition now",
        ),
        (
            "translator.translation_weight=2",
            "translator.translation_weight is called translate_train.objective.translation now",
        ),
        (
            "extract.batch_size=8",
            "extract.batch_size is gone: "
            "clips are encoded one at a time, so that no padding reaches a number; delete it",
        ),
        ("translator={head: frozen}", "translator.head: frozen is called stored now"),
        ("sweep.grid={translator.head: [trained, frozen]}", "sweep.grid.translator.head: frozen is called stored now"),
        (
            "sweep.search={keys: {translator.translation_weight: {low: 0.1, high: 1}}, runs: 3}",
            "sweep.search.keys.translator.translation_weight is called "
            "sweep.search.keys.translate_train.objective.translation now",
        ),
        (
            "sweeps={a: {search: {keys: {translator.head: {choices: [frozen, trained]}}}}}",
            "sweeps.a.search.keys.translator.head: frozen is called stored now",
        ),
        (
            "sweeps={a: {variants: {b: {translate_train.resident: yes}}}}",
            "sweeps.a.variants.b.translate_train.resident is called "
            "sweeps.a.variants.b.translate_train.features_in now; yes is memory",
        ),
        ("translate_train.features_in=yes", "translate_train.features_in: yes is called memory now"),
        ("joint_train.training.precision=no", "joint_train.training.precision: no is called fp32 now"),
    ],
)
def test_a_former_key_or_value_is_answered_with_todays(override, message):
    assert refusal("demo/mmtlb", override) == message


def test_a_former_key_of_a_file_is_answered_with_the_file(write):
    file = write("translate_train: {resident: yes}")
    assert refusal(file) == (
        f"recipe {file}: translate_train.resident is called translate_train.features_in now; yes is memory"
    )


def test_todays_values_under_a_key_that_kept_its_name_are_taken():
    assert load_recipe("demo/mmtlb", ["translator.head=trained"]).translator.head == "trained"


@pytest.mark.parametrize("word", ["optimiser", "optimizer"])
def test_both_spellings_of_optimiser_are_one_key(write, word):
    file = write(f"visual_train: {{training: {{{word}: {{weight_decay: 0.5}}}}}}")
    assert load_recipe(file).visual_train.training.optimiser.weight_decay == 0.5
    assert load_recipe(file).visual_train.training.optimiser.lr == {"default": 3e-3}
    changed = load_recipe("demo/mmtlb", [f"visual_train.training.{word}.lr.default=0.25"])
    assert changed.visual_train.training.optimiser.lr == {"default": 0.25}
    swept = with_values(changed, {f"translate_train.training.{word}.eps": 1e-6})
    assert swept.translate_train.training.optimiser.eps == 1e-6


def test_both_spellings_at_once_are_refused(write):
    file = write("visual_train: {training: {optimiser: {eps: 1.0e-6}, optimizer: {eps: 1.0e-7}}}")
    message = "visual_train.training.optimizer and visual_train.training.optimiser are one key; keep one of them"
    assert message in refusal(file)


# --- runs of earlier versions


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ({"training.mixed_precision": "no"}, {"training.precision": "fp32"}),
        ({"training.mixed_precision": "bf16"}, {"training.precision": "bf16"}),
        ({"mixed_precision": "fp16"}, {"precision": "fp16"}),
        ({"translate_train.training.mixed_precision": "no"}, {"translate_train.training.precision": "fp32"}),
        ({"translator.head": "frozen"}, {"translator.head": "stored"}),
        ({"translator.head": "trained"}, {"translator.head": "trained"}),
        ({"translator.recognition_weight": 0.5}, {"objective.recognition": 0.5}),
        ({"translator.translation_weight": 1.0}, {"objective.translation": 1.0}),
        ({"translate_train.resident": "device"}, {"translate_train.features_in": "device"}),
        ({"extract.batch_size": 1, "dtype": "float16"}, {"dtype": "float16"}),
        ({"training.batch_size": 16}, {"training.batch_size": 16}),
        ({"batch_size": 16}, {"batch_size": 16}),
        ({"head": "5c9b62", "language": None}, {"head": "5c9b62", "language": None}),
        ({"language_model.mbart.d_model": 128}, {"language_model.mbart.d_model": 128}),
        ({"encoder.head.hidden": 128, "seed": 1}, {"encoder.head.hidden": 128, "seed": 1}),
        ({"training.betas": [0.9, 0.98]}, {"training.betas": [0.9, 0.98]}),
    ],
    ids=str,
)
def test_inputs_of_an_old_run_have_todays_keys_and_values(old, today):
    assert upgrade(old) == today
    assert upgrade(today) == today


def test_a_field_that_did_not_exist_has_the_value_that_it_stood_for():
    demo = load_recipe("demo/mmtlb").model_dump(mode="json")
    for key in BEFORE:
        short = {
            "head_config": demo["encoder"]["head"],
            "transform": demo["video"]["transform"],
            "times": demo["visual_train"],
        }
        section = short.get(key.partition(".")[0])
        for part in key.split(".")[:-1] if section is None else ():
            section = (section or demo)[part]
        assert section is not None and key.rpartition(".")[2] in section
    assert BEFORE == {
        "encoder.head.padding": "published",
        "head_config.padding": "published",
        "text.detokenise": "published",
        "video.transform.max_pixels": None,
        "transform.max_pixels": None,
        "visual_train.times": "spike",
        "times": ABSENT,
    }


def test_a_recipe_that_an_earlier_version_saved_opens_as_what_it_was():
    data = yaml.safe_load(dump_recipe(load_recipe("demo/mmtlb")))
    for stage in ("visual_pretrain", "visual_train", "gloss2text_train", "translate_train"):
        del data[stage]["training"]["precision"]
        data[stage]["training"]["mixed_precision"] = "no"
    del data["encoder"]["head"]["padding"], data["text"]["detokenise"], data["text"]["gloss_splits"]
    del data["translate_train"]["objective"], data["translate_train"]["features_in"]
    data["translate_train"]["resident"] = "yes"
    data["translator"] |= {"head": "frozen", "recognition_weight": 0.0, "translation_weight": 2.0}
    data["extract"]["batch_size"] = 1
    data["sweep"] = {"grid": {"translator.recognition_weight": [0, 1]}, "seeds": [1], "metric": "bleu4"}
    recipe = recipe_from_data(upgrade_recipe(data), where="old")
    assert (recipe.encoder.head.padding, recipe.text.detokenise) == ("published", "published")
    assert (recipe.translator.head, recipe.translate_train.features_in) == ("stored", "memory")
    assert recipe.translate_train.objective == {"recognition": 0.0, "translation": 2.0}
    assert recipe.visual_train == load_recipe("demo/mmtlb").visual_train
    assert recipe.seeds_of(recipe.sweep) == (1,)


def test_a_recipe_of_today_is_not_changed_but_for_its_sweep():
    data = yaml.safe_load(dump_recipe(load_recipe("demo/mmtlb", ["text.detokenise=none"])))
    assert upgrade_recipe(data) == {key: value for key, value in data.items() if key != "sweep"}
