"""`geoseg status`."""

from pathlib import Path

import click

_SHOWN = 20


@click.command("status", short_help="Tell what is done in an output folder, what runs, and what failed.")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every scene.")
def status_command(output: Path, as_json: bool) -> int:
    """Tell what is done, running, waiting, interrupted, failed or refused in OUT, and why. Changes nothing.

    Exit codes: 0 everything is done, or still running without a failure; 1 something failed, is partial, was refused,
    interrupted, or is not there any more; 2 OUT is no output folder.
    """
    import json
    from dataclasses import asdict

    from geoseg.run.status import folder_status

    status = folder_status(output)
    code = 0 if status.ok else 1
    if as_json:
        click.echo(json.dumps({**asdict(status), "ok": status.ok}, ensure_ascii=False))
        return code
    run = status.run
    click.echo(
        f"{output}: {_running(run) if run is not None else 'no run goes on'}; last heard of {status.last or 'never'}"
    )
    click.echo(", ".join(f"{count:,} {state}" for state, count in status.counts.items()) or "no scene yet")
    notable = [s for s in status.scenes if s.state not in ("done", "waiting")]
    for scene in notable[:_SHOWN]:
        strips = f" {scene.committed} of {scene.strips} strips" if scene.strips else ""
        click.echo(f"{scene.state}: {scene.name}{strips}{f' ({scene.reason})' if scene.reason else ''}")
    if len(notable) > _SHOWN:
        click.echo(f"… and {len(notable) - _SHOWN:,} more: --json names them all")
    return code


def _running(run: dict[str, object]) -> str:
    return f"a run goes on (process {run.get('pid', '?')} on {run.get('host', '?')} since {run.get('since', '?')})"
