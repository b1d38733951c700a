//! What hdparm, smartctl, the sg tools and util-linux say about the disk and do with it, field by
//! field, with sectors of both sizes.

use std::time::Duration;

use super::{Checks, Disk, From, Job, errors};

/// The disk's size.
const BYTES: u64 = 256 << 20;

pub(super) const T512: Job = Job {
    name: "tools",
    about: "hdparm, smartctl, sg tools, discards: 512-byte sectors emulated on 4096",
    script: include_str!("../../../guest/tools.sh"),
    after_power_cycle: None,
    env: "LOGICAL=512\n",
    disks: &[Disk {
        mib: BYTES >> 20,
        keys: "logical=512,model=Freewheel Test,serial=FWTOOLS0001,firmware=FW1.0,\
               wwn=0x5000c50015ea71aa",
    }],
    from: From::Kernel,
    kernels: &["6.12", "7"],
    port_multiplier: false,
    limit: Duration::from_secs(400),
    judge: |checks| judge(checks, 512),
};

pub(super) const T4096: Job = Job {
    name: "tools-4kn",
    about: "hdparm, smartctl, sg tools, discards: 4096-byte sectors",
    env: "LOGICAL=4096\n",
    disks: &[Disk {
        mib: BYTES >> 20,
        keys: "logical=4096,model=Freewheel Test,serial=FWTOOLS0001,firmware=FW1.0,\
               wwn=0x5000c50015ea71aa",
    }],
    judge: |checks| judge(checks, 4096),
    ..T512
};

fn judge(checks: &mut Checks, logical: u64) {
    checks.quiet("boot", &[]);
    identity(checks, logical);
    settings(checks);
    smart(checks, logical);
    checks.quiet("quiet_tools", &[]);
    discards(checks);
    bad_sector(checks, logical);
    hidden(checks, logical);
    security(checks);
    sanitize(checks);
    checks.of("fstrim").rc(0).field_is("/mnt:", "… (at least 190 MiB) trimmed", |seen| {
        let mib = seen.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
        mib.is_some_and(|mib| mib >= 190.0) && seen.ends_with("trimmed")
    });
    for name in ["write", "remove", "verify"] {
        checks.of(name).rc(0);
    }
    checks.quiet("end_kernel", &[]);
}

