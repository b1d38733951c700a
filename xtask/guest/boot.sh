# Booted by firmware from the disk: who loaded us, and is what it loaded what the disk holds?

step disk wait_for_disk
output cmdline cat /proc/cmdline
output efi test -d /sys/firmware/efi
output model cat /sys/block/sda/device/model
output table grep sda /proc/partitions
step modules modules vfat nls_cp437 nls_iso8859_1 nls_ascii
step mount mount -t vfat -o ro /dev/sda2 /mnt
cd /mnt/freewheel || end 1
output manifest md5sum -c manifest
cd /
step umount umount /mnt
kernel_log kernel
