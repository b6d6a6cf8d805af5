"""`python -m geoseg.cli`."""

from geoseg.cli.program import main

main()
