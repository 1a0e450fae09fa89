"""CV-SLT on the encoder, store and language model of an MMTLB recipe: every stage, and every wrong partner."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_tools import CPU, change_json, refusal, rows, weights

from slt_pipeline.config.provenance import flatten
from slt_pipeline.config.recipe import Recipe, save_recipe
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json_lines
from slt_pipeline.models.cvslt import CVSLT
from slt_pipeline.models.visual_head import CLASSIFIER
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.training.checkpoint import best_checkpoint

OBJECTIVE = "{prior: 1, posterior: 1, gaussian_kl: {to: 0.1, over: 4}, output_kl: {to: 1, over: 4}, recognition: 0}"
VALUES = {
    "translator__system": "cvslt",
    "translator__latent": 4,
    "translate_train__objective": OBJECTIVE,
    "translate_train__training__epochs": 3,
    "translate_train__training__validate_every": 3,
}


@dataclass(frozen=True)
class Bridged:
    """A trained CV-SLT, evaluated on all tasks and from its posterior."""

    toy: Any
    runs: Path
    report: dict[str, Any]

    def recipe(self, **values: Any) -> Recipe:
        uses = self.toy.root / "runs" / "toy"
        where = {"runs_dir": self.runs, "uses__encoder": uses, "uses__language": uses}
        return self.toy.recipe(**{**where, **VALUES, **values})

    @property
    def folder(self) -> Path:
        return self.recipe().run_folder("translate_train")

    def written(self, name: str) -> Any:
        path = self.recipe().run_folder("evaluate") / name
        return read_json_lines(path) if path.suffix == ".jsonl" else json.loads(path.read_text())


@pytest.fixture(scope="module")
def bridged(toy, stages, tmp_path_factory) -> Bridged:
    runs = tmp_path_factory.mktemp("bridged")
    recipe = Bridged(toy, runs, {}).recipe()
    stages["translate_train"](recipe, device="cpu")
    return Bridged(toy, runs, stages["evaluate"](recipe, device="cpu", oracle=True))


# --- trained and evaluated


def test_it_starts_from_the_language_model_that_another_system_shares(bridged, stages):
    values = {"translate_train__training__optimiser__lr": "{default: 0.0}", "translate_train__training__epochs": 1}
    recipe = bridged.recipe(**values, runs_dir=bridged.runs / "fixed")
    stages["translate_train"](recipe, device="cpu")
    language, after = weights(bridged.toy.recipe(), "gloss2text_train"), weights(recipe, "translate_train")
    shared = [name for name in language if "mbart" in name]
    assert len(shared) > 20
    assert all(torch.equal(language[name], after[f"translator.{name}"]) for name in shared)
    assert not any("gloss_table" in name for name in after)
    assert any("translator.gaussian.prior_head" in name for name in after)


def test_losses_weights_and_rates_are_logged_by_part(bridged):
    records = [r for r in read_json_lines(bridged.folder / "metrics.jsonl") if r["split"] == "train"]
    assert [r["weights"]["output_kl"] for r in records[:6]] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert all(r["losses"].keys() == {"prior", "posterior", "gaussian_kl", "output_kl"} for r in records)
    assert records[0]["lr"].keys() == {"mapper", "translation", "variational"}


def test_all_four_tasks_are_scored_with_a_language_model_of_another_suffix(bridged):
    """Glosses are closed as Gloss2Text was trained, though signs are closed by the text's own pieces."""
    assert bridged.recipe().translator.suffix == "txt"
    found, of_mmtlb = rows(bridged.report), rows(bridged.toy.results["evaluate"])
    for split in ("dev", "test"):
        for task in ("sign2gloss", "gloss2text", "sign2gloss2text"):
            scores = {name: value for name, value in found[task, split].items() if name != "recipe"}
            assert scores == {n: v for n, v in of_mmtlb[task, split].items() if n != "recipe"}
        assert found["sign2text", split]["checkpoints"].keys() == {"translator"}
    records = read_json_lines(bridged.folder / "metrics.jsonl")
    assert found["sign2text", "dev"]["bleu1"] == pytest.approx(records[-1]["bleu1"])


