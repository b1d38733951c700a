# After the power has come back.

yes=--yes-i-know-what-i-am-doing
step disk wait_for_disk
kernel_log locked_kernel
output locked_identify /usr/sbin/hdparm -I /dev/sda
output locked_read dd if=/dev/sda of=/dev/null iflag=direct bs=4k count=1
output locked_size cat /sys/block/sda/size
dmesg -c >/dev/null
output unlock_wrong /usr/sbin/hdparm --user-master u --security-unlock wrong /dev/sda
output unlock /usr/sbin/hdparm --user-master u --security-unlock secret /dev/sda
output unlocked_identify /usr/sbin/hdparm -I /dev/sda
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
