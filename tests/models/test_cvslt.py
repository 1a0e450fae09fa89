"""CV-SLT's translator: what its losses depend on, what learns from them, and that decoding knows no text."""

import itertools

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_translator import (
    CHANNELS,
    CLASSES,
    GLOSSES,
    HEAD,
    PAIRS,
    SMALL,
    gloss_labels,
    sign_to_text,
    targets,
    toy_translator,
)

from slt_pipeline.config.taps import TAPS
from slt_pipeline.errors import SltError
from slt_pipeline.models.cvslt import CVSLT
from slt_pipeline.models.mbart import PAD_ID
from slt_pipeline.models.taps import stream_widths

WIDTH, LENGTHS = 5, (9, 4, 6)
PARTS = ("prior", "posterior", "gaussian_kl", "output_kl")
TEXTS = ["im norden gibt es schnee .", "wind .", "im süden gibt es im süden wind ."]
FIXED = {"kl_mask": "valid", "text_positions": "after_valid"}


def cvslt(**changes) -> CVSLT:
    """With weights so large that its outputs are far from even, and what it reads matters."""
    found = toy_translator(WIDTH, **{"system": "cvslt", "latent": 6, **changes})
    assert isinstance(found, CVSLT)
    for parameter in found.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return found


def batch(*numbers: int, steps: int | None = None) -> dict[str, torch.Tensor]:
    """Those of three clips; padded to `steps`, with values that mean nothing behind each clip's own."""
    lengths = [LENGTHS[n] for n in numbers]
    rows = [torch.randn(LENGTHS[n], WIDTH, generator=torch.Generator().manual_seed(n)) for n in numbers]
    features = torch.full((len(numbers), steps or max(lengths), WIDTH), 7.0)
    for row, vectors in zip(features, rows, strict=True):
        row[: len(vectors)] = vectors
    return {"features": features, "lengths": torch.tensor(lengths), **targets([TEXTS[n] for n in numbers])}


def total(losses) -> torch.Tensor:
    return torch.stack([(n + 1) * losses[name] for n, name in enumerate(PARTS)]).sum()


# --- what a clip's losses depend on


@pytest.mark.parametrize("passes", ["apart", "decoder", "together"])
@pytest.mark.parametrize("attention", ["shared", "separate"])
@pytest.mark.parametrize("distillation", ["symmetric", "to_prior"])
def test_with_the_sounder_options_a_clips_losses_do_not_depend_on_its_batch_mates(passes, attention, distillation):
    model = cvslt(**FIXED, passes=passes, attention=attention, distillation=distillation)
    together, alone = model(batch(0, 1, 2), PARTS), [model(batch(n), PARTS) for n in range(3)]
    for name in PARTS:
        expected = torch.stack([losses[name] for losses in alone]).mean()
        torch.testing.assert_close(together[name], expected, rtol=1e-5, atol=1e-5, msg=name)
        assert expected > 1e-3


@pytest.mark.parametrize(
    ("options", "depends"),
    [
        ({}, {"posterior", "gaussian_kl", "output_kl"}),
        ({"kl_mask": "valid"}, {"posterior", "gaussian_kl", "output_kl"}),
        ({"text_positions": "after_valid"}, {"gaussian_kl", "output_kl"}),
        (FIXED, set()),
    ],
)
def test_as_published_padding_reaches_the_posterior_and_both_divergences(options, depends):
    """FACTS 9.1, 9.3: the text stands behind the padding of the signs, and neither divergence is masked."""
    model = cvslt(**options)
    alone = model(batch(1), PARTS)
    longer = batch(1, steps=20)
    longer |= {name: torch.cat([batch(1)[name], torch.full((1, 6), PAD_ID)], 1) for name in targets(TEXTS[:1])}
    padded = model(longer, PARTS)
    assert {name for name in PARTS if not torch.isclose(alone[name], padded[name], rtol=1e-4)} == depends


