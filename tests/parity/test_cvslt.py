"""CV-SLT against its published code: both paths, the latents, all losses, gradients, generation, on every case."""

import pytest
import torch
from parity_data import case_names

from slt_pipeline.config.objective import Ramp
from slt_pipeline.config.translator import CVSLTConfig, MBartConfig, MMTLBConfig
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.cvslt import CVSLT
from slt_pipeline.models.published import our_name
from slt_pipeline.models.variational import Gaussian, gaussian_kl
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.training.objective import Objective

FOLDER_FILES = ("config.json", "pytorch_model.bin", "sentencepiece.bpe.model", "map_ids.json")
CASES = case_names("cvslt")
THEIRS = {"prior": "prior_translation_loss", "posterior": "posterior_translation_loss"}
THEIRS |= {"gaussian_kl": "gkl_loss", "output_kl": "kl_loss"}
"""Published names of our losses; their values are weighted there."""
RAMPED = {"gaussian_kl": "gkl", "output_kl": "kl"}


@pytest.fixture
def part(load_part):
    return load_part("cvslt")


@pytest.fixture
def folder(part):
    first, *_ = (part.file(f"tiny_mbart/{name}") for name in FOLDER_FILES)
    return first.parent


@pytest.fixture
def case(part, folder, request) -> "Case":
    return Case(part, folder, request.param)


class Case:
    """A configuration of the part: the network with its weights, its inputs, its noise, its objective."""

    def __init__(self, part, folder, name):
        self.part, self.name = part, name
        self.described = part.json["cases"][name]
        published = part.json["variational_cfg"][name]
        config = CVSLTConfig(
            mbart=MBartConfig(folder=folder, dropout=0, attention_dropout=0),
            latent=published["latent_dim"],
            attention="shared" if published["attention_shared"] else "separate",
            combine=published["norm"],
        )
        self.tokenizer = Tokenizer.load(folder, self.described["tgt_lang"])
        model = build_translator(config, self.tokenizer, None, in_features=published["input_embed_dim"])
        assert isinstance(model, CVSLT)
        model.mapper = None  # the features are mapped already
        weights = {
            key: torch.from_numpy(part.tensors[key]) for key in part.tensors if key.startswith(f"{name}/weights")
        }
        state = {_our_name(key.removeprefix(f"{name}/weights/")): value for key, value in weights.items()}
        model.gaussian.load_state_dict({key.removeprefix("gaussian."): value for key, value in state.items()})
        self.model = model.eval()
        self.noise = tuple(self._tensor(f"noise_{path}") for path in ("prior", "posterior"))
        self.labels = self._tensor(f"{name}/labels")
        self.objective = Objective(
            {
                "prior": published.get("prior_weight", 1.0),
                "posterior": 1.0,
                **{ours: _ramp(published, theirs) for ours, theirs in RAMPED.items()},
            }
        )

    def source(self):
        inputs = {"features": self._tensor("input_feature"), "lengths": self._tensor("input_lengths")}
        return self.model.source(inputs)

    def losses(self, source):
        batch = {"labels": self.labels, "decoder_input_ids": self._tensor(f"{self.name}/decoder_input_ids")}
        return self.model.losses(source, batch, self.objective.parts)

    def check(self, mode, name, got):
        self.part.check(f"{self.name}/{mode}/{name}", got)

    def check_paths(self, mode, paths):
        for path, passed in zip(("prior", "posterior"), paths, strict=True):
            self.check(mode, f"{path}_mean", passed.gaussian.mean)
            self.check(mode, f"{path}_logvar", passed.gaussian.log_variance)
            self.check(mode, f"{path}_z", passed.latent)
            self.check(mode, f"{path}_decoder_memory", passed.memory)

    def check_logits(self, mode, prior, source):
        ids = self._tensor(f"{self.name}/decoder_input_ids")
        self.check(mode, "prior_logits", self.model.decode(prior.memory, source.mask, ids))

    def check_losses(self, mode, losses):
        """Compare with the published losses, which are weighted as after the warm-up, and the sum."""
        weights = self.objective.weights(10**9)
        for ours, theirs in THEIRS.items():
            self.check(mode, theirs, weights[ours] * losses[ours])
        total = self.objective.total(losses, 10**9)
        self.check(mode, "translation_loss", total)
        return total

    def check_gradients(self, mode, total):
        self.model.zero_grad()
        total.backward()
        got = {name: float(p.grad.norm()) for name, p in self.model.named_parameters()}
        want = {_our_name(name): norm for name, norm in self.part.json["grad_l2"][f"{self.name}/{mode}"].items()}
        tolerance = self.part.json["grad_l2_tolerance"]
        assert got.keys() == want.keys()
        for name in want:
            assert got[name] == pytest.approx(want[name], rel=tolerance["rtol"], abs=tolerance["atol"]), name

    def _tensor(self, name):
        return torch.from_numpy(self.part.tensors[name])


