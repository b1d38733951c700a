//! What a disk remembers when its power goes: two guests, one after the other, on the same disk with
//! its state in a file.

use std::time::Duration;

use super::{Checks, Disk, From, Job, errors};

pub(super) const JOB: Job = Job {
    name: "power",
    about: "what a disk remembers over a power cycle: password, hidden end, bad sector, SMART",
    script: include_str!("../../../guest/power-off.sh"),
    after_power_cycle: Some(include_str!("../../../guest/power-on.sh")),
    // A bad sector at 16 MiB; half of the disk is hidden.
    env: "BAD=32768\nALL=131072\nHALF=65536\n\
          data_sum() { dd if=/dev/sda iflag=direct bs=1M count=8 2>/dev/null | md5sum; }\n",
    disks: &[Disk { mib: 64, keys: "state=on" }],
    beside: &[],
    prepare: None,
    from: From::Kernel,
    kernels: &["6.12"],
    port_multiplier: false,
    limit: Duration::from_secs(300),
    judge,
};

fn judge(checks: &mut Checks) {
    before(checks);
    locked(checks);
    remembered(checks);
}

fn before(checks: &mut Checks) {
    checks
        .of("first_counts")
        .rc(0)
        .field_is("12 Power_Cycle_Count", "one", |seen| seen.ends_with(" 1"));
    checks.of("first_test").rc(0).line("Testing has begun.");
    checks.of("first_test_log").rc(0).line("# 1 Short offline Completed without error 00% 0 -");
    checks.of("first_sum").rc(0);
    checks.of("first_bad").rc(0).has("succeeded");
    checks.of("first_hpa").rc(0).field("max sectors =", "65536/131072, HPA is enabled");
    checks.of("first_password").rc(0).lacks("SG_IO");
    checks.of("first_identify").rc(0).line("enabled").line("not locked");
    checks.quiet("first_kernel", &[]);
}

/// A disk with a password comes up locked, and says no to everything but the password.
fn locked(checks: &mut Checks) {
    // Command aborted: 04h, 51h.
    checks.of("locked_identify").rc(0).line("enabled").line("locked").line("not frozen");
    checks.of("locked_read").has(" 04 51 ");
    checks.of("unlock_wrong").has("f0 00 0b 04 51");
    checks.of("unlock").rc(0).has("Issuing SECURITY_UNLOCK command").lacks("SG_IO");
    checks.of("unlocked_identify").rc(0).line("enabled").line("not locked");
    checks.quiet("unlocked_kernel", &[]);
}

fn remembered(checks: &mut Checks) {
    let before = checks.first_line("first_sum");
    checks.of("second_sum").rc(0).line(&before);
    let sector = "I/O error, dev sda, sector 32768 op 0x0:(READ)";
    checks.of("bad_read").rc(1).has("Input/output error");
    checks.of("bad_kernel").rc(0).has("error: { UNC }").has(sector);
    checks.quiet("bad_kernel", &[&errors::REPORT[..], &[sector]].concat());
    checks
        .of("counts")
        .rc(0)
        .field_is("12 Power_Cycle_Count", "two", |seen| seen.ends_with(" 2"))
        .field_is("197 Current_Pending_Sector", "eight", |seen| seen.ends_with(" 8"));
    checks.of("test_log").rc(0).line("# 1 Short offline Completed without error 00% 0 -");
    checks.of("hpa").rc(0).field("max sectors =", "65536/131072, HPA is enabled");
    checks.of("hpa_gone").rc(0).field("max sectors =", "131072/131072, HPA is disabled");
    checks.of("disable").rc(0).lacks("SG_IO");
    checks.of("freeze").rc(0).lacks("SG_IO");
    checks.of("frozen_identify").rc(0).line("not enabled").line("frozen");
    checks.of("frozen_password").has("f0 00 0b 04 51");
    checks.quiet("end_kernel", &[]);
}