def test_the_oracle_is_a_labelled_row_in_a_file_of_its_own(bridged):
    scores, oracle = bridged.written("scores.json"), bridged.written("oracle.json")
    assert "oracle" not in json.dumps(scores)
    assert [(row["task"], row["split"]) for row in oracle] == [("sign2text (oracle)", s) for s in ("dev", "test")]
    assert bridged.report["rows"] == scores + oracle
    assert "sign2text (oracle)" in bridged.report["table"]
    read = [[pair["reference"] for pair in bridged.written(f"{name}-dev.jsonl")] for name in ("oracle", "sign2text")]
    assert read[0] == read[1]


def test_a_posterior_that_nothing_has_taught_is_no_oracle(bridged, stages):
    untaught = "{prior: 1, posterior: 0, gaussian_kl: 0, output_kl: 0, recognition: 0}"
    message = refusal(stages["evaluate"], bridged.recipe(translate_train__objective=untaught), oracle=True)
    assert "was never trained" in message


def test_a_system_without_a_posterior_is_refused_before_it_decodes(toy, stages, monkeypatch):
    monkeypatch.setattr("slt_pipeline.stages.evaluate.score", pytest.fail)
    message = refusal(stages["evaluate"], toy.recipe(), oracle=True)
    assert "MMTLB reads no text and has no posterior" in message
    assert "leave out --oracle" in message


def test_a_video_is_translated_by_the_command_as_evaluate_decoded_it(bridged, slt):
    clip = bridged.toy.of("test")[0]
    file = save_recipe(bridged.recipe(), bridged.runs / "saved")
    ended = slt("-q", "translate", "-r", file, bridged.toy.video(clip), "--device", "cpu")
    assert ended.status == 0, ended.err
    (expected,) = (p["hypothesis"] for p in bridged.written("sign2text-test.jsonl") if p["id"] == clip.id)
    assert expected in ended.out


def test_its_options_and_the_other_system_are_rows_of_one_sweep(bridged, stages):
    translation = "{translation: 1, recognition: 0}"
    mmtlb = f"{{translator.system: mmtlb, translate_train.objective: {translation}}}"
    ours = "full: {}, absolute: {translator.posterior: absolute}, without AEP: {translate_train.objective.prior: 0}"
    variants = f"{{{ours}, MMTLB: {mmtlb}}}"
    recipe = bridged.recipe(
        sweep__variants=variants,
        sweep__grid="{}",
        sweep__oracle="true",
        sweep__seeds="[3]",
        evaluate__splits="[dev]",
        translate_train__training__epochs=1,
        translate_train__training__validate_every=1,
    )
    report = stages["sweep"](recipe, device="cpu")
    found = {result["variant"]: result for result in report["results"]}
    assert list(found) == ["full", "absolute", "without AEP", "MMTLB"]
    assert not [result["error"] for result in found.values() if "error" in result]
    assert [bool(result["oracle"]) for result in found.values()] == [True, True, True, False]


# --- wrong partners


def opened(recipe: Recipe, *, device: str) -> Translate:
    return Translate(recipe, device=device)


@pytest.fixture(params=["evaluate", "translate"])
def opening(request, stages):
    """What opens a translator: each has to refuse the wrong one."""
    if request.param == "translate":
        return opened
    return lambda recipe, device: stages["evaluate"](recipe, device=device, tasks=["sign2text"])


def test_the_systems_are_not_taken_for_each_other(bridged, toy, opening):
    uses = toy.root / "runs" / "toy"
    other = {"translator__system": "mmtlb", "translate_train__objective": "{translation: 1, recognition: 1}"}
    recipe = toy.recipe(runs_dir=bridged.runs, uses__encoder=uses, uses__language=uses, **other)
    message = refusal(opening, recipe)
    assert "translate_train was made with translator.system = 'cvslt', but now it is 'mmtlb'; " in message
    assert "`slt translate-train --overwrite`" in message
    message = refusal(opening, bridged.recipe(runs_dir=toy.root / "runs"))
    assert "translate_train was made with translator.system = 'mmtlb', but now it is 'cvslt'; " in message


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("latent", 4, 8),
        ("attention", "shared", "separate"),
        ("combine", "prefix", "postfix"),
        ("posterior", "residual", "absolute"),
        ("suffix", "txt", "gls"),
    ],
)
def test_another_design_is_refused_with_both_values(bridged, opening, name, before, now):
    message = refusal(opening, bridged.recipe(**{f"translator__{name}": now}))
    assert f"was made with translator.{name} = {before!r}, but now it is {now!r}; " in message


