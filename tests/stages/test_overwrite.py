"""Nothing old is given up before the new is possible."""

import shutil

import pytest
import torch
from cache_tools import files
from stage_tools import KilledError, change_clips, refusal, weights

from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, write_json
from slt_pipeline.training import run as run_folders
from slt_pipeline.training.checkpoint import list_checkpoints, save_checkpoint
from slt_pipeline.training.loop import train

LONG = "heute " * 200
TRANSLATORS = ("gloss2text_train", "translate_train")


def test_what_a_run_is_to_read_is_not_given_up_for_it(own, slt):
    run = own.recipe().run_folder("gloss2text_train")
    before, asked = files(run), ["-r", own.file, "-o", f"text={{tokenizer: {run}/tokenizer}}"]
    ended = slt("gloss2text-train", *asked, "--overwrite")
    assert ended.status == 2
    assert f"--overwrite gives up {run}, and with it the tokenizer that is read, {run}/tokenizer: move" in ended.err
    assert files(run) == before


@pytest.mark.parametrize("stage", TRANSLATORS)
@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("text.language=German", "text.language = 'German'"),
        ("corpus.protocol=phoenix", "corpus.protocol = 'phoenix'"),
        ("{stage}.training.optimiser.lr={{translation: 0.1, maper: 0.1, default: 1.0}}", "maper"),
        ("translator.mbart.max_positions=8", "max_length is 12"),
        ("text={{tokenizer: nowhere}}", "sentencepiece.bpe.model"),
        ("corpus.manifest=nowhere.jsonl", "nowhere.jsonl"),
        ("extract.store=nowhere", "no feature store at nowhere"),
    ],
)
def test_a_mistake_leaves_the_finished_run_as_it_was(own, slt, stage, mistake, message):
    if stage == "gloss2text_train" and "extract" in mistake:
        return  # it reads no store
    options = ["-o", mistake.format(stage=stage)]
    if "tokenizer" in mistake:
        options += ["-o", "translate_train.init_language=null"]
    before = files(own.recipe().run_folder(stage))
    run = slt(stage.replace("_", "-"), "-r", own.file, "--device", "cpu", "--overwrite", *options)
    assert run.status == 2
    assert message in run.err
    assert files(own.recipe().run_folder(stage)) == before


@pytest.mark.parametrize("stage", ["visual_pretrain", "visual_train", *TRANSLATORS])
def test_a_precision_that_the_device_has_none_of_is_found_before_the_run_opens(toy, stages, stage):
    """Neither is the old run moved, nor is there a new one, which the right precision would then contradict."""
    fp16 = {f"{stage}__training__precision": "fp16"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folders.Run, "begin", lambda *_: pytest.fail("the run was opened"))
        message = refusal(stages[stage], toy.recipe(**fp16), overwrite=True)
    assert "training.precision fp16 needs a GPU, and the device is cpu" in message


@pytest.mark.parametrize("stage", TRANSLATORS)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_text_longer_than_mbart_has_positions_is_found_before_the_run_opens(own, slt, stage, split):
    clip = own.of(split)[1].id
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip: {"text": LONG}})
    before = files(own.recipe().run_folder(stage))
    run = slt(stage.replace("_", "-"), "-r", own.file, "--device", "cpu", "--overwrite")
    assert run.status == 2
    assert f"the text of {clip} has " in run.err
    assert " pieces, mBART has 64 positions (1 clips are too long); raise translator.mbart.max_positions" in run.err
    assert files(own.recipe().run_folder(stage)) == before


def test_a_sweep_that_cannot_start_leaves_the_old_one(toy, own, stages):
    folder = shutil.copytree(toy.recipe().run_folder("sweep"), own.root / "runs" / "toy" / "sweep", dirs_exist_ok=True)
    named = {"sweeps": "{mine: {grid: {translator.mapper.input: [s3d]}}}", "translate_train__training__epochs": 1}
    stages["sweep"](own.recipe(**named), "mine", device="cpu")
    before = files(folder)
    shutil.rmtree(own.recipe().store)
    assert "no feature store" in refusal(stages["sweep"], own.recipe(**named), "mine", overwrite=True)
    assert files(folder) == before


# --- a run that comes to an end before its first checkpoint


@pytest.fixture
def fails(monkeypatch):
    """Training that ends in an error before its first step, or after its first checkpoint."""

    def at(moment: str, error: BaseException) -> None:
        def failing(trainable, *arguments, on_checkpoint, **options):
            def then_fail():
                on_checkpoint()
                raise error

            if moment == "first step":
                raise error
            return train(trainable, *arguments, on_checkpoint=then_fail, **options)

        monkeypatch.setattr(run_folders, "train", failing)

    yield at
    monkeypatch.undo()


