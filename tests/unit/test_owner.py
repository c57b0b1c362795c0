"""Of all who want a stage folder one has it; who is gone is followed, who is alive is named."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supreme import owner, storage
from supreme.config import ConfigError
from supreme.owner import Owner

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "GONE_AFTER_S", 1.0)
    monkeypatch.setattr(owner, "RENEW_S", 0.1)
    monkeypatch.setattr(owner, "_LOOK_EVERY_S", 0.02)


def plant(folder: Path, **changes: object) -> Owner:
    planted = Owner.this_process().model_copy(update={"job": "pretrain.py", "host": "node-7"} | changes)
    folder.mkdir(exist_ok=True)
    (folder / owner.FILE).write_text(planted.model_dump_json())
    return planted


def test_of_many_at_once_one_owns_the_folder_and_the_others_name_it(tmp_path: Path) -> None:
    folder, barrier = str(tmp_path / "pretrain"), threading.Barrier(8)
    let_go = threading.Event()

    def work(_: int) -> str:
        barrier.wait()
        try:
            with owner.owned(folder):
                let_go.wait(20)
        except ConfigError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(work, number) for number in range(8)]
        while sum(one.done() for one in running) < 7:
            time.sleep(0.05)
        let_go.set()
    messages = sorted(one.result() for one in running)
    assert messages[0] == ""
    assert all(f"process {os.getpid()} on" in text and "is at work here" in text for text in messages[1:])
    assert not Path(folder).exists(), "nothing is left of a stage that wrote nothing"


def test_a_process_of_this_machine_that_is_gone_is_followed_at_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(owner, "GONE_AFTER_S", 600.0)
    folder = tmp_path / "labels"
    script = (
        f"import os; from supreme import owner\nwith owner.owned({str(folder)!r}): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert (folder / owner.FILE).exists()
    with owner.owned(str(folder)):
        assert Owner.model_validate_json((folder / owner.FILE).read_text()).pid == os.getpid()


def test_the_number_of_a_process_may_be_that_of_a_later_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(owner, "GONE_AFTER_S", 600.0)
    alive = Owner.this_process()
    machine, _, started = alive.process.rpartition(" ")
    plant(tmp_path, process=f"{machine} {int(started) - 1}")
    with owner.owned(str(tmp_path)):
        pass


def test_a_process_of_another_machine_that_shows_no_sign_of_life_is_followed(tmp_path: Path) -> None:
    plant(tmp_path, process="another-boot pid:[1] 17")
    started = time.monotonic()
    with owner.owned(str(tmp_path)):
        assert time.monotonic() - started >= owner.GONE_AFTER_S


def test_a_process_of_another_machine_that_is_alive_is_named(tmp_path: Path) -> None:
    planted = plant(tmp_path, process="another-boot pid:[1] 17")
    renewed = planted.model_copy(update={"renewed": 1}).model_dump_json().encode()
    later = threading.Timer(0.3, storage.write_bytes, (str(tmp_path / owner.FILE), renewed))
    later.start()
    with pytest.raises(ConfigError, match=r"pretrain\.py, process \d+ on node-7, since .* is at work here"):
        owner.owned(str(tmp_path)).__enter__()
    later.join()
    assert (tmp_path / owner.FILE).read_bytes() == renewed, "its file is left alone"


def test_who_was_taken_over_is_interrupted_and_leaves_the_folder_to_the_other(tmp_path: Path) -> None:
    is_planted = False
    with pytest.raises(KeyboardInterrupt), owner.owned(str(tmp_path)):  # noqa: PT012
        other = plant(tmp_path)
        is_planted = True
        time.sleep(20)
    assert is_planted
    assert Owner.model_validate_json((tmp_path / owner.FILE).read_text()) == other


def test_a_damaged_file_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / owner.FILE).write_text("{")
    with pytest.raises(ConfigError, match=r"owner\.json is damaged: delete it"):
        owner.owned(str(tmp_path)).__enter__()
