# A CD drive beside a disk: what it holds, what tools say about it, and media that change.

drive() {
    n=0
    until [ -b /dev/sr0 ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || return 1
        sleep 0.1
    done
}

# Every file's check sum, by the manifest on the medium.
files() {
    mount -t iso9660 -o ro /dev/sr0 /mnt || return
    (cd /mnt && cat small && md5sum -c manifest)
    files_rc=$?
    umount /mnt
    return $files_rc
}

# The kernel says when a medium has changed: it polls, as distributions have it.
/busybox/uevent sh -c 'echo "$ACTION $DEVNAME $DISK_MEDIA_CHANGE $DISK_EJECT_REQUEST" >>/tmp/uevents' &
uevent_pid=$!
# told FIELDS: wait until the kernel has said so of sr0 since the last time.
told() {
    n=0
    until grep -q "^change sr0 $1\$" /tmp/uevents; do
        n=$((n + 1))
        [ $n -lt 100 ] || return 1
        sleep 0.1
    done
    cat /tmp/uevents
    : >/tmp/uevents
}
: >/tmp/uevents

step disk wait_for_disk
step modules modules sr_mod isofs
step drive drive
kernel_log boot
echo 500 >/sys/block/sr0/events_poll_msecs

output inquiry sg_inq /dev/sr0
output vpd_serial sg_vpd --page=sn /dev/sr0
output config sg_get_config /dev/sr0
output luns sg_luns /dev/sr0
output readcap sg_readcap /dev/sr0
output isoinfo isoinfo -d -i /dev/sr0
output cd_info cd-info --no-cddb /dev/sr0
output prcap wodim -prcap dev=/dev/sr0
output files_first files
kernel_log tools_kernel

# While it is mounted, the tray is locked: the guest is asked, and force opens it all the same.
step mount mount -t iso9660 -o ro /dev/sr0 /mnt
: >/tmp/uevents
output eject_locked asked eject port=1
output eject_asked told ' 1'
ask eject port=1 force=true
output pulled dd if=/dev/sr0 of=/dev/null iflag=direct bs=2048 count=1
step umount umount /mnt
kernel_log pulled_kernel

# The next medium is seen by the guest by itself.
: >/tmp/uevents
ask insert port=1 path=@/second.iso
output second_told told '1 '
output files_second files
output size_second cat /sys/block/sr0/size
output isoinfo_second isoinfo -d -i /dev/sr0

# The guest opens the tray, and closes it again with the medium in it; not by the way, when somebody
# opens the device.
echo 0 >/proc/sys/dev/cdrom/autoclose
output guest_eject /usr/bin/eject /dev/sr0
output open_read dd if=/dev/sr0 of=/dev/null bs=2048 count=1
output guest_close /usr/bin/eject -t /dev/sr0
output files_again files
kernel_log again_kernel

# The guest opens the tray, and the host puts another medium into it.
: >/tmp/uevents
output guest_eject_again /usr/bin/eject /dev/sr0
output removed_told told '1 '
# The kernel does not tell of another change until somebody has opened the device, as udev does.
output open_read_again dd if=/dev/sr0 of=/dev/null bs=2048 count=1
: >/tmp/uevents
ask insert port=1 path=@/first.iso
output first_told told '1 '
output files_back files

# An empty drive, without force: nobody has locked it.
ask eject port=1
output empty dd if=/dev/sr0 of=/dev/null bs=2048 count=1
kill $uevent_pid

# Meanwhile the disk is a disk.
step pass pass /dev/sda 4m 1
kernel_log end_kernel
