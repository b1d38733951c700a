//! Disks that come and go: plugged in, used, and pulled out in mid-flight, again and again.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Checks, Disk, From, Job, Setting};
use crate::vm::image::Image;

/// How often disks come and go, and on how many ports at once.
///
/// libata gives a disk up only at the third reset in ten seconds, and recovers one port of a
/// controller at a time. So each disk takes ten seconds, however many there are.
struct Plan {
    ports: usize,
    rounds: usize,
}

const SHORT: Plan = Plan { ports: 2, rounds: 2 };
const LONG: Plan = Plan { ports: 5, rounds: 10 };

pub(super) const JOB: Job = Job {
    name: "hot-plug",
    about: "disks are plugged in, used and verified, and pulled out in mid-flight, four times",
    script: include_str!("../../../guest/hot-plug.sh"),
    after_power_cycle: None,
    env: "PORTS=2\nROUNDS=2\n",
    disks: &[Disk { mib: 64, keys: "port=0" }],
    beside: &[],
    prepare: Some(prepare),
    from: From::Kernel,
    // Linux 7 does not heed that a disk goes that has come less than ten seconds ago, until commands
    // time out: it takes half a minute more a round.
    kernels: &["6.12"],
    port_multiplier: false,
    limit: Duration::from_secs(200),
    judge: |checks| judge(checks, &SHORT),
};

/// Too long to be a part of `cargo xtask test`.
pub(super) const FIFTY: Job = Job {
    name: "hot-plug-50",
    about: "the same fifty times",
    env: "PORTS=5\nROUNDS=10\n",
    kernels: &[],
    limit: Duration::from_secs(1200),
    judge: |checks| judge(checks, &LONG),
    ..JOB
};

fn prepare(_: &Setting, _: &Job, scratch: &Path) -> Result<()> {
    for port in 1..=LONG.ports {
        Image::create(scratch.join(format!("hot{port}.img")), 32 << 20)?;
    }
    Ok(())
}

/// What Linux says of a disk that was pulled out with commands in flight.
const PULLED: [&str; 17] = [
    "exception Emask",
    "irq_stat",
    "SError: {",
    "failed command: ",
    ".00: cmd ",
    "  res ",
    ".00: status: {",
    ".00: error: {",
    "SATA link down",
    "limiting SATA link speed",
    "disable device",
    "I/O error",
    "device offline error",
    "rejecting I/O to offline device",
    "callbacks suppressed",
    " tag#",
    "Synchronize Cache(10) failed",
];

fn judge(checks: &mut Checks, plan: &Plan) {
    checks.quiet("boot", &[]);
    for round in 1..=plan.rounds {
        checks.quiet(&format!("in_{round}_kernel"), &[]);
        // All were written to when they went.
        checks.of(&format!("busy_{round}")).rc(0).has_times("failed", plan.ports);
        let going = format!("out_{round}_kernel");
        let mut of = checks.of(&going).rc(0);
        for port in 1..=plan.ports {
            of = of.has(&format!("ata{}.00: disable device", port + 1));
        }
        // The first disk is not concerned, nor is the kernel itself.
        for text in ["ata1:", "ata1.00", "[sda]", "dev sda", "WARNING:", "BUG:", "Call Trace"] {
            of = of.lacks(text);
        }
        drop(of);
        checks.quiet(&going, &PULLED);
    }
    flat(checks, plan.rounds);
}

/// What the server takes up after the last round is not more than after the first one.
fn flat(checks: &mut Checks, rounds: usize) {
    let number = |checks: &Checks, round: usize, key: &str| {
        let lines = checks.lines(&format!("usage_{round}"));
        let value = lines.iter().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        value.unwrap_or(0_u64)
    };
    for (key, slack) in [("descriptors", 0), ("threads", SLACK_THREADS), ("memory_kib", SLACK_KIB)]
    {
        let (first, last) = (number(checks, 1, key), number(checks, rounds, key));
        let grown = first == 0 || last > first + slack;
        let what = format!("freewheel's {key} grow by {slack} at most");
        checks.note(what, grown.then(|| format!("from {first} to {last}")));
    }
}

/// The kernel's own workers for io_uring come and go.
const SLACK_THREADS: u64 = 8;
/// What an allocator may keep.
const SLACK_KIB: u64 = 4096;
