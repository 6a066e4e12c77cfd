"""Boots the two machines one after the other, passes their checks on line by line, and counts; see `run`, which starts this.

Never both at once: a panel of 64 boards in real time needs the two cores of a small machine for itself.

A machine reports on its console: `ok NAME`, `FAILED NAME: why`, and as its last line `END`. Without that line it
has failed, whatever came before. Machines are killed when this program ends, however it ends.
"""

import argparse
import gzip
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

# Longest time for one machine; a whole stage is to stay below 6 minutes on 2 idle cores.
PATIENCE = 330
LONG_PATIENCE = 3600

# Modules for QEMU's machine in the order of loading.
MODULES = """
    drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_modern_dev
    drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci
    net/9p/9pnet net/9p/9pnet_virtio fs/netfs/netfs fs/fscache/fscache fs/9p/9p
    net/can/can net/can/can-raw drivers/net/can/dev/can-dev drivers/net/can/vcan drivers/net/can/slcan/slcan
    drivers/net/can/sja1000/sja1000 drivers/net/can/sja1000/kvaser_pci
""".split()

lock = threading.Lock()
passed = failed = 0
machines = []


def report(line):
    """One line of result; counted and shown."""
    global passed, failed
    with lock:
        passed += line.startswith("ok ")
        failed += line.startswith("FAILED ")
        print(line, flush=True)


