# The seed's reproduction: fstrim meets a disk that takes 35 s for a TRIM. The file system was made
# by the host, so that the first TRIM is fstrim's. The kernel's timeouts are as they come.

step disk wait_for_disk
step mount mount -t ext4 /dev/sda /mnt
step base dd if=/dev/urandom of=/mnt/base bs=1M count=8 conv=fsync
before=$(md5sum </mnt/base)
heartbeat
sleep 1
say drill=begin
(
    /usr/sbin/fstrim -v /mnt >/tmp/fstrim.log 2>&1
    rc=$?
    cat /tmp/fstrim.log
    say "fstrim rc=$rc"
) &
fstrim_pid=$!
passes
wait $fstrim_pid
sleep 3
step passes passes_end
say drill=end
kill $heartbeat_pid
echo 3 >/proc/sys/vm/drop_caches
step verify same "$before" "$(md5sum </mnt/base)"
step umount umount /mnt
