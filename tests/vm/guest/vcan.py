"""The checks of the User-Mode Linux machine: vcan and slcan interfaces, and disks that fail (disk.py)."""

import contextlib
import os
import re
import signal
import subprocess
import time

import disk
from checks import LONG, PANELFLASH, PYTHON, SCRATCH, check, environment, expect, image, ip, note, run, serving, tool
from panels import Observer, Run, boards, codes, expect_pass, figures, folder, job_file, panel_file


CLASSICAL = 'bit_rate = "1M"'
FD = 'kind = "fd"\nbit_rate = "1M"\ndata_bit_rate = "5M"'


def interfaces():
    with check("vcan interfaces come up, with frames of CAN FD"):
        for name in ("vcan0", "vcan1"):
            ip("link", "add", name, "type", "vcan")
            ip("link", "set", name, "mtu", "72", "up")
        expect("mtu 72" in ip("-d", "link", "show", "vcan0").stdout, "vcan0 does not carry FD frames")


def peers():
    # canprog lives in a virtual environment: its checks are a program of their own.
    done = subprocess.run([PYTHON, "-B", "rom_can.py", "vcan0"], env=environment(), timeout=120)
    if done.returncode != 0:
        print(f"FAILED canprog on vcan0: its checks ended with exit code {done.returncode}", flush=True)


def main_job(name, rows, columns, link, fd=False):
    """256 KiB to a whole panel, the demonstration's or on FD one of STM32G474; gives the result."""
    count = rows * columns
    where = folder()
    panel = panel_file(where, rows, columns, link, FD if fd else CLASSICAL)
    chip = ["--device", "G474"] if fd else []
    job = [job_file(where, "STM32G474", 0x469, "demo-f405-256k.bin", 0x08010000)] if fd else []
    with check(f"{name}: {count} boards get 256 KiB and pass"), boards(where, panel, *chip):
        job = Run(panel, where, *job)
        code, result = job.end(100)
        expect_pass(code, result, count, job)
        note(f"{name}, {count} boards: {figures(result)}")
        return result
    return None


def main_jobs():
    main_job("vcan, classical", 3, 7, "socketcan:vcan0")
    main_job("vcan, FD", 3, 7, "socketcan:vcan1", fd=True)
    repetitions = 10 if LONG else 3
    for n in range(repetitions):
        label = f"vcan, classical, run {n + 1} of {repetitions}"
        with Observer("vcan0") as observer:
            result = main_job(label, 8, 8, "socketcan:vcan0")
            if result is None:
                continue
            with check(f"{label}, 64 boards: no frame was lost, reordered or repeated"):
                lost, repeated = result["frames_lost"], result["frames_repeated"]
                expect(lost == 0 and repeated == 0, f"{lost} lost, {repeated} repeated")
                note(f"{label}: {observer.check()} data frames in order, as a third program saw them")
    main_job("vcan, FD", 8, 8, "socketcan:vcan1", fd=True)


# Bits per second of slcand's -s option. The text of a frame passes through a terminal twice.
SLCAN_RATES = {"4": "125k", "5": "250k"}


@contextlib.contextmanager
def slcan_run(rows, columns, speed, lines=(True, True), adapter=None):
    """A run over an interface of the kernel on a pseudo-terminal, at whose other end the simulator is the wire; gives
    the simulator's process and the run. `lines`: whether boards and run have a fixture; `adapter`: another rate that the
    adapter is set to."""
    rates = f'bit_rate = "{SLCAN_RATES[speed]}"'
    where = folder()
    simulated = panel_file(where, rows, columns, "socketcan:slcan0", rates, lines[0])
    with boards(where, simulated, "--pty") as (process, buses):
        port = buses[0][1].removeprefix("slcan:")
        with serving(tool("slcand"), "-F", "-o", f"-s{adapter or speed}", port, "slcan0"):
            for _ in range(50):
                if run(tool("ip"), "link", "set", "slcan0", "up", code=None).returncode == 0:
                    break
                time.sleep(0.1)
            yield process, Run(panel_file(where, rows, columns, "socketcan:slcan0", rates, lines[1]), where)


