//! The stuck-storage drill with a real guest: an operation doesn't come back in time, Linux resets
//! the port, and the whole VM should hardly notice. One run makes one column of the table.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::control;
use super::job::Job;
use super::marker::longest_gap;
use super::rig::{Flow, Rig, Seen, Setting};
use super::server::Device;
use crate::say;

/// The seed's reproduction.
pub(crate) const TRIM_FAULT: &str = "discard#1:delay=35s";
/// Operations that hang until they are let go.
pub(crate) const HANGS: [&str; 2] = ["write#20:hang", "read#50:hang"];

/// The VM must never stand still for longer.
const LIMIT: Duration = Duration::from_secs(1);
/// How long the guest works before storage that stalls by itself does so.
const STALL_AFTER: Duration = Duration::from_secs(3);
/// After the guest's recovery, how long what hangs goes on hanging.
const RELEASE_AFTER: Duration = Duration::from_secs(3);
/// A VM that froze and went on is watched for so long.
const AFTER_FREEZE: Duration = Duration::from_secs(5);

/// What came of one run.
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) rows: Vec<(&'static str, String)>,
    pub(crate) failures: Vec<String>,
}

/// Run the drill with a fault on a device.
pub(crate) fn run(setting: &Setting, device: &Device, fault: &str) -> Result<Column> {
    say::step(format_args!(
        "drill {fault} on {}, kernel {}, {}",
        device.title(),
        setting.kernel.title,
        setting.accel.name()
    ));
    let trim = fault.starts_with("discard");
    let job = if trim { Job::Trim } else { Job::Hang };
    let mut rig = Rig::start(setting, &format!("drill-{fault}"), device, job, true)?;
    let mut host = Host::new(device, fault);
    let limit = Duration::from_secs(if device.is_freewheel() { 200 } else { 420 });
    let seen = rig.follow(limit, |rig, seen| host.tick(rig, seen))?;
    let stopped = Instant::now();

    let mut column = Column { title: device.title(), rows: Vec::new(), failures: Vec::new() };
    column.smoothness(&rig, &seen, stopped);
    column.recovery(&seen, trim);
    if device.is_freewheel() {
        column.device(&rig, fault);
    }
    if let Some(pending) = host.pending {
        column.row("hung in the kernel", pending.to_string());
        if pending == 0 {
            column.fail("nothing hung in the storage");
        }
    }
    column.host(host.released, fault, device);
    let mut check = "not run: the VM was ended".to_owned();
    if device.is_freewheel() || seen.end.is_some() {
        if let Some(why) = seen.unfinished() {
            column.failures.push(why);
            if seen.end.is_none() && seen.late.is_none() {
                column.failures.extend(rig.guest.failure());
            }
            check = "not run".to_owned();
        } else {
            check = column.ending(&mut rig, setting);
        }
    }
    column.rows.push(("e2fsck -fn", check));
    rig.guest.kill();
    if device.is_freewheel() {
        if !column.failures.is_empty() {
            eprintln!("{}", rig.guest.last_words());
        }
    } else {
        column.accept_freeze(&seen);
    }
    Ok(column)
}

/// What the host does while the guest runs.
struct Host {
    hangs: bool,
    freewheel: bool,
    released: Option<Result<(), String>>,
    /// Storage that stalls by itself has been told to.
    stalled: bool,
    /// The most requests that hung in it.
    pending: Option<usize>,
    told: u8,
}

impl Host {
    fn new(device: &Device, fault: &str) -> Self {
        Self {
            hangs: fault.ends_with(":hang"),
            freewheel: device.is_freewheel(),
            released: None,
            stalled: false,
            pending: None,
            told: 0,
        }
    }

