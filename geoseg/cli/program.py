"""The command `geoseg`: its verbs, and the exit codes of errors.

Parsing only: each verb is a module here that builds settings and calls the library, which does not know of it. A verb
imports what it needs when it runs, so that `--help` is quick.
"""

import gc
import sys
from io import TextIOWrapper

import click

from geoseg import __version__
from geoseg.cli.demo import demo_command
from geoseg.cli.evaluate import evaluate_command
from geoseg.cli.map import map_command
from geoseg.cli.model import model_group
from geoseg.cli.status import status_command
from geoseg.cli.train import train_command
from geoseg.cli.vectorize import vectorize_command
from geoseg.cli.verify import verify_command
from geoseg.errors import GeosegError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="geoseg")
def cli() -> None:
    """Turn folders of large GeoTIFFs into maps: styled GeoPackages of buildings, roads and green."""


for verb in (
    map_command,
    vectorize_command,
    status_command,
    verify_command,
    demo_command,
    train_command,
    evaluate_command,
    model_group,
):
    cli.add_command(verb)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code, and exits with it when called as a program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack a letter that a message or a name has
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(arguments, prog_name="geoseg", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        code = 2
    except click.Abort:
        code = _interrupted()
    except KeyboardInterrupt:
        code = _interrupted()
    except GeosegError as exc:
        click.echo(f"geoseg: {exc}", err=True)
        code = exc.exit_code
    code = code if isinstance(code, int) else 0
    if arguments is None:
        # At its end the interpreter would look for garbage among the million objects of torch, for more than a second.
        gc.freeze()
        sys.exit(code)
    return code


def _interrupted() -> int:
    click.echo("geoseg: interrupted; run the same command again to go on.", err=True)
    return 130
