"""Untrusted code: what it may do, what ends it, and what it cannot reach."""

import errno
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
    assert 0 < result.seconds <= 10  # the limit


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
    for seconds in (0.5, 4, 30):  # a busy machine may not have begun in half a second
        result = both("print('begun', flush=True)\nwhile True: pass", seconds=seconds)
        assert (result.status, result.returncode) == ("timeout", None)
        assert seconds <= result.seconds < seconds + 30
        if result.stdout:
            break
    assert result.stdout == "begun\n"


def test_sleeping_is_ended_too(both):
    assert both("import time; time.sleep(1000)", seconds=0.3).status == "timeout"


def test_a_loop_is_ended_by_its_cpu_time_however_busy_the_machine_is(both):
    result = both("while True: pass", seconds=120, cpu_seconds=1)
    assert (result.status, result.returncode) == ("timeout", -signal.SIGXCPU)
    assert result.seconds < 120
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert both(stubborn, seconds=120, cpu_seconds=1).returncode == -signal.SIGKILL
    assert both("import time; time.sleep(2); print(1)", seconds=60, cpu_seconds=1).stdout == "1\n"


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
            time.sleep(1000)
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
    """Whether no process of a sandbox is left that was not there before; other tests' ones have two minutes to end.

    Those that other tests begin later are none of ours, and do not count.
    """
    deadline, left = time.monotonic() + 120, sandboxed() - before
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left &= sandboxed()
    return not left


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


# Each tries to hold 1.5 GiB in a process that may map 512 MiB, or asks for what would.
BYPASSES = {
    "a System V segment": """
libc.shmat.restype = ctypes.c_void_p
for _ in range(12):
    segment = checked(libc.shmget(0, 128 << 20, 0o1600))
    at = libc.shmat(segment, None, 0)
    ctypes.memset(at, 1, 128 << 20)
    libc.shmdt(ctypes.c_void_p(at))
""",
    "a file of memory": """
libc.mmap.restype = ctypes.c_void_p
for _ in range(1500):
    file = os.memfd_create("x")
    os.write(file, bytes(1 << 20))
    kept.append(libc.mmap(None, ctypes.c_size_t(4096), 1, 1, file, ctypes.c_long(0)))
    os.close(file)
""",
    "a shared mapping that is cut": """
for _ in range(12):
    block = mmap.mmap(-1, 128 << 20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    block.resize(4096)
    kept.append(block)
""",
    "a shared mapping of zeros": """
file = os.open("/dev/zero", os.O_RDWR)
for _ in range(12):
    block = mmap.mmap(file, 128 << 20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    block.resize(4096)
    kept.append(block)
""",
    "huge pages": "mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)",
    "a file system of its own": """
checked(libc.unshare(0x10020000))
checked(libc.mount(b"x", b"/work", b"tmpfs", 0, b"size=2g"))
""",
    "a process with namespaces": "checked(libc.syscall({'x86_64': 56}.get(machine, 220), 0x10020011, 0, 0, 0, 0))",
    "messages": "checked(libc.msgget(0, 0o1600))",
    "semaphores": "checked(libc.semget(0, 32000, 0o1600))",
    "a POSIX queue": "checked(libc.syscall({'x86_64': 240}.get(machine, 180), b'x', 0o102, 0o600, None))",
    "mapped pages in a pipe": """
block = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(4096)), 4096)
checked(libc.vmsplice(os.pipe()[1], ctypes.byref(block), 1, 0))
""",
    "a socket with an address": """
import socket
waiting = socket.socket(socket.AF_UNIX)
waiting.bind("\\0x")
waiting.listen(4096)
""",
    "a socket of another kind": "import socket; socket.socket(40, socket.SOCK_STREAM)",  # to the host of a machine
    "a larger buffer": """
import socket
socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
""",
    "watched folders": "checked(libc.inotify_init1(0))",
    "a ring of calls": "checked(libc.syscall(425, 8, ctypes.create_string_buffer(120)))",
    "keys": "checked(libc.syscall({'x86_64': 248}.get(machine, 217), b'user', b'x', b'y', 1, -4))",
}

BYPASS = """
import ctypes, errno, mmap, os, platform
libc, machine, kept = ctypes.CDLL(None, use_errno=True), platform.machine(), []

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


@isolated
@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in BYPASSES.items()])
def test_memory_that_its_limit_does_not_count_is_not_to_be_had(code: str):
    result = sandbox.run(BYPASS + code + "\nprint('held', flush=True)", seconds=60)
    assert (result.status, result.stdout) == ("failed", "")
    last = result.stderr.rstrip().rpartition("\n")[2]
    assert any(f"[Errno {number}]" in last for number in (errno.EPERM, errno.EAFNOSUPPORT, errno.ENOENT)), last


CHILDREN = """
import os, sys, time
for _ in range({count}):
    if os.fork() == 0:
        x = b"x" * ({each} << 20)
        print("held", flush=True)
        time.sleep({rest})
        os._exit(0)
for _ in range({count}):
    os.wait()
"""

# The first thread of each child has ended: the child's own status no longer says what it holds.
HEADLESS = """
import ctypes, os, platform, threading, time
def hold():
    x = b"x" * (100 << 20)
    time.sleep(1000)
for _ in range(5):
    if os.fork() == 0:
        threading.Thread(target=hold).start()
        ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
