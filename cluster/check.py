"""Check kustomizations without a cluster.

python cluster/check.py cluster/kuberay/overlays/one-gpu              one, or your own
python cluster/check.py cluster/kuberay/overlays/one-gpu cluster/vllm what is applied together
"""

from __future__ import annotations

import sys
from pathlib import Path

from checks.everything import check, definitions


def main(folders: list[str]) -> int:
    """Print what is wrong, one line each; the exit code is 1 if anything is."""
    if not folders or "--help" in folders:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    if definitions() is None:
        message = "KubeRay's schemas are not checked: set SUPREME_KUBERAY to a folder with its definitions"
        print(message, file=sys.stderr)
    try:
        findings = check(Path(folder).resolve() for folder in folders)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
