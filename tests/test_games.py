"""The games against formulas written out by hand in float64, what averaging does to them, and the command line."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from igan import games
from igan.techniques.historical_averaging import historical_averaging

BY_NAME = {game.name: game for game in games.GAMES}
# (-dV/dx, dV/dy), derived by hand.
VELOCITIES = {
    "xy": lambda x, y: (-y, x),
    "dirac_gan": lambda x, y: (-y / (1 + np.exp(x * y)), x / (1 + np.exp(x * y))),
    "lagrange": lambda x, y: (-x * y, (x**2 - 1) / 2),
}
# The derivative of each at its equilibrium is a rotation with this angular speed.
ANGULAR_SPEEDS = {"xy": 1.0, "dirac_gan": 0.5, "lagrange": 1.0}

each_game = pytest.mark.parametrize("game", games.GAMES, ids=BY_NAME)


@each_game
def test_players_want_to_go_where_their_slopes_point(game, random):
    for x, y in random.normal(size=(5, 2)):
        found = games.velocity(game, (jnp.float32(x), jnp.float32(y)))
        np.testing.assert_allclose(found, VELOCITIES[game.name](x, y), rtol=1e-5, atol=1e-6)


@each_game
def test_nobody_moves_at_the_equilibrium_and_the_game_is_not_trivial_elsewhere(game):
    np.testing.assert_allclose(games.velocity(game, game.equilibrium), 0, atol=1e-7)
    assert np.hypot(*games.velocity(game, game.start)) > 0.1


def test_the_value_of_the_dirac_gan_is_what_its_discriminator_is_trained_on():
    # E log D(real) + E log(1 - D(generated)) with D(z) = sigmoid(y z), real = 0 and generated = x, up to the sign of y.
    x, y = 0.7, -1.3
    discriminate = lambda z: 1 / (1 + np.exp(-y * z))  # noqa: E731
    found = BY_NAME["dirac_gan"].value(jnp.float32(x), jnp.float32(-y))
    np.testing.assert_allclose(found, np.log(discriminate(0)) + np.log(1 - discriminate(x)), rtol=1e-6)


@each_game
def test_both_players_move_at_once(game):
    expected = np.array([game.start] * 6, np.float64)
    for t in range(1, 6):
        expected[t] = expected[t - 1] + 0.1 * np.array(VELOCITIES[game.name](*expected[t - 1]))
    np.testing.assert_allclose(games.play(game, optax.sgd(0.1), steps=5), expected, rtol=1e-5)


@each_game
def test_gradient_descent_leaves_and_averaging_comes_home(game):
    outcome = games.compare(game, steps=2000, learning_rate=0.05, strength=0.1)
    plain, averaged = outcome.distances()
    assert plain[0] == averaged[0] == pytest.approx(np.hypot(*np.subtract(game.start, game.equilibrium)))
    assert plain[-1] > 1.4 * plain[0]
    assert averaged[-1] < 0.03 * averaged[0]


@each_game
def test_the_distance_falls_like_the_predicted_power_of_t(game):
    strength, speed = 0.3, ANGULAR_SPEEDS[game.name]
    power = games.decay_power(game, strength)
    assert power == pytest.approx(speed**2 / (speed**2 + 4 * strength**2), rel=1e-5)
    _, averaged = games.compare(game, steps=40_000, learning_rate=0.05, strength=strength).distances()
    slope = np.log(averaged[4_000] / averaged[-1]) / np.log(40_000 / 4_000)
    assert slope == pytest.approx(power, rel=0.03)


def test_a_smaller_strength_catches_up_faster_in_the_end():
    ends = [games.compare(BY_NAME["xy"], 2000, 0.05, strength).distances()[1][-1] for strength in (0.1, 0.3, 1.0)]
    assert ends[0] < ends[1] / 2 < ends[2] / 4


def test_a_strength_below_the_bound_does_not_hold_the_players():
    # learning_rate * w^2 / 4 = 0.025 for w = 1.
    below, above = (games.compare(BY_NAME["xy"], 2000, 0.1, strength).distances()[1] for strength in (0.02, 0.03))
    assert below[-1] > 2 * below[0] and above[-1] < above[0] / 2


def test_any_optimizer_plays():
    path = games.play(BY_NAME["xy"], historical_averaging(optax.adam(0.01, b1=0.5), 0.3), steps=10)
    assert path.shape == (11, 2) and path.dtype == jnp.float32
    assert np.all(np.isfinite(path)) and not np.array_equal(path[0], path[-1])


def test_the_command_prints_a_table_and_writes_a_picture(tmp_path, capsys):
    output = tmp_path / "new" / "picture.png"
    assert games.main([f"--output={output}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == list(BY_NAME)
    assert lines[4] == f"Wrote {output}"
    for line in lines[1:4]:
        start, plain, averaged = map(float, line.split()[1:4])
        assert averaged < start / 10 and plain > start
    with Image.open(output) as picture:
        assert picture.width > picture.height > 800


@pytest.mark.parametrize("name", ["games.pdf", "games.svg"])
def test_one_game_in_a_format_for_print(name, tmp_path, capsys):
    assert games.main(["--game=lagrange", "--game=lagrange", "--steps=50", f"--output={tmp_path / name}"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["distance:", "lagrange", "Wrote"]
    assert (tmp_path / name).stat().st_size > 1000


def test_games_that_blow_up_are_named_and_drawn(tmp_path, capsys):
    arguments = ["--learning_rate=2", "--strength=3", "--steps=500", f"--output={tmp_path / 'games.png'}"]
    assert games.main(arguments) == 0
    assert "blew up" in capsys.readouterr().out
    assert (tmp_path / "games.png").exists()


def test_a_single_step_is_a_game_too(tmp_path, capsys):
    assert games.main(["--steps=1", f"--output={tmp_path / 'games.png'}"]) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--game=dirac"], "unknown game 'dirac'. Did you mean 'dirac_gan'? Known: dirac_gan, lagrange, xy."),
        (["--steps=0"], "'0', expected a whole number from 1 to 1,000,000"),
        (["--steps=1e3"], "'1e3', expected a whole number"),
        (["--steps=1000001"], "expected a whole number from 1 to 1,000,000"),
        (["--learning_rate=-1"], "'-1', expected a positive number"),
        (["--learning_rate=fast"], "'fast', expected a positive number"),
        (["--strength=nan"], "'nan', expected a positive number"),
        (["--strength=inf"], "'inf', expected a positive number"),
        (["--strength=1e-50"], "'1e-50', expected a positive number"),
        (["--output=games.bmp"], "'games.bmp', expected a name that ends in one of .pdf, .png, .svg"),
        (["--stpes=10"], "unrecognized arguments: --stpes=10"),
        (["xy"], "unrecognized arguments: xy"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, expected, capsys):
    with pytest.raises(SystemExit) as end:
        games.main(arguments)
    captured = capsys.readouterr()
    assert end.value.code == 2 and captured.out == ""
    assert expected in captured.err and captured.err.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert games.main(["--game=xy", "--steps=2", f"--output={tmp_path / 'file' / 'games.png'}"]) == 2
    assert capsys.readouterr().err.startswith("error: cannot write ")


def test_help_has_the_examples(capsys):
    with pytest.raises(SystemExit) as end:
        games.main(["--help"])
    assert end.value.code == 0
    assert "python -m igan.games --game=xy" in capsys.readouterr().out


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(games, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted >= 2 and found.failed == 0


def test_games_run_under_jit():
    path = jax.jit(lambda: games.play(BY_NAME["xy"], optax.sgd(0.5), steps=1))()
    np.testing.assert_array_equal(path, [[1, 1], [0.5, 1.5]])
