"""A front and a translator as one model: losses by part, gradients, what is trained, weights of earlier versions."""

import itertools

import pytest
import torch
from toy_translator import CHANNELS, CLASSES, PAIRS, gloss_labels, sign_to_text, targets, toy_translator

from slt_pipeline.config.taps import TAPS
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import HeadFront, StoredTap
from slt_pipeline.training.checkpoint import save_checkpoint

BOTH = frozenset({"translation", "recognition"})
OF_TEXT = {"translation", "agreement", "distillation"}
LABELS = {**targets([text for _, text in PAIRS[:2]]), **gloss_labels([glosses for glosses, _ in PAIRS[:2]])}
LENGTHS = torch.tensor([9, 7])


def _batch(front: str = "head", width: int = CHANNELS) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    if front == "video":
        return {"frames": torch.rand(2, 3, 24, 32, 32), "frame_lengths": torch.tensor([24, 20]), **LABELS}
    return {"features": torch.rand(2, 9, width).half(), "lengths": LENGTHS, **LABELS}


def _stored_width(tap: str) -> int:
    return {"s3d": CHANNELS, "gloss_rep": 8}.get(TAPS[tap].stream, len(CLASSES))


@pytest.mark.parametrize("tap", TAPS)
def test_the_head_is_run_and_the_chosen_tap_is_translated(tap):
    model, batch = sign_to_text("head", tap), _batch()
    losses = model(batch, BOTH)

    assert isinstance(model.front, HeadFront)
    gloss_rep, gloss_logits = model.front.head(batch["features"].float(), LENGTHS)
    probs = gloss_logits.softmax(-1)
    taps = {"s3d": batch["features"], "gloss_rep": gloss_rep, "gloss_logits": gloss_logits, "gloss_probs": probs}
    tapped = {"features": taps[tap], "lengths": LENGTHS}
    translation = model.translator({**tapped, **LABELS}, BOTH)["translation"]
    torch.testing.assert_close(losses["translation"], translation)
    recognition = ctc_loss(gloss_logits, LENGTHS, LABELS["gloss_labels"], LABELS["gloss_label_lengths"])
    torch.testing.assert_close(losses["recognition"], recognition)

    settings = {"num_beams": 2, "max_length": 8}
    found = model.generate(model.front(batch), **settings)
    assert torch.equal(found.ids, model.translator.generate(model.translator.source(tapped), **settings).ids)


@pytest.mark.parametrize("tap", TAPS)
def test_a_stored_tap_gives_what_the_head_that_made_it_gives(tap):
    live, stored = sign_to_text("head", tap), sign_to_text("stored", tap)
    batch = _batch()
    with torch.no_grad():
        features = getattr(live.front(batch), TAPS[tap].stream)
    losses = stored({**LABELS, "features": features, "lengths": LENGTHS}, {"translation"})
    assert torch.equal(losses["translation"], live(batch, {"translation"})["translation"])


def test_frames_pass_s3d_and_head_on_their_way_to_text():
    model, batch = sign_to_text("video"), _batch("video")
    losses = model.train()(batch, BOTH)
    assert losses.keys() == BOTH
    torch.stack(list(losses.values())).sum().backward()
    first_trained = model.front.get_submodule("encoder.s3d.features.2.0")
    assert first_trained.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    taps = model.eval().front(batch)
    assert taps.lengths.tolist() == [6, 5]
    assert model.generate(taps, num_beams=2, max_length=8).ids.shape[0] == 2


@pytest.mark.parametrize("part", sorted(BOTH))
def test_each_loss_alone_reaches_the_head(part):
    model = sign_to_text("head")
    losses = model(_batch(), {part})
    assert losses.keys() == {part}
    losses[part].backward()
    assert model.front.get_parameter("head.fc1.weight").grad.abs().sum() > 0  # type: ignore[union-attr]


def test_what_is_stored_is_not_recognised_anew():
    model = sign_to_text("stored", "gloss_logits")
    assert model.parts == OF_TEXT
    assert model(_batch(width=len(CLASSES)), BOTH).keys() == {"translation"}
    assert sign_to_text("head").parts == sign_to_text("video").parts == BOTH | OF_TEXT


