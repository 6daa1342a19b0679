"""Files of weights: written and read back, damaged, of another kind."""

import numpy as np
import pytest

from igan.errors import UserError
from igan.metrics import weights


@pytest.fixture
def arrays(random) -> dict[str, np.ndarray]:
    return {"conv/kernel": random.normal(size=(3, 3, 3, 2)).astype(np.float32), "conv/bias": np.ones(2, np.float32)}


def test_saved_weights_come_back_with_the_digest_of_their_source(arrays, tmp_path):
    path = tmp_path / "folder" / "weights.safetensors"
    weights.save({name: array.T.T for name, array in arrays.items()}, path, weights.SOURCE_SHA256)
    loaded = weights.load(path)
    assert (loaded.name, loaded.digest) == ("inception-2015-12-05", "6726825d")
    assert loaded.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_flipped_bit_is_noticed(arrays, tmp_path):
    path = tmp_path / "weights.safetensors"
    weights.save(arrays, path, "6726825dffff")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        weights.load(path)
    path.write_bytes(content[:-30])
    with pytest.raises(UserError, match="cannot be read"):
        weights.load(path)


def test_a_trunk_is_read_as_float32_and_quotes_its_own_hash(arrays, tmp_path):
    halves = {name.replace("kernel", "w").replace("bias", "b"): a.astype(np.float16) for name, a in arrays.items()}
    np.savez(tmp_path / "trunk.npz", **halves)
    loaded = weights.load(tmp_path / "trunk.npz")
    assert loaded.name == "inception-2015-12-05 trunk" and len(loaded.digest) == 8
    assert loaded.arrays["conv/kernel"].dtype == np.float32
    np.testing.assert_array_equal(loaded.arrays["conv/kernel"], halves["conv/w"])
    halves["conv/b"] *= 2
    np.savez(tmp_path / "other.npz", **halves)
    assert weights.load(tmp_path / "other.npz").digest != loaded.digest


def test_other_files_say_what_to_do(tmp_path, arrays):
    for name, message in {
        "none.npz": r"there are no Inception weights at .*none\.npz: run 'python -m igan\.metrics\.fetch'",
        "weights.pth": r"nor an \.npz file: convert it with 'python -m igan\.metrics\.fetch --from",
        "bad.npz": r"bad\.npz cannot be read",
        "other.npz": r"other\.npz cannot be read",
    }.items():
        if name != "none.npz":
            (tmp_path / name).write_bytes(b"nonsense")
        if name == "other.npz":
            np.savez(tmp_path / name, arr_0=np.zeros(3))
        with pytest.raises(UserError, match=message):
            weights.load(tmp_path / name)


def test_only_the_published_weights_carry_the_name(arrays, tmp_path):
    for digest, name in ((weights.SOURCE_SHA256, weights.NAME), ("ab" * 32, f"{weights.NAME} with other weights")):
        whole = {**arrays, "softmax/kernel": np.zeros((2, 3), np.float32)}
        weights.save(whole, tmp_path / "some.safetensors", digest)
        assert weights.load(tmp_path / "some.safetensors").name == name