def test_a_latent_divergence_that_is_not_masked_grows_with_padding_by_what_is_padding():
    """FACTS 9.3 measured 484 grown to 883, of which 408 came from valid steps."""
    whole, valid = cvslt(text_positions="after_valid"), cvslt(**FIXED)
    found = [model(batch(1, steps=steps), PARTS)["gaussian_kl"] for model in (whole, valid) for steps in (4, 20)]
    assert found[1] > 2 * found[0]
    torch.testing.assert_close(found[2], found[0])
    torch.testing.assert_close(found[3], found[0])


# --- one pass or two


OPTIONS = {
    "attention": ("shared", "separate"),
    "posterior": ("residual", "absolute"),
    "combine": ("prefix", "postfix", "none"),
    "kl_mask": ("none", "valid"),
    "distillation": ("symmetric", "to_prior", "to_prior_detached"),
    "text_positions": ("after_padding", "after_valid"),
}
COMBINATIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


@pytest.mark.parametrize("options", COMBINATIONS[4::7], ids=lambda options: "-".join(options.values()))
def test_passes_together_give_the_losses_and_gradients_of_passes_apart(options):
    """Every seventh combination: each pair of values is among them."""
    found = []
    for passes in ("apart", "decoder", "together"):
        model = cvslt(**options, passes=passes)
        losses = model(batch(0, 1, 2), PARTS)
        total(losses).backward()
        found.append((losses, {name: p.grad for name, p in model.named_parameters()}))
    (apart, grads), *joined = found
    for losses, others in joined:
        for name in PARTS:
            torch.testing.assert_close(losses[name], apart[name], rtol=1e-5, atol=1e-5, msg=name)
        for name, grad in grads.items():
            assert (others[name] - grad).norm() <= 1e-4 * grad.norm() + 1e-3, name


def test_every_pair_of_values_is_among_those_combinations():
    for one, two in itertools.combinations(OPTIONS, 2):
        pairs = {(options[one], options[two]) for options in COMBINATIONS[4::7]}
        assert len(pairs) == len(OPTIONS[one]) * len(OPTIONS[two]), (one, two)


@pytest.mark.parametrize("passes", ["apart", "decoder", "together"])
def test_a_loss_has_the_same_value_whichever_others_are_asked_for(passes):
    model, clips = cvslt(passes=passes), batch(0, 1, 2)
    whole = model(clips, PARTS)
    for number in range(4):
        for parts in itertools.combinations(PARTS, number):
            losses = model(clips, {*parts, "recognition"})
            assert losses.keys() == set(parts)
            for name in parts:
                torch.testing.assert_close(losses[name], whole[name], rtol=1e-4, atol=1e-4)


def test_what_is_not_asked_for_is_not_computed(monkeypatch):
    model, made = cvslt(), []
    for name in ("encode", "decode"):
        method = getattr(model, name)
        monkeypatch.setattr(model, name, lambda *a, _m=method, _n=name: made.append(_n) or _m(*a))
    for parts, expected in (
        ({"prior"}, ["encode", "decode"]),
        ({"posterior"}, ["encode", "encode", "decode"]),
        ({"gaussian_kl"}, ["encode", "encode"]),
        ({"output_kl"}, ["encode", "encode", "decode", "decode"]),
        ({"recognition"}, []),
    ):
        made.clear()
        model(batch(0, 1), parts)
        assert made == expected, parts


# --- noise


def test_in_evaluation_nothing_is_drawn_and_the_prior_path_is_what_decoding_reads():
    model, clips = cvslt(), batch(0, 1, 2)
    state = torch.get_rng_state()
    source = model.source(clips)
    prior, posterior = model.paths(source, clips["labels"])
    assert torch.equal(torch.get_rng_state(), state)
    assert posterior is not None
    for path in (prior, posterior):
        assert torch.equal(path.latent, path.gaussian.mean)
    torch.testing.assert_close(model.states(source), prior.memory)
    torch.testing.assert_close(model.oracle_states(source, clips["labels"]), posterior.memory)
    assert not torch.allclose(prior.memory, posterior.memory)


