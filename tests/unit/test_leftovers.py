"""What a killed job leaves in /tmp goes with the next one; nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from supreme.runtime import leftovers

pytestmark = pytest.mark.unit

HOLD = """
import sys, time
from pathlib import Path
from supreme.runtime import leftovers
with leftovers.claimed(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(600)
"""


def filled(folder: Path) -> Path:
    (folder / "ray" / "session").mkdir(parents=True)
    (folder / "ray" / "session" / "gcs.log").write_text("a line")
    (folder / "ray" / "latest").symlink_to(folder / "ray" / "session")
    return folder


def test_a_folder_goes_when_its_owner_was_killed_and_not_before(tmp_path: Path) -> None:
    folder = filled(tmp_path / "ray.one")
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    assert owner.stdout.readline() == "up\n"
    leftovers.remove(tmp_path)
    assert (folder / "ray/session/gcs.log").exists()
    owner.kill()
    owner.wait()
    leftovers.remove(tmp_path)
    assert not folder.exists()


def test_nothing_of_others_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, kept = filled(tmp_path / "data"), tmp_path / "tmp"
    filled(kept / "ray.made-by-somebody-else")
    ours = filled(kept / "another-name")
    (ours / "supreme.lock").touch()
    (outside / "supreme.lock").touch()
    (kept / "ray.link").symlink_to(outside)
    (kept / "ray.file").touch()
    before = sorted(tmp_path.rglob("*"))
    leftovers.remove(kept)
    assert sorted(tmp_path.rglob("*")) == before
    other_user = filled(kept / "ray.of-another-user")
    (other_user / "supreme.lock").touch()
    monkeypatch.setattr("os.getuid", lambda: 12345)
    leftovers.remove(kept)
    assert other_user.exists()
    monkeypatch.undo()
    leftovers.remove(kept)
    assert not other_user.exists()


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    precious = filled(tmp_path / "precious")
    folder = filled(tmp_path / "ray.one")
    (folder / "supreme.lock").touch()
    (folder / "link").symlink_to(precious)
    leftovers.remove(tmp_path)
    assert not folder.exists()
    assert (precious / "ray/session/gcs.log").exists()
