#!/usr/bin/env bash
# A real SLURM of one node for the tests marked `slurm`, where it can be installed.
set -uo pipefail
cd "$(dirname "$0")/.."
if tests/slurm/setup.sh; then exit 0; fi
echo "SLURM could not be set up here: the tests marked 'slurm' will be skipped"
