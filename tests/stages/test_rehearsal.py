"""What recipes/README.md shows to reproduce the papers runs as shown, each recipe as it ships, on data in their layouts."""

import json
import math
import re
from pathlib import Path

import command_lines
import pytest
from click.testing import CliRunner
from published_data import PHOENIX, lay_out_csl, lay_out_phoenix, lay_out_s3d

from slt_pipeline.cli.main import cli
from slt_pipeline.config.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")

# All that is not as it ships: smaller, shorter, and for a CPU.
SHORT = {
    "video.transform.image_size": 32,
    **{f"{stage}_train.training.epochs": 1 for stage in ("visual", "gloss2text", "translate", "joint")},
    **{f"{part}.generation.max_length": 6 for part in ("gloss2text_train", "translate_train", "evaluate", "translate")},
    **{f"{stage}_train.training.num_workers": 0 for stage in ("visual", "joint")},
}
ON_A_CPU = {"translate_train.training.precision": "fp32"}  # CV-SLT's recipes have fp16
PREPARE = {"PHOENIX-2014T": lay_out_phoenix, "CSL-Daily": lay_out_csl}


def lines_of(corpus: str) -> list[list[str]]:
    """Arguments of every `slt ...` under a heading of the section."""
    section = re.search(r"^## Reproduce the papers$(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    assert section
    part = re.search(rf"^### {corpus}$(.*?)(?=^##|\Z)", section[1], re.MULTILINE | re.DOTALL)
    assert part
    return command_lines.slt_commands(command_lines.shell_lines(part[1]))


def shortened(arguments: list[str]) -> list[str]:
    """The same line, for a machine that has minutes; of a sweep what it would run."""
    if arguments[0] == "sweep":
        arguments = [*arguments, "--dry-run"]
    if "-r" not in arguments:
        short = {"evaluate": {"evaluate.generation.max_length": 6}}.get(arguments[0], {})
    else:
        bridged = arguments[arguments.index("-r") + 1].startswith("cvslt/")
        short = SHORT | (ON_A_CPU if bridged else {})
    return [*arguments, *(word for key, value in short.items() for word in ("-o", f"{key}={value}"))]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("corpus", PREPARE)
def test_a_reader_reproduces_a_paper_line_by_line(corpus, shared_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLT_DEBUG", "0")
    PREPARE[corpus](tmp_path, shared_data)
    lay_out_s3d(tmp_path)
    for line in lines_of(corpus):
        import time
        t, c = time.time(), time.process_time()
        result = CliRunner().invoke(cli, shortened(line), prog_name="slt")
        print(" ".join(line), round(time.time() - t, 1), "cpu", round(time.process_time() - c, 1), "of", round(time.process_time(), 1))
        assert result.exit_code == 0, f"$ slt {' '.join(line)}\n{result.output}\n{result.exception!r}"
    _require_numbers(tmp_path / "runs")


def _require_numbers(runs: Path) -> None:
    """Every stage has learned something finite, and every evaluation has every score."""
    for log in runs.rglob("metrics.jsonl"):
        for record in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
            numbers = [value for value in record.values() if isinstance(value, float)]
            assert all(map(math.isfinite, numbers)), (log, record)
