"""Features are of one engine, precision and kind of device, in a store and in what was trained on it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stage_tools import change_header, change_json, refusal

from cache import FeatureStore
from slt_pipeline.errors import SltError
from slt_pipeline.models.engines import EngineError
from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems import recogniser
from slt_pipeline.systems.features import require_features_of
from slt_pipeline.systems.recogniser import trained_encoder
from slt_pipeline.video import by_torchcodec

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def bf16_here(monkeypatch):
    """A CPU with instructions for bf16, which give the same numbers sooner."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def opened(recipe, *, device) -> Translate:
    return Translate(recipe, device=device)


def test_a_store_is_added_to_by_what_made_it(toy, stages, tmp_path, bf16_here):
    chosen = {"extract__store": tmp_path / "store"}
    bf16 = toy.recipe(**chosen, encoder__precision="bf16")
    assert stages["extract"](bf16, split="dev", device="cpu").written == 2
    assert stages["extract"](bf16, split="test", device="cpu").written == 2
    message = refusal(stages["extract"], toy.recipe(**chosen))
    assert "was made with encoder.precision = 'bf16', but now it is 'float32'; set it back, or extract into" in message

    made, exact = FeatureStore.open(tmp_path / "store"), FeatureStore.open(toy.recipe().store)
    for clip in toy.of("dev"):
        wanted = exact.read(clip.id, "s3d")
        assert 0 < np.abs(made.read(clip.id, "s3d") - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_store_of_a_cpu_is_read_anywhere_and_not_added_to_by_a_gpu(toy):
    store, recipe = FeatureStore.open(toy.recipe().store), toy.recipe()
    encoder = trained_encoder(recipe)
    require_features_of(store, recipe, encoder)
    require_features_of(store, recipe, encoder, CPU)
    with pytest.raises(SltError, match="was made with device = 'cpu', but now it is 'cuda'; "):
        require_features_of(store, recipe, encoder, GPU)


def test_a_translator_reads_what_the_engine_of_its_store_makes(toy, stages, tmp_path, bf16_here):
    recipe = toy.recipe(extract__store=tmp_path / "store", encoder__precision="bf16", evaluate__tasks="[sign2text]")
    stages["extract"](recipe, device="cpu")
    said = "was made with store.encoder.precision = 'float32', but now it is 'bf16'; "
    assert said in refusal(stages["evaluate"], recipe)
    assert said in refusal(opened, recipe)


def test_a_store_says_which_decoder_made_it_and_takes_no_other(own, stages, tmp_path, monkeypatch):
    """A decoder that is asked for frames and gives none: PyAV reads what torchcodec cannot."""
    asked = []

    def fail(path, **_):
        asked.append(path)
        raise RuntimeError("not one frame")

    monkeypatch.setattr(by_torchcodec, "_lacking", lambda device: None)
    monkeypatch.setattr(by_torchcodec, "_decoders", lambda: SimpleNamespace(VideoDecoder=fail))
    monkeypatch.setattr(recogniser, "version", {"av": "18", "torchcodec": "0.17"}.get)
    recipe = own.recipe(video__decoder="torchcodec")
    assert "was made with video.decoder = 'pyav', but now it is 'torchcodec'; set it back" in refusal(
        stages["extract"], recipe
    )
    said = "was made with store.video.decoder = 'pyav', but now it is 'torchcodec'; "
    assert said in refusal(opened, recipe)
    elsewhere = own.recipe(video__decoder="torchcodec", extract__store=tmp_path / "store")
    assert stages["extract"](elsewhere, split="dev", device="cpu").written == len(asked) == 2
    made = FeatureStore.open(elsewhere.store)
    assert (made.fingerprint["video.decoder"], made.recorded["decoder"]) == ("torchcodec", "torchcodec 0.17")
    auto = own.recipe(video__decoder="auto", extract__store=tmp_path / "store")
    message = refusal(stages["extract"], auto)
    assert "was made with video.decoder = 'torchcodec', but now it is 'pyav'" in message
    assert opened(own.recipe(video__decoder="auto"), device="cpu")


def test_a_joint_run_takes_any_engine(joint, bf16_here):
    """It was trained on pixels, by S3D itself."""
    from slt_pipeline.config.recipe import recipe_of_run

    recipe = recipe_of_run(joint.folder)
    encoder = recipe.encoder.model_copy(update={"precision": "bf16"})
    assert Translate(recipe.model_copy(update={"encoder": encoder}), device="cpu", run=joint.folder)


def test_another_kind_of_device_is_said_and_translates(own, caplog):
    folder = own.recipe().run_folder("translate_train")
    opened(own.recipe(), device="cpu")
    assert "last digits" not in caplog.text
    change_json(folder / "inputs.json", lambda inputs: inputs.update({"store.device": "cuda"}))
    opened(own.recipe(), device="cpu")
    assert "trained on features made on cuda; these are made on cpu: last digits differ" in caplog.text


def test_stores_and_runs_from_before_there_were_engines_are_of_torch_in_float32(own, stages, bf16_here):
    def forget(header):
        for key in ("encoder.engine", "encoder.precision", "video.decoder", "device"):
            del header["fingerprint"][key]

    def unsay(inputs):
        for key in ("store.encoder.engine", "store.encoder.precision", "store.video.decoder", "store.device"):
            del inputs[key]

    recipe = own.recipe()
    change_json(recipe.run_folder("translate_train") / "inputs.json", unsay)
    assert stages["evaluate"](recipe, device="cpu")["table"] == own.results["evaluate"]["table"]
    change_header(recipe.store, forget)
    assert stages["extract"](recipe, device="cpu").present == 10
    assert stages["translate_train"](recipe, device="cpu") == own.results["translate_train"]
    assert stages["evaluate"](recipe, device="cpu")["table"] == own.results["evaluate"]["table"]
    assert opened(recipe, device="cpu")

    bf16 = own.recipe(encoder__precision="bf16")
    for call in (stages["extract"], stages["evaluate"], opened):
        assert "encoder.precision = 'float32', but now it is 'bf16'; " in refusal(call, bf16)
    with pytest.raises(SltError, match="was made with device = 'cpu', but now it is 'cuda'"):
        require_features_of(FeatureStore.open(recipe.store), recipe, trained_encoder(recipe), GPU)


def test_an_engine_that_computes_something_else_ends_an_extraction_with_nothing_left_out(
    toy, stages, tmp_path, monkeypatch
):
    right = recogniser.build_engine

    def wrong(s3d, *arguments):
        engine = right(s3d, *arguments)
        engine._compute, engine._checked = lambda frames: s3d.pooled(frames) + 1, False
        return engine

    monkeypatch.setattr(recogniser, "build_engine", wrong)
    with pytest.raises(EngineError, match="features of the first clip are off by 1"):
        stages["extract"](toy.recipe(extract__store=tmp_path / "store"), device="cpu")
    assert FeatureStore.open(tmp_path / "store").keys() == []
    assert not (tmp_path / "rejected.jsonl").exists()


def test_what_cannot_run_here_is_refused_before_anything_is_written(toy, stages, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    recipe = toy.recipe(extract__store=tmp_path / "store", encoder__precision="bf16")
    assert "encoder.precision bf16 needs instructions" in refusal(stages["extract"], recipe)
    assert not (tmp_path / "store").exists()
