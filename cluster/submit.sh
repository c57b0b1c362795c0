#!/usr/bin/env bash
# Submit a job to the cluster of RAY_ADDRESS, show its log, and end with its exit code.
#
#   cluster/submit.sh [--detach] JOB [--config FILE] [key.sub=value ...]
#
# JOB is the name of a file in jobs/, without ending. What is checked before: cluster/README.md.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -d .venv/bin ]; then export PATH="$PWD/.venv/bin:$PATH"; fi
exec python -m supreme.runtime.submit "$@"
