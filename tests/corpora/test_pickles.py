"""Plain data comes out of a pickle; nothing in it is ever imported or called."""

import codecs
import collections
import gzip
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from slt_pipeline.corpora.pickles import PickledTensor, read_pickle
from slt_pipeline.errors import SltError

PLAIN = [{"name": "a", "n": 3, "x": 1.5, "t": (1, "ä"), "none": None, "flag": True, "big": 10**30, "deep": [[{}]]}]


class Calls:
    """Pickles into a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def write(path, content, protocol=None, packed=False):
    data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol)
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_every_protocol(tmp_path, protocol, packed):
    assert read_pickle(write(tmp_path / "a", PLAIN, protocol, packed)) == PLAIN


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_become_their_shapes(tmp_path, protocol):
    content = [{"sign": torch.arange(6).reshape(2, 3).float()}, {"sign": torch.zeros(0)}]
    got = read_pickle(write(tmp_path / "a", content, protocol))
    assert [entry["sign"].shape for entry in got] == [(2, 3), (0,)]
    assert isinstance(got[0]["sign"], PickledTensor)


def test_reading_imports_no_torch(tmp_path):
    path = write(tmp_path / "a", [torch.zeros(2)])
    code = f"import sys; from slt_pipeline.corpora.pickles import read_pickle; read_pickle({str(path)!r}); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("packed", [False, True])
def test_call_of_the_system_is_refused_by_name_and_not_made(tmp_path, protocol, packed):
    mark = tmp_path / "mark"
    path = write(tmp_path / "a", [{"name": Calls(os.system, f"touch {mark}")}], protocol, packed)
    with pytest.raises(SltError, match=rf"a: refused: it asks for {os.system.__module__}\.system"):
        read_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        Calls(eval, "1"),
        Calls(getattr, "a", "upper"),
        Calls(collections.Counter, ["a"]),
        Calls(torch.load, "a"),
        Calls(codecs.encode, "a", "rot13"),
        Calls(collections.OrderedDict, Calls(exec, "1")),
        {"a": [(1, {"b": Calls(subprocess.check_output, ["id"])})]},
        os.system,
        Calls,
        collections.OrderedDict([("a", Calls(print, "x"))]),
        bytearray(b"x"),
        {1, 2},
        complex(1, 2),
    ],
    ids=[
        "eval",
        "getattr",
        "Counter",
        "torch.load",
        "codecs.encode",
        "nested exec",
        "deep subprocess",
        "a function",
        "a class",
        "OrderedDict of calls",
        "bytearray",
        "set",
        "complex",
    ],
)
def test_everything_but_plain_data_is_refused(tmp_path, hostile):
    with pytest.raises(SltError, match=r"refused: (it asks for|it contains|bytes in it)"):
        read_pickle(write(tmp_path / "a", hostile, 4))


def test_call_hidden_in_a_tensor_is_refused(tmp_path):
    rebuild, arguments = torch.zeros(1).__reduce_ex__(2)
    hidden = Calls(rebuild, Calls(os.system, "true"), *arguments[1:])
    with pytest.raises(SltError, match=r"asks for posix\.system"):
        read_pickle(write(tmp_path / "a", hidden))
    storage = b"cposix\nsystem\n(S'true'\ntR."
    with pytest.raises(SltError, match=r"asks for posix\.system"):
        read_pickle(write(tmp_path / "b", storage))


def test_storage_that_is_no_bytes_is_refused(tmp_path):
    with pytest.raises(SltError, match="storage in it is malformed"):
        read_pickle(write(tmp_path / "a", Calls(torch.storage._load_from_bytes, ["x"])))


def saved(tensor):
    """The bytes of a storage within a pickle."""
    storage = tensor.__reduce_ex__(2)[1][0]
    return storage.__reduce__()[1][0]


def rebuilt(storage, size, stride, offset=0):
    """What a tensor is pickled as, with any bytes for its storage, any shape and any place."""
    load = Calls(torch.storage._load_from_bytes, storage)
    return Calls(torch._utils._rebuild_tensor_v2, load, offset, size, stride, False, collections.OrderedDict())


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).reshape(8, 3),
        torch.arange(24.0).reshape(8, 3).T,
        torch.arange(24.0).reshape(4, 6)[1:3, 2:5],
        torch.arange(24.0).reshape(4, 6)[::2, ::3],
        torch.arange(24.0)[5:11].reshape(2, 3),
        torch.arange(24.0).reshape(4, 6).half(),
        torch.arange(6.0).reshape(1, 6),
        torch.tensor(3.0),
        torch.zeros(0),
        torch.zeros(0, 832),
    ],
    ids=["whole", "transposed", "window", "strided", "offset", "half", "one row", "one number", "none", "no rows"],
)
def test_a_tensor_has_the_numbers_that_torch_gave_it(tmp_path, tensor):
    (got,) = read_pickle(write(tmp_path / "a", [tensor]))
    numbers = got.numbers()
    assert (numbers.dtype, numbers.shape) == (tensor.numpy().dtype, tuple(tensor.shape))
    assert not numbers.flags.writeable
    np.testing.assert_array_equal(numbers, tensor)


def hostile_storages():
    """Bytes that a storage may claim to be, each with what is said of them."""
    sound, call = saved(torch.zeros(16)), pickle.dumps(Calls(os.system, "touch mark"), protocol=2)
    parts = [sound.index(part) for part in (b"\x80\x02\x8a", b"\x80\x02M", b"\x80\x02}", b"\x80\x02(", b"\x80\x02]")]
    start = parts[3]  # of the storage's description
    for number, position in enumerate(parts):
        yield f"call before part {number}", sound[:position] + call + sound[position:], r"asks for posix\.system"
    nested = b"\x80\x02(X\x07\x00\x00\x00storage" + call[2:-1] + b"tQ."
    yield "call within a part", sound[:start] + nested, r"asks for posix\.system"
    yield "build", sound[:start] + b"\x80\x02}}b.", "instruction BUILD"
    yield "memory", sound[:start] + b"\x80\x02}r\xff\xff\xff\x7f.", "reserve memory for nothing"
    yield "double", saved(torch.zeros(16).double()), r"asks for torch\.DoubleStorage; float32 and float16"
    yield "view", sound.replace(b"K\x10N", b"K\x10K\x01"), "storage in it is malformed"
    yield "negative", sound.replace(b"K\x10N", b"J\xff\xff\xff\xffN"), "storage in it is malformed"
    yield "other count", sound.replace(b"K\x10N", b"K\x20N"), "header is not torch's"
    yield "big-endian", sound.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "header is not torch's"
    yield "too few", sound[:-4], "16 numbers of 4 bytes are announced, 60 bytes follow"
    yield "too many", sound + b"\0", "16 numbers of 4 bytes are announced, 65 bytes follow"
    yield "cut short", sound[:100], ""
    yield "no pickle", b"nothing", "opcode b'n' unknown"
    yield "empty", b"", "exhausted"
    yield "zip", b"PK\x03\x04" + bytes(100), ""


HOSTILE = [pytest.param(content, message, id=name) for name, content, message in hostile_storages()]


@pytest.mark.parametrize(("content", "message"), HOSTILE)
def test_a_storage_that_is_not_numbers_is_refused_and_nothing_is_called(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tensor,) = read_pickle(write(tmp_path / "a", [rebuilt(content, (2, 8), (8, 1))]))
    with pytest.raises(SltError, match=rf"its tensor is (refused|damaged): .*{message}"):
        tensor.numbers()
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((3, 8), (8, 1), 0),
        ((2, 8), (8, 1), 1),
        ((2, 8), (9, 1), 0),
        ((1, 2), (1, 16), 0),
        ((2**40, 8), (0, 0), 0),
        ((2, 8), (0, 2**61), 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    (tensor,) = read_pickle(write(tmp_path / "a", [rebuilt(saved(torch.zeros(16)), size, stride, offset)]))
    with pytest.raises(SltError, match=r"a tensor of shape .* reaches beyond its storage of 16 numbers"):
        tensor.numbers()


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((-2, 8), (8, 1), 0),
        ((2, 8), (-8, 1), 8),
        ((2, 8), (8, 1), -1),
        ((2, 8), (8,), 0),
        ((2, 8.0), (8, 1), 0),
        ((1,) * 65, (1,) * 65, 0),
    ],
)
def test_a_tensor_whose_place_is_no_place_is_refused(tmp_path, size, stride, offset):
    with pytest.raises(SltError, match="a tensor in it is malformed"):
        read_pickle(write(tmp_path / "a", [rebuilt(saved(torch.zeros(16)), size, stride, offset)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x82\x01.", "instruction EXT1"),
        (b"\x80\x02Pid\n.", "instruction PERSID"),
        (b"\x80\x02(ios\nsystem\n.", "instruction INST"),
        (b"\x80\x02}}b.", "instruction BUILD"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "would reserve memory"),
    ],
)
def test_instruction_without_use_for_plain_data_is_refused(tmp_path, content, message):
    with pytest.raises(SltError, match=f"refused: .*{message}"):
        read_pickle(write(tmp_path / "a", content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(PLAIN)[:-5],
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x0900.",
    ],
)
def test_damaged_pickle_is_one_clear_line(tmp_path, content):
    with pytest.raises(SltError, match=r"a: (not a readable pickle|refused)") as raised:
        read_pickle(write(tmp_path / "a", content))
    assert "\n" not in str(raised.value)


def test_damaged_gzip_is_one_clear_line(tmp_path):
    path = write(tmp_path / "a", PLAIN, packed=True)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SltError, match="a: cannot be read"):
        read_pickle(path)


def test_missing_file(tmp_path):
    with pytest.raises(SltError, match="no such file"):
        read_pickle(tmp_path / "a")


def test_gzip_that_unpacks_to_too_much_is_refused(tmp_path):
    path = write(tmp_path / "a", [b"\0" * 10_000_000], packed=True)
    assert path.stat().st_size < 20_000
    with pytest.raises(SltError, match="unpacks to more than 1000000 bytes"):
        read_pickle(path, max_bytes=1_000_000)


def test_what_follows_a_pickle_is_unpacked_and_counted_too(tmp_path):
    path = write(tmp_path / "a", pickle.dumps(PLAIN) + b"\0" * 10_000_000, packed=True)
    with pytest.raises(SltError, match="unpacks to more than 1000000 bytes"):
        read_pickle(path, max_bytes=1_000_000)
