"""What the checks of both machines share: counting lines, the programs under test, processes that are waited for."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(os.environ["VM_ROOT"])
WORK = pathlib.Path(os.environ["VM_WORK"])
BIN = pathlib.Path(os.environ["VM_BIN"])
PYTHON = os.environ["VM_PYTHON"]
LONG = os.environ.get("VM_LONG") == "1"
PROJECT = pathlib.Path(__file__).resolve().parents[3]
FIRMWARE = PROJECT / "tests/data/firmware"
PANELFLASH = str(BIN / "panelflash")
SCRATCH = pathlib.Path("/run/vm")
SCRATCH.mkdir(exist_ok=True)


@contextlib.contextmanager
def check(name):
    """One check: its block must end without an exception."""
    started = time.monotonic()
    try:
        yield
    except (Exception, SystemExit) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        print(f"FAILED {name}: {why[:500]}", flush=True)
    else:
        print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)


def note(text):
    """A measurement, not a check."""
    print(f"# {text}", flush=True)


def expect(condition, why):
    if not condition:
        raise AssertionError(why)


def tool(name):
    """A program of the unpacked packages, or the machine's own."""
    for folder in ("usr/bin", "usr/sbin", "sbin", "bin"):
        if (ROOT / folder / name).exists():
            return str(ROOT / folder / name)
    return name


def environment():
    libraries = f"{ROOT}/usr/lib/x86_64-linux-gnu:{ROOT}/lib/x86_64-linux-gnu"
    return dict(os.environ, LD_LIBRARY_PATH=libraries, HOME="/run", PATH="/usr/sbin:/usr/bin:/sbin:/bin")


def run(*command, seconds=60, code=0):
    """Runs to the end; gives what it said. Another exit code than `code` is a failure (None: any)."""
    command = [str(word) for word in command]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds, env=environment()
    )
    if code is not None and done.returncode != code:
        said = (done.stderr + done.stdout)[-350:]
        raise AssertionError(f"{os.path.basename(command[0])} {command[1]}: exit code {done.returncode}: {said}")
    return done


def ip(*words):
    return run(tool("ip"), *words)


@contextlib.contextmanager
def serving(*command, first_lines=0, **more):
    """A process that serves while the block runs; gives the process and its first lines of output."""
    errors = open(SCRATCH / "serving.errors", "a+", encoding="utf-8")
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(), **more
    )
    try:
        lines = [process.stdout.readline().strip() for _ in range(first_lines)]
        expect(all(lines), f"{command[0]} ended at once: {(SCRATCH / 'serving.errors').read_text()[-300:]}")
        yield process, lines
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        errors.close()


def image(name, length=None):
    data = (FIRMWARE / name).read_bytes()[:length]
    expect(length is None or len(data) == length, f"{name} has {len(data)} bytes, not {length}")
    return data
