"""YAML and JSON that people write: a value means what it says, and what may be read in two ways is refused by line.

Of YAML 1.1, with its octal, sexagesimal and Norwegian surprises, only what everybody reads alike is a number or a truth
value. `yes`, `on` and `2024-01-01` are words; the field that they are given to says whether it takes them.
"""

import json
import re
from collections.abc import Hashable, Sequence
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from slt_pipeline.errors import SltError

_INT = r"[-+]?(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:_[0-9]{3})+)"
_FLOAT = r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"
_DOUBTFUL = "|".join(
    (
        r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9_]+)?",  # 010, 1_0: what is none of the numbers above
        r"[-+]?0[oOxXbB][0-9a-fA-F_]+",
        r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?",
        r"None",
        r"~",
    )
)
_DOUBT = "!doubtful"
_KINDS = (
    ("tag:yaml.org,2002:null", r"null|Null|NULL|", ["n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", _INT, list("-+0123456789")),
    ("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789")),
    ("tag:yaml.org,2002:merge", "<<", ["<"]),
    (_DOUBT, _DOUBTFUL, list("-+.0123456789N~")),
)
"""What a plain scalar is, the first that fits; else it is a word."""


def read_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        SltError: it is not YAML, has a key twice, or a value that may be read in two ways; the line is named.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        if isinstance(error, _Refused):
            raise SltError(f"{line}{error.problem}") from error
        tab = "; YAML is indented by spaces, not by tabs" if "'\\t'" in str(error.problem) else ""
        raise SltError(f"not YAML: {line}{' '.join(str(error.problem or error.context).split())}{tab}") from error
    except yaml.YAMLError as error:
        raise SltError(f"not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise SltError("not YAML: brackets are nested too deeply") from error


def write_yaml(data: Any) -> str:
    """Return plain data as YAML that `read_yaml`, and any other reader, takes for the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def line_of(text: str, key: Sequence[str]) -> int | None:
    """Return the line of a YAML text on which a key is set, given by its parts; None: on none."""
    node: Node | None = yaml.compose(text, _Loader)
    line = None
    for part in key:
        pairs = node.value if isinstance(node, MappingNode) else ()
        found = [(name, value) for name, value in pairs if name.value == part]
        if not found:
            return None
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def read_json_text(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: it is not JSON, has a key twice, or a number that is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    except _Twice as error:
        places = [text.count("\n", 0, at.start()) + 1 for at in re.finditer(re.escape(json.dumps(error.key)), text)]
        lines = f" (lines {places[0]} and {places[1]})" if len(places) == 2 and places[0] != places[1] else ""
        raise ValueError(f"the key {error.key} is there twice{lines}; keep one of them") from None


class _Twice(ValueError):
    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Twice(key)
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number; write null where there is none")


class _Refused(yaml.constructor.ConstructorError):
    """Something that YAML would take, and a person would not have meant."""

    def __init__(self, problem: str, node: Node):
        super().__init__(None, None, problem, node.start_mark)


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or not isinstance(self.construct_object(key), str):
                name = f"{key.value} " if isinstance(key, ScalarNode) else ""
                raise _Refused(f"the key {name}is no word; write it in quotes", key)
            line = key.start_mark.line + 1
            if key.value in lines:
                where = {lines[key.value]: None, line: None}
                places = f"lines {' and '.join(map(str, sorted(where)))}" if len(where) == 2 else f"line {line}"
                raise _Refused(f"the key {key.value} is there twice, on {places}; keep one of them", key)
            lines[key.value] = line
        return yaml.constructor.BaseConstructor.construct_mapping(self, node, deep=deep)

    def read_mapping(self, node: MappingNode) -> dict[Hashable, Any]:
        return self.construct_mapping(node, deep=True)

    def read_sequence(self, node: yaml.nodes.SequenceNode) -> list[Any]:
        return self.construct_sequence(node, deep=True)

    def read_int(self, node: ScalarNode) -> int:
        return int(_fitting(_INT, node).replace("_", ""))

    def read_float(self, node: ScalarNode) -> float:
        return float(_fitting(_FLOAT, node).replace(".inf", "inf").replace(".nan", "nan"))  # which no field takes

    def refuse(self, node: ScalarNode) -> Any:
        raise _doubt(node)

    def refuse_tag(self, node: Node) -> Any:
        raise _Refused(f"the tag {node.tag} is not known; leave it out", node)


def _fitting(pattern: str, node: ScalarNode) -> str:
    if not re.fullmatch(pattern, node.value):  # with a tag such as !!int
        raise _doubt(node)
    return node.value


def _doubt(node: ScalarNode) -> _Refused:
    text = node.value
    cure = {"None": "null, or 'None' in quotes for the word", "~": "null, or '~/' in quotes for the home folder"}
    usual = f"a plain number, or '{text}' in quotes for the word"
    return _Refused(f"{text} may be read in two ways; write {cure.get(text, usual)}", node)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads."""

    def word(self, text: str) -> ScalarNode:
        # Rare line ends would be folded away anywhere but here.
        style = '"' if re.search("[\x85\u2028\u2029]", text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.word)


def _resolvers(*others: tuple[str, Sequence[tuple[str, re.Pattern[str]]]]) -> dict[str, Any]:
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, beginnings in _KINDS:
        for char in beginnings:
            found.setdefault(char, []).append((tag, re.compile(rf"(?:{pattern})\Z")))
    for char, more in others:
        found.setdefault(char, []).extend(more)
    return found


_Loader.yaml_implicit_resolvers = _resolvers()
# Words that other readers would take for something else are written in quotes.
_Dumper.yaml_implicit_resolvers = _resolvers(*yaml.SafeDumper.yaml_implicit_resolvers.items())
_Loader.yaml_constructors = {
    "tag:yaml.org,2002:null": yaml.SafeLoader.construct_yaml_null,
    "tag:yaml.org,2002:bool": yaml.SafeLoader.construct_yaml_bool,
    "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
    "tag:yaml.org,2002:int": _Loader.read_int,
    "tag:yaml.org,2002:float": _Loader.read_float,
    "tag:yaml.org,2002:seq": _Loader.read_sequence,
    "tag:yaml.org,2002:map": _Loader.read_mapping,
    _DOUBT: _Loader.refuse,
    None: _Loader.refuse_tag,
}
