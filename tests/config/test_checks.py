"""What a recipe gets wrong is found when it loads, and a key that changes nothing is refused."""

import re
from typing import get_args

import pytest
from recipe_refusals import LR, OBJECTIVE, demo_refusal

from slt_pipeline.config.names import LANGUAGE_CODES, LOWER_IS_BETTER, PROTOCOL_NAMES, ScoreName
from slt_pipeline.config.recipe import load_recipe, save_recipe, with_values
from slt_pipeline.errors import SltError

# --- names


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("corpus.protocol=phoenix", "phoenix14t"),
        ("corpus.protocol=fenix", "phoenix14t"),
        ("corpus.protocol=csl-dialy", "csl-daily"),
        ("sweep.metric=bleu5", "bleu4"),
        ("sweep.metric=BLEU", None),
        ("evaluate.tasks=[sign2txt]", "sign2text"),
        ("translator.mapper.input=gloss_reps", "gloss_rep"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(override, nearest):
    message = demo_refusal(override)
    assert "Input should be" in message
    assert (f"; did you mean {nearest}?" in message) if nearest else ("did you mean" not in message)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("corpus.protocol", PROTOCOL_NAMES),
        ("text.language", (*LANGUAGE_CODES, "pl_PL", "el_GR", "sr_Latn", "fil_PH")),
        ("text.gloss_language", ("de_DGS", "en_ASL", "pl_PJM", "el_GSS", "pt_Libras", "en_XX")),
        ("sweep.metric", get_args(ScoreName)),
    ],
)
def test_every_name_loads(key, names):
    for name in names:
        load_recipe("demo/mmtlb", [f"{key}={name}", "translator.head=trained"])


@pytest.mark.parametrize(
    ("override", "cure"),
    [
        ("text.language=de_DGS", "written like de_DE, en_XX or pl_PL (a sign language is text.gloss_language)"),
        ("text.language=German", "a spoken language is written like de_DE"),
        ("text.language=de", "a spoken language is written like de_DE"),
        ("text.language=DE_de", "a spoken language is written like de_DE"),
        ("text.gloss_language=ASL", "a sign language is written like de_DGS, en_ASL or pl_PJM"),
        ("text.gloss_language='<unk>'", "a sign language is written like"),
    ],
)
def test_what_is_no_language_is_refused_with_one_that_is(override, cure):
    assert cure in demo_refusal(override)


def test_a_language_that_an_mbart_folder_lacks_is_refused_with_those_that_it_has():
    message = demo_refusal("translator.mbart.folder=m", "text.language=pl_PL")
    assert "text.language is pl_PL, and the mBART of translator.mbart.folder m has ar_AR, cs_CZ, de_DE" in message
    load_recipe("demo/mmtlb", ["translator.mbart.folder=m", "text.language=fr_XX"])
    load_recipe("demo/mmtlb", ["text.tokenizer=m", "text.language=pl_PL"])


def test_mbart_has_25_languages_in_the_order_of_its_ids():
    assert len(LANGUAGE_CODES) == 25
    assert [LANGUAGE_CODES.index(code) for code in ("ar_AR", "de_DE", "en_XX", "zh_CN")] == [0, 2, 3, 24]
    assert list(LANGUAGE_CODES) == sorted(LANGUAGE_CODES)


def test_errors_are_the_scores_of_which_fewer_are_better():
    assert [name for name in get_args(ScoreName) if name in LOWER_IS_BETTER] == ["wer"]


# --- ranges