    fn tick(&mut self, rig: &mut Rig, seen: &Seen) -> Result<Flow> {
        let news = [
            (seen.drill_begin, "the drill begins"),
            (seen.timeout, "Linux has noticed: the command doesn't come back"),
            (seen.reset, "libata resets the port"),
            (seen.recovered, "the guest has recovered"),
            (seen.drill_end, "the drill is over"),
        ];
        for (bit, (at, what)) in news.iter().enumerate() {
            if at.is_some() && self.told & (1 << bit) == 0 {
                self.told |= 1 << bit;
                say::step(format_args!("  {what}"));
            }
        }
        if !self.stalled && seen.drill_begin.is_some_and(|at| at.elapsed() > STALL_AFTER) {
            self.stalled = true;
            if rig.server.hang() {
                say::step("  the storage stops answering, in the kernel");
            }
        }
        if self.stalled && self.released.is_none() {
            self.pending = self.pending.max(rig.server.pending());
        }
        let due = seen.recovered.is_some_and(|at| at.elapsed() > RELEASE_AFTER);
        if self.freewheel && self.hangs && due && self.released.is_none() {
            say::step("  letting go what hangs");
            self.released = Some(rig.server.release().map_err(|e| format!("{e:#}")));
        }
        // Another device may take for ever over the rest: its freeze is what was to be seen.
        if !self.freewheel && seen.reset.is_some() && thawed(seen, AFTER_FREEZE) {
            return Ok(Flow::Enough);
        }
        Ok(Flow::GoOn)
    }
}

/// Whether the heart has been beating again for so long after it had stopped.
fn thawed(seen: &Seen, long: Duration) -> bool {
    let Some(begin) = seen.drill_begin else {
        return false;
    };
    let mut last = begin;
    let mut thaw = None;
    for beat in seen.beats.iter().filter(|b| **b > begin) {
        if *beat - last > LIMIT {
            thaw = Some(*beat);
        }
        last = *beat;
    }
    thaw.is_some_and(|at| last - at > long)
}

impl Column {
    fn row(&mut self, name: &'static str, value: impl Into<String>) {
        self.rows.push((name, value.into()));
    }

    fn fail(&mut self, why: impl Into<String>) {
        self.failures.push(why.into());
    }

    /// Did the VM stand still?
    fn smoothness(&mut self, rig: &Rig, seen: &Seen, stopped: Instant) {
        let Some(begin) = seen.drill_begin else {
            self.fail("the drill never began");
            self.row("longest heartbeat gap", "-");
            self.row("longest QMP latency", "-");
            return;
        };
        let end = seen.drill_end.unwrap_or(stopped);
        let gap = longest_gap(&seen.beats, begin, end);
        let qmp = rig.guest.qmp.longest(begin, end);
        self.row("longest heartbeat gap", seconds(gap));
        self.row("longest QMP latency", seconds(qmp));
        if gap >= LIMIT {
            self.fail(format!("the guest stood still for {}", seconds(gap)));
        }
        if qmp >= LIMIT {
            self.fail(format!("QEMU's monitor was silent for {}", seconds(qmp)));
        }
        if !rig.guest.qmp.connected() {
            self.fail("QEMU's monitor never answered");
        }
    }

    /// Did Linux go the whole way, and come back?
    fn recovery(&mut self, seen: &Seen, trim: bool) {
        let since = |at: Option<Instant>| match (seen.drill_begin, at) {
            (Some(begin), Some(at)) => {
                format!("after {:.1} s", at.saturating_duration_since(begin).as_secs_f64())
            }
            (_, None) => "never".to_owned(),
            (None, _) => "before the drill".to_owned(),
        };
        self.row("libata reset the port", format!("{} ({}x)", since(seen.reset), seen.resets));
        self.row("guest recovered", since(seen.recovered));
        if seen.reset.is_none() {
            self.fail("libata did not reset the port: the fault did not bite");
        }
        if trim {
            let how = match seen.fstrim {
                Some((0, at)) => since(Some(at)),
                Some((rc, at)) => {
                    self.fail(format!("fstrim failed with {rc}"));
                    format!("failed {}", since(Some(at)))
                }
                None => {
                    self.fail("fstrim did not end");
                    "not by then".to_owned()
                }
            };
            self.row("fstrim was through", how);
        }
        let passes = match (seen.passes, seen.pass_failed) {
            (0, _) => "none".to_owned(),
            (n, false) => format!("{n}, all good"),
            (n, true) => format!("{n}, one FAILED"),
        };
        self.row("verifying passes", passes);
        if seen.pass_failed || seen.passes == 0 {
            self.fail("the verifying workload failed");
        }
    }

