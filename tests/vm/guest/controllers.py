"""The checks of the QEMU machine: two SJA1000 controllers on one bus, and two 16550 UARTs wired to each other."""

from checks import check, expect, ip, run, tool
import rom_uart


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
        command = f"{listener} & sleep 0.5; {tool('cansend')} can0 123#0011223344556677; wait"
        said = run("/bin/sh", "-c", command).stdout
        expect("00 11 22 33 44 55 66 77" in said, f"candump said `{said}`")


def main():
    interfaces()
    rom_uart.checks()
    print("END", flush=True)


if __name__ == "__main__":
    main()
