"""Analyses of trained translators: the gap of signs and text, where both lie, and whether the video is used."""

import csv

import numpy as np
import pytest
import torch
from stage_tools import CPU, change_clips, refusal, rows

from slt_pipeline.corpora.replaced import AnotherClips, Noise, Nothing
from slt_pipeline.metrics.bleu import corpus_bleu
from slt_pipeline.models.language import LanguageModel
from slt_pipeline.stages.embedding import embedding
from slt_pipeline.stages.grounding import grounding
from slt_pipeline.stages.modality_gap import modality_gap
from slt_pipeline.systems.analyses import Run, begin_report, names_of, opened, report_folder
from slt_pipeline.systems.sentences import Sentences, sentences
from slt_pipeline.systems.tasks import Systems

CVSLT = {
    "translator__system": "cvslt",
    "translator__latent": 4,
    "translate_train__objective": "{prior: 1, posterior: 1, gaussian_kl: 1, output_kl: 1, recognition: 0}",
    "translate_train__training__epochs": 2,
    "translate_train__training__validate_every": 2,
}


@pytest.fixture(scope="module")
def mmtlb(toy) -> Run:
    return Run(toy.recipe(), toy.recipe().run_folder("translate_train"))


@pytest.fixture(scope="module")
def cvslt(toy, stages, tmp_path_factory) -> Run:
    """A CV-SLT on the store and the language model of the toy's MMTLB, in a home of its own."""
    home, lender = tmp_path_factory.mktemp("cvslt"), toy.root / "runs" / "toy"
    recipe = toy.recipe(name="other", runs_dir=home, uses__encoder=lender, uses__language=lender, **CVSLT)
    stages["translate_train"](recipe, device="cpu")
    return Run(recipe, recipe.run_folder("translate_train"))


@pytest.fixture(scope="module")
def of_sweep(toy) -> Run:
    folder = next((toy.recipe().run_folder("sweep")).glob("*/*gloss_probs_seed=3"))
    return Run(toy.recipe(translator__mapper__input="gloss_probs"), folder)


@pytest.fixture(scope="module")
def systems(mmtlb) -> Systems:
    return Systems(mmtlb.recipe, CPU)


