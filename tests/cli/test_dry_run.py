from fnmatch import fnmatch

import pytest
import yaml

from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.errors import SltError

RUN = "runs/mine"
READS_AND_WRITES = {
    "demo": ([], [f"{RUN}/", "corpus"]),
    "visual-pretrain": (["corpus/isolated.jsonl"], [f"{RUN}/visual_pretrain"]),
    "visual-train": (["corpus/manifest.jsonl", f"{RUN}/visual_pretrain"], [f"{RUN}/visual_train"]),
    "extract": (["corpus/manifest.jsonl", f"{RUN}/visual_train"], [f"{RUN}/features"]),
    "lm pretrain": (["corpus/manifest.jsonl"], [f"{RUN}/lm_pretrain", f"{RUN}/lm_pretrain/mbart"]),
    "gloss2text-train": (["corpus/manifest.jsonl"], [f"{RUN}/gloss2text_train"]),
    "translate-train": ([f"{RUN}/features", f"{RUN}/gloss2text_train"], [f"{RUN}/translate_train"]),
    "joint-train": ([f"{RUN}/visual_train", f"{RUN}/translate_train"], [f"{RUN}/joint_train"]),
    "sweep": ([f"{RUN}/features"], [f"{RUN}/sweep/translator.mapper.input-*/translator.mapper.input=s3d_seed=5"]),
    "evaluate": ([f"{RUN}/features", f"{RUN}/translate_train"], [f"{RUN}/evaluate"]),
    "report grounding": ([f"{RUN}/features", f"{RUN}/translate_train"], [f"{RUN}/translate_train/report/grounding"]),
    "report modality-gap": (["corpus/manifest.jsonl"], [f"{RUN}/translate_train/report/modality_gap"]),
    "report embedding": (["corpus/manifest.jsonl"], [f"{RUN}/translate_train/report/embedding"]),
    "confidence": ([f"{RUN}/features"], [f"{RUN}/translate_train/confidence.json"]),
    "translate": ([f"{RUN}/visual_train", f"{RUN}/translate_train"], []),
}


@pytest.fixture
def mine(here, tmp_path):
    recipe = tmp_path / "mine.yaml"
    text = "extends: demo/mmtlb\ncorpus: {manifest: corpus/manifest.jsonl, isolated_manifest: corpus/isolated.jsonl}\n"
    recipe.write_text(text)
    return recipe


@pytest.mark.parametrize("command", READS_AND_WRITES)
def test_a_dry_run_prints_the_plan_and_writes_nothing(slt, mine, here, command):
    videos = ["clip.mp4"] if command == "translate" else []
    run = slt(*command.split(), *videos, "-r", mine, "-o", "seed=5", "--dry-run")
    assert run.exit_code == 0, run.output
    assert list(here.iterdir()) == []
    reads = [line.partition(": ")[2] for line in run.stdout.splitlines() if line.startswith("# reads")]
    writes = [line.partition(": ")[2] for line in run.stdout.splitlines() if line.startswith("# writes")]
    wanted_reads, wanted_writes = READS_AND_WRITES[command]
    for path in wanted_reads:
        assert f"{path}   (missing)" in reads
    for path in wanted_writes:
        assert any(fnmatch(found.rstrip("/"), path.rstrip("/")) for found in writes), (path, writes)
    # Above the comments stands the resolved recipe itself.
    plan = here.parent / "plan.yaml"
    plan.write_text(run.stdout)
    assert load_recipe(str(plan)) == load_recipe(str(mine), ["seed=5"])


def test_options_of_a_command_are_part_of_the_plan(slt, mine):
    def shown(*arguments):
        return yaml.safe_load(slt(*arguments, "-r", mine, "--dry-run").stdout)

    extract = shown("extract", "--streams", "s3d,gloss_rep", "--backend", "hdf5", "--dtype", "float32")["extract"]
    assert (extract["streams"], extract["backend"], extract["dtype"]) == (["s3d", "gloss_rep"], "hdf5", "float32")
    evaluate = shown("evaluate", "--task", "sign2text", "--task", "sign2gloss", "--split", "dev")["evaluate"]
    assert (evaluate["tasks"], evaluate["splits"]) == (["sign2text", "sign2gloss"], ["dev"])
    assert shown("translate", "a.mp4", "--num-best", "3")["translate"]["num_best"] == 3


def test_a_file_that_is_there_is_not_called_missing(slt, mine, here):
    (here / "corpus").mkdir()
    (here / "corpus/manifest.jsonl").touch()
    assert "# reads clips: corpus/manifest.jsonl\n" in slt("gloss2text-train", "-r", mine, "--dry-run").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract"], "slt visual-train"),
        (["visual-train"], "slt visual-pretrain"),
        (["visual-train", "-o", "visual_train.init=null"], "encoder.s3d.freeze_blocks=0"),
        (
            ["visual-train", "-o", "visual_train.init=null", "-o", "encoder.s3d.freeze_blocks=0"],
            "corpus/manifest.jsonl",
        ),
        (["visual-pretrain"], "corpus/isolated.jsonl"),
        (["visual-pretrain", "-o", "corpus.isolated_manifest=null"], "visual_train.init=null"),
        (["gloss2text-train"], "corpus/manifest.jsonl"),
        (["translate-train"], "slt visual-train"),
        (["joint-train"], "slt visual-train"),
        (["sweep"], "slt extract"),
        (["translate", "clip.mp4"], "slt visual-train"),
        (["evaluate"], "corpus/manifest.jsonl"),
        (["report", "grounding"], "slt translate-train"),
        (["evaluate", "--task", "sign2txt"], "evaluate.tasks.0 = 'sign2txt'"),
        (["extract", "--streams", "s3e"], "extract.streams.0 = 's3e'"),
    ],
    ids=" ".join,
)
def test_what_is_missing_is_named_before_work_starts(slt, mine, here, arguments, message):
    with pytest.raises(SltError, match=message) as refusal:
        slt(*arguments, "-r", mine)
    assert "\n" not in str(refusal.value)
    assert [path for path in here.rglob("*") if path.is_file() and path.suffix in (".pt", ".safetensors")] == []