def test_clips_without_gloss_take_no_part_in_recognition():
    model = sign_to_text("head").train()
    batch = _batch()
    absent = {**batch, "gloss_label_lengths": torch.tensor([2, -1])}
    first = {name: value[:1] for name, value in batch.items()}
    losses, alone = model.eval()(absent, BOTH), model(first, BOTH)
    torch.testing.assert_close(losses["recognition"], alone["recognition"])
    torch.testing.assert_close(losses["translation"], model(batch, BOTH)["translation"])

    none = {
        **batch,
        "gloss_labels": torch.zeros(2, 0, dtype=torch.int64),
        "gloss_label_lengths": torch.tensor([-1, -1]),
    }
    recognition = model(none, BOTH)["recognition"]
    recognition.backward()
    assert recognition.item() == 0
    gradients = [parameter.grad for parameter in model.front.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


FRONTS = ("stored", "head", "video")
PARTS = [frozenset(parts) for parts in ([], ["translation"], ["recognition"], BOTH)]
GROUPS = {"s3d.2", "s3d.3", "s3d.4", "recognition", "mapper", "translation"}  # the first block is frozen


@pytest.mark.parametrize("kind", ["projection", "embedding"])
@pytest.mark.parametrize(("front", "suffix"), list(itertools.product(FRONTS, ["gls", "txt"])))
@pytest.mark.parametrize("tap", TAPS)
def test_groups_hold_exactly_the_parameters_that_get_a_gradient(front, tap, suffix, kind):
    if kind == "embedding" and tap != "gloss_probs":
        return
    batch = _batch(front, _stored_width(tap) if front == "stored" else CHANNELS)
    for parts in PARTS:
        model = sign_to_text(front, tap, suffix=suffix, of_mapper={"type": kind}).train()
        groups = model.parameter_groups(parts)
        losses = model(batch, parts)
        assert losses.keys() == parts & model.parts
        if losses:
            torch.stack(list(losses.values())).sum().backward()
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        grouped = [names[id(p)] for group in groups.values() for p in group if p.requires_grad]
        assert len(grouped) == len(set(grouped)), "a parameter is in two groups"
        assert set(grouped) == {name for name, p in model.named_parameters() if p.grad is not None}, parts
        assert groups.keys() <= GROUPS and all(groups.values())


def test_without_a_mapper_the_gloss_table_is_trained_whatever_the_suffix():
    for suffix in ("gls", "txt"):
        model = toy_translator(suffix=suffix)
        assert model.gloss_table is not None
        assert any(p is model.gloss_table.weight for p in model.parameter_groups({"translation"})["translation"])


def test_all_groups_together_hold_every_parameter_once():
    model = sign_to_text("head")
    groups = model.parameter_groups(BOTH)
    assert list(groups) == ["recognition", "mapper", "translation"]
    ids = [id(p) for group in groups.values() for p in group]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("front", ["stored", "head"])
def test_a_checkpoint_of_an_earlier_version_loads(front, tmp_path):
    """They hold the head as `head.*`; the translator's names are the same."""
    made, fresh = sign_to_text(front, seed=5), sign_to_text(front)
    state = {name.removeprefix("front."): value + 1 for name, value in made.state_dict().items()}
    assert any(name.startswith("head.") for name in state) == (front == "head")
    assert {name.split(".")[0] for name in state} <= {"head", "translator"}
    fresh.load_state_dict(state)
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, state[name.removeprefix("front.")]), name

    earlier = torch.nn.Module()
    earlier.translator = made.translator
    if front == "head":
        earlier.head = made.front.get_submodule("head")
    again = sign_to_text(front, seed=6)
    save_checkpoint(tmp_path, 1, earlier, {}, {}).load_model(again)
    for name, value in again.state_dict().items():
        assert torch.equal(value, made.state_dict()[name]), name


def test_a_front_stands_in_the_state_by_its_own_name():
    model = sign_to_text("head")
    assert {name.split(".")[0] for name in model.state_dict()} == {"front", "translator"}
    assert "front.head.fc1.weight" in model.state_dict()
    assert SignToText(StoredTap("s3d"), model.translator).state_dict().keys() == {
        name for name in model.state_dict() if name.startswith("translator.")
    }
