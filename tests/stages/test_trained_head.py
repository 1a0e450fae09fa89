"""A translator with a visual head of its own: its numbers are its own, and do not depend on neighbours."""

from dataclasses import dataclass

import pytest
import torch
from stage_tools import CPU, batch_of, rows, trainable_of

from slt_pipeline.config.recipe import Recipe, with_values
from slt_pipeline.corpora.features import FeatureDataset
from slt_pipeline.corpora.labels import no_labels
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.files import read_json_lines
from slt_pipeline.stages.translate import Translate
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.decoding import Gloss2Text
from slt_pipeline.systems.features import open_features
from slt_pipeline.systems.translator import open_sign2text
from slt_pipeline.training.checkpoint import best_checkpoint
from slt_pipeline.training.optim import build_optimiser

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Joint:
    """A trained run."""

    recipe: Recipe
    decoded: dict[tuple[str, str], list[dict[str, str]]]
    """What `slt evaluate` decoded, by task and split."""
    scores: dict[tuple[str, str], dict[str, float]]


JOINT = {
    "translator__head": "trained",
    "translate_train__training__epochs": 40,
    "translate_train__training__validate_every": 40,
    "evaluate__splits": "[train, dev, test]",
    "evaluate__tasks": "[sign2gloss, sign2gloss2text, sign2text]",
}


@pytest.fixture(scope="module")
def joint(toy, stages, tmp_path_factory) -> dict[str, Joint]:
    """The translator with a trained head, by its padding, evaluated on every split."""
    found, uses = {}, toy.root / "runs" / "toy"
    for padding in ("masked", "published"):
        values = {**JOINT, "runs_dir": tmp_path_factory.mktemp(padding), "uses__language": uses}
        if padding == "masked":
            recipe = toy.recipe(**values, uses__encoder=uses)
        else:
            start = best_checkpoint(uses / "visual_pretrain", made_by="").folder / "weights.safetensors"
            recipe = toy.recipe(**values, encoder__head__padding=padding, visual_train__init=start)
            stages["visual_train"](recipe, device="cpu")
            stages["extract"](recipe, device="cpu")
        stages["translate_train"](recipe, device="cpu")
        scores = rows(stages["evaluate"](recipe, device="cpu"))
        folder = recipe.run_folder("evaluate")
        decoded = {key: read_json_lines(folder / f"{'-'.join(key)}.jsonl") for key in scores}
        found[padding] = Joint(recipe, decoded, scores)
    return found


# --- neighbours


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_scores_and_texts_are_the_same_at_every_batch_size(stages, joint, padding):
    run = joint[padding]
    folder = run.recipe.run_folder("evaluate")
    written = {path: _without_scores(path) for path in folder.glob("*.jsonl")}
    assert len({len(pair["reference"]) for pair in run.decoded["sign2gloss", "train"]}) > 1
    for batch_size in (1, 4, 16):
        again = rows(stages["evaluate"](with_values(run.recipe, {"evaluate.batch_size": batch_size}), device="cpu"))
        for key, row in again.items():
            for name in row.keys() - {"recipe"}:
                assert row[name] == pytest.approx(run.scores[key][name]), (batch_size, key, name)
        for path, before in written.items():
            assert _without_scores(path) == before, (batch_size, path.name)


def _without_scores(path):
    return [{name: value for name, value in line.items() if name != "nbest"} for line in read_json_lines(path)]


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_gloss_logits_of_a_clip_do_not_depend_on_its_batch_mates(joint, padding):
    recipe = joint[padding].recipe
    store, clips = open_features(recipe), load_clips(recipe.corpus.manifest, "train")
    system = open_sign2text(recipe, CPU, {"store": store.fingerprint})
    assert len({store.length(clip.id) for clip in clips}) > 1  # else there is no padding
    features = FeatureDataset(store, "s3d", clips, no_labels)
    alone, *others = (system.translate_features(features, recipe.evaluate.generation, size) for size in (1, 4, 16))
    for texts, _, logits in others:
        assert texts == alone.texts
        for clip, one, two in zip(clips, logits, alone.logits, strict=True):
            assert one.shape == (store.length(clip.id), two.shape[1])
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