/// Who the disk is and what it can do.
fn identity(checks: &mut Checks, logical: u64) {
    let sectors = BYTES / logical;
    let multiple = 8192 / logical;
    let of = checks
        .of("identify")
        .rc(0)
        .field("Model Number:", "Freewheel Test")
        .field("Serial Number:", "FWTOOLS0001")
        .field("Firmware Revision:", "FW1.0")
        .field("LBA user addressable sectors:", sectors)
        .field("LBA48 user addressable sectors:", sectors)
        .field("Logical Sector size:", format!("{logical} bytes"))
        .field("Physical Sector size:", "4096 bytes")
        .field("Logical Sector-0 offset:", "0 bytes")
        .field("device size with M = 1024*1024:", "256 MBytes")
        .field("Nominal Media Rotation Rate:", "Solid State Device")
        .field("Queue depth:", 32)
        .field("Likely used:", 11)
        .field("R/W multiple sector transfer:", format!("Max = {multiple} Current = {multiple}"))
        .field("DMA:", "mdma0 mdma1 mdma2 udma0 udma1 udma2 udma3 udma4 udma5 *udma6")
        .field("PIO:", "pio0 pio1 pio2 pio3 pio4")
        .field("Logical Unit WWN Device Identifier:", "5000c50015ea71aa")
        .field("Checksum:", "correct");
    // A star is for a feature that is enabled, too.
    let enabled = [
        "SMART feature set",
        "Power Management feature set",
        "Write cache",
        "Look-ahead",
        "Host Protected Area feature set",
        "WRITE_BUFFER command",
        "READ_BUFFER command",
        "NOP cmd",
        "48-bit Address feature set",
        "Mandatory FLUSH_CACHE",
        "FLUSH_CACHE_EXT",
        "SMART error logging",
        "SMART self-test",
        "General Purpose Logging feature set",
        "WRITE_{DMA|MULTIPLE}_FUA_EXT",
        "64-bit World wide name",
        "IDLE_IMMEDIATE with UNLOAD",
        "WRITE_UNCORRECTABLE_EXT command",
        "{READ,WRITE}_DMA_EXT_GPL commands",
        "Gen3 signaling speed (6.0Gb/s)",
        "Native Command Queueing (NCQ)",
        "Host-initiated interface power management",
        "Phy event counters",
        "NCQ priority information",
        "READ_LOG_DMA_EXT equivalent to READ_LOG_EXT",
        "SANITIZE feature set",
        "OVERWRITE_EXT command",
        "BLOCK_ERASE_EXT command",
        "Data Set Management TRIM supported (limit 8 blocks)",
        "Deterministic read ZEROs after TRIM",
    ];
    let of = enabled.iter().fold(of, |of, feature| of.line(&format!("* {feature}")));
    of.line("Security Mode feature set")
        .line("Advanced Power Management feature set")
        .field("Master password revision code =", 65534)
        .line("not enabled")
        .line("not locked")
        .line("not frozen")
        .line("supported: enhanced erase");

    checks.of("sat_identify").rc(0).line("0x5000c50015ea71aa");
    // Words 0, 217 (not rotating), 222 (Serial ATA) and 255 (a check sum that holds).
    checks
        .of("sat_identify_words")
        .rc(0)
        .has("00 0040 ")
        .has("d8 0000 0001 0000 0000 0000 0000 10ff 0000")
        .field_is("f8", "… A5h in its last byte", |seen| {
            seen.split_whitespace().nth(7).is_some_and(|word| word.ends_with("a5"))
        });
    let exponent = (4096 / logical).ilog2();
    checks
        .of("readcap")
        .rc(0)
        .field(
            "Last LBA=",
            format!("{} (0x{:x}), Number of logical blocks={sectors}", sectors - 1, sectors - 1),
        )
        .field("Logical block length=", format!("{logical} bytes"))
        .field(
            "Logical blocks per physical block exponent=",
            match exponent {
                0 => "0".to_owned(),
                _ => format!("{exponent} [so physical block length=4096 bytes]"),
            },
        )
        .field("Lowest aligned LBA=", 0)
        .field_is("Logical block provisioning:", "lbpme=1, …", |seen| seen.starts_with("lbpme=1"))
        .field("Device size:", "268435456 bytes, 256.0 MiB, 0.27 GB");
    checks
        .of("inquiry")
        .rc(0)
        .field("Vendor identification:", "ATA")
        .field("Product identification:", "Freewheel Test")
        .field_is("[RelAdr=0]", "… CmdQue=1", |seen| seen.ends_with("CmdQue=1"));
    // libata offers WRITE SAME (16), to the block layer, and no UNMAP.
    checks.of("vpd_lbpv").rc(0).field("LBPU=", 0).field("LBPWS=", 1);
    checks.of("vpd_bl").rc(0).field_is("Maximum write same length:", "more than 0", |seen| {
        u64::from_str_radix(seen.trim_start_matches("0x"), 16).is_ok_and(|blocks| blocks > 0)
    });
    checks
        .of("vpd_ai")
        .rc(0)
        .line("Device signature indicates SATA transport")
        .field("Command code:", "0xec")
        .field("model:", "Freewheel Test")
        .field("serial number:", "FWTOOLS0001")
        .field("firmware revision:", "FW1.0");
}

/// What can be switched, and power modes.
fn settings(checks: &mut Checks) {
    for (name, key, value) in [
        ("cache_off", "write-caching =", "0 (off)"),
        ("cache_is_off", "write-caching =", "0 (off)"),
        ("cache_on", "write-caching =", "1 (on)"),
        ("cache_is_on", "write-caching =", "1 (on)"),
        ("apm_low", "APM_level =", "100"),
        ("apm_is_low", "APM_level =", "100"),
        ("apm_off", "APM_level =", "off"),
        ("apm_is_off", "APM_level =", "off"),
        ("lookahead_off", "look-ahead =", "0 (off)"),
        ("lookahead_on", "look-ahead =", "1 (on)"),
        ("standby_timer", "setting standby to", "12 (1 minute)"),
        ("is_standby", "drive state is:", "standby"),
        ("is_awake", "drive state is:", "active/idle"),
        ("standby_timer_off", "setting standby to", "0 (off)"),
    ] {
        checks.of(name).rc(0).field(key, value).lacks("SG_IO");
    }
    checks.of("standby_now").rc(0).lacks("SG_IO");
    checks.of("wake").rc(0);
}

