//! The live state as one JSON tree (contract C9).

use freewheel_ahci::{LinkState, PortStatus};
use freewheel_block::{ByteRange, Counters, EngineStatus, Nanos, OpState};
use serde_json::{Value, json};

use super::control::Subject;
use super::custody::Case;
use super::plug::Bench;
use super::shutdown::Flush;
use super::state_file;

/// The state of the controller and its disks.
pub(super) fn status(subject: &mut Subject<'_>) -> Value {
    let Subject { bench: Bench { controller, .. }, plugs, connected, ending } = subject;
    let now = controller.clock.now();
    let ports = controller.hba.status(now);
    let resets: Vec<Value> = ports
        .iter()
        .flat_map(|port| port.resets.iter().map(move |reset| (port.port, reset)))
        .filter(|(port, _)| plugs.units.iter().any(|unit| unit.place.port == *port))
        .map(|(port, reset)| {
            json!({
                "port": port,
                "kind": reset.kind.name(),
                "ago_ms": now.since(reset.at) / 1_000_000,
                "cancelled": reset.cancelled,
            })
        })
        .collect();
    let mut disk_trees = Vec::new();
    for disk in &plugs.units {
        let port = &ports[disk.place.port];
        let engine = disk.place.engine(&ports);
        let mut tree = engine.map_or(json!({}), |engine| engine_tree(engine, disk.sector_bytes));
        tree["port"] = json!(disk.place.port);
        tree["path"] = json!(disk.image.as_ref().map(|image| &image.path));
        tree["command_issue"] = json!(port.command_issue);
        tree["sata_active"] = json!(port.sata_active);
        tree["task_file_data"] = json!(port.task_file_data);
        tree["link"] = json!(link(port.link));
        tree["leds"] = json!({
            "activity": port.leds.activity,
            "locate": port.leds.locate,
            "fault": port.leds.fault,
        });
        tree["halted"] = json!(port.halted);
        tree["commands_total"] = json!(port.counters.commands_total);
        tree["state_file"] = state_file::status(disk.state.as_ref());
        tree["fatal_total"] = json!(port.counters.fatal_total);
        if let Some(pm_port) = disk.place.pm_port {
            behind(&mut tree, port, pm_port);
        }
        let device = disk.place.device(&mut controller.hba);
        tree["drive"] = json!(device.and_then(|device| device.drive_mut()).map(|drive| {
            json!({
                "tray_open": drive.is_tray_open(),
                "locked": drive.is_locked(),
                "medium": drive.has_medium(),
            })
        }));
        disk_trees.push(tree);
    }
    let stop_us: Vec<f64> = controller.stop_durations_ns().map(micros).collect();
    let custody: Vec<Value> =
        plugs.custody.iter_mut().map(|case| custody_tree(case, now)).collect();
    let opening: Vec<Value> = plugs
        .opening
        .iter()
        .map(|opening| {
            json!({
                "port": opening.place.to_string(),
                "path": opening.path,
                "age_ms": now.since(opening.since) / 1_000_000,
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": now.0 / 1_000_000,
        "connected": connected,
        "ending": ending,
        "turn_us_max": micros(controller.turns.max_ns),
        "turn_us_max_cpu": micros(controller.turns.max_cpu_ns),
        "turn_cpu_us_max": micros(controller.turns.cpu_max_ns),
        "turns_blocked_total": controller.turns.blocked_total,
        "turn_blocked_us_max": micros(controller.turns.blocked_max_ns),
        "hba": {
            "resets_total": controller.hba.resets_total(),
            "stop_us_max": micros(controller.stop_max_ns),
            "stop_us": stop_us,
            "resets": resets,
        },
        "disks": disk_trees,
        "opening": opening,
        "leaving": plugs.leaving(),
        "custody": custody,
    })
}

/// What was taken off and is not settled.
fn custody_tree(case: &mut Case, now: Nanos) -> Value {
    let sector_bytes = case.sector_bytes;
    let range = |range| lba_range(range, sector_bytes);
    let in_doubt: Vec<Value> = case.doubts().into_iter().map(range).collect();
    let engine = case.engine_mut().map(|engine| engine.status(now));
    let mut tree = engine.map_or(json!({}), |engine| engine_tree(&engine, sector_bytes));
    tree["path"] = json!(case.image.path);
    tree["age_ms"] = json!(now.since(case.since) / 1_000_000);
    tree["flushed"] = json!(case.flush == Flush::Done);
    tree["in_doubt"] = json!(in_doubt);
    tree
}

/// What is different for a disk behind a port multiplier: what it has of the port.
fn behind(tree: &mut Value, port: &PortStatus, pm_port: u8) {
    tree["pm_port"] = json!(pm_port);
    let Some(device) = port.behind.get(usize::from(pm_port)) else { return };
    tree["command_issue"] = json!(port.command_issue & device.slots);
    tree["sata_active"] = json!(port.sata_active & device.slots);
    tree["task_file_data"] = json!(device.task_file_data);
    tree["serror"] = json!(device.serror);
    if port.link == LinkState::Up {
        tree["link"] = json!(link(device.link));
    }
}

fn link(state: LinkState) -> &'static str {
    match state {
        LinkState::Absent => "absent",
        LinkState::Off => "off",
        LinkState::Dropped { .. } => "dropped",
        LinkState::Silent => "silent",
        LinkState::Up => "up",
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

fn lba_range(range: ByteRange, sector_bytes: u64) -> Value {
    json!({
        "lba": range.offset_bytes / sector_bytes,
        "sectors": range.len_bytes.div_ceil(sector_bytes),
    })
}

fn engine_tree(engine: &EngineStatus, sector_bytes: u64) -> Value {
    let operations: Vec<Value> = engine
        .operations
        .iter()
        .map(|op| {
            let state = match op.state {
                OpState::Queued => "queued",
                OpState::Held => "held",
                OpState::Running => "running",
            };
            json!({
                "tag": op.tag,
                "kind": op.kind.name(),
                "range": lba_range(op.range, sector_bytes),
                "state": state,
                "age_ms": op.age_ns / 1_000_000,
            })
        })
        .collect();
    let orphans: Vec<Value> = engine
        .orphans
        .iter()
        .map(|orphan| {
            json!({
                "kind": orphan.kind.name(),
                "range": lba_range(orphan.range, sector_bytes),
                "fenced": orphan.fenced,
                "age_ms": orphan.age_ns / 1_000_000,
                "orphaned_ms": orphan.orphaned_ns / 1_000_000,
            })
        })
        .collect();
    let mut tree = counters_tree(&engine.counters);
    tree["engine"] = json!(engine.backend);
    tree["size_bytes"] = json!(engine.size_bytes);
    tree["slots"] = json!(engine.slots);
    tree["free_slots"] = json!(engine.free_slots);
    tree["operations"] = json!(operations);
    tree["orphans"] = json!(orphans);
    tree
}

fn counters_tree(counters: &Counters) -> Value {
    json!({
        "submitted_total": counters.submitted_total,
        "completed_total": counters.completed_total,
        "failed_total": counters.failed_total,
        "cancelled_total": counters.cancelled_total,
        "orphans_total": counters.orphans_total,
        "orphans_now": counters.orphans_now,
        "fences_total": counters.fences_total,
        "fences_now": counters.fences_now,
        "held_total": counters.held_total,
        "held_now": counters.held_now,
        "released_total": counters.released_total,
        "queued_now": counters.queued_now,
        "running_now": counters.running_now,
        "spurious_total": counters.spurious_total,
        "short_total": counters.short_total,
        "read_bytes_total": counters.read_bytes_total,
        "written_bytes_total": counters.written_bytes_total,
    })
}
