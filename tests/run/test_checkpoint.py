"""States that are saved come back bit for bit."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from igan import files
from igan.run.checkpoint import Checkpoints
from tests.command import PATIENCE
from tests.run.states import bits, make_state, run_python, specs, write


@pytest.mark.parametrize("describe", [lambda state: state, specs], ids=["arrays", "specs"])
def test_every_kind_of_leaf_comes_back_bit_for_bit(tmp_path: Path, describe: Any) -> None:
    state = make_state()
    write(tmp_path, 0)
    found = Checkpoints(tmp_path, keep=2).restore_latest(describe(make_state(1)))
    assert found is not None
    step, restored = found
    assert step == 0
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)
    assert jax.random.bits(restored["key"]) == jax.random.bits(state["key"])


def test_it_reaches_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, reach = [], files.reach_disk

    def look(path: Path) -> None:
        assert not (tmp_path / "7").exists()
        reached.append(path.name)
        reach(path)

    monkeypatch.setattr(files, "reach_disk", look)
    write(tmp_path, 7)
    empty_or_read_by_nobody = {"commit_success.txt", "_CHECKPOINT_METADATA"}  # Orbax writes them at the very end.
    names = {path.name for path in (tmp_path / "7").rglob("*")} - empty_or_read_by_nobody
    assert "contents.json" in names and names <= set(reached) and reached[-1].startswith("7.orbax-checkpoint-tmp")


def test_nothing_to_restore_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "new", keep=2).restore_latest(make_state()) is None
    assert Checkpoints(tmp_path / "absent", keep=2, read_only=True).restore_latest(make_state()) is None
    assert not (tmp_path / "absent").exists()


def test_the_state_may_be_donated_as_soon_as_save_returns(tmp_path: Path) -> None:
    spoil = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 2 + 1, state), donate_argnums=0)
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        for step in range(5):
            state = {str(i): jax.random.normal(jax.random.key(step + i), (500, 400)) for i in range(10)}
            expected = bits(jax.tree.map(jnp.copy, state))
            checkpoints.save(step, state)
            for _ in range(5):
                state = spoil(state)
            found = checkpoints.restore_latest(specs(state))
            assert found is not None and found[0] == step
            assert bits(found[1]) == expected


def test_the_newest_are_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (5, 100, 20, 3000):
            checkpoints.save(step, make_state(step))
        checkpoints.save(3000, make_state(1))  # On its way already: not written again.
        checkpoints.wait()
        assert checkpoints.steps() == [100, 3000]
        found = checkpoints.restore_latest(make_state())
    assert found is not None and bits(found[1]) == bits(make_state(3000))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["100", "3000"]


def test_sharded_states_keep_bits_and_shardings(tmp_path: Path) -> None:
    process = run_python(
        """
        import sys, jax, jax.numpy as jnp, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P, SingleDeviceSharding
        from igan.run.checkpoint import Checkpoints
        mesh = jax.make_mesh((4, 2), ("replica", "data"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
        put = lambda leaf, *spec: jax.device_put(leaf, NamedSharding(mesh, P(*spec)))
        noise = jax.random.normal(jax.random.key(0), (8, 6, 4)).at[3, 2, 1].set(jnp.nan)
        state = {"both": put(noise, "replica", "data"), "one": put(noise, "replica"), "whole": put(noise),
                 "swapped": put(noise, "data", None, "replica"), "step": put(jnp.int32(3)), "alone": noise,
                 "keys": put(jax.random.split(jax.random.key(1), 8), "replica"),
                 "small": put(noise.astype(jnp.bfloat16), ("replica", "data"))}
        moved = jax.tree.map(lambda leaf: put(leaf, *("data",)[: leaf.ndim]), state)
        single = jax.tree.map(lambda leaf: jax.device_put(leaf, SingleDeviceSharding(jax.devices()[5])), state)
        plain = lambda tree: [np.asarray(jax.random.key_data(leaf) if leaf.dtype == state["keys"].dtype else leaf)
                              for leaf in jax.tree.leaves(tree)]
        with Checkpoints(sys.argv[1], keep=2) as checkpoints:
            checkpoints.save(1, state)
            for like in (state, moved, single):
                spec = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
                for one in (like, jax.tree.map(spec, like)):
                    step, restored = checkpoints.restore_latest(one)
                    assert step == 1
                    for name, leaf in restored.items():
                        assert leaf.sharding.is_equivalent_to(like[name].sharding, leaf.ndim), name
                    for was, now in zip(plain(state), plain(restored), strict=True):
                        assert was.dtype == now.dtype and was.tobytes() == now.tobytes()
        print("sharded", len(jax.devices()))
        """,
        tmp_path,
        devices=8,
    )
    output, errors = process.communicate(timeout=PATIENCE)
    assert (output, errors) == ("sharded 8\n", ""), errors
