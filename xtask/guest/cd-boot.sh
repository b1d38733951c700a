# Booted by firmware from the CD drive: who loaded us, and is what it loaded what the CD holds?

step modules modules sr_mod isofs
drive() {
    n=0
    until [ -b /dev/sr0 ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || return 1
        sleep 0.1
    done
}
step drive drive
output cmdline cat /proc/cmdline
output efi test -d /sys/firmware/efi
output model cat /sys/block/sr0/device/model
step mount mount -t iso9660 -o ro /dev/sr0 /mnt
cd /mnt/freewheel || end 1
output manifest md5sum -c manifest
cd /
step umount umount /mnt
kernel_log kernel