@pytest.mark.parametrize("passes", ["apart", "decoder", "together"])
@pytest.mark.parametrize("case", CASES, indirect=True)
def test_evaluation(case, passes):
    case.model.config = case.model.config.model_copy(update={"passes": passes})
    _check_evaluation(case)


def _check_evaluation(case):
    source = case.source()
    prior, posterior = case.model.paths(source, case.labels)
    case.check("eval", "inputs_embeds", source.vectors)
    case.check("eval", "attention_mask", source.mask)
    case.check("eval", "prior_encoder_out", prior.states)
    case.check("eval", "posterior_sign_encoder_out", posterior.states)
    case.check("eval", "posterior_text_encoder_out", posterior.text_states)
    case.check("eval", "posterior_text_mask", (case.labels != case.described["text_ids"]["pad"]).long())
    case.check_paths("eval", (prior, posterior))
    case.check_logits("eval", prior, source)
    total = case.check_losses("eval", case.losses(source))
    if f"{case.name}/eval" in case.part.json["grad_l2"]:
        case.check_gradients("eval", total)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_training_with_the_given_noise(case, monkeypatch):
    if not case.part.outputs(f"{case.name}/train/"):
        pytest.skip("the case has no training mode")
    model = case.model.train()
    monkeypatch.setattr(model, "_noise", lambda like: case.noise)
    source = case.source()
    paths = model.paths(source, case.labels)
    case.check_paths("train", paths)
    case.check_logits("train", paths[0], source)
    losses = case.losses(source)
    case.check_gradients("train", case.check_losses("train", losses))
    losses = {name: loss.detach() for name, loss in losses.items()}
    case.part.check_all_were_checked(f"{case.name}/train/")
    for step, want in case.described["train_losses_by_step"].items():
        weights = case.objective.weights(int(step))
        tolerance = case.part.json["tensors"][f"{case.name}/train/translation_loss"]
        close = {"rel": tolerance["rtol"], "abs": tolerance["atol"]}
        for ours, theirs in THEIRS.items():
            assert float(weights[ours] * losses[ours]) == pytest.approx(want[theirs], **close), (step, theirs)
        assert float(case.objective.total(losses, int(step))) == pytest.approx(want["translation_loss"], **close), step


@pytest.mark.parametrize("path", ["prior", "posterior"])
@pytest.mark.parametrize("case", CASES, indirect=True)
def test_generation(case, path):
    oracle = case.labels if path == "posterior" else None
    found = case.model.generate(case.source(), **case.part.json["generate_settings"], oracle=oracle)
    case.check("eval", f"generate_{path}", found.ids)
    assert case.tokenizer.decode_batch(found.ids) == case.described[f"generated_{path}"]