    /// What Freewheel says about it.
    fn device(&mut self, rig: &Rig, fault: &str) {
        let status = rig.server.status();
        let _ = std::fs::write(rig.logs.join("status.json"), format!("{status:#}\n"));
        let stop = control::stop_us_max(&status)
            .map_or("not reported".to_owned(), |us| format!("{us:.0} us"));
        self.row("port stopped within", stop);
        let count = |name| {
            control::disks_sum(&status, name).map_or("not reported".to_owned(), |n| n.to_string())
        };
        self.row("cancelled operations", count("cancelled_total"));
        self.row("orphans", count("orphans_total"));
        self.row("held by the fence", count("held_total"));
        // libata tries the same range again, which is still in doubt.
        let fences = fault.starts_with("discard") || fault.starts_with("write");
        if fences && control::disks_sum(&status, "held_total") == Some(0) {
            self.fail("the fence held nothing, though the guest tried the same range again");
        }
        if status.is_null() {
            self.fail("the control socket gave no status");
        }
    }

    /// Did the host do its part?
    fn host(&mut self, released: Option<Result<(), String>>, fault: &str, device: &Device) {
        if !fault.ends_with(":hang") || !device.is_freewheel() {
            return;
        }
        match released {
            Some(Ok(())) => {}
            Some(Err(why)) => self.fail(format!("what hangs could not be let go: {why}")),
            None => self.fail("what hangs was never let go: the guest did not recover"),
        }
    }

    /// The guest has powered off: do all ends meet?
    fn ending(&mut self, rig: &mut Rig, setting: &Setting) -> String {
        if let Err(err) = rig.guest.wait() {
            self.fail(err.to_string());
        }
        if let Err(err) = rig.server.wait(Duration::from_secs(15)) {
            self.fail(err.to_string());
        }
        match rig.image.check(setting.lab) {
            Ok(()) => "clean".to_owned(),
            Err(err) => {
                self.fail(format!("{err:#}"));
                "NOT CLEAN".to_owned()
            }
        }
    }

    /// For a device that is only compared with, freezing is no failure; not getting there is.
    fn accept_freeze(&mut self, seen: &Seen) {
        self.failures.clear();
        if seen.drill_begin.is_none() || seen.timeout.is_none() {
            self.fail("the comparison did not get as far as Linux's timeout");
        }
    }
}

/// A duration, in a unit that suits both a heartbeat and a freeze.
fn seconds(d: Duration) -> String {
    let s = d.as_secs_f64();
    if s < 10.0 { format!("{:.0} ms", s * 1000.0) } else { format!("{s:.1} s") }
}

/// Print columns side by side; whether all passed.
pub(crate) fn print(fault: &str, setting: &Setting, columns: &[Column]) -> bool {
    println!("drill {fault}    kernel {}, {}", setting.kernel.title, setting.accel.name());
    print!("{:24}", "");
    for column in columns {
        print!("{:>22}", column.title);
    }
    println!();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flat_map(|c| &c.rows) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    for name in names {
        print!("{name:24}");
        for column in columns {
            let value = column.rows.iter().find(|(n, _)| *n == name);
            print!("{:>22}", value.map_or("-", |(_, v)| v.as_str()));
        }
        println!();
    }
    print!("{:24}", "verdict");
    for column in columns {
        print!("{:>22}", if column.failures.is_empty() { column.praise() } else { "FAILED" });
    }
    println!();
    for column in columns {
        for failure in &column.failures {
            println!("failed: {}: {failure}", column.title);
        }
    }
    columns.iter().all(|c| c.failures.is_empty())
}

impl Column {
    fn praise(&self) -> &'static str {
        if self.title.starts_with("freewheel") { "passed" } else { "for comparison" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thaw() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut seen = Seen {
            drill_begin: Some(t0),
            beats: vec![at(200), at(400), at(600)],
            ..Seen::default()
        };
        let long = Duration::from_millis(500);
        assert!(!thawed(&seen, long), "it never froze");
        seen.beats.push(at(9000));
        assert!(!thawed(&seen, long), "it has only just come back");
        seen.beats.extend([at(9300), at(9600)]);
        assert!(thawed(&seen, long));
    }

    #[test]
    fn units() {
        assert_eq!(seconds(Duration::from_millis(254)), "254 ms");
        assert_eq!(seconds(Duration::from_millis(128_940)), "128.9 s");
    }
}