def test_a_run_without_a_system_is_mmtlb(own, stages, bridged):
    """One of an earlier edition: no key said so."""
    inputs = own.recipe().run_folder("translate_train") / "inputs.json"
    change_json(inputs, lambda said: said.pop("translator.system"))
    assert stages["evaluate"](own.recipe(evaluate__tasks="[sign2text]"), device="cpu")["rows"]
    message = refusal(stages["evaluate"], bridged.recipe(runs_dir=own.root / "runs", evaluate__tasks="[sign2text]"))
    assert "translator.system = 'mmtlb', but now it is 'cvslt'; " in message


def test_features_of_another_encoder_are_refused(bridged, stages, tmp_path):
    runs = shutil.copytree(bridged.runs, tmp_path / "runs")
    recipe = bridged.recipe(runs_dir=runs, evaluate__tasks="[sign2text]")
    inputs = recipe.run_folder("translate_train") / "inputs.json"
    key = "store.encoder_weights"
    now = json.loads(inputs.read_text())[key]
    change_json(inputs, lambda said: said.update({key: "another"}))
    message = refusal(stages["evaluate"], recipe)
    assert f"translate_train was made with {key} = 'another', but now it is '{now}'; " in message


@pytest.mark.parametrize("what", ["tokenizer", "weights"])
def test_a_changed_tokenizer_and_changed_weights_are_refused(bridged, stages, tmp_path, what):
    runs = shutil.copytree(bridged.runs, tmp_path / "runs")
    recipe = bridged.recipe(runs_dir=runs, evaluate__tasks="[sign2text]")
    folder = recipe.run_folder("translate_train")
    if what == "tokenizer":
        meta = folder / "tokenizer" / "slt_tokenizer.json"
        change_json(meta, lambda said: said.update(language="en_XX"))
    else:
        file = best_checkpoint(folder, made_by="").folder / "weights.safetensors"
        save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    message = refusal(stages["evaluate"], recipe)
    assert str(folder) in message
    assert {"tokenizer": "was made with pieces = ", "weights": "weights"}[what] in message


def test_a_language_model_that_was_trained_with_the_text_suffix_keeps_it(own, stages):
    """An earlier version let a run choose; it opens as it was trained, in recipes of either suffix."""
    inputs = own.recipe().run_folder("gloss2text_train") / "inputs.json"
    assert json.loads(inputs.read_text())["language_model.suffix"] == "gls"
    change_json(inputs, lambda said: said.update({"language_model.suffix": "txt"}))
    for suffix in ("gls", "txt"):
        found = open_gloss2text(own.recipe(translator__suffix=suffix), CPU)
        assert found.model.config.suffix == "txt"
    assert stages["evaluate"](own.recipe(evaluate__tasks="[gloss2text]"), device="cpu")["rows"]


# --- found before training


def test_signs_and_text_that_do_not_fit_together_are_found_before_training_and_the_cure_works(bridged, stages):
    values = {"translate_train__init_language": "null", "runs_dir": bridged.runs / "short", "text__vocab_size": 70}
    values["translate_train__training__epochs"] = 1
    message = refusal(stages["translate_train"], bridged.recipe(**values, translator__mbart__max_positions=45))
    assert "steps with a text, mBART has 45 positions" in message
    assert "raise translator.mbart.max_positions" in message
    assert not (bridged.runs / "short").exists()
    stages["translate_train"](bridged.recipe(**values, translator__mbart__max_positions=80), device="cpu")


def test_a_latent_that_overflows_stops_the_run_and_leaves_no_checkpoint(bridged, stages, monkeypatch):
    build = CVSLT.__init__

    def huge(model: CVSLT, *arguments: Any, **options: Any) -> None:
        build(model, *arguments, **options)
        torch.nn.init.constant_(model.gaussian.posterior_head.bias, 500.0)  # log-variance: exp(250) has no float32

    monkeypatch.setattr(CVSLT, "__init__", huge)
    recipe = bridged.recipe(runs_dir=bridged.runs / "huge")
    message = refusal(stages["translate_train"], recipe)
    assert "step 1, batch 1 of epoch 1 has loss " in message
    assert "gaussian_kl inf" in message
    assert "training cannot go on from there" in message
    assert not list((bridged.runs / "huge").rglob("step-*"))


