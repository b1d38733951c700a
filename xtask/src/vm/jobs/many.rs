//! Six disks, and a port multiplier with four more.

use std::time::Duration;

use super::{Checks, Disk, From, Job};

/// HBA ports with a disk of their own.
const DISKS: usize = 6;
/// Device ports of the port multiplier, on the HBA port behind those.
const BEHIND: usize = 4;

const fn disk(keys: &'static str) -> Disk {
    Disk { mib: 32, keys }
}

pub(super) const JOB: Job = Job {
    name: "many",
    about: "six disks and a port multiplier with four more, in use at once and reset",
    script: include_str!("../../../guest/many.sh"),
    after_power_cycle: None,
    env: "DISKS=10\n",
    disks: &[
        disk("port=0,serial=DISK0"),
        disk("port=1,serial=DISK1"),
        disk("port=2,serial=DISK2"),
        disk("port=3,serial=DISK3"),
        disk("port=4,serial=DISK4"),
        disk("port=5,serial=DISK5"),
        disk("port=6.0,serial=BEHIND0"),
        disk("port=6.1,serial=BEHIND1"),
        disk("port=6.2,serial=BEHIND2"),
        disk("port=6.3,serial=BEHIND3"),
    ],
    beside: &[],
    prepare: None,
    from: From::Kernel,
    kernels: &["6.12", "7"],
    port_multiplier: true,
    limit: Duration::from_secs(400),
    judge,
};

fn judge(checks: &mut Checks) {
    let mut map = checks.of("map").rc(0);
    for port in 0..DISKS {
        map = map.line(&format!("serial DISK{port} is on ata{} at {port}:0:0:0", port + 1));
    }
    let multiplier = DISKS + 1;
    for port in 0..BEHIND {
        map = map.line(&format!("serial BEHIND{port} is on ata{multiplier} at {DISKS}:{port}:0:0"));
    }
    drop(map);
    let mut boot = checks.of("boot").rc(0).has(&format!("ata{multiplier}.15: Port Multiplier"));
    for port in 0..BEHIND {
        boot = boot.has(&format!("ata{multiplier}.{port:02}: SATA link up 6.0 Gbps"));
    }
    boot.has("FBS is enabled").has(" pmp fbs ");
    checks.quiet("boot", &[]);
    checks.quiet("write_kernel", &[]);

    let mut reset = checks.of("reset_trace").rc(0);
    let mut damaged = Vec::new();
    for port in 1..=multiplier {
        let begin = format!("ata_link_hardreset_begin: ata_port={port} ");
        // Behind the port multiplier each link is reset.
        let times = if port == multiplier { BEHIND } else { 1 };
        reset = reset.has_times(&begin, times);
        damaged.push((format!("ata_eh_link_autopsy: ata_port={port} "), begin));
    }
    drop(reset);
    let mut trace = checks.of("damaged_trace").rc(0);
    for (autopsy, begin) in &damaged {
        trace = trace.has(autopsy).has(begin);
    }
    drop(trace);
    let lost = ["disable device", "I/O error", "detaching", "failed to IDENTIFY"];
    for name in ["reset_kernel", "damaged_kernel"] {
        let of = checks.of(name).rc(0);
        lost.iter().fold(of, |of, text| of.lacks(text));
    }
    checks.quiet("reset_kernel", &[]);
    checks.quiet("end_kernel", &[]);
}
