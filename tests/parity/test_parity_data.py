"""The parity folder itself: everything it lists can be read, and no altered number goes unseen."""

import json
import shutil

import numpy as np
import pytest
from parity_data import Part, parity_dir, parity_file


def _parts() -> list[str]:
    try:
        return list(json.loads((parity_dir() / "manifest.json").read_text())["parts"])
    except pytest.skip.Exception as reason:
        return [pytest.param("absent", marks=pytest.mark.skip(reason=str(reason)))]


@pytest.mark.parametrize("name", _parts())
def test_every_tensor_can_be_read_or_regenerated(load_part, name):
    part = load_part(name)
    assert all(part.tensors[tensor].size >= 0 for tensor in part.tensors)


def test_every_file_has_the_sha256_of_the_manifest(parity_dir):
    for name in json.loads((parity_dir / "manifest.json").read_text())["files"]:
        parity_file(name)


def test_altered_file_is_refused(parity_dir, tmp_path, monkeypatch):
    copy = shutil.copytree(parity_dir, tmp_path / "parity", ignore=shutil.ignore_patterns("checkpoints*", "*.bin"))
    text = (copy / "ctc.json").read_text()
    (copy / "ctc.json").write_text(text.replace("0.", "1.", 1))
    monkeypatch.setenv("SLT_PARITY_DIR", str(copy))
    with pytest.raises(AssertionError, match=r"ctc\.json was altered"):
        Part("ctc")


def test_check_sees_one_altered_number(load_part):
    part = load_part("ctc")
    name = next(n for n in part.outputs() if part.tensors[n].size and part.tensors[n].dtype == np.float32)
    entry = part.json["tensors"][name]
    got = part.tensors[name].copy()
    part.check(name, got)
    got.flat[-1] += 2 * (entry["atol"] + entry["rtol"] * abs(float(got.flat[-1])))
    with pytest.raises(AssertionError, match="1 of"):
        part.check(name, got)


def test_check_refuses_nan(load_part):
    part = load_part("ctc")
    name = next(n for n in part.outputs() if part.tensors[n].size and part.tensors[n].dtype == np.float32)
    with pytest.raises(AssertionError, match="values differ"):
        part.check(name, np.full_like(part.tensors[name], np.nan))


def test_folder_that_was_asked_for_and_is_missing_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("SLT_PARITY_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(pytest.fail.Exception, match="holds no manifest"):
        parity_dir()