@pytest.mark.parametrize(
    "override",
    [
        f"{LR}.mapper=-1",
        f"{LR}.default=-1e-9",
        "translate_train.training.optimiser.betas=[1.5, 2]",
        "translate_train.training.optimiser.betas=[0.9, 1.0]",
        "translate_train.training.optimiser.betas=[-0.1, 0.9]",
        "text.vocab_size=-5",
        "text.vocab_size=0",
        "text.vocab_size=1000000000000",
        "name=' '",
        "name='a/ /b'",
        'name="a\\nb"',
        f"{LR}.default=1000",
        "translate_train.training.optimiser.weight_decay=1000",
        "translate_train.training.gate=-1",
        "translate_train.training.num_workers=100000",
        "translate.generation.length_penalty=1.0e+30",
        "lm_pretrain.span=1.0e-30",
        "translator.mapper.num_hidden=100000",
        "evaluate.beam_size=100000000",
        "translate.generation.num_beams=100000",
        "video.transform.mean=[123.7, 116.3, 103.5]",  # of pixels up to 255
        "video.transform.std=[58.4, 57.1, 57.4]",
        "video.transform.image_size=100000",
        "visual_pretrain.clip={crops: true}",
        "synth.fps=0.001",
        "seed=100000000000000000000",
        "translate.num_best=9",
        "evaluate.splits=[dev, dev]",
        "evaluate.tasks=[sign2text, sign2text]",
        "text.gloss_splits=[train, '']",
        "corpus.manifest=''",
        "text.tokenizer=' '",
        "uses.encoder=''",
        "runs_dir=''",
        "text.gloss_splits=[]",
        "seed=-1",
        "sweep.seeds=[1, -1]",
        "sweep.seeds=[]",
        "sweep.seeds=[1, 1]",
        "sweep.grid={}",
        "sweep.grid={translator.mapper.input: []}",
        "sweep.grid={translator.mapper.input: s3d}",
        "sweep.grid={translator.mapper.input: [s3d, s3d]}",
        "evaluate.tasks=[]",
        "evaluate.splits=[]",
        "visual_train.vocabulary_splits=[]",
        "translate_train.training.schedule.name=cosine-epoch",  # the demo's warm-up would do nothing
        f"{OBJECTIVE}.recognition=-1",
        f"{OBJECTIVE}.recognition={{to: 1}}",
        f"{OBJECTIVE}.recognition={{to: 1, over: 0}}",
        f"{OBJECTIVE}.recognition={{to: -1, over: 10}}",
    ],
)
def test_nonsense_is_refused(override):
    assert "recipe demo/mmtlb: " in demo_refusal(override)


# --- what sections say of each other


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([f"{OBJECTIVE}.recogniton=1"], "names recogniton; the system's parts are translation, recognition; did you"),
        ([f"{OBJECTIVE}={{translation: 1}}"], "does not list recognition; give each part a weight, 0 turns one off"),
        ([f"{OBJECTIVE}.recognition=null"], "does not list recognition"),
        (
            [f"{OBJECTIVE}.translation=0"],
            "every weight is 0, or ends there, and recognition needs translator.head=trained",
        ),
        (
            ["translator.head=trained", f"{OBJECTIVE}={{translation: 0, recognition: {{to: 0, over: 5}}}}"],
            "leaves nothing to learn: every weight is 0",
        ),
        ([f"{LR}.maper=1"], f"{LR} names maper; rates are for mapper, translation, recognition, default; did you mean"),
        (["visual_train.training.optimiser.lr.mapper=1"], "visual_train.training.optimiser.lr names mapper; rates are"),
        ([f"{LR}={{mapper: 0.5}}"], f"{LR} has no rate for translation and no default"),
        (
            ["translator.head=trained", f"{LR}={{mapper: 0.5, translation: 0.5}}"],
            f"{LR} has no rate for recognition and no default",
        ),
        (
            ["evaluate.generation.max_length=500"],
            "evaluate.generation.max_length is 500, and translator.mbart.max_positions 128",
        ),
        (["sweep.grid={seed: [1, 2]}"], "sweep.grid names seed, which tells no two runs apart: list seeds under"),
        (["sweep.grid={visual_train.training.epochs: [1, 2]}"], "that stage is no part of a sweep"),
        (["sweep.grid={translator.mapper.imput: [s3d]}"], "did you mean translator.mapper.input?"),
        (["sweep.variants={a: {seed: 3}}"], "sweep.variants names seed, which tells no two runs apart: list seeds"),
        (["sweep.variants={a: {translator.latnt: 3}}"], "did you mean translator.latent?"),
        (["sweep.variants={a: {}, b: {}}"], "variants lists {} twice: the same run"),
        (["sweep.variants={' ': {}}"], "variants names ' '; the name of a row is words on one line"),
        (["sweep={variants: {}, grid: {}}"], "grid is empty, and there are no variants"),
        (["sweep.grid={evaluate.num_best: [1, 2]}"], "evaluate.num_best, which tells no two runs apart: it changes no"),
        ([f"sweep.grid={{{LR}.variational: [0.1, 0.2]}}"], "no two runs apart: the system mmtlb has no such part"),
        (["sweep.metric=wer"], "sweep.metric is wer, which only translator.head=trained has; choose bleu4"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(overrides, message):
    assert message in demo_refusal(*overrides)


@pytest.mark.parametrize(
    ("name", "system", "part"), [("demo/mmtlb", "cvslt", "translation"), ("demo/cvslt", "mmtlb", "prior")]
)
def test_the_objective_of_another_system_is_answered_with_one_that_loads(name, system, part):
    message = demo_refusal(f"translator.system={system}", name=name)
    assert f"{OBJECTIVE} names {part}; the system's parts are " in message
    (cure,) = re.findall(r"set it whole: -o '([^']*)'", message)
    recipe = load_recipe(name, [f"translator.system={system}", cure])
    assert set(recipe.translate_train.objective) == set(recipe.translator.parts)


def test_the_objective_that_is_named_is_the_published_one():
    for name in ("mmtlb/phoenix14t", "cvslt/phoenix14t"):
        recipe = load_recipe(name)
        usual = load_recipe(name, [f"{OBJECTIVE}={recipe.translator.usual_objective}"])
        assert usual.translate_train.objective == recipe.translate_train.objective


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        (
            "demo/mmtlb",
            "translator.attention=separate",
            "key translator.attention is of another system; leave it out, or set translator.system=cvslt",
        ),
        ("demo/cvslt", "translator.atention=separate", "did you mean translator.attention?"),
        ("demo/cvslt", "translator.system=cvstl", "Input should be 'mmtlb' or 'cvslt'; did you mean cvslt?"),
        ("demo/cvslt", "translator.latent=0", "translator.latent = 0: Input should be greater than 0"),
        ("demo/cvslt", "translator.posterior=residul", "did you mean residual?"),
        ("demo/cvslt", f"{OBJECTIVE}.output_kl.too=2", "output_kl.too"),
        ("demo/cvslt", f"{OBJECTIVE}.output_lk=2", "names output_lk; the system's parts are prior, posterior"),
        ("demo/cvslt", "translator={attention: separate, system: mmtlb}", "key translator.attention is of another"),
    ],
)
def test_a_key_of_a_system_is_found_by_its_nearest_and_refused_in_another(name, override, message):
    assert message in demo_refusal(override, name=name)


