# After the power has come back.

yes=--yes-i-know-what-i-am-doing
step disk wait_for_disk
kernel_log locked_kernel
output locked_identify /usr/sbin/hdparm -I /dev/sda
output locked_read /usr/sbin/hdparm --read-sector 0 /dev/sda
dmesg -c >/dev/null
output unlock_wrong /usr/sbin/hdparm --user-master u --security-unlock wrong /dev/sda
output unlock /usr/sbin/hdparm --user-master u --security-unlock secret /dev/sda
output unlocked_identify /usr/sbin/hdparm -I /dev/sda
# Newer kernels take a locked disk for an empty one, until they look again.
rescan() {
    echo '- - -' >/sys/class/scsi_host/host0/scan
    n=0
    until [ "$(cat /sys/block/sda/size)" = $HALF ]; do
        n=$((n + 1))
        [ $n -lt 30 ] || return 1
        sleep 1
        echo 1 >/sys/block/sda/device/rescan
    done
}
step rescan rescan
output second_sum data_sum
kernel_log unlocked_kernel
output bad_read dd if=/dev/sda of=/dev/null iflag=direct bs=4k skip=$((BAD / 8)) count=1
kernel_log bad_kernel
output counts smartctl -A /dev/sda
output test_log smartctl -l selftest /dev/sda
output hpa /usr/sbin/hdparm -N /dev/sda
output hpa_gone /usr/sbin/hdparm $yes -N p$ALL /dev/sda
output disable /usr/sbin/hdparm --user-master u --security-disable secret /dev/sda
output freeze /usr/sbin/hdparm --security-freeze /dev/sda
output frozen_identify /usr/sbin/hdparm -I /dev/sda
output frozen_password /usr/sbin/hdparm --user-master u --security-set-pass secret /dev/sda
kernel_log end_kernel
