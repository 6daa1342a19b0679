r"""Plays games small enough to draw, with and without historical averaging: `python -m igan.games`.

Player x minimises a value V(x, y), player y maximises it, and both move at once. Around the equilibria here plain
gradient descent goes in circles, and because both step at the same time the circles widen: with angular speed w the
distance grows by a factor of about 1 + (learning_rate * w)^2 / 2 an update. `historical_averaging` of strength s
takes 2 * s * learning_rate off that factor, so it holds the players if s > learning_rate * w^2 / 4.

From there on a smaller strength is the faster one. The players stand still where the game's push and the pull cancel:
beside their average, the further from it the weaker the pull, and towards the equilibrium. The average follows at a
rate of 1/t, so both come in like t^-p with p = w^2 / (w^2 + 4 s^2), which is nearly 1 for a small s and nearly 0 for a
large one. See `decay_power`.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from igan.errors import did_you_mean
from igan.techniques.historical_averaging import historical_averaging
from igan.types import Array
from igan.version import ShowVersion

# Of Okabe and Ito: told apart by colour-blind readers too.
PLAIN, AVERAGED, EQUILIBRIUM = "#D55E00", "#0072B2", "#F0E442"
MAX_STEPS = 1_000_000
FORMATS = (".pdf", ".png", ".svg")

EXAMPLES = """\
examples:
  python -m igan.games                                     all games, with settings that suit them
  python -m igan.games --game=xy --strength=1              a strong pull: the average hardly moves
  python -m igan.games --game=xy --game=lagrange --steps=5000 --output=report/games.pdf

It prints the distances to the equilibrium and writes one picture. Exit code 2: the command is wrong."""


class Game(NamedTuple):
    """A zero-sum game of two players with one number each."""

    name: str
    title: str  # With its formula, for a picture.
    value: Callable[[Array, Array], Array]  # V(x, y): x minimises it, y maximises it.
    equilibrium: tuple[float, float]  # (x, y)
    start: tuple[float, float]  # (x, y)


GAMES = (
    # Salimans et al. 2016, section 3.
    Game("xy", "Bilinear: $V = xy$", lambda x, y: x * y, equilibrium=(0.0, 0.0), start=(1.0, 1.0)),
    # Mescheder et al. 2018, section 2: the data are a point at 0, the generator's one sample is x, D(z) = sigmoid(y z).
    Game(
        "dirac_gan",
        r"Dirac-GAN: $V = -\log(1 + e^{-xy}) - \log 2$",
        lambda x, y: -jax.nn.softplus(-x * y) - math.log(2),
        equilibrium=(0.0, 0.0),
        start=(1.0, 1.0),
    ),
    # Find an x with x^2 = 1: y is the Lagrange multiplier of that constraint. By symmetry (-1, 0) is another one.
    Game(
        "lagrange",
        r"Lagrange multiplier: $V = \frac{1}{2}(x^2 - 1)\,y$",
        lambda x, y: (x**2 - 1) * y / 2,
        equilibrium=(1.0, 0.0),
        start=(0.5, 0.3),
    ),
)


class Outcome(NamedTuple):
    """How a game went: positions float64 [steps + 1, 2], the start included; distances to the equilibrium beside."""

    game: Game
    plain: np.ndarray
    averaged: np.ndarray

    def distances(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the distances to the equilibrium of both, float64 [steps + 1]; not finite where a game blew up."""
        plain, averaged = (np.hypot(*(each - self.game.equilibrium).T) for each in (self.plain, self.averaged))
        return plain, averaged


def velocity(game: Game, players: tuple[Array, Array]) -> tuple[Array, Array]:
    """Returns where the players want to go, (-dV/dx, dV/dy), each of the shape of x and y: scalars."""
    toward_x, toward_y = jax.grad(game.value, argnums=(0, 1))(*players)
    return -toward_x, toward_y


def play(game: Game, optimizer: optax.GradientTransformation, steps: int) -> Array:
    """Returns the positions (x, y) of a game in which both players move at once, float32 [steps + 1, 2].

    >>> play(GAMES[0], optax.sgd(0.5), steps=1)
    Array([[1. , 1. ],
           [0.5, 1.5]], dtype=float32)
    """
    # One optimiser for both: gradient descent and the pull of each player do not see the other one.
    start = tuple(map(jnp.float32, game.start))

    def step(carry: tuple, _: None) -> tuple[tuple, tuple[Array, Array]]:
        players, state = carry
        gradients = tuple(-push for push in velocity(game, players))
        updates, state = optimizer.update(gradients, state, players)
        return (optax.apply_updates(players, updates), state), players

    (end, _), path = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
    return jnp.stack([jnp.append(each, last) for each, last in zip(path, end, strict=True)], axis=1)


