"""`geoseg verify`."""

from pathlib import Path

import click


@click.command("verify", short_help="Check every output against what was written: holes, truncation, bit rot.")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a file.")
def verify_command(output: Path, as_json: bool) -> int:
    """Check every output in OUT against its checksum. Changes nothing.

    GeoPackages and projects that QGIS opened or somebody edited since are named, and are not errors. In an edited file
    bit rot cannot be told from an edit; its database is checked all the same.

    Exit codes: 0 nothing is lost; 1 an output is damaged, missing or has a hole; 2 OUT is no output folder.
    """
    import json
    from dataclasses import asdict

    from geoseg.run.verify import verify_folder

    files = bad = 0
    for finding in verify_folder(output):
        files += finding.state != "hole"
        bad += not finding.ok
        if as_json:
            click.echo(json.dumps({**asdict(finding), "ok": finding.ok}, ensure_ascii=False))
        elif finding.state != "whole":
            click.echo(f"{finding.state}: {finding.file}: {finding.detail}")
    if not as_json:
        click.echo(
            f"{files:,} files checked in {output}: {f'{bad:,} of them or of their rows are lost' if bad else 'nothing is lost'}"
        )
    return 1 if bad else 0
