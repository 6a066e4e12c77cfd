"""Records and ledger on disks that fill up, go away or fail while boards are being programmed.

The boards are simulated inside the run. The disks, their mounts and the errors of their system calls are the kernel's.
"""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time

from checks import FIRMWARE, PANELFLASH, PROJECT, check, environment, expect, note, run, tool
from panels import folder

ORDER = "WO-2026-0117"


class Line:
    """A station with a work order of which four units are made, four boards for the next run, and where its records are.

    The order is the one that the engineer guide walks through, made by the walk as it stands there.
    """

    made = None

    def __init__(self):
        if Line.made is None:
            Line.made = self.walk()
        self.where = folder()
        shutil.copytree(Line.made, self.where, dirs_exist_ok=True)
        self.records = self.where / "records"

    @staticmethod
    def walk():
        where = folder()
        guide = (PROJECT / "docs/engineer-guide.md").read_text(encoding="utf-8")
        walk = guide.split("<!-- walk -->")[1].split("<!-- /walk -->")[0]
        walk = "".join(line.removeprefix("    ") + "\n" for line in walk.splitlines())
        settings = environment() | {"FIRMWARE": str(FIRMWARE / "bench-64k.bin")}
        settings["PATH"] = os.path.dirname(PANELFLASH) + ":" + settings["PATH"]
        done = subprocess.run(["sh", "-euc", walk], cwd=where, env=settings, capture_output=True, text=True)
        expect(done.returncode == 0, done.stderr[-300:])
        return where

    def command(self, *more):
        return [
            PANELFLASH, "run", "--order", ORDER, "--station-file", self.where / "line1/station.toml",
            "--panel", self.where / "panel.toml", "--records", self.records, "--boards", self.where / "boards",
            "--seed", "2", "--json", *more,
        ]  # fmt: skip

    def start(self, *before):
        """A run in real time; `before` is a program that runs it."""
        self.output = open(self.where / "run.json", "w+", encoding="utf-8")
        self.errors = open(self.where / "run.errors", "w+", encoding="utf-8")
        command = [str(word) for word in [*before, *self.command()]]
        self.process = subprocess.Popen(command, stdout=self.output, stderr=self.errors, env=environment())

    def said(self):
        self.errors.seek(0)
        return " ".join(self.errors.read().split())

    def wait_until_programming(self):
        until = time.monotonic() + 20
        while "can: program" not in self.said():
            expect(self.process.poll() is None and time.monotonic() < until, f"nothing was programmed: {self.said()}")
            time.sleep(0.005)

    def end(self):
        code = self.process.wait(60)
        self.output.seek(0)
        return code, json.loads(self.output.read() or '{"boards": []}')["boards"]

    def stopped(self, *codes):
        """The run ends with exit code 3 and one of these codes, nobody passes, and what is left adds up."""
        code, boards = self.end()
        expect(code == 3 and any(f"error: {wanted}" in self.said() for wanted in codes), f"exit {code}: {self.said()}")
        results = [board["result"] for board in boards]
        expect(len(boards) == 4 and "pass" not in results, f"{results}: {self.said()}")

    def balance(self):
        return run(PANELFLASH, "ledger", "balance", ORDER, "--records", self.records).stdout

    def resolved(self, attempts=4):
        """So many attempts have no end in the records, and the next run reads their boards and passes them, with the
        numbers they had."""
        doubt = json.loads(run(PANELFLASH, "report", "doubt", "--json", "--records", self.records).stdout)
        expect(len(doubt) == attempts, f"{len(doubt)} attempts in doubt")
        expect("+ 2 remaining" in self.balance(), self.balance())
        run(*self.command("--virtual-time"))
        expect("8 passed + 0 failed + 0 scrapped + 0 in doubt + 2 remaining" in self.balance(), self.balance())
        run(PANELFLASH, "ledger", "audit", "--records", self.records)
        run(PANELFLASH, "report", "verify", "--records", self.records)


@contextlib.contextmanager
def on_small_disk(line, size):
    """The line's records on a file system of their own."""
    disk = line.where / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "small", disk)
    try:
        line.records = shutil.copytree(line.records, disk / "records")
        yield disk
    finally:
        run("umount", "-l", disk)


def fill(path):
    """Takes what is free; gives how much that was."""
    taken = 0
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        for block in (b"x" * (1 << 16), b"x" * 4096):
            with contextlib.suppress(OSError):
                while written := file.write(block):
                    taken += written
    return taken


def full():
    with check("a disk with too little room for a panel: refused before it, with what is free and what is needed"):
        line = Line()
        with on_small_disk(line, "8m"):
            before = sorted(path.name for path in line.records.iterdir())
            done = run(*line.command(), code=3)
            expect("error: E410 disk-nearly-full" in done.stderr and "KiB are free" in done.stderr, done.stderr)
            expect(sorted(path.name for path in line.records.iterdir()) == before, "something was begun")
            expect("4 passed" in line.balance() and "+ 6 remaining" in line.balance(), line.balance())
    with check("another program fills the disk in the middle of a panel: the room kept for it is enough, and all pass"):
        line = Line()
        with on_small_disk(line, "32m") as disk:
            line.start()
            line.wait_until_programming()
            note(f"disk filled with {fill(disk / 'other')} bytes in the middle of a panel")
            code, boards = line.end()
            expect(code == 0 and [b["result"] for b in boards] == ["pass"] * 4, f"exit {code}: {line.said()}")
            expect(fill(disk / "other") > 4 << 20, "the room is given back")
            (disk / "other").unlink()
            expect("8 passed" in line.balance(), line.balance())
    with check("another program takes that room as well: nobody passes, and the next run finds out what is in the chips"):
        line = Line()
        with on_small_disk(line, "32m") as disk:
            line.start()
            line.wait_until_programming()
            over = threading.Event()
            greedy = threading.Thread(target=lambda: [fill(disk / "other") for _ in iter(over.is_set, True)])
            greedy.start()
            try:
                line.stopped("E410", "E405")
            finally:
                over.set()
                greedy.join()
            (disk / "other").unlink()
            line.resolved()


def gone():
    with check("the records' disk is unmounted in the middle of a panel: nobody passes, mounted again it is resolved"):
        line = Line()
        mount = line.where / "mounted"
        mount.mkdir()
        kept, line.records = line.records, mount
        run("mount", "--bind", kept, mount)
        line.start()
        line.wait_until_programming()
        run("umount", "-l", mount)
        line.stopped("E405")
        expect(not list(mount.iterdir()), "nothing is written where the disk was")
        line.records = kept
        line.resolved()


def failing():
    # After so many writes of the file boards have been reserved and are being programmed or given their identities. Where
    # the ledger fails, the records still take how each attempt ended.
    records, ledger = ("records.db-wal", 200, 4), ("ledger.db-wal", 25, 0)
    cases = [(records, "EIO", "E405"), (records, "EROFS", "E405"), (ledger, "EIO", "E405"), (ledger, "ENOSPC", "E410")]
    for (file, calls, attempts), error, code in cases:
        with check(f"{error} from a write of {file} in the middle of a panel: {code}, nobody passes, then resolved"):
            line = Line()
            strike = f"inject=pwrite64:error={error}:when={calls}+"
            trace = ["-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-P", line.records / file, "-e", strike]
            line.start(tool("strace"), *trace)
            line.stopped(code)
            line.resolved(attempts)


def main():
    full()
    gone()
    failing()


if __name__ == "__main__":
    main()
