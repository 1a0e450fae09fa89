"""Reading a folder of golden numbers: find it, prove it unaltered, regenerate what is not stored, compare.

The folder is `$SLT_PARITY_DIR`, else `../shared/parity` beside the project. It describes itself: `manifest.json` lists
every file with its sha256 and every tensor with its shape, role and tolerance; `parity_rules.py` generates the tensors
that are not stored. Use it in a test through the fixture, and for parameters through `case_names`:

    from parity_data import case_names

    @pytest.mark.parametrize("case", case_names("s3d"))
    def test_pooled_features(load_part, case):
        part = load_part("s3d")
        part.check(f"{case}/features", model(torch.from_numpy(part.tensors[f"{case}/x"])))
"""

import ast
import functools
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PROJECT = Path(__file__).parents[2]


def parity_dir() -> Path:
    """The folder; the calling test is skipped where there is none, and fails if the one asked for is missing."""
    named = os.environ.get("SLT_PARITY_DIR")
    folder = Path(named) if named else PROJECT / "../shared/parity"
    if not (folder / "manifest.json").is_file():
        if named:
            pytest.fail(f"SLT_PARITY_DIR={named} holds no manifest.json")
        pytest.skip("no golden numbers: ../shared/parity is absent and SLT_PARITY_DIR is not set")
    return folder.resolve()


def parity_file(name: str) -> Path:
    """Path of one file of the folder, after its sha256 was found equal to the manifest's. Skips if it is not listed."""
    folder = parity_dir()
    entry = _manifest(folder)["files"].get(name)
    if entry is None:
        pytest.skip(f"the manifest of {folder} lists no {name}")
    path = folder / name
    assert path.is_file(), f"{path} is in the manifest but missing"
    assert _sha256(path, path.stat().st_mtime_ns) == entry["sha256"], (
        f"{path} was altered: its sha256 is not the manifest's"
    )
    return path


def parity_json(name: str) -> Any:
    """Content of a .json file, or the list of records of a .jsonl file."""
    text = parity_file(name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def case_names(part: str, key: str = "cases", prefix: str = "") -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: names in `key` of PART.json that start so, or indices of a list.

    Never raises while tests are being collected: without the folder there is one parameter, and it is skipped.
    """
    try:
        cases = parity_json(f"{part}.json").get(key)
    except pytest.skip.Exception as reason:
        return [pytest.param("absent", marks=pytest.mark.skip(reason=str(reason)))]
    except (pytest.fail.Exception, AssertionError, ValueError) as problem:
        return [f"unreadable: {problem}"]
    if isinstance(cases, dict):
        cases = [name for name in cases if name.startswith(prefix)]
    elif cases:
        cases = list(range(len(cases)))
    return cases or [pytest.param("absent", marks=pytest.mark.skip(reason=f"{part}.json has no {key} {prefix}"))]


class Part:
    """One NAME.json + NAME.npz: `json` describes, `tensors` the arrays by name, `checked` the names compared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = parity_dir()
        listed = _manifest(self.folder)["parts"].get(name)
        if listed is None:
            pytest.skip(f"the manifest of {self.folder} lists no part {name}")
        self.json: dict[str, Any] = parity_json(listed["json"])
        assert self.json["tensors"] == listed["tensors"], f"{name}.json and manifest.json describe different tensors"
        self.seed: int = self.json["seed"]
        self.rules = _rules(parity_file("parity_rules.py"))
        self.tensors: Mapping[str, np.ndarray] = _Tensors(self, parity_file(listed["npz"]))
        self.checked: set[str] = set()

    def file(self, name: str) -> Path:
        """Another file of the folder, its sha256 verified."""
        return parity_file(name)

    def outputs(self, prefix: str = "") -> list[str]:
        """Names of the reference's outputs under a prefix: what a test of that case has to check, all of it."""
        return [n for n, t in self.json["tensors"].items() if t["role"] == "output" and n.startswith(prefix)]

    def check(self, name: str, got: Any, slack: np.ndarray | float = 0.0) -> None:
        """Assert that an array or tensor equals the stored one, in shape exactly and in value within its tolerance.

        `slack` is added to the tolerance of each value: for a difference that is understood, and bounded.
        """
        entry = self.json["tensors"][name]
        want = self.tensors[name]
        got = np.asarray(got.detach().cpu() if hasattr(got, "detach") else got)
        assert got.shape == want.shape, f"{self.name}:{name}: shape {got.shape}, reference {want.shape}"
        self._assert_close(name, got, want, entry["atol"] + slack, entry["rtol"])
        self.checked.add(name)

    def check_all_were_checked(self, prefix: str = "") -> None:
        """Assert that no output under the prefix was left out."""
        left = sorted(set(self.outputs(prefix)) - self.checked)
        assert not left, f"{self.name}: nothing was compared with {left}"

    def _assert_close(
        self, name: str, got: np.ndarray, want: np.ndarray, atol: np.ndarray | float, rtol: float
    ) -> None:
        exact = not np.any(atol) and rtol == 0
        wide_got, wide_want = (got, want) if exact else (got.astype(np.float64), want.astype(np.float64))
        same = wide_got == wide_want
        if not exact:
            with np.errstate(invalid="ignore"):
                same |= np.abs(wide_got - wide_want) <= atol + rtol * np.abs(wide_want)
        bad = ~np.asarray(same)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise AssertionError(
                f"{self.name}:{name}: {int(bad.sum())} of {bad.size} values differ (atol {np.max(atol)}, rtol {rtol}); "
                f"first at {at}: got {got[at]!r}, reference {want[at]!r}"
            )


class _Tensors(Mapping[str, np.ndarray]):
    """Arrays of a part, read or regenerated when first asked for."""

    def __init__(self, part: Part, npz: Path) -> None:
        self._part = part
        self._npz = npz
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._load(name, self._part.json["tensors"][name])
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._part.json["tensors"])

    def __len__(self) -> int:
        return len(self._part.json["tensors"])

    def _load(self, name: str, entry: dict[str, Any]) -> np.ndarray:
        if entry["stored"]:
            with np.load(self._npz, allow_pickle=False) as stored:
                array = stored[name]
        else:
            array = _regenerate(self._part, name, entry)
            check_checksum(array, entry["checksum"], self._part.rules, f"{self._part.name}:{name}")
        assert list(array.shape) == entry["shape"], f"{name}: shape {array.shape}, described as {entry['shape']}"
        assert str(array.dtype) == entry["dtype"], f"{name}: dtype {array.dtype}, described as {entry['dtype']}"
        return array


