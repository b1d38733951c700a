# Errors, provoked one at a time through faults. After each the guest goes on: queued reads that
# verify run beside every one of them, the data written first is as it was, and new data can be
# written.

# Data from 32 MiB on; the bad sector lies before it.
data() {
    /usr/bin/fio --name=data --filename=/dev/sda --offset=32m --size=16m --bs=16k \
        --ioengine=libaio --iodepth=16 --direct=1 --thread --verify=crc32c --verify_fatal=1 "$@"
}

# Read and verify for so many seconds, in the background.
reading() {
    data --rw=randread --time_based --runtime="$1" >/tmp/reading.log 2>&1 &
    reading_pid=$!
    sleep 1
}

# What ran in the background went well, what was written first is still there, and writing works.
unharmed() {
    if ! wait $reading_pid; then
        cat /tmp/reading.log
        return 1
    fi
    data --rw=read && [ "$(sum)" = "$before" ] && pass /dev/sda 4m 1
}

sum() { dd if=/dev/sda iflag=direct bs=1M skip=32 count=16 2>/dev/null | md5sum; }

# settled: the kernel's error handling has been through since the log was last taken.
settled() {
    n=0
    # A hot-plug event ends without a word, once the disk has been set up.
    until dmesg | grep -q -e 'EH complete' -e 'configured for'; do
        n=$((n + 1))
        [ $n -lt 60 ] || return 1
        sleep 0.5
    done
}

# What libata makes of an error and does about it: it doesn't always say so in the log.
trace=/sys/kernel/tracing
traced() {
    mount -t tracefs tracefs $trace
    for event in ata_eh_link_autopsy ata_eh_link_autopsy_qc ata_link_hardreset_begin; do
        echo 1 >$trace/events/libata/$event/enable || return
    done
}

# logs NAME: hand the host what the kernel has logged and traced since the last time.
logs() {
    kernel_log "$1-kernel"
    output "$1-trace" grep -v '^#' $trace/trace
    echo >$trace/trace
}

step disk wait_for_disk
# The second disk is plugged in only now, so that it is sdb. Linux has switched its empty port off,
# and has to be told to look.
second() {
    echo '- - -' >/sys/class/scsi_host/host1/scan
    n=0
    until [ -b /dev/sdb ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || return 1
        sleep 0.1
    done
}
ask fault.release
step second second
step trace traced
echo 5 >/sys/block/sda/device/timeout
step write data --rw=write --do_verify=0
step zeroes dd if=/dev/zero of=/dev/sda bs=1M count=32 oflag=direct
before=$(sum)
kernel_log boot

# A medium error: sector 20005, in the middle of a command that reads eight.
ask fault.add port=0 spec=read@20005:error=EIO
reading 3
output medium dd if=/dev/sda of=/dev/null iflag=direct bs=4k skip=2500 count=1
step medium-settled settled
ask fault.clear
step medium-unharmed unharmed
logs medium

# provoke NAME SECONDS FAULT…: faults while data is read, for so long at least.
provoke() {
    provoked=$1
    reading "$2"
    shift 2
    for fault in "$@"; do ask fault.add port=0 spec="$fault"; done
    step "$provoked-settled" settled
    ask fault.release
    step "$provoked-unharmed" unharmed
    logs "$provoked"
}

# A damaged data FIS.
provoke crc 3 link:crc
# The link goes and comes back.
provoke drop 5 link:drop=2s
# A device that keeps its signature to itself once it is reset.
provoke signature 3 link:no-signature link:crc
# A command that never ends.
provoke hang 3 read#20:hang
# A FIS of the device that is malformed, and one of a type that nobody knows.
provoke malformed 3 link:bad-fis
provoke unknown 3 link:unknown-fis

# The second disk never gives its signature, however often it is reset, until Linux gives it up. The
# first one works all the time. Then it speaks again, and is found.
second_sum() { dd if="$1" iflag=direct bs=1M count=4 2>/dev/null | md5sum; }
step second-write dd if=/dev/urandom of=/dev/sdb bs=1M count=4 oflag=direct
second=$(second_sum /dev/sdb)
reading 60
ask fault.add port=1 spec=link:no-signature
# A damaged FIS makes Linux reset it; a link that drops might come back before Linux has noticed.
ask fault.add port=1 spec=link:crc
dd if=/dev/sdb of=/dev/null iflag=direct bs=4k count=1 2>/dev/null &
n=0
until dmesg | grep -q 'ata2: reset failed, giving up'; do
    n=$((n + 1))
    [ $n -lt 150 ] || break
    sleep 1
    ask fault.add port=1 spec=link:no-signature
done
step silent-unharmed unharmed
logs silent
found() {
    echo '- - -' >/sys/class/scsi_host/host1/scan
    n=0
    # The old disk goes and a new one comes, maybe under another name.
    until second_disk=$(ls -d /sys/devices/pci*/*/ata2/host*/target*/*/block/sd*) &&
        [ "$(second_sum "/dev/${second_disk##*/}")" = "$second" ]; do
        n=$((n + 1))
        [ $n -lt 30 ] || return 1
        sleep 1
    done
}
ask fault.clear
ask fault.release
step silent-found found
logs found
