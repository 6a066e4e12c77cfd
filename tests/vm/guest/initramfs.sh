#!/bin/busybox sh
# First process of the QEMU machine: modules, then the host's files as root. What follows is in qemu.sh.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    /bin/busybox insmod "$module" || echo "insmod $module failed"
done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /root
exec /bin/busybox switch_root /root /bin/bash "$VM_INIT"