# --- whose numbers they are


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_glosses_are_those_of_its_own_head(stages, joint, tmp_path, padding):
    run = joint[padding]
    *_, step, best = read_json_lines(run.recipe.run_folder("translate_train") / "metrics.jsonl")
    assert (step["split"], step["infeasible"], best["split"]) == ("train", 0, "dev")
    for name in ("wer", "sub_rate", "del_rate", "ins_rate"):
        assert run.scores["sign2gloss", "dev"][name] == pytest.approx(best[name])
    assert 0 <= best["blank_only"] <= 100
    for name in ("bleu1", "bleu4", "rouge"):
        assert run.scores["sign2text", "dev"][name] == pytest.approx(best[name])
    values = {"translator.head": "stored", "evaluate.tasks": ["sign2gloss"], "evaluate.splits": ["train"]}
    (of_encoder,) = stages["evaluate"](with_values(run.recipe, values), device="cpu", run=tmp_path)["rows"]
    assert of_encoder["wer"] != run.scores["sign2gloss", "train"]["wer"]


def test_recognised_glosses_are_what_is_translated_through_glosses(stages, joint, monkeypatch):
    """Sign2Gloss2Text reads what Sign2Gloss found, of the same head."""
    read = []
    outputs = Gloss2Text.outputs
    monkeypatch.setattr(
        Gloss2Text,
        "outputs",
        lambda system, glosses, *rest, **best: read.append(glosses) or outputs(system, glosses, *rest, **best),
    )
    recipe = with_values(joint["masked"].recipe, {"evaluate.tasks": ["sign2gloss2text"], "evaluate.splits": ["train"]})
    stages["evaluate"](recipe, device="cpu")
    found = [pair["hypothesis"] for pair in joint["masked"].decoded["sign2gloss", "train"]]
    assert [" ".join(glosses) for glosses in read[0]] == found
    assert any(found)


def test_rows_name_the_translator_whose_head_it_is(joint):
    scores = joint["masked"].scores
    assert scores["sign2gloss", "dev"]["checkpoints"] == scores["sign2text", "dev"]["checkpoints"]
    assert scores["sign2gloss2text", "dev"]["checkpoints"].keys() == {"translator", "language"}


@pytest.mark.parametrize("padding", ["masked", "published"])
def test_a_video_is_translated_as_evaluate_decoded_it(toy, joint, padding):
    run, system = joint[padding], Translate(joint[padding].recipe, device="cpu")
    for split in ("train", "dev", "test"):
        found = [system.video(str(toy.video(clip))) for clip in toy.of(split)]
        texts = [pair["hypothesis"] for pair in run.decoded["sign2text", split]]
        glosses = [pair["hypothesis"] for pair in run.decoded["sign2gloss", split]]
        assert [result["text"] for result in found] == texts
        assert [" ".join(gloss["gloss"] for gloss in result["glosses"]) for result in found] == glosses


# --- no parameter without a loss


@pytest.mark.parametrize("tap", ["s3d", "gloss_rep", "gloss_logits", "gloss_probs"])
@pytest.mark.parametrize(
    "values",
    [
        {"translator__head": "trained", "translate_train__objective": "{translation: 1, recognition: 0}"},
        {"translator__head": "trained", "translate_train__objective": "{translation: 0, recognition: 1}"},
        {"translator__head": "trained"},
        {"translator__suffix": "txt", "translate_train__init_language": "null"},
        {},
    ],
    ids=["without CTC", "CTC alone", "both", "text suffix", "stored"],
)
def test_every_parameter_that_is_handed_to_the_optimiser_gets_a_gradient(toy, monkeypatch, tmp_path, tap, values):
    recipe = toy.recipe(**values, translator__mapper__input=tap)
    trainable = trainable_of(monkeypatch, lambda: translate_train(recipe, device="cpu", folder=tmp_path / "run"))
    losses = trainable.losses(trainable.model.train(), batch_of(trainable, 0, 1, 2))
    trainable.objective.total(losses, 0).backward()
    handed = build_optimiser(recipe.translate_train.training.optimiser, trainable.parameter_groups).param_groups
    names = {parameter: name for name, parameter in trainable.model.named_parameters()}
    assert sum(len(group["params"]) for group in handed) > 10
    assert [names[p] for group in handed for p in group["params"] if p.grad is None] == []
    others = names.keys() - {p for group in handed for p in group["params"]}
    assert [names[p] for p in others if p.grad is not None] == []  # nor is a loss without its parameters