@pytest.mark.parametrize(
    "overrides",
    [
        [f"{LR}.recognition=1e-3"],  # a head's rate may stay where there is no head
        ["translator.head=trained", f"{OBJECTIVE}={{translation: 1, recognition: 0}}"],
        ["translator.head=trained", f"{OBJECTIVE}={{translation: 0, recognition: 1}}"],
        ["translator.head=trained", f"{OBJECTIVE}.recognition={{start: 1, to: 0, over: 100}}"],
        ["sweep.metric=wer", "translator.head=trained"],
        ["sweep.metric=wer", "sweep.grid={translator.head: [stored, trained]}"],
        ["evaluate.generation.max_length=128"],
        ["evaluate.generation.max_length=500", "translator.mbart.folder=weights/mbart_de"],
    ],
)
def test_what_agrees_loads(overrides):
    load_recipe("demo/mmtlb", overrides)


# --- keys that cannot matter

EMBEDDING = ["translator.mapper.type=embedding", "translator.mapper.input=gloss_probs"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["translator.mapper.freeze=true"],
            "translator.mapper.freeze = true does nothing: only translator.mapper.type",
        ),
        ([*EMBEDDING, "translator.mapper.hidden=64"], "translator.mapper.hidden = 64 does nothing"),
        ([*EMBEDDING, "translator.mapper.num_hidden=2"], "translator.mapper.num_hidden = 2 does nothing"),
        (["translator.mbart.folder=m", "translator.mbart.d_model=64"], "translator.mbart.d_model = 64 does nothing"),
        (
            ["translator.language_model=gpt2", "translator.mbart.folder=m"],
            'translator.mbart.folder = "m" does nothing: translator.language_model is gpt2',
        ),
        (["text.tokenizer=m", "text.vocab_size=99"], "does nothing: the tokenizer is that of m; leave it out, or 1000"),
        (["visual_train.training.schedule.t_max=3"], "visual_train.training.schedule.t_max = 3 does nothing"),
        (["visual_pretrain.also=[]", "visual_pretrain.also_weight=0.5"], "visual_pretrain.also_weight = 0.5 does"),
        (["translate_train.init_head=null"], "translate_train.init_head = null does nothing: translator.head is"),
        (["translate_train.beam_size=5"], "translate_train.beam_size = 5 does nothing"),
        (["synth.container=frames", "synth.crf=30"], "synth.crf = 30 does nothing"),
        (["translator.mapper={num_hidden: 0, hidden: 64}"], "translator.mapper.hidden = 64 does nothing"),
        (
            ["evaluate.generation={num_beams: 1, length_penalty: 2}"],
            "= 2.0 does nothing: generation.num_beams is 1, and a penalty ranks beams; leave it out, or 1.0",
        ),
        (
            [f"{OBJECTIVE}.recognition=0.5"],
            "recognition = 0.5 does nothing: translator.head is stored, so that no head",
        ),
        ([f"{OBJECTIVE}.recognition={{to: 2, over: 9}}"], 'recognition = {"to": 2.0, "over": 9, "start": 0.0'),
        (
            [f"{LR}={{mapper: 0.1, translation: 0.1, default: 0.2}}", f"{LR}.default=0.5"],
            f"{LR}.default = 0.5 does nothing: mapper and translation have rates of their own; leave it out",
        ),
        (
            ["visual_train.training.optimiser.lr.recognition=0.1", "visual_train.training.optimiser.lr.default=0.5"],
            "does",
        ),
        (
            [
                "gloss2text_train.regularise={agreement: 2, gloss_dropout: 0.1}",
                "translator.mbart={dropout: 0, attention_dropout: 0}",
            ],
            "agreement = 2.0 does nothing: dropout and attention_dropout of translator.mbart are 0, so that two passes",
        ),
        (["lm_pretrain={masked: 0, span: 9}"], "lm_pretrain.span = 9.0 does nothing: lm_pretrain.masked is 0"),
        (["video.transform={jitter_probability: 0, hue: 0.2}"], "video.transform.hue = 0.2 does nothing"),
        (["corpus={manifest: m, isolated_media_root: x}"], "corpus.isolated_media_root = x does nothing"),
        (["visual_train.training.optimiser={weight_decay: 0, name: adamw}"], "optimiser.name = adamw does nothing"),
        (["translator.mapper={freeze: true}"], "translator.mapper.freeze = true does nothing"),
    ],
)
def test_a_key_that_cannot_matter_is_refused_where_somebody_sets_it(overrides, message):
    assert message in demo_refusal(*overrides)


