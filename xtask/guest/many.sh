# Many disks: all of them in use at once, each with data of its own that is verified; then each is
# reset while they are, by the kernel and by a damaged transfer.

disks() { ls /sys/block | grep '^sd'; }

all_there() {
    n=0
    until [ "$(disks | wc -l)" = "$DISKS" ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || return 1
        sleep 0.1
    done
}

# On which port each disk is: its serial number and the path of its device.
map() {
    for disk in $(disks); do
        serial=$(/usr/sbin/hdparm -I "/dev/$disk" | sed -n 's/.*Serial Number: *//p')
        at=$(readlink "/sys/block/$disk" | sed 's/.*\/\(ata[0-9]*\)\/.*\/\([0-9:]*\)\/block.*/\1 at \2/')
        echo "serial $serial is on $at"
    done
}

# work OPTION…: one job a disk, all at once.
work() {
    jobs=
    for disk in $(disks); do jobs="$jobs --name=$disk --filename=/dev/$disk"; done
    # shellcheck disable=SC2086
    /usr/bin/fio --size=16m --bs=16k --ioengine=libaio --iodepth=8 --direct=1 --thread \
        --verify=crc32c --verify_fatal=1 "$@" $jobs
}

# busy SECONDS: work in the background.
busy() {
    work --rw=randread --time_based --runtime="$1" >/tmp/busy.log 2>&1 &
    busy_pid=$!
    sleep 2
}

idle() { wait $busy_pid || { cat /tmp/busy.log; return 1; }; }

traced() {
    mount -t tracefs tracefs /sys/kernel/tracing
    for event in ata_eh_link_autopsy ata_link_hardreset_begin; do
        echo 1 >/sys/kernel/tracing/events/libata/$event/enable || return
    done
}
trace() {
    grep -v '^#' /sys/kernel/tracing/trace
    echo >/sys/kernel/tracing/trace
}

step disks all_there
output map map
output partitions grep 'sd[a-z]' /proc/partitions
kernel_log boot
step trace traced

step write work --rw=randwrite
kernel_log write_kernel
echo >/sys/kernel/tracing/trace

# A reset of each port and of each link behind the port multiplier.
busy 12
for host in /sys/class/scsi_host/host*; do echo '- - -' >"$host/scan"; done
step reset idle
output reset_trace trace
kernel_log reset_kernel

# A damaged transfer on each port, which the kernel answers with a reset.
busy 12
for port in 0 1 2 3 4 5 6; do ask fault.add port=$port spec=link:crc; done
step damaged idle
output damaged_trace trace
kernel_log damaged_kernel

step verify work --rw=read
kernel_log end_kernel