class Machine(threading.Thread):
    """One machine: boots, reads its console to the end, and says so if the last line is missing."""

    def __init__(self, name, command, environment, work, patience):
        super().__init__(name=name)
        self.console = work / f"{name}.console"
        self.patience = patience
        self.started = time.monotonic()
        # A group of its own: User-Mode Linux is many processes, and all must go.
        self.process = subprocess.Popen(
            # If this program is killed outright, the kernel kills the machine.
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        machines.append(self)

    def run(self):
        killer = threading.Timer(self.patience, self.kill)
        killer.start()
        ended = False
        with open(self.console, "w", encoding="utf-8") as console:
            for raw in self.process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                console.write(line + "\n")
                console.flush()
                # The firmware's and the kernel's words may share a line with ours.
                found = re.search(r"(ok |FAILED |# |END$).*", line)
                if found and found.group(0) == "END":
                    ended = True
                elif found and line.startswith(("ok ", "FAILED ", "# ")):
                    report(found.group(0))
        self.process.wait()
        killer.cancel()
        seconds = time.monotonic() - self.started
        if ended:
            report(f"# {self.name}: {seconds:.0f} s from power-on to power-off")
        else:
            tail = " | ".join(self.console.read_text(encoding="utf-8").splitlines()[-3:])
            report(f"FAILED {self.name}: ended after {seconds:.0f} s without its last line: {tail[-300:]}")

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def module_folder(root, pattern):
    folders = sorted((root / pattern).glob("*/kernel"))
    if len(folders) != 1:
        raise SystemExit(f"{root / pattern}: {len(folders)} kernels, expected 1")
    return folders[0]


def real_time(*policy):
    """The boards in both machines live in real time: where we may, other work on this machine waits for them."""
    return ["chrt", *policy] if os.geteuid() == 0 else []


def user_mode_linux(options, settings):
    """The quick machine: a kernel as a process, on this machine's own files."""
    init = pathlib.Path(__file__).resolve().parent / "guest" / "uml.sh"
    modules = module_folder(options.root, "usr/lib/uml/modules")
    # It hands every system call from one process to another, four times as fast if they share a processor.
    command = real_time("--fifo", "2") + ["taskset", "-c", str(max(os.sched_getaffinity(0)))]
    command += [options.root / "usr/bin/linux.uml", "mem=1536M", "rootfstype=hostfs", "rootflags=/", "rw"]
    command += ["con0=fd:0,fd:1", "con=none", "ssl=none", "quiet", f"VM_MODULES={modules}", *settings, f"init={init}"]
    return command, dict(os.environ, TMPDIR="/dev/shm")


def qemu(options, settings):
    """The thorough machine: two CAN controllers on one bus, and UARTs 1 and 2 wired to each other."""
    root = options.root
    folder = options.work / "initramfs"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("bin", "modules", "root", "proc", "dev"):
        (folder / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", folder / "bin/busybox")
    modules = module_folder(root, "lib/modules")
    for number, name in enumerate(MODULES):
        shutil.copy(modules / f"{name}.ko", folder / "modules" / f"{number:02}.ko")
    init = folder / "init"
    init.write_text((pathlib.Path(__file__).resolve().parent / "guest" / "initramfs.sh").read_text())
    init.chmod(0o755)
    libraries = dict(os.environ, LD_LIBRARY_PATH=f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu")
    names = "\n".join(sorted(str(p.relative_to(folder)) for p in folder.rglob("*")))
    archive = subprocess.run(
        [root / "bin/cpio", "-o", "-H", "newc", "--quiet"],
        input=names.encode(), stdout=subprocess.PIPE, cwd=folder, env=libraries, check=True,
    )  # fmt: skip
    image = options.work / "initramfs.gz"
    image.write_bytes(gzip.compress(archive.stdout, 1))
    kernel = next((root / "boot").glob("vmlinuz-*"))
    wire = options.work / "uart.socket"
    wire.unlink(missing_ok=True)
    guest = pathlib.Path(__file__).resolve().parent / "guest" / "qemu.sh"
    append = " ".join(["console=ttyS0", "quiet", "panic=1", "no_timer_check", f"VM_INIT={guest}", *settings])
    command = real_time("--rr", "1") + [root / "usr/bin/qemu-system-x86_64", "-L", root / "usr/share/qemu", "-L", root / "usr/share/seabios"]
    command += "-accel tcg,thread=multi -smp 1 -m 1G -nodefaults -no-user-config -display none -no-reboot".split()
    command += ["-kernel", kernel, "-initrd", image, "-append", append, "-serial", "stdio"]
    command += ["-chardev", f"socket,id=u1,path={wire},server=on,wait=off", "-chardev", f"socket,id=u2,path={wire}"]
    command += "-serial chardev:u1 -serial chardev:u2".split()
    command += "-object can-bus,id=bus -device kvaser_pci,canbus=bus -device kvaser_pci,canbus=bus".split()
    command += ["-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap"]
    return command, libraries


def stop(*_):
    for machine in machines:
        machine.kill()
    sys.exit(130)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("root", "work", "binaries"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    # Not resolved: the interpreter of a virtual environment is a link.
    parser.add_argument("--python", required=True, type=os.path.abspath)
    parser.add_argument("--long", action="store_true", help="with the repetitions that take longer")
    parser.add_argument("machine", nargs="?", choices=["vcan", "controllers", "both"], default="both")
    options = parser.parse_args()
    for name in ("root", "work", "binaries"):
        setattr(options, name, getattr(options, name).resolve())
    options.work.mkdir(parents=True, exist_ok=True)
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, stop)

    # The kernels hand these on to their first process.
    settings = [
        f"VM_ROOT={options.root}", f"VM_WORK={options.work}", f"VM_BIN={options.binaries}",
        f"VM_PYTHON={options.python}", f"VM_LONG={int(options.long)}",
    ]  # fmt: skip
    patience = LONG_PATIENCE if options.long else PATIENCE
    builders = {"vcan": user_mode_linux, "controllers": qemu}
    started = time.monotonic()
    try:
        for name in builders if options.machine == "both" else [options.machine]:
            try:
                command, environment = builders[name](options, settings)
                machine = Machine(name, [str(word) for word in command], environment, options.work, patience)
            except (OSError, subprocess.CalledProcessError) as error:
                report(f"FAILED {name}: does not start: {error}")
            else:
                machine.start()
                machine.join()
    finally:
        for machine in machines:
            machine.kill()
    print(f"vm took {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
