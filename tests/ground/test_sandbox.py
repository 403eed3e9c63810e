"""Untrusted code: what it may do, what ends it, and what it cannot reach."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from midtrain import sandbox
from midtrain.errors import ConfigError, RunError

MISSING = sandbox.isolation()
isolated = pytest.mark.skipif(MISSING is not None, reason=f"no isolation on this machine: {MISSING}")


def run(code: str, **options: object) -> sandbox.Result:
    """Runs with isolation where it can be had."""
    return sandbox.run(code, allow_without_isolation=True, **options)  # type: ignore[arg-type]


@pytest.fixture(params=[pytest.param(True, marks=isolated, id="isolated"), pytest.param(False, id="limits alone")])
def both(request, monkeypatch):
    """The test's `run`, once with isolation and once as on a machine that has none."""
    if not request.param:
        monkeypatch.setattr(sandbox, "isolation", lambda: "the test says so")
    return run


def test_a_program_reads_and_writes(both):
    result = both("name = input()\nprint('hello', name)\nimport sys; print('warned', file=sys.stderr)", stdin="wörld\n")
    assert (result.status, result.returncode) == ("ok", 0)
    assert result.stdout == "hello wörld\n"
    assert result.stderr == "warned\n"
    assert 0 < result.seconds < 10


def test_a_program_that_fails_says_how(both):
    result = both("raise ValueError('no')")
    assert (result.status, result.returncode) == ("failed", 1)
    assert result.stderr.endswith("ValueError: no\n")
    assert both("import sys; sys.exit(7)").returncode == 7
    assert both("this is no Python").status == "failed"


