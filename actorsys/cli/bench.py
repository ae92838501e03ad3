"""`bench`: the figures of this machine beside their floors and targets.

The benchmarks are scripts of their own, which nothing in the package imports: in an installed package they are inside it, in a checkout
beside it.
"""

import subprocess
import sys
from pathlib import Path

import click

from .options import settings, shared

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "benchmarks", PACKAGE.parent / "benchmarks")


@click.command()
@click.argument("questions", metavar="[QUESTION]...", nargs=-1)
@click.option("--quick", is_flag=True, help="Some seconds for each, for a first look.")
@click.option("--json", "as_json", is_flag=True, help="One document with all figures, as -o json.")
@click.option("--plot", metavar="DIR", type=click.Path(file_okay=False), help="Write pictures there: latency.svg and growth.svg.")
@shared()
def bench(questions: tuple[str, ...], quick: bool, as_json: bool, plot: str | None) -> int:
    """Measure what a message, an agent, a restart cost here: one table with floor, figure, ratio and target.

    A missed target is a line of the table, not an error. Without a QUESTION all are measured, which takes some minutes.
    """
    script = next((place / "run.py" for place in PLACES if (place / "run.py").exists()), None)
    if script is None:
        raise click.ClickException(
            f"the benchmarks are not installed: there is no {PLACES[0]}. `pip install` brings them, and a checkout of actorsys has them."
        )
    options = ["--quick"] * quick + ["--json"] * (as_json or settings().output != "table") + (["--plot", plot] if plot else [])
    return subprocess.run([sys.executable, str(script), *options, "--", *questions], check=False).returncode
