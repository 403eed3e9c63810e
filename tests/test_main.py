"""The command as a process: how it ends, whatever threads of native libraries still do."""

import os
import subprocess
import sys

import pytest
from midtrain.__main__ import NO_OUTPUT

# A thread of Arrow's reads from a file of Python's, and wants the interpreter's lock back while the command ends.
READS_ON = """
import atexit, io, threading, time
import pyarrow as pa
import pyarrow.parquet as pq
from midtrain import cli
from midtrain.errors import RunError

reads = threading.Event()

class Slow(io.BytesIO):
    def read(self, *size):
        reads.set()
        time.sleep(1)
        return super().read(*size)

def work(*_, **__):
    written = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(1000))}), written)
    file = pq.ParquetFile(Slow(written.getvalue()), pre_buffer=True)
    reads.clear()
    threading.Thread(target=file.read_row_group, args=(0,), daemon=True).start()
    reads.wait()
    print("done", end="")
    atexit.register(print, ", and tidied", end="")
    HOW

cli.app = work
"""
HOW = {
    "finished": ("return None", 0, ""),
    "failed": ("raise RunError('no room', fix='make some')", 1, "no room"),
    "crashed": ("raise ZeroDivisionError", 1, "Traceback"),
    "told to": ("return 130", 130, "interrupted"),
}


def ended(program: str) -> "subprocess.CompletedProcess[str]":
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", program], env=buffered, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("how", HOW)
def test_a_thread_that_still_reads_does_not_change_how_it_ends(how: str) -> None:
    does, code, told = HOW[how]
    program = READS_ON.replace("HOW", does)
    said = ended(f"{program}\nfrom midtrain import __main__ as entry\nentry.main()")
    assert (said.returncode, said.stdout) == (code, "done, and tidied")
    assert told in said.stderr
    assert "Fatal" not in said.stderr


def test_an_output_that_cannot_be_written_is_told_by_the_code() -> None:
    program = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); from midtrain import __main__, cli"
    assert ended(f"{program}\ncli.app = lambda *_, **__: print('done')\n__main__.main()").returncode == NO_OUTPUT


def test_without_a_console_it_ends_as_with_one() -> None:
    program = "import sys; sys.stdout = None; sys.argv = ['midtrain', '--version']"
    assert ended(f"{program}\nfrom midtrain.__main__ import main\nmain()").returncode == 0
