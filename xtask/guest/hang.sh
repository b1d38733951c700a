# A read or write that hangs: the guest times out, resets the port and recovers; then the host lets
# the operation go, and the guest goes on verifying. The file system was made by the host.

step disk wait_for_disk
echo 5 >/sys/block/sda/device/timeout
step mount mount -t ext4 /dev/sda /mnt
step base dd if=/dev/urandom of=/mnt/base bs=1M count=8 conv=fsync
before=$(md5sum </mnt/base)
heartbeat
sleep 1
say drill=begin
passes
n=0
# The fault may have struck before: the log is looked at from its start.
until dmesg | grep -q 'EH complete'; do
    n=$((n + 1))
    if [ $n -gt 90 ]; then
        say "recovery rc=1"
        break
    fi
    sleep 1
done
[ $n -gt 90 ] || say "recovery rc=0"
# The host lets the operation go about 3 s from now.
sleep 9
step passes passes_end
step after pass /mnt/work 8m 1000
say drill=end
kill $heartbeat_pid
echo 3 >/proc/sys/vm/drop_caches
step verify same "$before" "$(md5sum </mnt/base)"
step umount umount /mnt
