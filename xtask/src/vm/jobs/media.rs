//! A CD drive in use: files, tools, and media that change, whoever changes them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Checks, Disk, From, Job, Setting, boot, cd};

pub(super) const JOB: Job = Job {
    name: "media",
    about: "a CD drive: files, tools, a locked tray, media that change",
    script: include_str!("../../../guest/media.sh"),
    after_power_cycle: None,
    env: "",
    disks: &[Disk { mib: 64, keys: "" }],
    beside: &["--cdrom", "path=@/first.iso,port=1,serial=FWMEDIA1"],
    prepare: Some(prepare),
    from: From::Kernel,
    kernels: &["6.12", "7"],
    port_multiplier: false,
    limit: Duration::from_secs(200),
    judge,
};

/// Two media of different size, each with check sums of its files.
fn prepare(setting: &Setting, _: &Job, scratch: &Path) -> Result<()> {
    for (volume, seed, big_bytes) in [("FIRST", 1, 6 << 20), ("SECOND", 2, 9 << 20)] {
        let tree = scratch.join(volume);
        fs::create_dir_all(tree.join("directory"))?;
        let (small, big) = (tree.join("small"), tree.join("directory").join("big"));
        fs::write(&small, format!("{volume}\n"))?;
        fs::write(&big, noise(seed, big_bytes))?;
        let sums = boot::sums(&[("small", &small), ("directory/big", &big)])?;
        fs::write(tree.join("manifest"), sums)?;
        let image = scratch.join(format!("{}.iso", volume.to_lowercase()));
        cd::burn(setting, volume, &[], &tree, &image)?;
    }
    Ok(())
}

/// Bytes in which no block is like another (xorshift64).
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn judge(checks: &mut Checks) {
    checks.quiet("boot", &[]);
    tools(checks);
    checks.of("files_first").rc(0).line("FIRST").line("small: OK").line("directory/big: OK");
    checks.quiet("tools_kernel", &[]);
    by_the_host(checks);
    by_the_guest(checks);
}

fn tools(checks: &mut Checks) {
    checks
        .of("inquiry")
        .rc(0)
        .has("PDT=5 RMB=1")
        .field("Vendor identification:", "FREEWHL")
        .field("Product identification:", "BD-ROM");
    checks.of("vpd_serial").rc(0).has("FWMEDIA1");
    checks
        .of("config")
        .rc(0)
        .field("Current profile:", "CD-ROM")
        .has("Physical interface standard: Serial ATAPI")
        .line("profile: BD-ROM , currentP=0")
        .line("profile: DVD-ROM , currentP=0")
        .line("profile: CD-ROM , currentP=1")
        .field("Loading mechanism:", "Tray type")
        .line("Load=1, Eject=1, Prevent jumper=0, Lock=1")
        .line("Logical block size=0x800, blocking=0x1, PP=1")
        .field("Drive serial number:", "FWMEDIA1");
    checks.of("luns").rc(0).has("implies 1 lun entry");
    // Tools agree about the size of the medium: the drive's, and the file system's.
    let size = |checks: &Checks| {
        let lines = checks.lines("isoinfo");
        let size = lines.iter().find_map(|line| line.strip_prefix("Volume size is: "));
        size.unwrap_or("none").to_owned()
    };
    let blocks = size(checks);
    checks
        .of("readcap")
        .rc(0)
        .has(&format!("Number of logical blocks={blocks}"))
        .field("Logical block length=", "2048 bytes");
    checks
        .of("isoinfo")
        .rc(0)
        .line("CD-ROM is in ISO 9660 format")
        .field("Volume id:", "FIRST")
        .field("Logical block size is:", 2048)
        .line("Rock Ridge signatures version 1 found");
    checks
        .of("cd_info")
        .rc(0)
        .field("Vendor :", "FREEWHL")
        .field("Can eject :", "Yes")
        .field("Can close tray :", "Yes")
        .field("Can disable manual eject :", "Yes")
        .field("Disc mode is listed as:", "CD-DATA (Mode 1)")
        .line("1: 00:02:00 000000 data false no")
        .has("CD-ROM with ISO 9660 filesystem")
        .has(&format!("ISO 9660: {blocks} blocks, label `FIRST"));
    checks
        .of("prcap")
        .rc(0)
        .field("Device seems to be:", "Generic mmc2 DVD-ROM.")
        .line("Does read CD-R media")
        .line("Does not write CD-R media")
        .line("Does read DVD-ROM media")
        .line("Does support ejection of CD via START/STOP command")
        .line("Does allow media to be locked in the drive via PREVENT/ALLOW command")
        .line("Is not currently in a media-locked state")
        .field("Loading mechanism type:", "tray");
}

/// Media that the host takes and gives: what is mounted is locked, force takes it all the same, and
/// the guest hears of it by itself.
fn by_the_host(checks: &mut Checks) {
    checks.of("eject_locked").rc(1).has("the guest has locked the medium");
    checks.of("eject_asked").rc(0);
    checks.of("pulled").rc(1).has("No medium found");
    checks.quiet("pulled_kernel", &[]);
    checks.of("second_told").rc(0);
    checks.of("files_second").rc(0).line("SECOND").line("small: OK").line("directory/big: OK");
    checks.of("isoinfo_second").rc(0).field("Volume id:", "SECOND");
    let lines = checks.lines("isoinfo_second");
    let blocks = lines.iter().find_map(|line| line.strip_prefix("Volume size is: "));
    let sectors = blocks.and_then(|blocks| blocks.parse::<u64>().ok()).unwrap_or(0) * 4;
    checks.of("size_second").rc(0).line(&sectors.to_string());
    checks.of("empty").rc(1).has("No medium found");
    checks.quiet("end_kernel", &[]);
}

/// A tray that the guest opens, and closes itself or finds closed with another medium in it.
fn by_the_guest(checks: &mut Checks) {
    checks.of("guest_eject").rc(0);
    checks.of("open_read").rc(1).has("No medium found");
    checks.of("guest_close").rc(0);
    checks.of("files_again").rc(0).line("SECOND").line("directory/big: OK");
    checks.quiet("again_kernel", &[]);
    checks.of("guest_eject_again").rc(0);
    checks.of("removed_told").rc(0);
    checks.of("open_read_again").rc(1).has("No medium found");
    checks.of("first_told").rc(0);
    checks.of("files_back").rc(0).line("FIRST").line("small: OK").line("directory/big: OK");
}
