"""The quick cells of the fault table, which `fault_table.py` fills in full: real jobs on a small disk."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from fault_stages import Workshop
from fault_table import Outcome, run_cell

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    workshop = Workshop(folder)
    workshop.prepare("report")
    return workshop


@pytest.mark.parametrize(
    ("stage", "fault", "codes", "message"),
    [
        ("report", "SIGTERM", (143,), "interrupted: the same command goes on"),
        ("evaluate", "disk full", (1,), "No space left.*make room, then run the same command again"),
        ("register", "read-only", (1,), "read-only disk.*mount it for writing, then run the same command"),
        ("promote", "damaged input", (2,), r"scores/simulated\.parquet is missing or damaged.*with --new"),
        ("promote", "two at once", (0, 0), "is the champion|another model was promoted meanwhile"),
    ],
)
def test_the_job_says_what_happened_and_the_same_command_ends_as_if_nothing_had(
    workshop: Workshop, stage: str, fault: str, codes: tuple[int, ...], message: str
) -> None:
    outcome: Outcome = run_cell(workshop, stage, fault, None)
    assert outcome.codes == codes, outcome
    assert (outcome.has_traceback, outcome.left) == (False, ()), outcome
    assert (outcome.rerun, outcome.is_equal, outcome.foreign_kept) == (0, True, True), outcome
    assert re.search(message, outcome.message), outcome
