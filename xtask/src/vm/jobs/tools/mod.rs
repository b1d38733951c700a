//! What hdparm, smartctl, the sg tools and util-linux say about the disk and do with it, field by
//! field, with sectors of both sizes.

use std::time::Duration;

use super::{Checks, Disk, From, Job};

mod medium;
mod smart;

/// The disk's size.
const BYTES: u64 = 256 << 20;

pub(super) const T512: Job = Job {
    name: "tools",
    about: "hdparm, smartctl, sg tools, discards: 512-byte sectors emulated on 4096",
    script: include_str!("../../../../guest/tools.sh"),
    after_power_cycle: None,
    env: "LOGICAL=512\n",
    disks: &[Disk {
        mib: BYTES >> 20,
        keys: "logical=512,model=Freewheel Test,serial=FWTOOLS0001,firmware=FW1.0,\
               wwn=0x5000c50015ea71aa",
    }],
    beside: &[],
    prepare: None,
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
    smart::judge(checks, logical);
    checks.quiet("quiet_tools", &[]);
    medium::discards(checks);
    medium::bad_sector(checks, logical);
    medium::hidden(checks, logical);
    medium::security(checks);
    medium::sanitize(checks);
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
