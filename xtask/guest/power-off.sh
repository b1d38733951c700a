# Before the power goes: what a disk has to remember is brought about.

yes=--yes-i-know-what-i-am-doing
step disk wait_for_disk
output first_counts smartctl -A /dev/sda
output first_test smartctl -t short /dev/sda
n=0
until smartctl -l selftest /dev/sda | grep -q 'Short offline .*Completed without error'; do
    n=$((n + 1))
    [ $n -lt 150 ] || break
    sleep 1
done
output first_test_log smartctl -l selftest /dev/sda
step write pass /dev/sda 8m 1
output first_sum data_sum
output first_bad /usr/sbin/hdparm $yes --make-bad-sector $BAD /dev/sda
output first_hpa /usr/sbin/hdparm $yes -N p$HALF /dev/sda
output first_password /usr/sbin/hdparm --user-master u --security-set-pass secret /dev/sda
output first_identify /usr/sbin/hdparm -I /dev/sda
kernel_log first_kernel
