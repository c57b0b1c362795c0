"""A Ray cluster of several hosts on this machine: network namespaces on a bridge.

A host has its own address, name, processes, shared memory and Ray folder; all other files are everybody's, as
on a network drive. No root is needed, and nothing of it is seen on this machine's own network.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pipeline_runs
import pytest

NETWORK = "10.77.0"
BIN = Path(sys.executable).parent
#: The first process of a host ends with the pipe from the tests, and with it all others there.
_LASTS = "echo up && cat; exit"
_SWITCH = f"""ip link add bridge type bridge && ip address add {NETWORK}.254/24 dev bridge &&
ip link set bridge up && {_LASTS}"""
#: Raylets with one session folder or one /dev/shm would take each other's objects for their own.
_HOST = f"""mount -t tmpfs shm /dev/shm && mkdir -p /tmp/ray && mount -t tmpfs ray /tmp/ray &&
mount --bind $0 /etc/hosts && hostname $1 && {_LASTS}"""
_CABLE = """ip link add to-$0 type veth peer name eth0 netns $1 && ip link set to-$0 master bridge up"""
_PLUG = f"""ip link set lo up && ip address add $0/24 dev eth0 && ip link set eth0 up &&
ip route add default via {NETWORK}.254"""


@dataclass(frozen=True)
class Host:
    """One machine."""

    name: str
    ip: str
    pid: int
    """Of its first process, as this machine counts; so are all others here."""

    def command(self, *command: str) -> list[str]:
        """What runs a command there."""
        return [*_enter(self.pid, "mount", "net", "uts", "pid"), *command]

    def processes(self, word: str) -> list[int]:
        """Those on this host with a word in their command line."""
        here = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.readlink(entry / "ns/pid") == here and word in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found


@dataclass
class Cluster:
    """Hosts that joined one Ray head, each with one logical CPU: no two training workers fit on one."""

    folder: Path
    switch: int
    stack: ExitStack
    environment: dict[str, str]
    hosts: list[Host] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def head(self) -> Host:
        return self.hosts[0]

    def join(self, number: int) -> list[Host]:
        """Add so many hosts and wait until Ray runs on them."""
        new = [self._host(next(self.numbers)) for _ in range(number)]
        started = [self._start_ray(host) for host in new]
        deadline = time.monotonic() + 180
        for host, process in zip(new, started, strict=True):
            log = self.folder / f"{host.name}.log"
            while "Ray runtime started" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        self.hosts += new
        return new

    def lose(self, host: Host) -> None:
        """Cut its power."""
        self.hosts.remove(host)
        os.kill(host.pid, signal.SIGKILL)

    def submit(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """`ray job submit` from the head, both outputs in a log."""
        submit = [f"{BIN}/ray", "job", "submit", f"--address=http://{self.head.ip}:8265", "--working-dir=."]
        return self._run(self.head, [*submit, "--", *command], log)

    def _run(self, host: Host, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        wanted = host.command("env", f"--chdir={pipeline_runs.CHECKOUT}", *command)
        with log.open("ab") as stream:
            return subprocess.Popen(wanted, env=self.environment, stdout=stream, stderr=stream)

    def _start_ray(self, host: Host) -> subprocess.Popen[bytes]:
        command = [f"{BIN}/ray", "start", "--block", f"--node-ip-address={host.ip}", "--num-cpus=1"]
        if self.hosts:
            command += [f"--address={self.head.ip}:6379"]
        else:
            command += ["--head", f"--dashboard-host={host.ip}"]
        return self._run(host, command, self.folder / f"{host.name}.log")

    def _host(self, number: int) -> Host:
        name, ip = f"host{number}", f"{NETWORK}.{number}"
        outside = _enter(self.switch, "net")
        apart = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        parent = _first_process(self.stack, *outside, *apart, "sh", "-c", _HOST, f"{self.folder}/hosts", name)
        pid = int(Path(f"/proc/{parent}/task/{parent}/children").read_text())
        subprocess.run([*outside, "sh", "-c", _CABLE, name, str(pid)], check=True)
        subprocess.run([*_enter(pid, "net"), "sh", "-c", _PLUG, ip], check=True)
        return Host(name, ip, pid)


@contextmanager
def cluster(folder: Path, size: int) -> Iterator[Cluster]:
    """A cluster of so many hosts, the first is the head; skips the test where the kernel gives none."""
    names = "".join(f"{NETWORK}.{number} host{number}\n" for number in range(1, 100))
    (folder / "hosts").write_text("127.0.0.1 localhost\n" + names)
    path = f"{BIN}:{os.environ['PATH']}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Ray gives a raylet 30 s to start, whatever else the machine does; a host that is gone is noticed sooner.
    patience = {"RAY_raylet_start_wait_time_s": "180", "RAY_health_check_initial_delay_ms": "20000"}
    patience |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "5000"}
    with ExitStack() as stack:
        try:
            apart = ["unshare", "--user", "--map-root-user", "--net"]
            switch = _first_process(stack, *apart, "sh", "-c", _SWITCH)
            made = Cluster(folder, switch, stack, pipeline_runs.environment(PATH=path, **token, **patience))
            made.join(1)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine gives no network namespaces: {error}")
        made.join(size - 1)
        yield made


def _enter(pid: int, *namespaces: str) -> list[str]:
    wanted = [f"--{name}" for name in ("user", *namespaces)]
    return ["nsenter", f"--target={pid}", "--preserve-credentials", *wanted]


def _first_process(stack: ExitStack, *command: str) -> int:
    """Start what lasts as long as the stack; an OSError with its last words where it does not come up."""
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=out, text=True)
    stack.enter_context(process)
    assert process.stdout is not None
    assert process.stdin is not None
    said = process.stdout.readline()
    if said != "up\n":
        raise OSError(said.strip())
    stack.callback(process.stdin.close)
    return process.pid
