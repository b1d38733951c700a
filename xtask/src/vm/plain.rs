//! The main job: a guest makes a file system, writes with verification, trims and powers off; the
//! image shrinks when it trims, and is clean afterwards.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::job::Job;
use super::rig::{Flow, Rig, Setting};
use super::server::Device;
use crate::say;

const LIMIT: Duration = Duration::from_secs(240);
/// What the guest removes before it trims: two files of 64 MiB. Most of it must be given back.
const TRIMMED_AT_LEAST: u64 = 96 << 20;

/// Run it and print a summary; whether all went well.
pub(crate) fn run(setting: &Setting, device: &Device) -> Result<bool> {
    let start = Instant::now();
    say::step(format_args!(
        "guest on {}, kernel {}, {}",
        device.title(),
        setting.kernel.title,
        setting.accel.name()
    ));
    let mut rig = Rig::start(setting, "plain", device, Job::Plain, false)?;
    let mut told = 0;
    let seen = rig.follow(LIMIT, |_, seen| {
        for (step, rc) in &seen.steps[told..] {
            say::step(format_args!("  {step}{}", if *rc == 0 { "" } else { ": FAILED" }));
        }
        told = seen.steps.len();
        Ok(Flow::GoOn)
    })?;

    let mut failures: Vec<String> = seen.unfinished().into_iter().collect();
    if seen.end.is_none() && seen.late.is_none() {
        failures.extend(rig.guest.failure());
    }
    let mib = |bytes: u64| bytes >> 20;
    let measure = |name: &str| seen.measures.iter().find(|(n, _)| n == name).map(|(_, b)| *b);
    let mut trim = "not measured".to_owned();
    match (measure("written"), measure("trimmed")) {
        (Some(before), Some(after)) => {
            trim = format!("image {} MiB before, {} MiB after", mib(before), mib(after));
            if before < after + TRIMMED_AT_LEAST {
                failures.push(format!("the trim gave back too little: {trim}"));
            }
        }
        _ => failures.push("the trim was not measured".to_owned()),
    }
    let mut check = "not run".to_owned();
    if failures.is_empty() {
        failures.extend(rig.guest.wait().err().map(|e| e.to_string()));
        let served = rig.server.wait(Duration::from_secs(15));
        failures.extend(served.err().map(|e| e.to_string()));
        check = match rig.image.check(setting.lab) {
            Ok(()) => "clean".to_owned(),
            Err(err) => {
                failures.push(format!("{err:#}"));
                "NOT CLEAN".to_owned()
            }
        };
    }
    let boot = seen.boot.map(|b| b - rig.guest.start).unwrap_or_default();
    let steps: Vec<&str> = seen.steps.iter().map(|(s, _)| s.as_str()).collect();
    println!("guest     {} on {}", setting.kernel.title, device.title());
    println!("boot      {:.1} s ({})", boot.as_secs_f64(), setting.accel.name());
    println!("steps     {}", steps.join(", "));
    println!("fstrim    {trim}");
    println!("e2fsck    {check}");
    for failure in &failures {
        println!("failed    {failure}");
    }
    let verdict = if failures.is_empty() { "passed" } else { "FAILED" };
    println!("{verdict} in {:.1} s", start.elapsed().as_secs_f64());
    if !failures.is_empty() {
        eprintln!("{}", rig.guest.last_words());
    }
    Ok(failures.is_empty())
}
