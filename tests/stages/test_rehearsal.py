"""What recipes/README.md shows to reproduce the papers runs as shown, each recipe as it ships, on a few clips."""

import math
import re
from pathlib import Path

import command_lines
import pytest
from click.testing import CliRunner
from published_data import lay_out_csl, lay_out_phoenix, lay_out_s3d

from slt_pipeline.cli.main import cli
from slt_pipeline.config.recipe import load_recipe
from slt_pipeline.files import read_json_lines

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")

# All that is not as it ships: smaller, shorter, and for a CPU.
SHORT = {
    "video.transform.image_size": 32,
    **{f"{stage}_train.training.epochs": 2 for stage in ("visual", "gloss2text", "translate", "joint")},
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
    PREPARE[corpus](tmp_path, shared_data)
    lay_out_s3d(tmp_path)
    for line in lines_of(corpus):
        result = CliRunner().invoke(cli, shortened(line), prog_name="slt")
        assert result.exit_code == 0, f"$ slt {' '.join(line)}\n{result.output}\n{result.exception!r}"
    for log in tmp_path.rglob("metrics.jsonl"):
        steps = [record for record in read_json_lines(log) if record["split"] == "train"]
        assert all(math.isfinite(record["loss"]) for record in steps), log
        assert max(rate for record in steps for rate in record["lr"].values()) > 0, log
    for name in _recipes(lines_of(corpus), "translate-train"):
        assert (tmp_path / "runs" / name / "evaluate" / "scores.json").is_file()


@pytest.mark.parametrize("system", ["mmtlb", "cvslt"])
def test_every_recipe_of_a_paper_is_among_the_lines(system):
    shipped = {f"{system}/{path.stem}" for path in (ROOT / "recipes" / system).glob("*.yaml") if path.stem[0] != "_"}
    shown = {name for corpus in PREPARE for name in _recipes(lines_of(corpus))}
    assert shipped <= shown


def test_what_a_line_promises_is_the_gate_of_its_recipe():
    shown = re.findall(r"^slt (\S+)-train -r (\S+) +# dev \S+ [<>]= ([\d.]+),", README, re.MULTILINE)
    assert shown
    for stage, name, gate in shown:
        assert getattr(load_recipe(name), f"{stage}_train").training.gate == float(gate), (stage, name)


def _recipes(lines: list[list[str]], command: str = "") -> list[str]:
    return [line[line.index("-r") + 1] for line in lines if "-r" in line and command in ("", line[0])]