def decay_power(game: Game, strength: float) -> float:
    """Returns p where, with averaging, the distance to the equilibrium falls like t^-p in the long run.

    Seen from the equilibrium, players z with average a have the velocity J z - 2 s (z - a), J being the derivative of
    the game's. They soon stand still at z = 2 s (2 s - J)^-1 a, and then a' = (z - a) / t = J (2 s - J)^-1 a / t, whose
    slowest eigenvalue decides: w^2 / (w^2 + 4 s^2) for a rotation with angular speed w. It holds where the players do
    settle, see the top of this file.

    >>> round(decay_power(GAMES[0], strength=0.5), 3)
    0.5
    """
    columns = jax.jacobian(lambda players: velocity(game, players))(tuple(map(jnp.float32, game.equilibrium)))
    eigenvalues = np.linalg.eigvals(np.array(columns, np.float64))
    return -float(np.max(np.real(eigenvalues / (2 * strength - eigenvalues))))


def compare(game: Game, steps: int, learning_rate: float, strength: float) -> Outcome:
    """Plays a game by gradient descent, plain and with historical averaging."""
    plain = optax.sgd(learning_rate)
    paths = [play(game, optimizer, steps) for optimizer in (plain, historical_averaging(plain, strength))]
    return Outcome(game, *(np.asarray(path, np.float64) for path in paths))


def table(outcomes: Sequence[Outcome], strength: float) -> str:
    """Returns the distances to the equilibrium at the start and at the end, a line a game."""
    lines = [f"{'distance:':<12}{'start':>10}{'plain':>12}{'averaging':>12}   falls like"]
    for outcome in outcomes:
        plain, averaged = outcome.distances()
        ends = [f"{each[-1]:.4g}" if np.isfinite(each[-1]) else "blew up" for each in (plain, averaged)]
        power = decay_power(outcome.game, strength)
        lines.append(f"{outcome.game.name:<12}{plain[0]:>10.4g}{ends[0]:>12}{ends[1]:>12}   t^-{power:.2f}")
    return "\n".join(lines)


def draw(outcomes: Sequence[Outcome], learning_rate: float, strength: float, path: Path) -> None:
    """Writes a picture with a column for each game: the paths over the players' velocities, and their distances."""
    columns = len(outcomes)
    figure = Figure(figsize=(4.4 * columns + 0.4, 8.2), dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03)  # type: ignore[union-attr]
    axes = figure.subplots(2, columns, squeeze=False, height_ratios=(1.35, 1))
    for above, below, outcome in zip(*axes, outcomes, strict=True):
        _draw_paths(above, outcome)
        _draw_distances(below, outcome, decay_power(outcome.game, strength))
    axes[1, 0].set_ylabel("distance to the equilibrium")
    lines = [
        Line2D([], [], color=PLAIN, lw=2, label="gradient descent"),
        Line2D([], [], color=AVERAGED, lw=2, label="with historical averaging"),
        Line2D([], [], color="0.25", lw=1.2, ls=":", label="predicted slope"),
        Line2D([], [], color="black", marker="o", ls="", ms=7, label="start"),
        Line2D([], [], color=EQUILIBRIUM, marker="*", mec="black", ls="", ms=15, label="equilibrium"),
    ]
    title = [f"Simultaneous gradient descent, learning rate {learning_rate:g},"]
    title += [f"with and without historical averaging of strength {strength:g}"]
    figure.suptitle(("\n" if columns == 1 else " ").join(title), fontsize=13 if columns > 2 else 11)
    figure.legend(handles=lines, loc="outside lower center", ncols=min(5, 2 * columns), frameon=False, fontsize=11)
    figure.savefig(path)