def slcan(rows, columns, speed):
    count = rows * columns
    with check(f"slcan interface: {count} boards get 256 KiB and pass, the simulator being the wire"):
        with slcan_run(rows, columns, speed) as (_, job):
            code, result = job.end(100)
            expect_pass(code, result, count, job)
            note(f"slcan, {count} boards: {figures(result)}")


def slcan_troubles():
    with check("nobody else on the bus: the run says so"), slcan_run(1, 4, "5", (True, False)) as (_, job):
        # Nobody switches the boards on.
        code, result = job.end(30)
        expect(codes(result) == ["E402"], f"{codes(result)}, exit code {code}: {job.said()}")
    with check("an adapter at a wrong bit rate: the run says that the bus is dead"):
        with slcan_run(1, 4, "5", (False, False), adapter="4") as (_, job):
            code, result = job.end(30)
            expect(codes(result) == ["E402"], f"{codes(result)}, exit code {code}: {job.said()}")
    with check("a transmit queue that stays full for 2 s ends the run with its code"):
        # Without a fixture: the stopped process would have to switch it.
        with slcan_run(1, 4, "5", (False, False)) as (process, job):
            job.wait_for_traffic("slcan0")
            process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            code, result = job.end(30)
            took = time.monotonic() - stopped
            process.send_signal(signal.SIGCONT)
            expect(codes(result) == ["E403"], f"{codes(result)}, exit code {code}: {job.said()}")
            expect(result["queue_full"] > 0, "the queue was never full")
            expect(2 <= took < 5, f"given up after {took:.1f} s")
            note(f"transmit queue full: given up after {took:.1f} s, full {result['queue_full']} times")


def trouble(name, wanted, disturb, link="socketcan:vcan0", seconds=40, limits=""):
    """A run that is disturbed once data flows: it must end by itself, with one of the codes (or pass, if `pass`)."""
    where = folder()
    panel = panel_file(where, 1, 4, link, CLASSICAL)
    with check(name), boards(where, panel):
        job = Run(panel, where, job_file(where, "STM32F405", 0x413, "demo-f405-256k.bin", 0x08020000, limits))
        job.wait_for_traffic(link.removeprefix("socketcan:"))
        disturb(job)
        code, result = job.end(seconds)
        got = codes(result) or (["pass"] if code == 0 else [f"exit {code}"])
        expect(set(got) & set(wanted), f"{got}, expected one of {wanted}: {job.said()}")
        note(f"{name}: {', '.join(got)}, exit code {code}")


def refused(name, wanted, link, fd=False):
    """A run that must not begin."""
    where = folder()
    with check(name):
        panel = panel_file(where, 1, 2, link, FD if fd else CLASSICAL, lines=False)
        job = [job_file(where, "STM32G474", 0x469, "bench-64k.bin", 0x08010000)] if fd else []
        job = Run(panel, where, *job)
        code, _ = job.end(20)
        expect(code in (2, 3) and wanted in job.said(), f"exit {code}: {job.said()}")


def standstill():
    """The boards' side gets no processor for a while, as an adapter that hangs: its answers come late, all of them."""
    where = folder()
    panel = panel_file(where, 3, 7, "socketcan:vcan0", CLASSICAL)
    with check("nobody answers for 0.6 s: the run waits, goes on and nobody is blamed"):
        with boards(where, panel) as (process, _):
            job = Run(panel, where)
            job.wait_for_traffic("vcan0")
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.6)
            process.send_signal(signal.SIGCONT)
            code, result = job.end(60)
            expect_pass(code, result, 21, job)
            note(f"stood still for 0.6 s: {figures(result)}")


def flood(_):
    # The lowest identifier wins every arbitration; vcan has none, but its queue fills.
    subprocess.Popen([tool("cangen"), "vcan0", "-g", "0", "-I", "000", "-L", "8", "-n", "300000"], env=environment())


def pause(job):
    """The reader sleeps while the boards talk on: its socket overflows."""
    job.process.send_signal(signal.SIGSTOP)
    subprocess.run([tool("cangen"), "vcan0", "-g", "0", "-I", "7F0", "-L", "8", "-n", "60000"], env=environment())
    job.process.send_signal(signal.SIGCONT)