def test_half_precision_needs_a_gpu_and_bf16_trains_on_a_cpu(bridged, stages):
    values = {"runs_dir": bridged.runs / "half", "translate_train__training__epochs": 1}
    message = refusal(stages["translate_train"], bridged.recipe(**values, translate_train__training__precision="fp16"))
    assert "fp16 needs a GPU, and the device is cpu; use fp32 or bf16" in message
    recipe = bridged.recipe(**values, translate_train__training__precision="bf16")
    stages["translate_train"](recipe, device="cpu", overwrite=True)
    assert len(read_json_lines(recipe.run_folder("translate_train") / "metrics.jsonl")) == 3  # two steps and dev


def test_an_idle_classifier_is_kept_bit_for_bit_or_decays_and_nothing_else_differs(bridged, stages):
    """FACTS 9.5: a step of Adam is about the rate, whatever the size of the decay; here four steps of 0.01."""
    before, after = weights(bridged.toy.recipe(), "visual_train"), {}
    for choice in ("kept", "decayed"):
        recipe = bridged.recipe(
            runs_dir=bridged.runs / choice,
            translator__head="trained",
            translate_train__idle_classifier=choice,
            translate_train__training__epochs=2,
            translate_train__training__optimiser__weight_decay=1e-3,
        )
        stages["translate_train"](recipe, device="cpu")
        after[choice] = weights(recipe, "translate_train")
    classifier = [f"front.{name}" for name in before if name.startswith(f"head.{CLASSIFIER}.")]
    assert classifier
    for name in classifier:
        was, kept, decayed = before[name.removeprefix("front.")], after["kept"][name], after["decayed"][name]
        assert torch.equal(was, kept)
        large = was.abs() > 0.05
        shrunk = (was - decayed)[large] * was[large].sign()
        assert ((shrunk > 0.03) & (shrunk < 0.0401)).all()
    for name in after["kept"].keys() - set(classifier):
        assert torch.equal(after["kept"][name], after["decayed"][name]), name


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "translator.head is stored"),
        ({"translator__head": "trained", "translator__mapper__input": "gloss_probs"}, "which trains the classifier"),
    ],
)
def test_a_classifier_that_a_loss_reaches_or_that_is_not_there_cannot_decay(bridged, values, why):
    with pytest.raises(SltError, match=why):
        bridged.recipe(**values, translate_train__idle_classifier="decayed")
    with pytest.raises(SltError, match="trains the classifier"):
        weighed = OBJECTIVE.replace("recognition: 0", "recognition: 1")
        bridged.recipe(
            translator__head="trained", translate_train__objective=weighed, translate_train__idle_classifier="decayed"
        )


@pytest.mark.parametrize(
    ("objective", "why"),
    [
        ("{prior: 0, posterior: 0, gaussian_kl: 1, output_kl: 0, recognition: 0}", "nothing would learn from the text"),
        ("{translation: 1, recognition: 0}", "names translation"),
        ("{prior: 1, posterior: 1, gaussian_kl: 1, recognition: 0}", "does not list output_kl"),
        ("{prior: 1, posterior: 1, gaussian_kl: {to: -1, over: 3}, output_kl: 1, recognition: 0}", "gaussian_kl"),
        (
            "{prior: 1, posterior: 1, gaussian_kl: {to: 1, over: 3, after: 3}, output_kl: 1, recognition: 0}",
            "end before",
        ),
    ],
)
def test_an_objective_that_teaches_nothing_or_is_of_the_other_system_is_refused(bridged, objective, why):
    with pytest.raises(SltError, match=why):
        bridged.recipe(translate_train__objective=objective)


def test_every_option_of_it_is_among_what_decides_a_run(bridged):
    said = json.loads((bridged.folder / "inputs.json").read_text())
    assert flatten({"translator": bridged.recipe().translator}).items() <= said.items()
