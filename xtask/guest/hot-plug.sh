# Disks are plugged in, verified, and pulled out while they are written to; again and again. The first
# disk stays, and is used all the time.

disks() { ls /sys/block | grep '^sd'; }
hot_disks() { disks | grep -v '^sda$'; }

# there COUNT: wait until there are so many disks.
there() {
    n=0
    until [ "$(disks | wc -l)" = "$1" ]; do
        n=$((n + 1))
        [ $n -lt 450 ] || return 1
        sleep 0.1
    done
}

# data DISK OPTION…: 4 MiB that stay the same over all rounds.
data() {
    data_disk=$1
    shift
    /usr/bin/fio --name=data --filename="/dev/$data_disk" --size=4m --bs=64k --ioengine=libaio \
        --iodepth=8 --direct=1 --thread --verify=crc32c --verify_fatal=1 "$@"
}

# hot OPTION…: the same on all disks that come and go, at once.
hot() {
    jobs=
    for disk in $(hot_disks); do jobs="$jobs --name=$disk --filename=/dev/$disk"; done
    # shellcheck disable=SC2086
    /usr/bin/fio --size=4m --bs=64k --ioengine=libaio --iodepth=8 --direct=1 --thread \
        --verify=crc32c --verify_fatal=1 "$@" $jobs
}

# Write behind that, 32 at a time, until the disk is gone; prints which have failed.
busy() {
    for disk in $(hot_disks); do
        (
            /usr/bin/fio --name=busy --filename="/dev/$disk" --offset=8m --size=16m --bs=16k \
                --rw=randwrite --ioengine=libaio --iodepth=32 --direct=1 --thread --time_based \
                --runtime=150 >"/tmp/busy.$disk" 2>&1 || echo "$disk failed" >>/tmp/failed
        ) &
    done
}

step disk wait_for_disk
step write data sda --rw=write
kernel_log boot

round=0
write=write
while [ $round -lt $ROUNDS ]; do
    round=$((round + 1))
    port=0
    while [ $port -lt $PORTS ]; do
        port=$((port + 1))
        ask attach disk=path=@/hot$port.img,port=$port,serial=HOT$port
    done
    step there_$round there $((PORTS + 1))
    # Written in the first round, there in all others.
    step verify_$round hot --rw=$write
    write=read
    kernel_log in_${round}_kernel
    : >/tmp/failed
    busy
    sleep 2
    port=0
    while [ $port -lt $PORTS ]; do
        port=$((port + 1))
        ask detach port=$port force=true
    done
    wait
    output busy_$round cat /tmp/failed
    step gone_$round there 1
    step first_$round data sda --rw=read
    kernel_log out_${round}_kernel
    sleep 1
    ask usage name=usage_$round
done
