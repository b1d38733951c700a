//! The report for scripts: one JSON object on one line.

use freewheel_sim::drill::{Clause, Report, Times};
use serde_json::{Map, Value, json};

/// The object, with a newline. `faults` of the disk were in place all the time.
pub(super) fn of(report: &Report, faults: usize) -> String {
    let mut object = value(report, faults).to_string();
    object.push('\n');
    object
}

fn value(report: &Report, faults: usize) -> Value {
    let all = &report.resets;
    let measured = report.blocked_calls.is_some();
    let ways: Map<String, Value> =
        report.ways.iter().map(|(way, found)| (way.name().to_owned(), times(found))).collect();
    let verdicts: Map<String, Value> = Clause::ALL
        .iter()
        .map(|clause| {
            let verdict = report.verdicts.of(*clause);
            let value = json!({
                "ok": verdict.ok(),
                "title": clause.title(),
                "checks": verdict.checks,
                "violations_total": verdict.violations_total,
                "violations": verdict.violations,
            });
            (clause.name().to_owned(), value)
        })
        .collect();
    json!({
        "backend": report.backend,
        "sector_bytes": report.identity.sector_bytes,
        "sectors": report.identity.sectors,
        "commands_hung": report.commands_hung,
        "rounds": report.rounds,
        "slots": report.slots,
        "orphans_total": report.orphans_total,
        "fences_total": report.fences_total,
        "held_total": report.held_total,
        "real_stall": report.real_stall,
        "lasting_faults": faults,
        "calls": report.calls,
        "blocked_calls": report.blocked_calls,
        "longest_blocked_call_us": us(report.longest_blocked_call_ns),
        "longest_call_us": us(report.longest_call_ns),
        "longest_call_cpu_us": measured.then(|| us(report.longest_call_cpu_ns)),
        "neighbour_longest_us": us(report.neighbour_longest_ns),
        "reset_us": {
            "p50": us(all.percentile_ns(50)),
            "p99": us(all.percentile_ns(99)),
            "max": us(all.max_ns()),
            "count": all.count(),
            "all": times(all),
            "ways": ways,
        },
        "reset_cpu_us": measured.then(|| times(&report.resets_cpu)),
        "verdicts": verdicts,
        "ok": report.ok(),
    })
}

fn times(times: &Times) -> Value {
    json!({
        "p50": us(times.percentile_ns(50)),
        "p99": us(times.percentile_ns(99)),
        "max": us(times.max_ns()),
        "count": times.count(),
    })
}

fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use freewheel_ata::{Device, Disk, DiskConfig};
    use freewheel_block::fault::FaultLayer;
    use freewheel_block::{Engine, EngineConfig};
    use freewheel_sim::drill::{self, DrillConfig};
    use freewheel_sim::{MemoryDisk, MemoryDiskConfig, VirtualClock};

    fn device() -> Box<dyn Device> {
        let disk = MemoryDisk::new(&MemoryDiskConfig::default());
        let layer = FaultLayer::new(Box::new(disk), 512, [], 1).expect("no faults");
        let engine = Engine::new(Box::new(layer), EngineConfig::default());
        Box::new(Disk::new(DiskConfig::default(), engine).expect("a good disk"))
    }

    #[test]
    fn scripts_find_what_they_look_for() {
        let config = DrillConfig { rounds: 1, ..DrillConfig::default() };
        let clock = Box::new(VirtualClock::default());
        let report = drill::run(device(), device(), clock, config, &mut |_| {}).expect("a drill");
        let text = of(&report, 3);
        assert_eq!(text.lines().count(), 1);
        let object: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(object["backend"], "memory");
        assert_eq!(object["commands_hung"], 32);
        assert_eq!(object["rounds"], 1);
        assert_eq!(object["ok"], true);
        assert_eq!(object["lasting_faults"], 3);
        for name in ["p50", "p99", "max"] {
            let reset_us = &object["reset_us"];
            assert!(reset_us[name].as_f64().is_some_and(|us| us > 0.0), "{name}");
            assert_eq!(reset_us[name], reset_us["all"][name]);
            assert!(reset_us["ways"]["PxCMD.ST=0"][name].as_f64().is_some(), "{name}");
        }
        for clause in 1..=9 {
            let verdict = &object["verdicts"][format!("C{clause}")];
            assert_eq!(verdict["ok"], true, "C{clause}");
            assert!(verdict["checks"].as_u64().is_some_and(|checks| checks > 0), "C{clause}");
            assert_eq!(verdict["violations"], json!([]), "C{clause}");
        }
    }
}