def _draw_paths(axes: Axes, outcome: Outcome) -> None:
    game = outcome.game
    (center_x, center_y), (start_x, start_y) = game.equilibrium, game.start
    reach = 1.9 * math.hypot(start_x - center_x, start_y - center_y)
    x, y = np.meshgrid(*(np.linspace(center - reach, center + reach, 40) for center in game.equilibrium))
    toward = jax.vmap(jax.vmap(lambda *players: velocity(game, players)))(jnp.float32(x), jnp.float32(y))
    axes.streamplot(x, y, *map(np.asarray, toward), color="0.82", linewidth=0.8, arrowsize=0.9, density=1.1, zorder=1)
    for positions, color in ((outcome.plain, PLAIN), (outcome.averaged, AVERAGED)):
        far = ~(np.abs(positions - game.equilibrium).max(axis=1) < 100 * reach)
        axes.plot(*np.where(far[:, None], np.nan, positions).T, color=color, lw=1.5, zorder=3)
    axes.plot(start_x, start_y, "o", color="black", ms=7, mec="white", zorder=5)
    axes.plot(center_x, center_y, "*", color=EQUILIBRIUM, mec="black", ms=17, zorder=4)
    axes.set(xlim=(center_x - reach, center_x + reach), ylim=(center_y - reach, center_y + reach), aspect="equal")
    axes.set_title(game.title, fontsize=12)
    axes.set_xlabel("$x$  (minimises $V$)")
    axes.set_ylabel("$y$  (maximises $V$)")


def _draw_distances(axes: Axes, outcome: Outcome, power: float) -> None:
    plain, averaged = outcome.distances()
    updates = np.arange(1, len(plain) + 1)
    highest = 30 * plain[0]
    for distances, color in ((plain, PLAIN), (averaged, AVERAGED)):
        axes.plot(updates, np.where(distances < 100 * highest, distances, np.nan), color=color, lw=2)
    if averaged[-1] < highest:
        # A line above the late part of the curve, which it touches nowhere.
        late = updates[-1] * np.array([0.25, 0.5, 1.0])
        recent = updates >= late[0]
        line = 1.5 * np.max(averaged[recent] * updates[recent] ** power) * late**-power
        axes.plot(late, line, ":", color="0.25", lw=1.5)
        label = f"$t^{{-{power:.2f}}}$"
        axes.annotate(label, (late[0], line[0]), xytext=(2, 6), textcoords="offset points", fontsize=12)
    axes.set(xscale="log", yscale="log", xlim=(1, updates[-1]), xlabel="update $t$")
    axes.set_ylim(top=min(axes.get_ylim()[1], highest))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", alpha=0.3)


def _game(name: str) -> Game:
    for game in GAMES:
        if game.name == name:
            return game
    raise argparse.ArgumentTypeError(f"unknown game '{name}'.{did_you_mean(name, [game.name for game in GAMES])}")


def _steps(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_STEPS:
        raise argparse.ArgumentTypeError(f"'{text}', expected a whole number from 1 to {MAX_STEPS:,}, say 2000")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 1e-30 < number < 1e30:  # What float32 can work with.
        raise argparse.ArgumentTypeError(f"'{text}', expected a positive number of ordinary size, say 0.1")
    return number


def _picture(text: str) -> Path:
    if Path(text).suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"'{text}', expected a name that ends in one of {', '.join(FORMATS)}")
    return Path(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code: 0, or 2 with one line on standard error."""
    # Without a usage, which --help does not need beside the examples, argparse's own errors are one line.
    parser = argparse.ArgumentParser(
        prog="python -m igan.games",
        usage=argparse.SUPPRESS,
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=ShowVersion)
    names = ", ".join(game.name for game in GAMES)
    parser.add_argument("--game", type=_game, action="append", metavar="NAME", help=f"{names}; default: all of them")
    parser.add_argument("--steps", type=_steps, default=2000, metavar="N", help="updates (default: 2000)")
    parser.add_argument("--learning_rate", type=_positive, default=0.05, metavar="RATE", help="default: 0.05")
    parser.add_argument("--strength", type=_positive, default=0.1, metavar="S", help="of the averaging; default: 0.1")
    parser.add_argument(
        "--output", type=_picture, default=Path("games.png"), metavar="FILE", help="the picture (default: games.png)"
    )
    options = parser.parse_args(arguments)
    games = tuple(dict.fromkeys(options.game or GAMES))
    outcomes = [compare(game, options.steps, options.learning_rate, options.strength) for game in games]
    print(table(outcomes, options.strength))
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        draw(outcomes, options.learning_rate, options.strength, options.output)
    except OSError as error:
        print(f"error: cannot write {options.output}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"Wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
