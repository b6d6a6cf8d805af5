"""The command line; `main` runs it."""

from geoseg.cli.program import main as main
