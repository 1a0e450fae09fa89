"""From frames to text in one model: what the losses reach, what stays frozen, what a step is made of."""

import pytest
import torch
from toy_translator import CLASSES, HEAD, PAIRS, gloss_labels, sign_to_text, targets, toy_translator

from slt_pipeline.config.encoder import EncoderConfig, S3DConfig
from slt_pipeline.config.translator import MapperConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import VideoFront
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.parts import load_strictly

TEXT = {"mmtlb": frozenset({"translation"}), "cvslt": frozenset({"prior", "posterior", "gaussian_kl", "output_kl"})}
BLOCKS = ["s3d.1", "s3d.2", "s3d.3", "s3d.4"]


def joint(freeze=(), *, freeze_blocks: int = 0, use_blocks: int = 4, **changes) -> SignToText:
    torch.manual_seed(1)
    s3d = S3DConfig(width=0.03, freeze_blocks=freeze_blocks, use_blocks=use_blocks)
    front = VideoFront(VisualEncoder(EncoderConfig(s3d=s3d, head=HEAD), len(CLASSES)), freeze)
    return SignToText(front, toy_translator(HEAD.hidden, mapper=MapperConfig(input="gloss_rep"), **changes)).train()


def batch(*numbers: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    frames, labels = torch.rand(4, 3, 16, 32, 32), targets([text for _, text in PAIRS[:4]])
    labels |= gloss_labels([glosses for glosses, _ in PAIRS[:4]])
    whole = {"frames": frames, "frame_lengths": torch.full((4,), 16), **labels}
    return {name: value[list(numbers)] for name, value in whole.items()} if numbers else whole


def learn(model: SignToText, parts) -> None:
    torch.stack(list(model(batch(), parts).values())).sum().backward()


def block(model: SignToText, number: int) -> torch.nn.Module:
    assert isinstance(model.front, VideoFront) and isinstance(model.front.encoder, VisualEncoder)
    return model.front.encoder.s3d.block(number)


def head(model: SignToText) -> torch.nn.Module:
    return model.front.get_submodule("encoder.head")


def gradients(module: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def learns(module: torch.nn.Module) -> bool:
    """Whether its batch norms use the batch's statistics; a block itself is made anew each time it is asked for."""
    norms = [inner.training for inner in module.modules() if isinstance(inner, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(set(norms)) == 1
    return norms[0]


def buffers(module: torch.nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for name, buffer in module.named_buffers() if "running" in name]


@pytest.mark.parametrize("system", TEXT)
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_the_text_alone_teaches_the_first_layer_that_is_not_frozen_and_nothing_before_it(system, frozen):
    model = joint(freeze_blocks=frozen, system=system, suffix="txt" if system == "cvslt" else "gls")
    learn(model, TEXT[system])
    first = next(block(model, frozen + 1).parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0
    for number in range(1, frozen + 1):
        assert gradients(block(model, number)) == []


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ([], [*BLOCKS, "recognition", "mapper", "translation"]),
        (["s3d"], ["recognition", "mapper", "translation"]),
        (["s3d.2", "recognition"], ["s3d.1", "s3d.3", "s3d.4", "mapper", "translation"]),
        (["s3d.1", "s3d.2", "s3d.3", "s3d.4"], ["recognition", "mapper", "translation"]),
    ],
)
def test_blocks_and_head_are_frozen_by_name_and_keep_their_statistics(freeze, trained):
    model = joint(freeze)
    assert list(model.parameter_groups({"translation", "recognition"})) == trained
    parts = {name: block(model, number) for number, name in enumerate(BLOCKS, 1)} | {"recognition": head(model)}
    before = {name: buffers(part) for name, part in parts.items()}
    learn(model, {"translation", "recognition"})
    for name, part in parts.items():
        same = all(torch.equal(old, new) for old, new in zip(before[name], buffers(part), strict=True))
        is_frozen = name not in trained
        assert (gradients(part) == [], same, learns(part)) == (is_frozen, is_frozen, not is_frozen), name
    assert model.eval().train() is model
    assert [learns(part) for part in parts.values()] == [name in trained for name in parts]


def test_what_the_recipe_s_encoder_freezes_stays_frozen_beside_it():
    model = joint(["s3d.3"], freeze_blocks=1)
    assert list(model.parameter_groups({"translation"}))[:2] == ["s3d.2", "s3d.4"]


@pytest.mark.parametrize("system", TEXT)
def test_halves_of_a_batch_add_up_to_the_gradient_of_the_whole(system):
    """Batch norms use the running statistics: those of a half are not those of the whole."""
    suffix = "txt" if system == "cvslt" else "gls"
    whole, halves = (joint(system=system, suffix=suffix).eval() for _ in range(2))
    parts = TEXT[system] | {"recognition"}
    torch.stack(list(whole(batch(), parts).values())).sum().backward()
    for numbers in ((0, 1), (2, 3)):
        (torch.stack(list(halves(batch(*numbers), parts).values())).sum() / 2).backward()
    found = zip(whole.named_parameters(), halves.parameters(), strict=True)
    for (name, one), two in found:
        assert (one.grad is None) == (two.grad is None), name
        if one.grad is not None and two.grad is not None:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-5, msg=name)


# --- weights are taken whole


def test_every_weight_is_taken_and_of_tied_ones_one_name_is_enough():
    def tied() -> torch.nn.Module:
        model = torch.nn.ModuleDict({"first": torch.nn.Linear(2, 2), "norm": torch.nn.BatchNorm1d(2)})
        model["last"] = torch.nn.Linear(2, 2)
        model["last"].weight = model["first"].weight
        return model

    model, other = tied(), tied()
    other["norm"].running_mean.fill_(3)  # type: ignore[index]
    weights = {name: value for name, value in other.state_dict().items() if name != "last.weight"}
    load_strictly(model, weights, "x")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    del weights["first.weight"]
    with pytest.raises(SltError, match=r"x lacks first\.weight and 1 more; "):
        load_strictly(model, weights, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("front.encoder.head.fc1.bias"), "x lacks front.encoder.head.fc1.bias; "),
        (lambda weights: weights.update(odd=torch.zeros(1)), "x has what the recipe's model has not: odd; "),
        (
            lambda weights: weights.update({"front.encoder.head.fc1.bias": torch.zeros(3)}),
            "x does not fit the recipe's model: .*front.encoder.head.fc1.bias",
        ),
    ],
)
def test_a_weight_that_is_missing_left_over_or_of_another_shape_stops(change, message):
    model = sign_to_text("video")
    weights = dict(model.state_dict())
    change(weights)
    with pytest.raises(SltError, match=message):
        load_strictly(model, weights, "x")