/// SMART: what it says, and a self-test.
fn smart(checks: &mut Checks, logical: u64) {
    let sizes = match logical {
        4096 => "4096 bytes logical/physical".to_owned(),
        _ => format!("{logical} bytes logical, 4096 bytes physical"),
    };
    for (name, flags) in [
        ("smart_a", ["0x0033", "0x0032", "0x0013", "0x003a"]),
        ("smart_x", ["PO--CK", "-O--CK", "PO--C-", "-O-RCK"]),
    ] {
        let [reallocated, old_age, pending, crc] = flags;
        let of = checks
            .of(name)
            .rc(0)
            .field("Device Model:", "Freewheel Test")
            .field("Serial Number:", "FWTOOLS0001")
            .field("LU WWN Device Id:", "5 000c50 015ea71aa")
            .field("Firmware Version:", "FW1.0")
            .field("User Capacity:", "268,435,456 bytes [268 MB]")
            .field(if logical == 4096 { "Sector Size:" } else { "Sector Sizes:" }, &sizes)
            .field("Rotation Rate:", "Solid State Device")
            .field("TRIM Command:", "Available, deterministic, zeroed")
            .field("ATA Version is:", "ACS-4 T13/BSR INCITS 529 revision 5")
            .field("SATA Version is:", "SATA 3.2, 6.0 Gb/s (current: 6.0 Gb/s)")
            .line("SMART support is: Available - device has SMART capability.")
            .line("SMART support is: Enabled")
            .field("SMART overall-health self-assessment test result:", "PASSED")
            .has("Self-test execution status: ( 0)")
            .line("Self-test supported.")
            .line("Selective Self-test supported.")
            .field("Error logging capability:", "(0x01) Error logging supported.")
            .field("SMART Attributes Data Structure revision number:", 16);
        let of = of
            .field_is("5 Reallocated_Sector_Ct", "no sector", attribute(reallocated, "100", 0))
            .field_is("9 Power_On_Hours", "less than one", attribute(old_age, "100", 0))
            .field_is("12 Power_Cycle_Count", "one", attribute(old_age, "100", 1))
            .field_is("187 Reported_Uncorrect", "none", attribute(old_age, "100", 0))
            .field_is("197 Current_Pending_Sector", "none", attribute(pending, "100", 0))
            .field_is("199 UDMA_CRC_Error_Count", "none", attribute(crc, "100", 0));
        of.has("No Errors Logged").has("No self-tests have been logged.").lacks("not supported by");
    }
    checks
        .of("smart_x")
        .line("Rd look-ahead is: Enabled")
        .line("Write cache is: Enabled")
        .line("APM feature is: Disabled")
        .field("ATA Security is:", "Disabled, NOT FROZEN [SEC1]")
        .field("SMART Extended Comprehensive Error Log Version:", "1 (5 sectors)")
        .field("SMART Extended Self-test Log Version:", "1 (1 sectors)");
    checks.of("smart_test").rc(0).line("Testing has begun.").has("Please wait 1 minutes");
    checks.of("smart_test_through").rc(0);
    for name in ["smart_log", "smart_xlog"] {
        checks
            .of(name)
            .rc(0)
            .line("# 1 Short offline Completed without error 00% 0 -")
            .lacks("# 2");
    }
    let directory = checks
        .of("smart_directory")
        .rc(0)
        .line("General Purpose Log Directory Version 1")
        .has("SMART Log Directory Version 1");
    [
        "0x00 GPL,SL R/O 1 Log Directory",
        "0x01 SL R/O 1 Summary SMART error log",
        "0x03 GPL R/O 5 Ext. Comprehensive SMART error log",
        "0x04 GPL,SL R/O 7 Device Statistics log",
        "0x06 SL R/O 1 SMART self-test log",
        "0x07 GPL R/O 1 Extended self-test log",
        "0x10 GPL R/O 1 NCQ Command Error log",
        "0x11 GPL R/O 1 SATA Phy Event Counters log",
        "0x30 GPL,SL R/O 9 IDENTIFY DEVICE data log",
        "0x80-0x9f GPL,SL R/W 16 Host vendor specific log",
    ]
    .iter()
    .fold(directory, |of, line| of.line(line));
    checks.of("smart_error").rc(0).has_times("No Errors Logged", 2);
    checks
        .of("smart_statistics")
        .rc(0)
        .line("0x01 0x008 4 1 --- Lifetime Power-On Resets")
        .line("0x01 0x010 4 0 --- Power-on Hours")
        .has("--- Logical Sectors Written")
        .has("--- Number of Read Commands")
        .line("0x04 0x008 4 0 --- Number of Reported Uncorrectable Errors")
        .line("0x06 0x018 4 0 --- Number of Interface CRC Errors");
    checks
        .of("smart_phy")
        .rc(0)
        .line("0x0001 4 0 Command failed due to ICRC error")
        .has("Device-to-host register FISes sent due to a COMRESET");
}

