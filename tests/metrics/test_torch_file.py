"""PyTorch files are read without PyTorch, and what they ask for is not run."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest

from igan.errors import UserError
from igan.metrics import torch_file


def archive(description: bytes, **storages: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("weights/data.pkl", description)
        for key, content in storages.items():
            file.writestr(f"weights/data/{key}", content)
    return buffer.getvalue()


@pytest.mark.parametrize("is_archive", [True, False], ids=["archive", "legacy"])
def test_reads_what_torch_wrote(is_archive):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    state = collections.OrderedDict(
        matrix=base,
        view=base[1:3, ::2],  # Shares its storage, with an offset and strides.
        transposed=base.T,
        parameter=torch.nn.Parameter(torch.randn(3)),
        half=torch.randn(2, 2).half(),
        double=torch.randn(2).double(),
        counter=torch.tensor(7),
        empty=torch.zeros(0, 3),
    )
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=is_archive)
    tensors = torch_file.read(buffer.getvalue())
    assert tensors.keys() == state.keys()
    for name, tensor in state.items():
        assert tensors[name].dtype == tensor.detach().numpy().dtype
        np.testing.assert_array_equal(tensors[name], tensor.detach().numpy())


class Attack:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("layout", ["archive", "legacy"])
def test_code_in_the_file_is_refused_and_not_run(tmp_path, layout):
    mark = tmp_path / "mark"
    attack = pickle.dumps({"weight": Attack(exec, (f"open({str(mark)!r}, 'w').close()",))}, protocol=2)
    head = b"".join(pickle.dumps(value, 2) for value in (torch_file.LEGACY_MAGIC, torch_file.LEGACY_PROTOCOL, {}))
    content = archive(attack) if layout == "archive" else head + attack
    with pytest.raises(UserError, match=r"asks for '\w+\.exec', which no weights need: refused, and not run"):
        torch_file.read(content)
    assert not mark.exists()
    pickle.loads(attack)
    assert mark.exists()  # The attack was a real one.


@pytest.mark.parametrize(
    "name", ["os.system", "torch.load", "numpy.load", "collections.namedtuple", "torch._utils.exec"]
)
def test_no_other_name_is_known(name):
    module, _, function = name.rpartition(".")
    with pytest.raises(UserError, match=f"asks for '{name}'"):
        torch_file.read(archive(f"c{module}\n{function}\n.".encode()))


def tensor(offset: int, shape: tuple, strides: tuple) -> bytes:
    """A state dict with one float tensor in storage "0", said to have 4 elements."""

    storage = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
    text = f"(dS'w'\nctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n("
    text += "".join(f"I{size}\n" for size in shape) + "t(" + "".join(f"I{stride}\n" for stride in strides)
    return (text + "tI00\nNtRs.").encode()


def test_a_handmade_tensor_and_one_that_reaches_beyond_its_storage():
    numbers = np.arange(4, dtype="<f4").tobytes()
    content = archive(tensor(1, (3,), (1,)), **{"0": numbers})
    np.testing.assert_array_equal(torch_file.read(content)["w"], [1, 2, 3])
    for offset, shape, strides in ((2, (3,), (1,)), (0, (2, 2), (3, 1)), (0, (3,), (-1,)), (-1, (2,), (1,))):
        with pytest.raises(UserError, match="reaches beyond its storage"):
            torch_file.read(archive(tensor(offset, shape, strides), **{"0": numbers}))


@pytest.mark.parametrize(
    "content",
    [b"", b"not a file of weights", archive(b"")[:-30], archive(b"\x80\x02}."[:-1]), archive(pickle.dumps([1, 2], 2))],
    ids=["empty", "text", "cut archive", "cut pickle", "a list"],
)
def test_damaged_files_are_one_line(content):
    with pytest.raises(UserError, match=r"damaged or of an unknown layout|where a state dict was expected"):
        torch_file.read(content)


def test_a_cut_off_file_of_the_old_layout_is_one_line():
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(100)}, buffer, _use_new_zipfile_serialization=False)
    for length in (20, len(buffer.getvalue()) - 8):
        with pytest.raises(UserError, match="damaged or of an unknown layout"):
            torch_file.read(buffer.getvalue()[:length])