def _table(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_gap_is_the_distance_of_two_means():
    signs, texts = np.zeros((2, 1, 2)), np.array([[[3.0, 4.0]], [[0.0, 0.0]]])
    found = Sentences(signs, texts)
    assert found.gaps.tolist() == [[5.0], [0.0]]
    assert found.layers == ["embedding", "layer 1"]


def test_a_sentence_is_the_mean_of_what_the_encoder_says_of_each_modality_alone(systems):
    features, model = systems.with_texts("train"), systems.sign2text.model.translator
    found = sentences(systems.sign2text, features, 32)
    clip = features.clips[2]
    batch = features.batch([clip])
    with torch.no_grad():
        signs = systems.sign2text.model.source(systems.sign2text.taps(batch))
        ids = batch["labels"][batch["labels"] != 1][None]
        texts = model.mbart.get_encoder()(input_ids=ids)  # mBART scales what it embeds itself
        first = model.mbart.get_encoder().layernorm_embedding(
            signs.vectors + model.mbart.get_encoder().embed_positions(signs.vectors[..., 0])
        )
        assert found.signs[-1][2] == pytest.approx(model.encode(signs)[0].mean(dim=0).numpy(), abs=1e-5)
    assert found.signs[0][2] == pytest.approx(first[0].mean(dim=0).numpy(), abs=1e-5)
    assert found.texts[-1][2] == pytest.approx(texts.last_hidden_state[0].detach().mean(dim=0).numpy(), abs=1e-5)
    assert found.signs.shape == found.texts.shape == (2, len(features), 16)


def test_two_modalities_that_are_the_same_have_no_gap(systems, monkeypatch):
    features = systems.with_texts("dev")
    alike = systems.sign2text.model.source(systems.sign2text.taps(features.batch(features.clips)))
    monkeypatch.setattr(LanguageModel, "text_source", lambda *_: alike)
    assert (sentences(systems.sign2text, features, 32).gaps == 0).all()
    monkeypatch.undo()
    assert (sentences(systems.sign2text, features, 32).gaps > 0.01).all()


def test_padding_changes_no_gap(systems, cvslt):
    for each in (systems, Systems(cvslt.recipe, CPU)):
        features = each.with_texts("train")
        assert len({features.length(clip) for clip in features.clips}) > 1
        alone, together = (sentences(each.sign2text, features, size).gaps for size in (1, 32))
        assert together == pytest.approx(alone, rel=1e-5)


def test_every_clip_has_the_features_of_another(systems):
    features = systems.with_texts("train")
    for seed in range(20):
        lender = AnotherClips(features, seed).lender
        assert sorted(clip.id for clip in lender.values()) == sorted(lender)
        assert [name for name, clip in lender.items() if clip.id == name] == []
    assert AnotherClips(features, 4).lender == AnotherClips(features, 4).lender
    assert len({str(AnotherClips(features, seed).lender) for seed in range(5)}) > 1
    replaced, clips = AnotherClips(features, 4), features.clips[:3]
    wanted, lengths = features.read([replaced.lender[clip.id] for clip in clips])
    assert torch.equal(replaced.batch(clips)["features"], wanted)
    assert replaced.batch(clips)["lengths"].tolist() == lengths.tolist() == [replaced.length(clip) for clip in clips]
    assert torch.equal(replaced.batch(clips)["labels"], features.batch(clips)["labels"])  # their own


def test_batches_of_equal_length_are_so_of_what_is_read(systems):
    replaced = AnotherClips(systems.with_texts("train"), 0)
    indices = systems.sign2text.batches(replaced, 32, alike=True)
    batches = [[replaced.clips[index] for index in batch] for batch in indices]
    assert len(batches) > 1
    assert all(len(set(replaced.read(clips)[1].tolist())) == 1 for clips in batches)


def test_noise_has_the_moments_of_the_features_and_is_a_clips_own(systems):
    features = systems.with_texts("train")
    steps = torch.cat([features.read([clip])[0][0] for clip in features.clips]).double()
    noise = Noise(features, 5)
    assert torch.allclose(noise.mean, steps.mean(dim=0))
    assert torch.allclose(noise.deviation, steps.std(dim=0, correction=0))
    drawn, lengths = noise.read(features.clips)
    rows = torch.cat([row[:length] for row, length in zip(drawn, lengths, strict=True)])
    standard = (rows[:, noise.deviation > 0] - noise.mean[noise.deviation > 0]) / noise.deviation[noise.deviation > 0]
    assert abs(standard.mean()) < 0.15
    assert standard.std() == pytest.approx(1, abs=0.1)
    assert lengths.tolist() == [features.length(clip) for clip in features.clips]
    assert all((row[length:] == 0).all() for row, length in zip(drawn, lengths, strict=True))
    clip = features.clips[3]
    assert torch.equal(noise.read([clip])[0][0], drawn[3, : lengths[3]])
    assert not torch.equal(Noise(features, 6).read([clip])[0][0], drawn[3, : lengths[3]])


def test_nothing_is_zeros_of_the_same_length(systems):
    features = systems.with_texts("dev")
    zeros, lengths = Nothing(features).read(features.clips)
    assert not zeros.any()
    assert lengths.tolist() == features.read(features.clips)[1].tolist()
    assert zeros.shape == features.read(features.clips)[0].shape


def test_a_translators_own_row_is_what_evaluate_says(toy, mmtlb, cvslt, tmp_path):
    found = grounding([mmtlb, cvslt], "dev", device="cpu", out=tmp_path)
    assert [(row["run"], row["features"]) for row in found.rows] == [
        (run, features) for run in ("toy", "other") for features in ("own", "another clip's", "noise", "nothing")
    ]
    wanted = rows(toy.results["evaluate"])["sign2text", "dev"]
    names = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge", "chrf")
    assert {name: found.rows[0][name] for name in names} == {name: wanted[name] for name in names}
    table = _table(tmp_path / "grounding.csv")
    assert [float(row["rouge"]) for row in table] == [row["rouge"] for row in found.rows]
    assert (tmp_path / "grounding.md").read_text(encoding="utf-8").count("|\n") == 2 + 8
    assert found.files == [tmp_path / "grounding.md", tmp_path / "grounding.csv"]


def test_other_features_reach_the_decoder(systems, monkeypatch):
    features, seen = systems.with_texts("dev"), []
    decode = type(systems.sign2text).translate

    def note(self, taps, *arguments, **options):
        seen.append(taps.gloss_rep)
        return decode(self, taps, *arguments, **options)

    monkeypatch.setattr(type(systems.sign2text), "translate", note)
    systems.translated(Nothing(features))
    systems.translated(AnotherClips(features, 0))
    assert not seen[0].any()
    assert torch.equal(seen[1], features.read(features.clips[::-1])[0])  # of two, each has the other's


def test_gaps_of_mixed_runs_are_written_and_drawn(slt, mmtlb, cvslt, of_sweep, tmp_path):
    folders = [run.folder for run in (mmtlb, cvslt, of_sweep)]
    ended = slt("report", "modality-gap", *folders, "--split", "train", "--device", "cpu", "--out", tmp_path)
    assert (ended.status, ended.err.count(f"wrote {tmp_path}")) == (0, 5)
    names = ["toy", "other", "toy mapper.input=gloss_probs seed=3"]
    layers, parts, clips, runs = (
        _table(tmp_path / f"{name}.csv") for name in ("gap_by_layer", "bleu_by_gap", "gap_by_clip", "runs")
    )
    assert [(row["run"], row["layer"]) for row in layers] == [(n, at) for n in names for at in ("embedding", "layer 1")]
    assert [row["run"] for row in runs] == names
    of_first = [row for row in clips if row["run"] == "toy"]
    assert len(of_first) == 6
    gaps = [float(row["gap"]) for row in of_first]
    assert float(layers[1]["gap"]) == pytest.approx(np.mean(gaps)) == pytest.approx(float(runs[0]["gap last"]))
    own = [row for row in parts if row["run"] == "toy"]
    assert [int(row["clips"]) for row in own] == [2, 1, 1, 1, 1]
    assert [float(row["largest_gap"]) for row in own] == pytest.approx(sorted(gaps)[1:])
    assert (tmp_path / "modality_gap.png").stat().st_size > 0


def test_bleu_of_a_part_is_that_of_its_clips(mmtlb, systems, tmp_path):
    modality_gap([mmtlb], "train", device="cpu", out=tmp_path)
    features = systems.with_texts("train")
    decoded, order = systems.translated(features), sentences(systems.sign2text, features, 32).gaps[-1].argsort()
    texts = [[(decoded.hypotheses[i], features.clips[i].text) for i in part] for part in np.array_split(order, 5)]
    wanted = [corpus_bleu(*zip(*part, strict=True))[3] for part in texts]
    assert [float(row["bleu4"]) for row in _table(tmp_path / "bleu_by_gap.csv")] == pytest.approx(wanted)


def test_the_plane_is_the_same_each_time(mmtlb, cvslt, tmp_path):
    found = embedding([mmtlb, cvslt], "train", device="cpu", clips=4, out=tmp_path / "both")
    assert [path.name for path in found.files] == ["embedding.csv", "embedding.png"]
    points = _table(tmp_path / "both" / "embedding.csv")
    assert len(points) == 2 * 2 * 2 * 4  # runs, layers, modalities, clips
    embedding([cvslt], "train", device="cpu", clips=4, out=tmp_path / "again")
    assert _table(tmp_path / "again" / "embedding.csv") == points[16:]
    assert len({(row["x"], row["y"]) for row in points}) == len(points)


def test_fewer_clips_are_spread_over_the_split(mmtlb, toy):
    (run,) = opened([mmtlb], "train", "cpu", 3)
    assert [clip.id for clip in run.features.clips] == [clip.id for clip in toy.of("train")[::2]]


def test_one_run_is_reported_in_its_folder_and_several_beside_all(slt, own):
    recipe = own.recipe()
    assert slt("report", "grounding", "-r", own.file, "--device", "cpu", "--seed", "3").status == 0
    alone = recipe.run_folder("translate_train")
    assert (alone / "report" / "grounding" / "grounding.csv").is_file()
    both = [Run(recipe, alone), Run(recipe, alone.with_name("gloss2text_train"))]
    assert report_folder(both, "grounding", None) == own.root / "runs" / "report" / "grounding"
    begin_report(both, "grounding", None)
    assert report_folder(both[::-1], "grounding", None).name == "grounding"
    others = [both[0], Run(both[0].recipe, own.root / "other")]
    assert begin_report(others, "grounding", None).name == "grounding-2"
    assert report_folder(both, "grounding", None).name == "grounding"


def test_runs_of_one_name_are_told_apart_by_their_folders(mmtlb):
    other = Run(mmtlb.recipe, mmtlb.folder.parent / "copy" / "translate_train")
    assert names_of([mmtlb, other]) == [str(mmtlb.folder), str(other.folder)]
    assert names_of([mmtlb]) == ["toy"]


@pytest.mark.parametrize("analysis", [grounding, modality_gap, embedding])
def test_what_cannot_be_compared_is_refused_and_nothing_written(own, analysis, tmp_path):
    recipe, out = own.recipe(), tmp_path / "out"
    run = Run(recipe, recipe.run_folder("translate_train"))
    language = Run(recipe, recipe.run_folder("gloss2text_train"))
    assert "holds no translator of signs; name a run of" in refusal(analysis, [run, language], out=out)
    assert "no trained weights in" in refusal(analysis, [Run(recipe, own.root / "corpus")], out=out)
    assert "has no clips of split tset" in refusal(analysis, [run], "tset", out=out)
    assert "is named twice" in refusal(analysis, [run, Run(recipe, run.folder / ".")], out=out)
    change_clips(own.root / "corpus" / "manifest.jsonl", {own.of("dev")[0].id: {"split": "single"}})
    assert "1 clip of split single is compared with nothing" in refusal(analysis, [run], "single", out=out)
    assert not out.exists()


def test_runs_that_are_asked_about_other_clips_are_told(own, mmtlb, caplog):
    recipe = own.recipe()
    run, clip = Run(recipe, recipe.run_folder("translate_train")), own.of("test")[0]
    list(opened([mmtlb, run], "dev", "cpu"))
    assert "not all the same" not in caplog.text
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip.id: {"split": "dev"}})
    list(opened([mmtlb, run], "dev", "cpu"))
    few, many = len(own.of("dev")), len(own.of("dev")) + 1
    assert f"{run.folder} is asked about {many} clips of dev" in caplog.text
    assert f"{mmtlb.folder} about {few} (" in caplog.text


def test_a_run_brings_its_own_recipe(slt, toy, mmtlb):
    ended = slt("report", "grounding", mmtlb.folder, "-r", toy.file)
    assert (ended.status, "RUN brings its own recipe: leave out --recipe" in ended.err) == (2, True)
    ended = slt("report", "grounding", toy.root)
    assert (ended.status, "is no run folder" in ended.err) == (2, True)
