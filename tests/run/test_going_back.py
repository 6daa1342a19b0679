"""Back to the best checkpoint: what came later is kept aside, and the run is the one that stopped there."""

import json
import shutil

import pytest

from igan.errors import UserError
from igan.run import scoring, train
from tests.run.test_mixture import tiny


def get_config():
    config = tiny()
    config.evaluation.scores, config.checkpoint.interval = ("modes",), 5
    return config


@pytest.fixture(autouse=True, scope="module")
def falling():
    """A score that is worse with each update."""

    def score(state, is_stopping, *_):
        return {"modes": {"value": [1 / int(state.step)] * 2, "std": None, "protocol": "falling"}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "make", lambda config, built: score)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, falling):
    folder = tmp_path_factory.mktemp("finished") / "run"
    train.run(get_config(), folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def steps(folder):
    return sorted(int(each.name) for each in (folder / "checkpoints").iterdir())


def logged(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_without_a_change_it_plays_the_same_again_and_says_so(run, capsys):
    assert steps(run) == [10, 15, 20] and [each.name for each in (run / "best").iterdir()] == ["10"]
    before, checkpoint = logged(run), (run / "checkpoints/20/contents.json").read_text()
    summary = train.run(get_config(), run, from_best=True)
    said = capsys.readouterr().out
    assert "Going back to update 10, which has the best score; what came later is in" in said
    assert "NOTE: nothing in the config is changed" in said and "generator.learning_rate=" in said
    assert summary["finished"] and summary["steps"] == 20 and logged(run) == before
    assert json.loads((run / "checkpoints/20/contents.json").read_text())["arrays"] == json.loads(checkpoint)["arrays"]
    assert steps(run / "left_at_20") == [15, 20] and logged(run / "left_at_20") == before
    assert (run / "left_at_20/checkpoints/20/contents.json").read_text() == checkpoint
    assert [each.name for each in (run / "left_at_20/samples").iterdir()] == ["step_00000020.png"]
    assert json.loads((run / "left_at_20/summary.json").read_text())["steps"] == 20


def test_with_a_smaller_learning_rate_it_goes_another_way(run):
    before, config = logged(run), get_config()
    usual, config.generator.learning_rate = config.generator.learning_rate, 1e-5
    with pytest.raises(UserError, match="holds a run of another config"):
        train.run(config, run)
    train.run(config, run, from_best=True)
    same = [line for line in before if line["step"] <= 10]
    assert logged(run)[: len(same)] == same and logged(run)[len(same) :] != before[len(same) :]
    kept = json.loads((run / "config.json").read_text())
    assert kept["generator"]["learning_rate"] == 1e-5
    assert kept["went_back"] == [f"to update 10, generator.learning_rate: was {usual}, now 1e-05"], kept["went_back"]
    train.run(config, run)  # It goes on with this config now, and remembers.
    assert json.loads((run / "config.json").read_text())["went_back"] == kept["went_back"]
    config.generator.learning_rate = 1e-6
    train.run(config, run, from_best=True)
    assert steps(run / "left_at_20_2") == [15, 20] and steps(run / "left_at_20") == [15, 20]
    assert len(json.loads((run / "config.json").read_text())["went_back"]) == 2


def test_what_cannot_go_back_is_refused_and_nothing_is_moved(run):
    before = sorted(str(each) for each in run.rglob("*") if ".lock" not in each.name)
    config = get_config()
    config.seed = 5
    with pytest.raises(UserError, match="seed: was 1, now 5"):
        train.run(config, run, from_best=True)
    config = get_config()
    config.generator.optimizer = "sgd"
    with pytest.raises(UserError, match=r"--from=best does not fit: no usable checkpoint .*expected"):
        train.run(config, run, from_best=True)
    assert sorted(str(each) for each in run.rglob("*") if ".lock" not in each.name) == before
    shutil.rmtree(run / "best")
    with pytest.raises(UserError, match=r"there is no best checkpoint in .*best: leave --from=best out"):
        train.run(get_config(), run, from_best=True)
