//! Errors, provoked one at a time through faults. For each: what libata says when it meets the
//! error, that it recovers without giving anything up, and that it says nothing else.

use std::time::Duration;

use super::{Checks, Disk, From, Job};

pub(super) const JOB: Job = Job {
    name: "errors",
    about: "errors, one at a time: Linux recovers, and data verifies",
    script: include_str!("../../../guest/errors.sh"),
    after_power_cycle: None,
    env: "",
    // The second one is unplugged until the guest asks for it.
    disks: &[Disk { mib: 512, keys: "" }, Disk { mib: 16, keys: "fault=link:drop=1000s" }],
    beside: &[],
    prepare: None,
    from: From::Kernel,
    kernels: &["6.12", "7"],
    port_multiplier: false,
    limit: Duration::from_secs(300),
    judge,
};

/// How libata reports an error for which commands have failed. Otherwise it says only what it does.
pub(super) const REPORT: [&str; 10] = [
    "ata1.00: exception Emask",
    "irq_stat",
    "failed command: ",
    "ata1.00: cmd ",
    "  res ",
    "ata1.00: status: {",
    "ata1.00: error: {",
    "SError: {",
    "link is slow to respond",
    "limiting SATA link speed",
];

/// An error, and what is to come of it.
struct Error {
    name: &'static str,
    /// Each is in a line of libata's trace: what it took the error for, and what it did.
    traced: &'static [&'static str],
    /// Each is in a line of the kernel's log.
    said: &'static [&'static str],
    /// Nothing of this is.
    unsaid: &'static [&'static str],
}

const RESET: &str = "ata_link_hardreset_begin: ata_port=1";
const BACK: &str = "ata1.00: configured for UDMA/133";

/// What would mean that the disk was lost, or a command given up.
const LOST: [&str; 4] = ["disable device", "I/O error", "detaching", "failed to IDENTIFY"];

const ERRORS: &[Error] = &[
    // Of many queued reads one fails. The log page says which, and where: 4E25h is sector 20005.
    // No reset is needed, and the others are tried again.
    Error {
        name: "medium",
        traced: &["err_mask=409{ DEV MEDIA NCQ }"],
        said: &[
            "failed command: READ FPDMA QUEUED",
            ":25:4e:00/00:00:00:00:00/40 Emask 0x409 (media error) <F>",
            "error: { UNC }",
            "Sense Key : Medium Error",
            "Unrecovered read error",
            "I/O error, dev sda, sector 20005 op 0x0:(READ)",
            "ata1: EH complete",
        ],
        unsaid: &["resetting link", "failed to read log", "disable device"],
    },
    Error {
        name: "crc",
        traced: &["err_mask=10{ ATA_BUS }", RESET],
        said: &["SError: { UnrecovData BadCRC }", "error: { ICRC ABRT }", "ATA bus error", BACK],
        unsaid: &LOST,
    },
    Error {
        name: "drop",
        traced: &["{ RESET ENABLE_LINK } err_mask=10{ ATA_BUS }", RESET],
        said: &["ata1: SATA link up", BACK],
        unsaid: &LOST,
    },
    // The first reset finds nobody who answers, the second one does.
    Error {
        name: "signature",
        traced: &[RESET],
        said: &["link is slow to respond", "ata1: SATA link up", BACK],
        unsaid: &LOST,
    },
    Error {
        name: "hang",
        traced: &["err_mask=4{ TIMEOUT }", RESET],
        said: &["Emask 0x4 (timeout)", BACK],
        unsaid: &LOST,
    },
    Error {
        name: "malformed",
        traced: &["err_mask=12{ HSM ATA_BUS }", RESET],
        said: &["ata1: SATA link up", BACK],
        unsaid: &LOST,
    },
    Error {
        name: "unknown",
        traced: &["eh_action=6{ RESET } err_mask=2{ HSM }", RESET],
        said: &["ata1: SATA link up", BACK],
        unsaid: &LOST,
    },
];

/// The second disk says nothing for so long that Linux gives it up; then it is found again.
fn silent(checks: &mut Checks) {
    let given_up = ["ata2: hardreset failed", "ata2: reset failed", "ata2.00: disable device"];
    let of = checks.of("silent-kernel").rc(0);
    given_up.iter().fold(of, |of, text| of.has(text)).lacks("ata1");
    // The damaged FIS that makes Linux reset it, and what a disk that has gone can't do any more.
    let gone = [
        "ata2.00: exception Emask",
        "ata2.00: cmd ",
        "ata2.00: status: {",
        "ata2.00: error: {",
        ", dev sdb",
        "[sdb]",
    ];
    checks.quiet("silent-kernel", &[&REPORT[..], &given_up, &gone].concat());
    checks.of("silent-trace").rc(0).has_times("ata_link_hardreset_begin: ata_port=2", 4);
    checks.of("found-kernel").rc(0).has("ata2: SATA link up").has("Attached SCSI disk");
    checks.quiet("found-kernel", &[", dev sdb", "[sdb]"]);
}

fn judge(checks: &mut Checks) {
    checks.quiet("boot", &[]);
    checks.of("medium").rc(1).has("Input/output error");
    for error in ERRORS {
        let log = format!("{}-kernel", error.name);
        let of = checks.of(&log).rc(0);
        let of = error.said.iter().fold(of, |of, text| of.has(text));
        error.unsaid.iter().fold(of, |of, text| of.lacks(text));
        let of = checks.of(&format!("{}-trace", error.name)).rc(0);
        error.traced.iter().fold(of, |of, text| of.has(text));
        checks.quiet(&log, &[&REPORT[..], error.said].concat());
    }
    checks.of("signature-trace").has_times(RESET, 2);
    silent(checks);
}