@pytest.mark.parametrize("name", case_names("cvslt", "warmup"))
def test_warm_up(part, name):
    published = part.json["warmup"][name]
    ramp = Ramp(
        to=published["end_ratio"],
        over=max(1, published["warmup_step"]),
        start=published["start_ratio"],
        after=published["warmup_start_step"],
    )
    objective = Objective({"it": ramp})
    for step, want in published["values"].items():
        assert objective.weights(int(step))["it"] == pytest.approx(want, rel=1e-12), step


def test_gaussian_kl(part):
    def of(name):
        return Gaussian(*(torch.from_numpy(part.tensors[f"gaussian_kl/{name}_{kind}"]) for kind in ("mean", "logvar")))

    prior = of("prior")
    part.check("gaussian_kl/loss", len(prior.mean) * gaussian_kl(of("posterior"), prior))


def test_text_suffix_without_the_bridge(part, folder):
    config = MMTLBConfig(mbart=MBartConfig(folder=folder, dropout=0, attention_dropout=0), suffix="txt")
    model = build_translator(config, Tokenizer.load(folder, "de_DE")).eval()
    names = {"features": "input_feature", "lengths": "input_lengths"}
    names |= {name: f"phoenix/{name}" for name in ("labels", "decoder_input_ids")}
    batch = {ours: torch.from_numpy(part.tensors[theirs]) for ours, theirs in names.items()}
    part.check("plain_txt_suffix/inputs_embeds", model.source(batch).vectors)
    part.check("plain_txt_suffix/translation_loss", model(batch, {"translation"})["translation"])
    part.check_all_were_checked("plain_txt_suffix/")


def test_every_output_has_a_test(part):
    of_path = [
        f"{path}_{name}" for path in ("prior", "posterior") for name in ("mean", "logvar", "z", "decoder_memory")
    ]
    of_mode = {*of_path, *THEIRS.values(), "translation_loss", "prior_logits"}
    of_eval = {"inputs_embeds", "attention_mask", "prior_encoder_out", "posterior_sign_encoder_out"}
    of_eval |= {"posterior_text_encoder_out", "posterior_text_mask", "generate_prior", "generate_posterior"}
    compared = {f"{case}/{mode}/{name}" for case in CASES for mode in ("eval", "train") for name in of_mode}
    compared |= {f"{case}/eval/{name}" for case in CASES for name in of_eval}
    compared |= {"gaussian_kl/loss", "plain_txt_suffix/inputs_embeds", "plain_txt_suffix/translation_loss"}
    assert sorted(set(part.outputs()) - compared) == []
    graded = {f"{case}/{mode}" for case in CASES for mode in ("eval", "train")}
    assert part.json["grad_l2"].keys() <= graded
    steps = {name for name, case in part.json["cases"].items() if "train_losses_by_step" in case}
    assert steps <= {name.split("/")[0] for name in part.outputs() if "/train/" in name}


@pytest.mark.parametrize("name", ["posterior_z", "prior_logits", "gkl_loss"])
@pytest.mark.parametrize("case", CASES[:1], indirect=True)
def test_an_altered_number_fails(case, name):
    key = f"{case.name}/eval/{name}"
    altered, tolerance = case.part.tensors[key].copy(), case.part.json["tensors"][key]
    altered[(-1,) * altered.ndim] *= 1 + 3 * tolerance["rtol"]  # the last number: of tensors, one of padding
    altered[(-1,) * altered.ndim] += 3 * tolerance["atol"]
    case.part.tensors = {**case.part.tensors, key: altered}
    with pytest.raises(AssertionError, match=f"{name}: 1 of"):
        _check_evaluation(case)


def _ramp(published, term):
    steps = published.get(f"{term}_warmup_step", 0)
    return Ramp(
        to=published[f"{term}_factor"],
        over=max(1, steps),
        start=published.get(f"{term}_start_ratio", 0.0),
        after=published.get(f"{term}_warmup_start", 0),
    )


def _our_name(name: str) -> str:
    """Of the published translation network's entry in our translator."""
    ours = our_name(f"translation_network.{name}")
    assert ours is not None, name
    return ours.removeprefix("translator.")
