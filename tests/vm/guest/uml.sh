#!/bin/bash
# First process of the User-Mode Linux machine: file systems, CAN modules, then the checks, then power off. The root
# file system is the host's; records and other scratch files go to /run, which is memory.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /run
busybox=$VM_ROOT/bin/busybox
for module in net/can/can net/can/can-raw drivers/net/can/dev/can-dev drivers/net/can/vcan drivers/net/can/slcan/slcan; do
    $busybox insmod "$VM_MODULES/$module.ko"
done
cd "$(dirname "$0")" && python3 -B vcan.py
$busybox poweroff -f