@pytest.mark.parametrize("noise", ["independent", "shared"])
def test_in_training_each_path_draws_its_own_noise_or_both_share_one_draw(noise):
    model, clips = cvslt(noise=noise).train(), batch(0, 1, 2)
    model.mbart.eval()  # older versions of transformers draw a number for each layer in training, too
    drawn: list[torch.Tensor] = []
    for path in model.paths(model.source(clips), clips["labels"]):
        assert path is not None
        drawn.append((path.latent - path.gaussian.mean) / (0.5 * path.gaussian.log_variance).exp())
    assert all(0.8 < each.std() < 1.2 for each in drawn)
    one, two = drawn
    assert torch.allclose(one, two, atol=1e-4) == (noise == "shared")
    torch.manual_seed(1)
    model.paths(model.source(clips), clips["labels"])
    after = torch.get_rng_state()
    torch.manual_seed(1)
    for _ in range(2 if noise == "independent" else 1):
        torch.randn(drawn[0].shape)
    assert torch.equal(torch.get_rng_state(), after)


# --- decoding


def test_decoding_needs_no_text_and_the_oracle_another_path():
    model = cvslt()
    clips = batch(0, 1, 2)
    source = model.source({name: clips[name] for name in ("features", "lengths")})
    found = model.generate(source, num_beams=2, max_length=8, with_scores=True)
    torch.nn.init.normal_(model.gaussian.posterior_head.weight, std=5)
    torch.testing.assert_close(model.generate(source, num_beams=2, max_length=8, with_scores=True).scores, found.scores)
    oracle = model.generate(source, num_beams=2, max_length=8, with_scores=True, oracle=clips["labels"])
    assert not torch.allclose(oracle.scores, found.scores)


def test_a_clip_is_decoded_alike_alone_and_beside_others():
    model = cvslt()
    source = model.source(batch(0, 1, 2))
    for number, states in enumerate(model.states(source)):
        alone = model.states(model.source(batch(number)))[0]
        torch.testing.assert_close(states[: len(alone)], alone, rtol=1e-4, atol=1e-5)


# --- what learns


def subsets():
    """Parts of the loss that a recipe can give a weight to: at least one of the texts."""
    for number in range(1, 5):
        yield from (
            set(parts) for parts in itertools.combinations(PARTS, number) if {"prior", "posterior"} & set(parts)
        )


@pytest.mark.parametrize("attention", ["shared", "separate"])
@pytest.mark.parametrize("posterior", ["residual", "absolute"])
@pytest.mark.parametrize("distillation", ["symmetric", "to_prior_detached"])
def test_groups_hold_exactly_the_parameters_that_get_a_gradient(attention, posterior, distillation):
    """Several processes would wait for ever for the gradient of one that gets none."""
    options = {"attention": attention, "posterior": posterior, "distillation": distillation}
    combine, passes = ("prefix", "apart") if attention == "shared" else ("none", "together")
    model = cvslt(**options, combine=combine, passes=passes).train()
    for parts in subsets():
        model.zero_grad(set_to_none=True)
        torch.stack(list(model(batch(0, 1), parts).values())).sum().backward()
        grouped = [p for group in model.parameter_groups(parts).values() for p in group]
        assert len({id(p) for p in grouped}) == len(grouped)
        names = {id(p): name for name, p in model.named_parameters()}
        learns = {name for name, p in model.named_parameters() if p.grad is not None}
        assert {names[id(p)] for p in grouped} == learns, (parts, options)


@pytest.mark.parametrize("tap", ["s3d", "gloss_rep", "gloss_logits", "gloss_probs"])
@pytest.mark.parametrize("front", ["stored", "head"])
@pytest.mark.parametrize("suffix", ["txt", "gls"])
def test_so_do_those_of_the_whole_model_for_every_tap_and_front(tap, front, suffix):
    model = sign_to_text(front, tap, system="cvslt", suffix=suffix).train()
    stream = "s3d" if front == "head" else TAPS[tap].stream
    width = stream_widths(CHANNELS, HEAD.hidden, len(CLASSES))[stream]
    for parts in ({*PARTS}, {*PARTS, "recognition"}, {"prior", "recognition"}, {"recognition"}):
        parts &= model.parts
        if not parts:
            continue
        model.zero_grad(set_to_none=True)
        clips = {"features": torch.randn(2, 9, width), "lengths": torch.tensor([9, 7]), **targets(TEXTS[:2])}
        losses = model(clips | gloss_labels([PAIRS[0][0], PAIRS[1][0]]), parts)
        torch.stack(list(losses.values())).sum().backward()
        grouped = {id(p) for group in model.parameter_groups(parts).values() for p in group}
        names = {name for name, p in model.named_parameters() if id(p) in grouped}
        assert names == {name for name, p in model.named_parameters() if p.grad is not None}, parts


