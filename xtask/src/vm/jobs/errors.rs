//! Errors, provoked one at a time through faults. For each: what libata says when it meets the
//! error, that it recovers without giving anything up, and that it says nothing else.

use std::time::Duration;

use super::{Checks, Disk, From, Job};

pub(super) const JOB: Job = Job {
    name: "errors",
    about: "errors, one at a time: Linux recovers, and data verifies",
    script: include_str!("../../../guest/errors.sh"),
    env: "",
    disks: &[Disk { mib: 512, keys: "" }],
    from: From::Kernel,
    limit: Duration::from_secs(300),
    judge,
};

/// The log begins with how every error is reported.
const REPORT: [&str; 8] = [
    "ata1.00: exception Emask",
    "irq_stat",
    "failed command: ",
    "ata1.00: cmd ",
    "  res ",
    "ata1.00: status: {",
    "ata1.00: error: {",
    "SError: {",
];

/// An error and what libata is to say about it, besides [`REPORT`].
struct Error {
    name: &'static str,
    /// Each is in a line of the log.
    said: &'static [&'static str],
    /// Nothing of this is.
    unsaid: &'static [&'static str],
}

const RESET: &str = "ata1: hard resetting link";
const BACK: &str = "ata1.00: configured for UDMA/133";

/// What would mean that the disk was lost, or a command given up.
const LOST: [&str; 4] = ["disabled", "I/O error", "detaching", "failed to IDENTIFY"];

const ERRORS: &[Error] = &[
    // Of many queued reads one fails. The log page says which, and where: 4E25h is sector 20005.
    // No reset is needed, and the others are tried again.
    Error {
        name: "medium",
        said: &[
            "failed command: READ FPDMA QUEUED",
            ":25:4e:00/00:00:00:00:00/40 Emask 0x409 (media error) <F>",
            "error: { UNC }",
            "Sense Key : Medium Error",
            "Unrecovered read error",
            "I/O error, dev sda, sector 20005 op 0x0:(READ)",
            "ata1: EH complete",
        ],
        unsaid: &["resetting link", "failed to read log", "disabled"],
    },
    Error {
        name: "crc",
        said: &[
            "SError: { UnrecovData BadCRC }",
            "error: { ICRC ABRT }",
            "ATA bus error",
            RESET,
            BACK,
        ],
        unsaid: &LOST,
    },
    Error { name: "drop", said: &["ata1: SATA link up", BACK], unsaid: &LOST },
    // The first reset finds nobody who answers, the second one does.
    Error {
        name: "signature",
        said: &[RESET, "link is slow to respond", "ata1: SATA link up", BACK],
        unsaid: &LOST,
    },
    Error { name: "hang", said: &["(timeout)", "frozen", RESET, BACK], unsaid: &LOST },
    Error {
        name: "malformed",
        said: &["interface fatal error", "SError: { Proto TrStaTrns }", RESET, BACK],
        unsaid: &LOST,
    },
    // C7h is the type of the FIS.
    Error { name: "unknown", said: &["unknown FIS 000000c7", RESET, BACK], unsaid: &LOST },
];

fn judge(checks: &mut Checks) {
    checks.quiet("boot", &[]);
    checks.of("medium").rc(1).has("Input/output error");
    for error in ERRORS {
        let log = format!("{}-kernel", error.name);
        let mut of = checks.of(&log).rc(0);
        for text in error.said {
            of = of.has(text);
        }
        for text in error.unsaid {
            of = of.lacks(text);
        }
        drop(of);
        let slow = ["link is slow to respond", "limiting SATA link speed"];
        checks.quiet(&log, &[&REPORT[..], error.said, &slow].concat());
    }
}
