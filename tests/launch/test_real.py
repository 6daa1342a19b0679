"""What the launcher reads is what a real run writes."""

import plan
import progress

from igan.run import train


def test_the_files_of_a_real_run(small, tmp_path, capsys):
    small.epochs = 1
    small.steps_per_chunk = 25
    small.evaluation.interval = 100
    train.run(small, tmp_path / "a")
    capsys.readouterr()
    member = plan.Member("a", ("--config=a.py",), tmp_path / "a", tmp_path / "a.log")
    assert not plan.is_finished(member)
    assert plan.has_trained(member) and plan.settle(member, 0) and plan.is_finished(member)
    seen = progress.Reader(member.workdir).read()
    assert seen.share == 1.0 and seen.seconds_left == 0.0 and seen.seconds > 0
    assert seen.speed is not None and seen.speed > 0
    assert seen.result.endswith(" errors of 1,000")
