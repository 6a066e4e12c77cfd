"""The checks of the QEMU machine: two SJA1000 controllers on one bus, and two 16550 UARTs wired to each other."""

import re
import time

import rom_uart
from checks import PANELFLASH, check, expect, image, ip, note, tool
from checks import run as command
from panels import Run, boards, codes, expect_pass, figures, folder, job_file, panel_file


# What the boards' answers may take when everything is computed in software.
LIMITS = '[limits]\nquiet = "40 ms"\nanswer = "400 ms"\ncensus = "4 s"\nmissed_per_mille = 500\n'


def bring_up(bit_rate=1_000_000, queue=10):
    for name in ("can0", "can1"):
        ip("link", "set", name, "down")
        ip("link", "set", name, "type", "can", "bitrate", bit_rate, "restart-ms", 0)
        ip("link", "set", name, "txqueuelen", queue)
        ip("link", "set", name, "up")


def interfaces():
    with check("two CAN controllers come up at 1 Mbit/s with a queue of 10"):
        bring_up()
        for name in ("can0", "can1"):
            shown = ip("-d", "link", "show", name).stdout
            expect("bitrate 1000000" in shown and "qlen 10" in shown, shown)
    with check("a frame sent on one controller is received by the other"):
        listener = f"{tool('candump')} -n 1 -T 3000 can1"
        script = f"{listener} & sleep 0.5; {tool('cansend')} can0 123#0011223344556677; wait"
        said = command("/bin/sh", "-c", script).stdout
        expect("00 11 22 33 44 55 66 77" in said, f"candump said `{said}`")


def panel_over_controllers(queue):
    """The boards behind one controller at 1 Mbit/s, the run behind the other; gives the records' folder."""
    count = 4
    where = folder()
    panel = panel_file(where, 1, count, "socketcan:can0")
    part = where / "image.bin"
    part.write_bytes(image("bench-64k.bin", 16384))
    job = job_file(where, "STM32F405", 0x413, part, 0x08020000, LIMITS)
    with check(f"two controllers at 1 Mbit/s, queue of {queue} frames: {count} boards get 16 KiB and pass"):
        bring_up(queue=queue)
        with boards(where, panel, "--can", "can1"):
            run = Run(panel, where, job)
            code, result = run.end(100)
            expect_pass(code, result, count, run)
            note(f"two controllers, queue of {queue}: {figures(result)}")
            recorded = b"".join(path.read_bytes() for path in run.records.iterdir())
            found = re.findall(rb"transmit queue full \d+ times", recorded)
            wanted = f"transmit queue full {result['queue_full']} times".encode()
            expect(wanted in found, f"the record says {found}, the result {wanted}")


def down_and_up():
    """The driver throws away what it has under way and starts anew; the run waits for its link as its job says."""
    where = folder()
    panel = panel_file(where, 1, 2, "socketcan:can0")
    job = job_file(where, "STM32F405", 0x413, "bench-64k.bin", 0x08020000, LIMITS + 'link_wait = "5 s"\n')
    bring_up()
    with check("a controller down and up again in the middle of a run: the run goes on and ends well"):
        with boards(where, panel, "--can", "can1"):
            run = Run(panel, where, job)
            run.wait_for_traffic("can0", frames=1000)
            ip("link", "set", "can0", "down")
            time.sleep(0.3)
            ip("link", "set", "can0", "up")
            code, result = run.end(60)
            expect_pass(code, result, 2, run)
            note(f"a controller down and up again: {figures(result)}")


def refused(name, wanted):
    """A run that must not begin; the panel wants 1 Mbit/s."""
    where = folder()
    with check(name):
        run = Run(panel_file(where, 1, 2, "socketcan:can0", lines=False), where)
        code, _ = run.end(30)
        expect(code in (2, 3) and wanted in run.said(), f"exit {code}: {run.said()}")


def troubles():
    bring_up(bit_rate=500_000)
    refused("a controller at another bit rate is refused with the command that sets it", "bitrate 1000000")
    bring_up()
    ip("link", "set", "can1", "down")
    where = folder()
    with check("nobody else on the bus: the run says so"):
        run = Run(panel_file(where, 1, 2, "socketcan:can0", lines=False), where)
        code, result = run.end(60)
        # QEMU's controllers acknowledge their own frames, so that only the silence tells.
        expect(code in (1, 3) and codes(result) == ["E402"], f"{codes(result)}, exit {code}: {run.said()}")
    bring_up()
    with check("doctor tells a short queue and the rate that helps"):
        panel = panel_file(where, 1, 2, "socketcan:can0", lines=False)
        said = command(PANELFLASH, "doctor", "--panel", panel, "--records", where / "none").stdout
        expect("1000000 bit/s" in said and "txqueuelen" in said, said)


def main():
    interfaces()
    rom_uart.checks()
    panel_over_controllers(10)
    panel_over_controllers(1000)
    down_and_up()
    troubles()
    print("END", flush=True)


if __name__ == "__main__":
    main()