time.sleep(1000)
"""


@isolated
@pytest.mark.parametrize(
    "code", [CHILDREN.format(count=5, each=100, rest=1000), HEADLESS], ids=["children", "without a first thread"]
)
def test_the_memory_of_all_processes_together_is_bounded(code: str):
    before = sandboxed()
    result = sandbox.run(code, memory=192 << 20, seconds=50)
    assert (result.status, result.returncode) == ("memory", None)
    assert result.seconds < 50
    assert all_gone(before)
    assert sandbox.run("print(1)").stdout == "1\n"


@isolated
def test_processes_that_hold_less_than_the_bound_go_on():
    result = sandbox.run(CHILDREN.format(count=3, each=80, rest=0.5), memory=192 << 20, seconds=60)
    assert (result.status, result.stdout) == ("ok", "held\n" * 3)


BUFFERS = """
import fcntl, os, socket
def fill(ends):
    total = 0
    for end in ends:
        os.set_blocking(end, False)
        while True:
            try:
                total += os.write(end, bytes(1 << 16))
            except BlockingIOError:
                break
    return total
sockets, pipes = [], []
try:
    while True:
        sockets += socket.socketpair()
except OSError:
    print(fill([one.fileno() for one in sockets]))
for one in sockets:
    one.close()
try:
    while True:
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][1], 1031, 1 << 20)
except OSError:
    print(fill([end for _, end in pipes]))
"""


@isolated
def test_what_waits_in_sockets_and_pipes_is_little():
    result = sandbox.run(BUFFERS, seconds=60)
    assert (result.status, result.stderr) == ("ok", "")
    sockets, pipes = map(int, result.stdout.split())
    assert 0 < sockets < 16 << 20
    assert 0 < pipes < 64 << 20


USEFUL = """
import asyncio, mmap, multiprocessing, os, sqlite3, subprocess, sys, tempfile, threading
from concurrent.futures import ThreadPoolExecutor

async def soon():
    await asyncio.sleep(0)
    return 1

def child(end):
    end.send(2)

print(asyncio.run(soon()))
ours, theirs = multiprocessing.get_context("fork").Pipe()
process = multiprocessing.get_context("fork").Process(target=child, args=(theirs,))
process.start()
print(ours.recv())
process.join()
print(list(ThreadPoolExecutor(4).map(abs, [3]))[0])
print(subprocess.run([sys.executable, "-c", "print(4)"], capture_output=True, text=True).stdout.strip())
print(sqlite3.connect("a.db").execute("select 5").fetchone()[0])
with tempfile.TemporaryFile(dir=".") as file:
    file.truncate(4096)
    mmap.mmap(file.fileno(), 4096)[0] = 6
    print(file.read(1)[0])
print(len(mmap.mmap(-1, 7, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))
"""


@isolated
def test_threads_processes_and_files_are_had_as_before():
    result = sandbox.run(USEFUL, seconds=60)
    assert (result.stdout.split(), result.stderr) == (list("1234567"), "")


@isolated
@pytest.mark.parametrize("filters", [lambda machine: b"", lambda machine: None], ids=["kernel", "machine"])
def test_without_a_filter_of_calls_there_is_no_isolation(monkeypatch, filters):
    """An empty program is what the kernel refuses; a machine whose calls are not known has none."""
    monkeypatch.setattr(sandbox, "program", filters)
    sandbox.isolation.cache_clear()
    try:
        assert sandbox.isolation() is not None
        with pytest.raises(RunError, match="cannot be isolated"):
            sandbox.run("print(1)")
        assert sandbox.run("print(1)", allow_without_isolation=True).stdout == "1\n"
    finally:
        sandbox.isolation.cache_clear()


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
        assert "OSError: [Errno" in result.stderr
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
    "limits",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"memory": 1000},
        {"output": -1},
        {"cpu_seconds": 0},
    ],
)
def test_limits_that_no_program_could_keep(limits: dict[str, float]):
    with pytest.raises(ConfigError, match="leave no room"):
        run("print(1)", **limits)


def test_many_at_once_from_threads_and_no_signal_handler_is_touched():
    before, others = signal.getsignal(signal.SIGALRM), set(threading.enumerate())
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda i: run(f"print({i} ** 2)"), range(8)))
    assert [int(result.stdout) for result in results] == [i**2 for i in range(8)]
    assert signal.getsignal(signal.SIGALRM) is before
    assert [thread for thread in threading.enumerate() if thread not in others and not thread.daemon] == []


def test_nothing_is_left_open_or_on_the_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the machine's is others' too

    def state() -> set[object]:
        """What is open, each with what it is of: other tests' files may be closed meanwhile, and do not count."""
        opened = [(path.name, path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return {one for one in opened if one[1].parts[-1:] != ("fd",)} | set(tmp_path.iterdir())

    if sys.platform != "linux":
        pytest.skip("counts open files in /proc")
    run("print(1)")
    before = state()
    for seconds in (5, 0.05):
        run("import time; time.sleep(0.1); open('x', 'w')", seconds=seconds)
    assert state() - before == set()


def test_a_run_is_ended_when_its_caller_says_so(both):
    cancel = threading.Event()
    timer = threading.Timer(0.5, cancel.set)
    begun = time.monotonic()
    timer.start()
    with pytest.raises(RunError, match="sandbox: the run was ended by its caller"):
        both("import time\nprint('on', flush=True)\ntime.sleep(500)", seconds=500, cpu_seconds=5, cancel=cancel)
    assert 0.5 <= time.monotonic() - begun < 60
    assert both("print(1)", cancel=threading.Event()).stdout == "1\n"
    with pytest.raises(RunError, match="ended by its caller"):
        both("print(1)", cancel=cancel)


@isolated
def test_the_code_ends_with_a_caller_that_is_killed():
    code = (
        "import midtrain.sandbox as s; s.isolation(); print('up', flush=True); s.run('while True: pass', seconds=600)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    caller.stdout.readline()
    deadline = time.monotonic() + 120
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