/// Judges an attribute: its flags, its value, and its raw value at the end of the line.
fn attribute(flags: &str, value: &str, raw: u64) -> impl FnOnce(&str) -> bool {
    move |seen| {
        let words: Vec<&str> = seen.split_whitespace().collect();
        words.starts_with(&[flags, value]) && words.last() == Some(&raw.to_string().as_str())
    }
}

/// Of UNMAP, WRITE SAME, BLKZEROOUT and BLKDISCARD, libata lets programs use the last two.
fn discards(checks: &mut Checks) {
    checks.of("fill").rc(0);
    checks.of("unmap").rc(9).line("UNMAP not supported");
    checks.of("write_same").rc(9).line("Write same(16): Illegal request, Invalid opcode");
    for name in ["untouched", "zeroout", "zeroout_zero", "discard", "discard_zero", "behind"] {
        checks.of(name).rc(0);
    }
}

/// WRITE UNCORRECTABLE, and what follows until the sector is written again.
fn bad_sector(checks: &mut Checks, logical: u64) {
    let bad = (64 << 20) / logical + 16;
    let count = 4096 / logical;
    checks
        .of("make_bad")
        .rc(0)
        .field(&format!("Corrupting sector {bad} (WRITE_UNC_EXT as pseudo):"), "succeeded");
    // Since libata's sense data has no descriptors, hdparm shows it and goes on: medium error,
    // unrecovered read error.
    checks.of("read_bad").has("f0 00 03 40 51").has(" 11 04 00");
    checks.of("part_bad").rc(1).has("Input/output error");
    let lba =
        format!(":{:02x}:{:02x}:{:02x}/00:00:00:00:00/40", bad & 255, bad >> 8 & 255, bad >> 16);
    let sector = format!("I/O error, dev sda, sector {} op 0x0:(READ)", bad * logical / 512);
    checks
        .of("bad_kernel")
        .rc(0)
        .has(&format!("{lba} Emask 0x409 (media error) <F>"))
        .has("error: { UNC }")
        .has("Unrecovered read error")
        .has(&sector)
        .lacks("resetting link");
    checks.quiet("bad_kernel", &[&errors::REPORT[..], &[&sector]].concat());
    checks
        .of("bad_counts")
        .rc(0)
        .field_is("187 Reported_Uncorrect", "two: hdparm's and dd's", |seen| seen.ends_with(" 2"))
        .field_is("197 Current_Pending_Sector", "the marked ones", |seen| {
            seen.ends_with(&format!(" {count}"))
        });
    checks.of("bad_log").has(&format!("Error: UNC at LBA = 0x{bad:08x} = {bad}"));
    checks.of("repair").rc(0).field(&format!("re-writing sector {bad}:"), "succeeded");
    for next in 1..count {
        let key = format!("re-writing sector {}:", bad + next);
        checks.of(&format!("repair{next}")).rc(0).field(&key, "succeeded");
    }
    checks
        .of("read_repaired")
        .rc(0)
        .field(&format!("reading sector {bad}:"), "succeeded")
        .line("0000 0000 0000 0000 0000 0000 0000 0000")
        .lacks("SG_IO");
    checks
        .of("good_counts")
        .rc(0)
        .field_is("197 Current_Pending_Sector", "none", |seen| seen.ends_with(" 0"));
    checks.of("reads_repaired").rc(0);
}

