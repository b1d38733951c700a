//! The timeline: who did what, when, for people to follow while it happens.
//!
//! The first way to reset is told in full; of the others only what differs.

use std::io::Write;

use freewheel_block::Nanos;
use freewheel_sim::Identity;
use freewheel_sim::drill::{Event, EventKind, Phase};

use super::style::{Style, duration, ranges, size, tag_map};

/// Who acts.
const GUEST: &str = "guest";
const STORAGE: &str = "storage";
const DEVICE: &str = "device";

/// Tells events as they come. A reader that has gone away does not stop the drill.
pub(super) struct Timeline<W> {
    out: W,
    style: Style,
    origin: Option<Nanos>,
    tags: u8,
    sector_bytes: u32,
    /// Ways that have begun.
    ways: u32,
    in_full: bool,
    /// Rounds that were not told.
    untold: u32,
}

impl<W: Write> Timeline<W> {
    pub(super) fn new(out: W, style: Style) -> Self {
        Self {
            out,
            style,
            origin: None,
            tags: 32,
            sector_bytes: 512,
            ways: 0,
            in_full: true,
            untold: 0,
        }
    }

    fn line(&mut self, text: &str) {
        // Nobody is left to tell.
        let _ = writeln!(self.out, "{text}");
    }

    fn act(&mut self, at: Nanos, who: &str, what: &str) {
        let origin = *self.origin.get_or_insert(at);
        let time = self.style.dim(&format!("{:>11}", format!("+{}", duration(at.since(origin)))));
        let who = self.style.bold(&format!("{who:<7}"));
        self.line(&format!("  {time}  {who}  {what}"));
    }