@pytest.mark.parametrize("freeze", [False, True])
def test_an_embedding_mapper_starts_at_the_gloss_vectors_though_the_table_is_gone(freeze):
    mapper = {"input": "gloss_probs", "type": "embedding", "freeze": freeze}
    model = toy_translator(len(CLASSES), system="cvslt", mapper=mapper)
    table = toy_translator(len(CLASSES), mapper=mapper).gloss_table
    assert model.gloss_table is None and model.mapper is not None and table is not None
    (columns,) = (p for p in model.mapper.parameters())
    for name in ("regen", "norden"):
        torch.testing.assert_close(columns[:, CLASSES.names.index(name)], table.weight[GLOSSES.id_of(name)])
    assert columns.requires_grad != freeze


def test_a_frozen_text_embedding_keeps_still_and_the_rest_learns():
    model = cvslt(mbart=SMALL.model_copy(update={"freeze_text_embedding": True})).train()
    total(model(batch(0, 1), PARTS)).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {"mbart.model.shared.weight"}


# --- files and numbers


@pytest.mark.parametrize("attention", ["shared", "separate"])
def test_its_state_is_saved_with_no_tensor_twice_and_is_loaded_again(tmp_path, attention):
    model, other = cvslt(attention=attention), cvslt(attention=attention, seed=5)
    state = model.state_dict()
    assert len({value.data_ptr() for value in state.values()}) == len(state)
    save_file(state, tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    clips = batch(0, 1, 2)
    for name, value in model(clips, PARTS).items():
        assert torch.equal(other(clips, PARTS)[name], value)
    named = {name.split(".")[1] for name in state if name.startswith("gaussian.")}
    separate = {"posterior_attention"} if attention == "separate" else set()
    assert named == {"attention", "prior_head", "posterior_head", "recover", "norm", *separate}
    assert not any("gloss_table" in name for name in state)


def test_under_autocast_latents_and_losses_stay_float32():
    model, clips = cvslt().train(), batch(0, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for path in model.paths(model.source(clips), clips["labels"]):
            assert path is not None
            assert {x.dtype for x in (*path.gaussian, path.latent)} == {torch.float32}
        losses = model(clips, PARTS)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    total(losses).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_signs_and_text_that_do_not_fit_together_are_refused_with_both_lengths():
    model = cvslt(mbart=SMALL.model_copy(update={"max_positions": 20}))
    clips = batch(0, 2)
    assert max(LENGTHS) + 2 <= 20
    with pytest.raises(SltError, match=r"signs of 11 steps and a text of \d+ pieces, mBART has 20 positions; raise"):
        model(clips, PARTS)
    assert model(clips, {"prior"}).keys() == {"prior"}
    assert len(model.generate(model.source(clips), num_beams=1, max_length=5).ids) == 2


# --- at the edge


@pytest.mark.parametrize("options", [{}, FIXED, {"passes": "together"}, {"combine": "postfix", "noise": "shared"}])
@pytest.mark.parametrize(("steps", "text"), [(1, ""), (1, "wind"), (9, ""), (1, TEXTS[2])])
def test_one_clip_of_one_step_and_an_empty_text_have_finite_losses_and_gradients(options, steps, text):
    model = cvslt(**options).train()
    clips = {"features": torch.randn(1, steps, WIDTH), "lengths": torch.tensor([steps]), **targets([text])}
    losses = model(clips, PARTS)
    total(losses).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("options", [{}, FIXED])
def test_a_row_without_a_text_has_finite_losses_too(options):
    """No tokenizer makes one, every text ends with `</s>`; nothing looks at nothing."""
    model, clips = cvslt(**options).train(), batch(0, 1)
    clips["labels"][1] = PAD_ID
    losses = model(clips, PARTS)
    total(losses).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
