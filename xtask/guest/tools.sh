# What the common tools say about the disk and do with it. Every output goes to the host, which
# judges it. The disk is written to and erased throughout.

yes=--yes-i-know-what-i-am-doing

# A pattern where the disk is to be erased, and whether it has become zeroes or is still there. The
# unit is 1 MiB.
fill() { tr '\0' '\245' </dev/zero | dd of=/dev/sda bs=1M seek="$1" count="$2" iflag=fullblock oflag=direct; }
part() { dd if=/dev/sda iflag=direct bs=1M skip="$1" count="$2" 2>/dev/null; }
reads() { part "$1" "$2" >/dev/null; }
is_zero() { [ "$(part "$1" "$2" | tr -d '\0' | wc -c)" = 0 ]; }
is_filled() { [ "$(part "$1" "$2" | tr -d '\245' | wc -c)" = 0 ]; }

# until_has SECONDS TEXT COMMAND…: run the command until it prints the text.
until_has() {
    limit=$1 text=$2
    shift 2
    n=0
    until "$@" 2>&1 | grep -q "$text"; do
        n=$((n + 1))
        [ $n -lt "$limit" ] || return 1
        sleep 1
    done
}

step disk wait_for_disk
kernel_log boot
mib_sectors=$((1048576 / LOGICAL))

output identify /usr/sbin/hdparm -I /dev/sda
output sat_identify sg_sat_identify --ident /dev/sda
output sat_identify_words sg_sat_identify /dev/sda
output readcap sg_readcap -l /dev/sda
output inquiry sg_inq /dev/sda
output vpd_lbpv sg_vpd --page=lbpv /dev/sda
output vpd_bl sg_vpd --page=bl /dev/sda
output vpd_ai sg_vpd --page=ai /dev/sda

output cache_off /usr/sbin/hdparm -W0 /dev/sda
output cache_is_off /usr/sbin/hdparm -W /dev/sda
output cache_on /usr/sbin/hdparm -W1 /dev/sda
output cache_is_on /usr/sbin/hdparm -W /dev/sda
output apm_low /usr/sbin/hdparm -B 100 /dev/sda
output apm_is_low /usr/sbin/hdparm -B /dev/sda
output apm_off /usr/sbin/hdparm -B 255 /dev/sda
output apm_is_off /usr/sbin/hdparm -B /dev/sda
output lookahead_off /usr/sbin/hdparm -A0 /dev/sda
output lookahead_on /usr/sbin/hdparm -A1 /dev/sda

output standby_timer /usr/sbin/hdparm -S 12 /dev/sda
output standby_now /usr/sbin/hdparm -y /dev/sda
output is_standby /usr/sbin/hdparm -C /dev/sda
output wake reads 0 1
output is_awake /usr/sbin/hdparm -C /dev/sda
output standby_timer_off /usr/sbin/hdparm -S 0 /dev/sda

# SMART: everything, a self-test, and what it leaves behind.
output smart_a smartctl -a /dev/sda
output smart_x smartctl -x /dev/sda
output smart_test smartctl -t short /dev/sda
output smart_test_through until_has 150 'Short offline .*Completed without error' smartctl -l selftest /dev/sda
output smart_log smartctl -l selftest /dev/sda
output smart_xlog smartctl -l xselftest /dev/sda
output smart_directory smartctl -l directory /dev/sda
output smart_error smartctl -l error -l xerror /dev/sda
output smart_statistics smartctl -l devstat /dev/sda
output smart_phy smartctl -l sataphy /dev/sda
kernel_log quiet_tools

# UNMAP, WRITE SAME with UNMAP, BLKZEROOUT, BLKDISCARD.
output fill fill 16 16
output unmap sg_unmap --force --lba=$((16 * mib_sectors)) --num=$((2 * mib_sectors)) /dev/sda
output write_same sg_write_same --16 --unmap --lba=$((18 * mib_sectors)) --num=$((2 * mib_sectors)) /dev/sda
# libata has no UNMAP, and WRITE SAME for the block layer only: neither may have touched anything.
output untouched is_filled 16 16
output zeroout /usr/sbin/blkdiscard -z --offset 20m --length 4m /dev/sda
output zeroout_zero is_zero 20 4
output discard /usr/sbin/blkdiscard --offset 24m --length 4m /dev/sda
output discard_zero is_zero 24 4
output behind is_filled 28 4