def troubles():
    refused("an interface that does not exist is named, with those that do", "vcan0", "socketcan:nocan7")
    ip("link", "set", "vcan1", "down")
    refused("an interface that is down is refused with the command that helps", "ip link set vcan1", "socketcan:vcan1")
    ip("link", "set", "vcan1", "mtu", "16", "up")
    refused("an interface without FD frames is refused for an FD bus", "mtu 72", "socketcan:vcan1", fd=True)

    def down(_):
        ip("link", "set", "vcan0", "down")

    trouble("an interface that goes down ends the run with its code", ["E401"], down)
    ip("link", "set", "vcan0", "up")

    def down_and_up(_):
        ip("link", "set", "vcan0", "down")
        time.sleep(0.3)
        ip("link", "set", "vcan0", "up")

    wait, now = '[limits]\nlink_wait = "2 s"\n', '[limits]\nlink_wait = "0 ms"\n'
    trouble("an interface down and up again: a job that waits for it goes on", ["pass"], down_and_up, limits=wait)
    trouble("an interface down and up again: a job that does not wait fails", ["E401"], down_and_up, limits=now)

    def remove(_):
        ip("link", "del", "vcan1")

    trouble("an interface that is removed ends the run with its code", ["E401"], remove, "socketcan:vcan1")
    trouble("a second program floods the bus: the run ends with its code", ["E415", "E416"], flood)
    run("/bin/sh", "-c", "pkill -x cangen || killall cangen || true", code=None)
    trouble("the receiver overruns: the run ends with its code", ["E416"], pause)
    standstill()
    slcan_troubles()


def rom_ways():
    """Blank boards by their ROM's CAN loader, whose rate is changed on the way (AN3154)."""
    where = folder()
    panel = panel_file(where, 1, 2, "socketcan:vcan0", CLASSICAL, ways='ways = ["rom-can"]\n')
    part = where / "image.bin"
    part.write_bytes(image("bench-64k.bin", 8192))
    job = job_file(where, "STM32F405", 0x413, part, 0x08000000)
    with check("vcan: two blank boards get 8 KiB through the CAN loader of their ROM"), boards(where, panel):
        job = Run(panel, where, job)
        code, result = job.end(60)
        expect_pass(code, result, 2, job)
        note(f"vcan, ROM: {figures(result)}")


def processor_seconds(pid):
    """Time that a process has computed so far, its system calls included."""
    fields = open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waiting_run():
    """A run that waits for its operator, who is asked to switch the supply."""
    where = folder()
    panel = panel_file(where, 3, 7, "socketcan:vcan0", CLASSICAL, lines=False)
    panel.write_text(panel.read_text() + '[fixture]\npower = "manual:the bench supply"\n')
    job = Run(panel, where, stdin=subprocess.PIPE)
    until = time.monotonic() + 10
    while "the bench supply" not in job.said():
        expect(time.monotonic() < until, f"the operator was not asked: {job.said()}")
        time.sleep(0.05)
    return job


def idle():
    """A host that waits must sleep."""
    with check("a run that waits for its operator sleeps"):
        job = waiting_run()
        before = processor_seconds(job.process.pid)
        time.sleep(4)
        used = processor_seconds(job.process.pid) - before
        job.process.kill()
        note(f"waiting for the operator: {used:.2f} s of processor in 4 s")
        expect(used < 0.4, f"{used:.2f} s of processor in 4 s")
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        with check(f"{name} ends a run with exit code 130"):
            job = waiting_run()
            job.process.send_signal(getattr(signal, name))
            code, _ = job.end(10)
            expect(code == 130, f"exit code {code}: {job.said()}")


def doctor():
    with check("doctor sees a vcan interface, and exits with 0"):
        where = folder()
        panel = panel_file(where, 1, 2, "socketcan:vcan0", lines=False)
        said = run(PANELFLASH, "doctor", "--panel", panel, "--records", SCRATCH / "doctor").stdout
        expect(re.search(r"OK +bus can, socketcan:vcan0: up", said), said)


def main():
    interfaces()
    peers()
    main_jobs()
    slcan(3, 7, "5")
    slcan(8, 8, "5")
    rom_ways()
    idle()
    doctor()
    troubles()
    disk.main()
    print("END", flush=True)


if __name__ == "__main__":
    main()