@pytest.mark.parametrize(
    ("key", "value", "needs"),
    [
        ("attention", "separate", [{"posterior"}, {"gaussian_kl"}, {"output_kl"}]),
        ("posterior", "absolute", [{"posterior"}, {"gaussian_kl"}, {"output_kl"}]),
        ("text_positions", "after_valid", [{"posterior"}, {"gaussian_kl"}, {"output_kl"}]),
        ("passes", "together", [{"posterior"}, {"gaussian_kl"}, {"output_kl"}]),
        ("distillation", "to_prior", [{"output_kl"}]),
        ("kl_mask", "valid", [{"gaussian_kl"}, {"output_kl"}]),
        ("noise", "shared", [{"output_kl"}, {"prior", "posterior"}]),
        ("combine", "none", [set()]),
        ("latent", 8, [set()]),
        ("suffix", "gls", [set()]),
    ],
)
def test_a_key_of_cvslt_is_refused_where_no_part_of_the_loss_reads_it(key, value, needs):
    """With every choice of parts that learns to translate, it is taken exactly where the loss depends on it."""
    parts = ("prior", "posterior", "gaussian_kl", "output_kl")
    for number in range(2 ** len(parts)):
        chosen = {part for bit, part in enumerate(parts) if number >> bit & 1}
        if chosen.isdisjoint({"prior", "posterior"}):
            continue
        objective = {part: int(part in chosen) for part in parts} | {"recognition": 0}
        overrides = [f"{OBJECTIVE}={objective}", f"translator.{key}={value}"]
        if any(need <= chosen for need in needs):
            load_recipe("cvslt/phoenix14t", overrides)
        else:
            assert f"translator.{key} = {value} does nothing: " in demo_refusal(*overrides, name="cvslt/phoenix14t")


def test_a_file_is_refused_for_its_own_idle_keys(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo/mmtlb\ntranslator: {mapper: {freeze: true}}\n")
    assert "translator.mapper.freeze = true does nothing" in demo_refusal(name=str(path))


def test_a_sweep_is_refused_an_idle_key():
    with pytest.raises(SltError, match=r"translator\.mapper\.freeze = true does nothing"):
        with_values(load_recipe("demo/mmtlb"), {"translator.mapper.freeze": True})


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("demo/mmtlb", ["visual_pretrain.also=[]"]),
        ("demo/mmtlb", ["text.tokenizer=weights/mbart_de", "translator.mbart.folder=weights/mbart_de"]),
        ("demo/mmtlb", ["translator.mapper.freeze=false", "translate_train.beam_size=1"]),
        ("demo/mmtlb", ["translate_train.training.schedule={name: cosine-epoch}"]),
        ("mmtlb/csl_daily", ["gloss2text_train.training.schedule.name=constant"]),
        ("mmtlb/phoenix14t", ["translator.head=stored"]),
    ],
)
def test_an_inherited_key_that_cannot_matter_is_no_mistake(name, overrides, tmp_path):
    recipe = load_recipe(name, overrides)
    assert load_recipe(str(save_recipe(recipe, tmp_path))) == recipe