# A bad sector, made and repaired. The page around it is the kernel's unit.
bad=$((64 * mib_sectors + 16))
kernel_log before_bad
output make_bad /usr/sbin/hdparm $yes --make-bad-sector $bad /dev/sda
output read_bad /usr/sbin/hdparm --read-sector $bad /dev/sda
output part_bad dd if=/dev/sda of=/dev/null iflag=direct bs=4k skip=$((bad * LOGICAL / 4096)) count=1
kernel_log bad_kernel
output bad_counts smartctl -A /dev/sda
output bad_log smartctl -l xerror,1 /dev/sda
# The mark is on the whole physical sector; a write takes it from what it writes.
output repair /usr/sbin/hdparm $yes --repair-sector $bad /dev/sda
n=1
while [ $n -lt $((4096 / LOGICAL)) ]; do
    output "repair$n" /usr/sbin/hdparm $yes --repair-sector $((bad + n)) /dev/sda
    n=$((n + 1))
done
output read_repaired /usr/sbin/hdparm --read-sector $bad /dev/sda
output good_counts smartctl -A /dev/sda
output reads_repaired reads 64 1

# The host protected area: half of the disk, until the next power cycle.
sectors=$(($(cat /sys/block/sda/size) * 512 / LOGICAL))
output hpa_none /usr/sbin/hdparm -N /dev/sda
output hpa_set /usr/sbin/hdparm $yes -N $((sectors / 2)) /dev/sda
output hpa_is_set /usr/sbin/hdparm -N /dev/sda
output hpa_past dd if=/dev/sda of=/dev/null iflag=direct bs=1M skip=$((sectors / mib_sectors - 1)) count=1
kernel_log hpa_kernel
output hpa_back /usr/sbin/hdparm $yes -N $sectors /dev/sda
output hpa_is_back /usr/sbin/hdparm -N /dev/sda
output hpa_reads reads $((sectors / mib_sectors - 1)) 1

# Security: a password set, used and taken away, then an erase.
output security_set /usr/sbin/hdparm --user-master u --security-set-pass secret /dev/sda
output security_is_set /usr/sbin/hdparm -I /dev/sda
output security_unlock /usr/sbin/hdparm --user-master u --security-unlock secret /dev/sda
output security_wrong /usr/sbin/hdparm --user-master u --security-disable wrong /dev/sda
output security_disable /usr/sbin/hdparm --user-master u --security-disable secret /dev/sda
output security_is_off /usr/sbin/hdparm -I /dev/sda
output security_fill fill 0 8
output security_set_again /usr/sbin/hdparm --user-master u --security-set-pass secret /dev/sda
output security_erase /usr/sbin/hdparm --user-master u --security-erase secret /dev/sda
output security_zero is_zero 0 32
output security_is_erased /usr/sbin/hdparm -I /dev/sda
kernel_log security_kernel

# Sanitize: block erase, and overwrite.
output sanitize_idle /usr/sbin/hdparm --sanitize-status /dev/sda
output sanitize_fill fill 0 8
output sanitize_erase /usr/sbin/hdparm $yes --sanitize-block-erase /dev/sda
output sanitize_through until_has 60 'Sanitize Idle' /usr/sbin/hdparm --sanitize-status /dev/sda
output sanitize_done /usr/sbin/hdparm --sanitize-status /dev/sda
output sanitize_zero is_zero 0 32
kernel_log sanitize_kernel

# A file system gives back what it does not use.
step mkfs /usr/sbin/mkfs.ext4 -q -F /dev/sda
step mount mount -t ext4 /dev/sda /mnt
output write dd if=/dev/urandom of=/mnt/file bs=1M count=64 conv=fsync
output remove rm /mnt/file
sync
output fstrim /usr/sbin/fstrim -v /mnt
output verify pass /mnt/verified 8m 1
step umount umount /mnt
kernel_log end_kernel