@pytest.mark.parametrize("stage", ["visual_pretrain", "visual_train", *TRANSLATORS])
def test_a_crash_before_the_first_checkpoint_brings_the_old_run_back(own, stages, fails, stage):
    folder = own.recipe().run_folder(stage)
    before = files(folder)
    for error in (RuntimeError("out of memory"), KeyboardInterrupt("pressed twice")):
        fails("first step", error)
        with pytest.raises(type(error), match=str(error)):
            stages[stage](own.recipe(seed=9), device="cpu", overwrite=True)
        assert files(folder) == before
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("overwrite", [False, True])
def test_after_a_kill_before_the_first_checkpoint_the_next_call_finds_the_old_run(own, stages, fails, overwrite):
    recipe, folder = own.recipe(), own.recipe().run_folder("gloss2text_train")
    before = files(folder)
    for _ in range(2):  # killed once more before the first checkpoint, the old run is not lost either
        fails("first step", KilledError())
        with pytest.raises(KilledError):
            stages["gloss2text_train"](own.recipe(seed=9), device="cpu", overwrite=True)
        assert files(folder) != before
    if overwrite:
        fails("first step", RuntimeError())
        with pytest.raises(RuntimeError):
            stages["gloss2text_train"](own.recipe(seed=8), device="cpu", overwrite=True)
    else:
        assert stages["gloss2text_train"](recipe, device="cpu") == own.results["gloss2text_train"]
    assert files(folder) == before


def test_after_a_kill_between_two_renamings_the_next_call_finds_the_old_run(own, stages, monkeypatch):
    folder = own.recipe().run_folder("gloss2text_train")
    before = files(folder)

    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(run_folders, "save_recipe", killed)
        with pytest.raises(KilledError):
            stages["gloss2text_train"](own.recipe(seed=9), device="cpu", overwrite=True)
    assert not folder.exists()
    assert "seed = 3, but now it is 9" in refusal(stages["gloss2text_train"], own.recipe(seed=9))
    assert files(folder) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_command_puts_nothing_back_while_the_first_trains_anew(own, stages, monkeypatch, overwrite):
    """The first has no checkpoint yet, and the old run lies aside: it is no leftover of a kill."""
    folder, told = own.recipe().run_folder("gloss2text_train"), []

    def train_and_be_disturbed(*arguments, **options):
        before = files(folder)
        told.append(refusal(stages["gloss2text_train"], own.recipe(seed=8), overwrite=overwrite))
        assert files(folder) == before
        return train(*arguments, **options)

    monkeypatch.setattr(run_folders, "train", train_and_be_disturbed)
    stages["gloss2text_train"](own.recipe(seed=9), device="cpu", overwrite=True)
    assert "gloss2text_train is being written by another process; wait for its end" in told[0]
    assert read_json(folder / "inputs.json")["seed"] == 9


def test_what_another_command_has_begun_since_a_run_was_looked_at_is_not_mixed_with_it(own):
    recipe = own.recipe()
    folder = recipe.run_folder("new")
    ours, theirs, anew = (
        run_folders.find_run(folder, "new", {"seed": seed}, overwrite=overwrite)
        for seed, overwrite in ((1, False), (2, False), (3, True))
    )
    theirs.begin(recipe)
    save_checkpoint(folder / "checkpoints", 1, torch.nn.Linear(1, 1), {}, {})
    before = files(folder)
    with pytest.raises(SltError, match=r"seed = 2, but now it is 1"):
        ours.begin(recipe)
    assert files(folder) == before
    anew.begin(recipe)
    with pytest.raises(SltError, match=r"was begun anew by another process"):
        theirs.train(None, None, 2, torch.device("cpu"))


def test_an_imported_run_which_has_no_epochs_is_told_from_a_trained_one(tmp_path):
    write_json(tmp_path / "inputs.json", {"seed": 1, "training.epochs": 3})
    write_json(tmp_path / "result.json", {})
    imported = {"seed": 1, "imported": "a hash"}
    with pytest.raises(SltError, match="add --overwrite to start anew"):
        run_folders.find_run(tmp_path, "visual_train", imported)
    assert run_folders.find_run(tmp_path, "visual_train", imported, overwrite=True).anew


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KilledError()], ids=["crash", "kill"])
def test_after_the_first_checkpoint_the_old_run_is_gone_and_the_new_one_goes_on(own, stages, fails, monkeypatch, error):
    values = {"gloss2text_train__training__epochs": 2, "gloss2text_train__training__validate_every": 1}
    recipe = own.recipe(seed=9, **values)
    folder, old = recipe.run_folder("gloss2text_train"), weights(own.recipe(), "gloss2text_train")
    fails("first checkpoint", error)
    with pytest.raises(type(error)):
        stages["gloss2text_train"](recipe, device="cpu", overwrite=True)
    monkeypatch.undo()
    assert [checkpoint.meta["step"] for checkpoint in list_checkpoints(folder / "checkpoints")] == [2]
    assert not [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]
    assert "seed = 9, but now it is 3" in refusal(stages["gloss2text_train"], own.recipe())
    assert stages["gloss2text_train"](recipe, device="cpu")["best_step"] in (2, 4)
    assert list_checkpoints(folder / "checkpoints")[-1].meta["step"] == 4
    assert any((old[name] != weight).any() for name, weight in weights(recipe, "gloss2text_train").items())


def test_of_a_finished_run_without_its_best_checkpoint_it_is_said_that_it_is_gone(own, stages, caplog):
    recipe = own.recipe()
    folder, done = recipe.run_folder("gloss2text_train"), stages["gloss2text_train"](recipe, device="cpu")
    assert not caplog.records
    shutil.rmtree(folder / "checkpoints")
    assert stages["gloss2text_train"](recipe, device="cpu") == done
    told = f"{folder} holds a finished run whose best checkpoint is gone; put it back, or add --overwrite"
    assert [record.message for record in caplog.records] == [told]
    stages["gloss2text_train"](recipe, device="cpu", overwrite=True)
    assert list_checkpoints(folder / "checkpoints")