/// The host protected area. When Linux meets its edge, it takes it away.
fn hidden(checks: &mut Checks, logical: u64) {
    let all = BYTES / logical;
    let half = all / 2;
    let none = format!("{all}/{all}, HPA is disabled");
    let some = format!("{half}/{all}, HPA is enabled");
    checks.of("hpa_none").rc(0).field("max sectors =", &none).lacks("SG_IO");
    checks
        .of("hpa_set")
        .rc(0)
        .field("setting max visible sectors to", format!("{half} (temporary)"))
        .field("max sectors =", &some)
        .lacks("SG_IO");
    checks.of("hpa_is_set").rc(0).field("max sectors =", &some).lacks("SG_IO");
    checks.of("hpa_past").rc(0);
    let met = ["n_sectors mismatch", "probably late HPA lock", "revalidation failed (errno=-5)"];
    checks
        .of("hpa_kernel")
        .rc(0)
        .has("error: { IDNF }")
        .has(&format!("n_sectors mismatch {all} != {half}"))
        .has("probably late HPA lock, will try to unlock HPA")
        .has("ata1.00: configured for UDMA/133");
    checks.quiet("hpa_kernel", &[&errors::REPORT[..], &met].concat());
    checks.of("hpa_back").rc(0).field("max sectors =", &none).lacks("SG_IO");
    checks.of("hpa_is_back").rc(0).field("max sectors =", &none).lacks("SG_IO");
    checks.of("hpa_reads").rc(0);
}

/// A password: set, refused, taken away; and what is erased with it.
fn security(checks: &mut Checks) {
    checks.of("security_set").rc(0).has("Issuing SECURITY_SET_PASS command").lacks("SG_IO");
    checks
        .of("security_is_set")
        .rc(0)
        .line("* Security Mode feature set")
        .line("enabled")
        .line("not locked")
        .line("not frozen")
        .line("Security level high");
    checks.of("security_unlock").rc(0).has("Issuing SECURITY_UNLOCK command").lacks("SG_IO");
    // Command aborted: 04h, 51h.
    checks.of("security_wrong").has("f0 00 0b 04 51");
    checks.of("security_disable").rc(0).has("Issuing SECURITY_DISABLE command").lacks("SG_IO");
    checks.of("security_is_off").rc(0).line("not enabled").line("Security Mode feature set");
    checks.of("security_fill").rc(0);
    checks.of("security_set_again").rc(0).lacks("SG_IO");
    checks.of("security_erase").rc(0).has("Issuing SECURITY_ERASE command").lacks("SG_IO");
    checks.of("security_zero").rc(0);
    checks.of("security_is_erased").rc(0).line("not enabled").line("not locked");
    checks.quiet("security_kernel", &[]);
}

fn sanitize(checks: &mut Checks) {
    checks.of("sanitize_idle").rc(0).field("State:", "SD0 Sanitize Idle").lacks("SG_IO");
    checks.of("sanitize_fill").rc(0);
    checks.of("sanitize_erase").rc(0).line("Operation started in background").lacks("SG_IO");
    checks.of("sanitize_through").rc(0);
    checks
        .of("sanitize_done")
        .rc(0)
        .field("State:", "SD0 Sanitize Idle")
        .line("Last Sanitize Operation Completed Without Error");
    checks.of("sanitize_zero").rc(0);
    checks.quiet("sanitize_kernel", &[]);
}