    /// Tells of one event.
    pub(super) fn tell(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::Identified { identity, backend, slots } => {
                self.introduce(identity, backend, *slots);
            }
            EventKind::Phase(phase) => self.phase(*phase),
            EventKind::Round { round: 0 } => {
                self.say_untold();
                self.origin = None;
            }
            EventKind::Round { .. } => self.untold += 1,
            EventKind::Reset { way, ended, took_ns, still_stuck } => {
                let took = duration(*took_ns);
                let end = if *ended {
                    format!("PxCI=PxSACT=0, PxCMD.CR=0 after {}", self.style.good(&took))
                } else {
                    self.style.bad(&format!("has not ended after {took}"))
                };
                let still = self.style.stuck(&still_stuck.to_string());
                let what = format!("{} → {end}; the storage still sits on {still}", way.name());
                self.act(at, GUEST, &what);
            }
            EventKind::Orphans { orphans, fences, in_doubt, free_slots, slots } => {
                let what = format!(
                    "{} orphans, {} fences, {free_slots} of {slots} slots free; in doubt: LBA {}",
                    self.style.stuck(&orphans.to_string()),
                    self.style.stuck(&fences.to_string()),
                    ranges(in_doubt, self.sector_bytes)
                );
                self.act(at, DEVICE, &what);
            }
            EventKind::Held { slots } => {
                let map = self.style.stuck(&tag_map(*slots, self.tags));
                self.act(at, DEVICE, &format!("held  {map}  behind the fences"));
            }
            EventKind::Drained { took_ns } => {
                let took = duration(*took_ns);
                self.act(at, DEVICE, &format!("every orphan, fence and hold is gone after {took}"));
            }
            EventKind::Violation { words } => {
                let words = self.style.bad(&format!("violation: {words}"));
                self.line(&format!("               {words}"));
            }
            kind if self.in_full => self.detail(at, kind),
            _ => {}
        }
    }

    fn detail(&mut self, at: Nanos, kind: &EventKind) {
        match kind {
            EventKind::Fault { spec } => {
                self.act(at, STORAGE, &format!("stops answering (fault {spec})"));
            }
            EventKind::Stalled => self.act(at, STORAGE, "stops answering, in the kernel"),
            EventKind::Doorbell { slots, what } => {
                let map = tag_map(*slots, self.tags);
                self.act(at, GUEST, &format!("tags  {map}  {what}"));
            }
            EventKind::Stuck { requests } => {
                let requests = self.style.stuck(&requests.to_string());
                self.act(at, STORAGE, &format!("has {requests} requests and answers none"));
            }
            EventKind::Canary { bytes } => {
                let what = format!("paints {} that the cancelled commands had", size(*bytes));
                self.act(at, GUEST, &what);
            }
            EventKind::Ended { slots, what, took_ns } => {
                let map = self.style.good(&tag_map(*slots, self.tags));
                self.act(at, DEVICE, &format!("ended {map}  {what}, in {}", duration(*took_ns)));
            }
            EventKind::Released { requests } => {
                self.act(at, STORAGE, &format!("comes back, and executes {requests} old requests"));
            }
            EventKind::Checked { canary_bytes, chunks } => {
                let what = format!(
                    "looks at {} of paint, and reads {chunks} places of the disk back",
                    size(*canary_bytes)
                );
                self.act(at, GUEST, &what);
            }
            EventKind::BudgetSpent { resets, queued } => {
                let what = format!(
                    "every slot is an orphan's after {resets} resets; {queued} new commands queue"
                );
                self.act(at, DEVICE, &what);
            }
            EventKind::Neighbour { commands, longest_ns } => {
                let what = format!(
                    "works on the other disk: {commands} commands, the longest {}",
                    duration(*longest_ns)
                );
                self.act(at, GUEST, &what);
            }
            EventKind::Trouble { what, survived, tried } => {
                self.act(at, STORAGE, &format!("{what}: {survived} of {tried} survived"));
            }
            _ => {}
        }
    }

    fn introduce(&mut self, identity: &Identity, backend: &str, slots: usize) {
        self.tags = identity.queue_depth;
        self.sector_bytes = identity.sector_bytes;
        let trim = if identity.trim { ", TRIM" } else { "" };
        let what = format!(
            "  {} {}, {} of {}-byte sectors{trim}, {} tags; engine {backend} with {slots} slots",
            identity.model,
            identity.serial,
            size(identity.sectors * u64::from(identity.sector_bytes)),
            identity.sector_bytes,
            identity.queue_depth,
        );
        self.line(&what);
    }

    fn phase(&mut self, phase: Phase) {
        self.say_untold();
        self.origin = None;
        let title = match phase {
            Phase::StartUp => {
                self.line("");
                let title = "A guest, a full queue, and storage that stops answering";
                let title = self.style.bold(title);
                self.line(&format!("  {title}"));
                return;
            }
            Phase::Way(way) => {
                self.ways += 1;
                self.in_full = self.ways == 1;
                format!("Reset by {}", way.name())
            }
            Phase::Budget => "Resets until nothing is left to give".to_owned(),
            Phase::Trouble => "Errors, delays, and bad moments".to_owned(),
        };
        if !matches!(phase, Phase::Way(_)) {
            self.in_full = true;
        }
        self.line("");
        let title = self.style.bold(&title);
        self.line(&format!("  ── {title}"));
    }

    fn say_untold(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            let rounds = if untold == 1 { "round" } else { "rounds" };
            let text = self.style.dim(&format!("{:>11}  {untold} more {rounds}", "…"));
            self.line(&format!("  {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freewheel_sim::ResetWay;

    #[test]
    fn a_round_reads_as_a_story() {
        let mut out = Vec::new();
        let mut timeline = Timeline::new(&mut out, Style::plain());
        let kinds = [
            EventKind::Phase(Phase::Way(ResetWay::Stop)),
            EventKind::Round { round: 0 },
            EventKind::Fault { spec: "any:hang" },
            EventKind::Doorbell { slots: 0xffff_ffff, what: "reads and writes, mixed" },
            EventKind::Reset { way: ResetWay::Stop, ended: true, took_ns: 8_300, still_stuck: 32 },
            EventKind::Round { round: 1 },
            EventKind::Phase(Phase::Way(ResetWay::Comreset)),
            EventKind::Fault { spec: "any:hang" },
        ];
        for (index, kind) in kinds.into_iter().enumerate() {
            timeline.tell(&Event { at: Nanos(1_000_000 + index as u64 * 12_000), kind });
        }
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  ── Reset by PxCMD.ST=0");
        assert_eq!(lines[2], "        +0 ns  storage  stops answering (fault any:hang)");
        assert!(lines[3].ends_with("████  reads and writes, mixed"), "{text}");
        assert!(lines[4].contains("after 8.3 µs; the storage still sits on 32"), "{text}");
        assert!(lines[5].ends_with("1 more round"), "{text}");
        assert_eq!(lines[7], "  ── Reset by COMRESET");
        assert_eq!(lines.len(), 8, "what every way has in common is told once: {text}");
    }
}
