# The main job: a file system made, mounted, written with verification, trimmed and unmounted.

step disk wait_for_disk
step mkfs /usr/sbin/mkfs.ext4 -q -F /dev/sda
step mount mount -t ext4 /dev/sda /mnt
step fio pass /mnt/verified 64m 1
step fill dd if=/dev/urandom of=/mnt/filling bs=1M count=64 conv=fsync
sync
say measure=written
sleep 1
step remove rm /mnt/verified /mnt/filling
sync
step fstrim /usr/sbin/fstrim -v /mnt
say measure=trimmed
sleep 1
step again pass /mnt/verified 8m 2
step umount umount /mnt
