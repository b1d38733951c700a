#!/bin/sh
# /init of every guest: mounts, the disk's driver, the way to speak to the host; then the job.
# The console (ttyS0) carries the kernel's log and the output of failed steps; marker lines go to
# the second serial port, so that no kernel message can break one.

/usr/bin/busybox mkdir -p /busybox
/usr/bin/busybox --install -s /busybox
export PATH=/usr/sbin:/usr/bin:/busybox
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
cd /tmp || exit 1

# One marker line for the host.
say() { echo "@@FW $*" >&3; }

# The end of every job, whatever came of it.
end() {
    sync
    say "end rc=$1"
    sleep 1
    poweroff -f
}

# step NAME COMMAND…: run it and tell the host how it went; the first failure ends the job.
step() {
    step_name=$1
    shift
    "$@" >"/tmp/$step_name.log" 2>&1
    step_rc=$?
    if [ $step_rc != 0 ]; then
        echo "step $step_name failed with $step_rc: $*"
        sed 's/^/  | /' "/tmp/$step_name.log"
    fi
    say "step=$step_name rc=$step_rc"
    [ $step_rc = 0 ] || end 1
}

# output NAME COMMAND…: run it and hand the host what it prints and its exit code, to be judged
# there.
output() {
    output_name=$1
    shift
    "$@" >"/tmp/$output_name.log" 2>&1
    output_rc=$?
    sed "s/^/@@FW> $output_name /" "/tmp/$output_name.log" >&3
    say "output=$output_name rc=$output_rc"
}

# kernel_log NAME: hand the host what the kernel has logged since the last time.
kernel_log() { output "$1" /busybox/dmesg -r -c; }

# asked METHOD [KEY=VALUE…]: have the host call a method of the disk's control socket, wait until it
# has, and print what came of it: `ok`, or why not.
asked() {
    say "ask=$*"
    read -r answer <&3
    echo "$answer"
    [ "$answer" = ok ]
}

# The same where a refusal ends the job.
ask() {
    asked "$@" >/dev/null && return
    echo "asked for $*: $answer"
    end 1
}

modules() {
    for module in "$@"; do /usr/sbin/modprobe "$module" || return; done
}

# pass FILE SIZE SEED: write a file anew with data that depends on the seed, and read it back. A
# block of an earlier pass has a good check sum, but the wrong seed: fio reports it.
pass() {
    /usr/bin/fio --name=pass --filename="$1" --size="$2" --randseed="$3" \
        --rw=randwrite --bs=16k --ioengine=libaio --iodepth=8 --direct=1 --thread \
        --verify=crc32c --verify_fatal=1 --allow_file_create=1 --fallocate=none
}

# Start the heartbeat: a marker every 0.2 s, whose times the host takes.
heartbeat() {
    (
        n=0
        while :; do
            say "hb=$n"
            n=$((n + 1))
            sleep 0.2
        done
    ) &
    heartbeat_pid=$!
}

# Passes over one file, one behind the other, until the file /tmp/stop exists.
passes() {
    (
        n=0
        while [ ! -e /tmp/stop ]; do
            n=$((n + 1))
            if ! pass /mnt/work 8m "$n" >/tmp/pass.log 2>&1; then
                echo "pass $n failed"
                sed 's/^/  | /' /tmp/pass.log
                say "pass=$n rc=1"
                exit 1
            fi
            say "pass=$n rc=0"
        done
    ) &
    passes_pid=$!
}

# End the passes and hear how they went.
passes_end() {
    touch /tmp/stop
    wait $passes_pid
}

wait_for_disk() {
    n=0
    while [ ! -b /dev/sda ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || return 1
        sleep 0.1
    done
    cat /sys/block/sda/device/model
}

same() { [ "$1" = "$2" ]; }

. /job.env
say boot
modules ahci sd_mod sg
. /job.sh
end 0