def check_checksum(array: np.ndarray, want: list[float], rules: ModuleType, what: str) -> None:
    """Assert the recorded sums of an array made by its rule, at rtol 1e-9: numpy versions sum in different orders."""
    got = rules.checksum(array)
    scale = max(1.0, abs(want[1]))
    close = [abs(g - w) <= 1e-9 * scale for g, w in zip(got, want, strict=True)]
    assert all(close), f"{what}: made by its rule it has checksum {got}, the reference {want}"


def _regenerate(part: Part, name: str, entry: dict[str, Any]) -> np.ndarray:
    """Carry out a rule such as `clip(seed, 's3d/t16', 1, 16, 112, 112), then frames past each length repeat ...`."""
    rule = entry["rule"]
    call = re.search(r"\w+\(seed.*?\)(?=,? (?:then|frames)|$)", rule)
    assert call, f"{part.name}:{name}: no generator in the rule {rule!r}"
    if rule.startswith("stack over i of"):
        array = np.stack([_call(part, call.group(), i) for i in range(entry["shape"][0])])
    else:
        array = _call(part, call.group())
    if "repeat the last valid" in rule:
        array = array.copy()
        time_axis = 2 if rule.startswith("clip(") else 1
        frames = np.moveaxis(array, time_axis, 1)
        for row, length in enumerate(_lengths(part, name)):
            frames[row, length:] = frames[row, length - 1]
    return array


def _call(part: Part, expression: str, i: int | None = None) -> np.ndarray:
    """Evaluate `generator(seed, literal, ...)`, where a literal may be `'text' + str(i)`; nothing else is allowed."""
    call = ast.parse(expression, mode="eval").body
    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Name), expression

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id == "seed":
            return part.seed
        if isinstance(node, ast.BinOp) and ast.unparse(node.right) == "str(i)":
            return ast.literal_eval(node.left) + str(i)
        return ast.literal_eval(node)

    keywords = {k.arg: value(k.value) for k in call.keywords if k.arg}
    return getattr(part.rules, call.func.id)(*[value(a) for a in call.args], **keywords)


def _lengths(part: Part, name: str) -> list[int]:
    case = part.json["cases"][name.split("/")[0]]
    for key in ("lengths", "num_frames", "frame_lengths"):
        if key in case:
            return case[key]
    stored = [n for n in part.tensors if n.startswith(name.split("/")[0]) and n.endswith("/lengths")]
    assert stored, f"{part.name}:{name}: the case names no lengths"
    return part.tensors[stored[0]].tolist()


@functools.cache
def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@functools.cache
def _sha256(path: Path, _modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _rules(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("parity_rules", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