def test_it_works_in_an_empty_folder_without_environment_or_packages(both, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    code = "import os\nprint(os.listdir('.'), 'SECRET_TOKEN' in os.environ)\nopen('a', 'w').write('x')\n"
    result = both(code + "print(open('a').read())\ntry:\n  import numpy\nexcept ImportError:\n  print('none')")
    assert result.stdout.splitlines() == ["[] False", "x", "none"]


def test_code_longer_than_a_command_line_may_be(both):
    assert both("x = 0\n" + "x += 1\n" * 50_000 + "print(x)").stdout == "50000\n"


def test_an_endless_loop_is_ended(both):
    result = both("print('begun', flush=True)\nwhile True: pass", seconds=0.5)
    assert (result.status, result.returncode, result.stdout) == ("timeout", None, "begun\n")
    assert 0.5 <= result.seconds < 5


def test_sleeping_is_ended_too(both):
    assert both("import time; time.sleep(1000)", seconds=0.3).status == "timeout"


def test_memory_is_bounded(both):
    result = both("x = bytearray(10**9)", memory=128 << 20)
    assert (result.status, result.returncode) == ("memory", 1)
    assert both("x = bytearray(50 * 2**20); print(len(x))", memory=128 << 20).status == "ok"
    assert both("try:\n  x = bytearray(10**9)\nexcept MemoryError: print('caught')").status == "ok"


def test_output_is_bounded(both):
    result = both("import sys\nwhile True: sys.stdout.write('x' * 1000)", output=10_000)
    assert result.status == "failed"
    assert result.stdout == "x" * 10_000
    assert "File too large" in result.stderr
    assert both("open('big', 'wb').write(bytes(20_000))", output=10_000).status == "failed"


def test_a_crash_is_told_from_a_failure(both):
    result = both("import ctypes; ctypes.string_at(0)")
    assert (result.status, result.returncode) == ("killed", -signal.SIGSEGV)
    assert both("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL


FORK_BOMB = """
import os, time
made = 0
for _ in range(100):
    try:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
        made += 1
    except OSError:
        break
print(made)
"""

ORPHAN = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
os.wait()
print("gone")
"""


def sandboxed() -> set[str]:
    """The processes of this machine that run code of a sandbox."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return {line for line in listed.splitlines() if "-S -B -X utf8 /" in line and line.endswith("/main.py")}


def all_gone(before: set[str]) -> bool:
    """Whether no process of a sandbox is left that was not there before; other tests' ones have 30 s to end."""
    deadline = time.monotonic() + 30
    while (more := sandboxed() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not more


@isolated
def test_a_fork_bomb_stays_small_and_leaves_nothing():
    before = sandboxed()
    result = run(FORK_BOMB, seconds=20)
    assert result.status == "ok"
    assert 0 < int(result.stdout) < sandbox.PROCESSES
    assert run("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", seconds=1).status == "timeout"
    assert all_gone(before)


@isolated
def test_a_process_that_left_its_group_ends_with_the_run():
    before = sandboxed()
    assert run(ORPHAN).stdout == "gone\n"
    assert all_gone(before)


def test_a_process_left_behind_ends_with_the_run(both):
    before = sandboxed()
    assert both("import os, time\nif os.fork() == 0: time.sleep(1000)\nprint('gone')").stdout == "gone\n"
    assert all_gone(before)


@isolated
def test_a_secret_file_of_the_callers_is_not_there(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2")
    for path in (secret, Path("/etc/passwd"), Path("/proc/self/status"), Path(__file__), Path.cwd() / "pyproject.toml"):
        result = sandbox.run(f"print(open({str(path)!r}).read())")
        assert result.status == "failed"
        assert "FileNotFoundError" in result.stderr


WRITES = """
import os
for path in ("/main.py", "/x", "/dev/x", "/usr/x", "/etc/x", os.__file__):
    try:
        open(path, "a")
    except OSError:
        continue
    print(path)
try:
    os.remove("/main.py")
except OSError:
    print("kept")
open("/dev/null", "w").write("x")
open("mine", "w").write("x")
"""


@isolated
def test_nothing_but_its_own_folder_can_be_written():
    result = sandbox.run(WRITES)
    assert (result.stdout, result.stderr) == ("kept\n", "")


@isolated
def test_an_ordinary_user_has_the_same_sandbox():
    """Whoever runs the tests; an ordinary user maps and owns other things than root does."""
    code = f"import os; from midtrain import sandbox; print(os.getuid(), sandbox.run({WRITES!r}).stdout, end='')"
    command = ["unshare", "--user", "--map-user=1234", "--map-group=1234", sys.executable, "-c", code]
    if shutil.which("unshare") is None:
        pytest.skip("the command unshare is not there")
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in process.stderr and "midtrain" not in process.stderr:
        pytest.skip(process.stderr)
    assert (process.stdout, process.stderr) == ("1234 kept\n", "")


@isolated
def test_the_folder_is_bounded_as_a_whole():
    code = "import os\nfor i in range(200):\n    open(str(i), 'wb').write(bytes(1 << 20))"
    result = sandbox.run(code, output=1 << 20)
    assert result.status == "failed"
    assert "No space left on device" in result.stderr


@isolated
def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = sandbox.run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)")
        assert result.status == "failed"
        assert "OSError" in result.stderr
        without = subprocess.run(
            [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"], check=False
        )
        assert without.returncode == 0


@isolated
def test_it_has_no_privileges_and_cannot_see_or_signal_the_caller():
    code = f"""
import os, signal
print(os.getuid() != 0, os.getgid() != 0, os.getpid() < 10)
for act in (lambda: os.kill({os.getpid()}, signal.SIGTERM), lambda: os.setuid(0), lambda: os.chroot("/work")):
    try:
        act()
    except OSError as error:
        print(type(error).__name__)
"""
    said = sandbox.run(code).stdout.splitlines()
    assert said == ["True True True", "ProcessLookupError", "PermissionError", "PermissionError"]


def test_without_isolation_it_refuses_with_the_reason(monkeypatch):
    monkeypatch.setattr(sandbox, "isolation", lambda: "the kernel says no")
    with pytest.raises(RunError, match="the kernel says no"):
        sandbox.run("print(1)")
    assert sandbox.run("print(1)", allow_without_isolation=True).stdout == "1\n"


def test_what_is_missing_is_found_by_trying(monkeypatch):
    def refuse(code: str, stdin: str, limits: object, isolated: bool) -> sandbox.Result:
        raise RunError("the sandbox could not be set up", seen="unshare: Operation not permitted")

    sandbox.isolation.cache_clear()
    monkeypatch.setattr(sandbox, "_run", refuse)
    try:
        assert sandbox.isolation() == "unshare: Operation not permitted"
    finally:
        sandbox.isolation.cache_clear()


def test_a_sandbox_that_cannot_start_is_an_error_not_a_result(monkeypatch):
    monkeypatch.setattr(sandbox, "LIBRARIES", ("/proc/self/fd",))  # nothing that Python could be loaded from
    monkeypatch.setattr(sandbox, "isolation", lambda: None)
    with pytest.raises(RunError, match="could not be set up"):
        sandbox.run("print(1)")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RunError, match="could not be set up"):
        sandbox.run("print(1)")


@pytest.mark.parametrize(
    "limits", [{"seconds": 0}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"memory": 1000}, {"output": -1}]
)
def test_limits_that_no_program_could_keep(limits: dict[str, float]):
    with pytest.raises(ConfigError, match="leave no room"):
        run("print(1)", **limits)


def test_many_at_once_from_threads_and_no_signal_handler_is_touched():
    before = signal.getsignal(signal.SIGALRM)
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda i: run(f"print({i} ** 2)"), range(8)))
    assert [int(result.stdout) for result in results] == [i**2 for i in range(8)]
    assert signal.getsignal(signal.SIGALRM) is before
    assert threading.active_count() == 1 + sum(thread.daemon for thread in threading.enumerate()[1:])


def test_nothing_is_left_open_or_on_the_disk():
    def state() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path(tempfile.gettempdir()).glob("midtrain-*")))

    if sys.platform != "linux":
        pytest.skip("counts open files in /proc")
    run("print(1)")
    before = state()
    for seconds in (5, 0.05):
        run("import time; time.sleep(0.1); open('x', 'w')", seconds=seconds)
    assert state() == before


@isolated
def test_the_code_ends_with_a_caller_that_is_killed():
    code = (
        "import midtrain.sandbox as s; s.isolation(); print('up', flush=True); s.run('while True: pass', seconds=600)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    caller.stdout.readline()
    deadline = time.monotonic() + 30
    while not (found := _below(caller.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert found
    while any(Path(f"/proc/{pid}").exists() for pid in found) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in found)


def _below(pid: int) -> list[int]:
    """The processes below one, where the untrusted code has begun: the launcher, process 1, the code."""
    found, level = [], [pid]
    while level:
        level = [int(child) for one in level for child in _children(one)]
        found += level
    return found if len(found) >= 3 else []


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
