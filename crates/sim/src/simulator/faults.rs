//! Runs with the real fault layers between the engine and the storage, and with faults of the link:
//! which runs have them, which faults, and what is counted of them. `links` has what becomes of the
//! link.
//!
//! Faults are sprinkled over a plan that is complete without them, so a seed without faults means
//! what it would mean if there were none. Left out: `corrupt` on writes (the damage is on the medium for
//! good, and nobody could tell it from a lost write) and on reads that the engine may make for the
//! alignment's sake (for the same reason).

use std::fmt::Write as _;

use freewheel_block::fault::{FaultAction, FaultLayer, FaultSpec, LinkFault, OpMatch};
use freewheel_block::{Backend, OpKind};

use super::config::WorldConfig;
use super::disk::FaultyDisk;
use super::rng::Rng;
use super::step::Step;
use super::violation::Kind;
use super::witness::Witness;
use super::world::World;

/// How many of a hundred runs have faults.
const SHARE: u32 = 25;
/// What requests fail with: EIO, ENOSPC, ETIMEDOUT, EROFS.
const ERRNOS: [i32; 4] = [5, 28, 110, 30];
/// Delays: shorter and longer than the guest has patience.
const DELAYS_NS: [u64; 5] = [3_000, 30_000, 200_000, 1_000_000, 50_000_000];
/// For how long a link drops, if nobody releases it.
const DROPS_NS: [u64; 4] = [1_000, 20_000, 1_000_000, 60_000_000_000];

/// What is injected, or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A fault of the storage is added.
    Add {
        /// What it does.
        action: FaultAction,
        /// Decides which requests it is for.
        which: u32,
    },
    /// The faults of the storage are removed; what they keep stays.
    Clear,
    /// What they keep goes on.
    Release,
    /// A fault of the link.
    Link {
        /// Which.
        fault: LinkFault,
        /// Decides what comes of it.
        which: u32,
    },
}

/// Decides whether a run has faults, and puts them among its steps.
pub(super) fn sprinkle(rng: &mut Rng, config: &mut WorldConfig, steps: &mut Vec<Step>) {
    if !rng.percent(SHARE) {
        return;
    }
    config.faults = Some(rng.bits());
    // The simulated storage knows whole sectors; `short` would cut them at an alignment below.
    config.io_align_bytes = config.io_align_bytes.max(u64::from(config.sector_bytes));
    let corrupts = config.may_corrupt();
    let mut places: Vec<usize> =
        (0..8 + rng.below(16)).map(|_| rng.below(steps.len() as u32) as usize).collect();
    places.sort_unstable();
    let plain = std::mem::replace(steps, Vec::with_capacity(steps.len() + places.len()));
    let mut places = places.into_iter().peekable();
    for (at, step) in plain.into_iter().enumerate() {
        while places.next_if_eq(&at).is_some() {
            let disk = rng.below(config.disks as u32) as u8;
            steps.push(Step::Fault { disk, fault: any(rng, corrupts) });
        }
        steps.push(step);
    }
}

fn any(rng: &mut Rng, corrupts: bool) -> Fault {
    let chance = rng.below(100);
    let which = rng.bits() as u32;
    match chance {
        0..=41 => {
            let action = match rng.below(if corrupts { 6 } else { 5 }) {
                0..=1 => FaultAction::Delay(rng.pick(&DELAYS_NS)),
                2 => FaultAction::Hang,
                3 => FaultAction::Error(rng.pick(&ERRNOS)),
                4 => FaultAction::Short,
                _ => FaultAction::Corrupt,
            };
            Fault::Add { action, which }
        }
        42..=51 => Fault::Clear,
        52..=63 => Fault::Release,
        _ => {
            let fault = match rng.below(8) {
                0 => LinkFault::Drop(rng.pick(&DROPS_NS)),
                1 => LinkFault::Crc,
                2 => LinkFault::NoSignature,
                3 => LinkFault::UnknownFis,
                4 => LinkFault::BadFis,
                5 => LinkFault::Retry,
                6 => LinkFault::Stuck,
                _ => LinkFault::Poison,
            };
            Fault::Link { fault, which }
        }
    }
}

impl WorldConfig {
    /// Whether damage to a read can be told: the engine reads nothing but what guests ask for.
    pub(super) fn may_corrupt(&self) -> bool {
        self.faults.is_some() && self.io_align_bytes <= u64::from(self.sector_bytes)
    }
}

/// The backend of an engine: the storage, under the layers if the run has them.
pub(super) fn storage(config: &WorldConfig, disk: &FaultyDisk) -> Box<dyn Backend> {
    let below: Box<dyn Backend> = match config.faults {
        None => Box::new(disk.clone()),
        Some(seed) => {
            let sector_bytes = u64::from(config.sector_bytes);
            let layer = FaultLayer::new(Box::new(disk.clone()), sector_bytes, [], seed);
            Box::new(layer.expect("a layer without a fault"))
        }
    };
    Box::new(Witness::new(below, disk.clone()))
}

/// The requests that a fault is for.
fn matching(action: FaultAction, which: u32) -> OpMatch {
    let kinds = [
        Some(OpKind::Read),
        Some(OpKind::Write),
        None,
        None,
        Some(OpKind::Flush),
        Some(OpKind::Discard),
        Some(OpKind::WriteZeroes),
        Some(OpKind::Write),
    ];
    let kind = match action {
        FaultAction::Corrupt => Some(OpKind::Read),
        FaultAction::Short => kinds[which as usize % 4],
        _ => kinds[which as usize % 8],
    };
    let lba = (which >> 3 & 3 == 0)
        .then(|| (u64::from(which >> 8 & 0x7f), 1 + u64::from(which >> 16 & 15)));
    let (nth, probability) = match which >> 5 & 3 {
        0 => (None, Some(f64::from(which >> 24) / 1024.0)),
        _ => (Some(1 + u64::from(which >> 20 & 7)), None),
    };
    OpMatch { kind, lba, nth, probability }
}

impl World {
    /// The fault layer of a disk, in runs that have one.
    pub(super) fn layer(&mut self, port: usize) -> Option<&mut FaultLayer> {
        self.config.faults?;
        self.engine(port)?.backend_mut().fault_layer()
    }

    /// How many requests it keeps.
    pub(super) fn parked(&mut self, port: usize) -> usize {
        self.layer(port).map_or(0, |layer| layer.parked())
    }

    /// Lets what the layer keeps go on.
    pub(super) fn release(&mut self, port: usize) {
        let now = self.now;
        if let Some(layer) = self.layer(port) {
            let count = layer.release(now);
            self.stats.faults.released += count as u64;
        }
    }

    /// The clock goes on to when a fault layer wants to be asked again. Says whether it does.
    pub(super) fn wait_for_layer(&mut self, port: usize, patience_ns: u64) -> bool {
        if self.parked(port) == 0 {
            return false;
        }
        let due = self.hba.next_wakeup();
        let due = due.filter(|due| *due > self.now && due.since(self.now) <= patience_ns);
        self.now = due.unwrap_or(self.now);
        due.is_some()
    }

    pub(super) fn fault(&mut self, port: usize, fault: Fault) {
        match fault {
            Fault::Add { action, which } => {
                let matching = matching(action, which);
                let Some(layer) = self.layer(port) else { return };
                // There may be no room left for one more.
                if layer.add(FaultSpec::Op { matching, action }).is_ok() {
                    self.guests[port].corrupts |= action == FaultAction::Corrupt;
                    self.stats.faults.storage[kind_of(action)] += 1;
                }
            }
            Fault::Clear => {
                if let Some(layer) = self.layer(port) {
                    layer.clear();
                }
            }
            Fault::Release => self.release(port),
            Fault::Link { fault, which } => self.link_fault(port, fault, which),
        }
    }

    /// Nothing is faulty any more, and what was kept goes on.
    pub(super) fn heal(&mut self) {
        self.hba.clear_link_faults();
        for port in 0..self.guests.len() {
            self.guests[port].link.clear();
            if let Some(layer) = self.layer(port) {
                layer.clear();
            }
            self.release(port);
            let state = self.disks[port].state();
            self.stats.faults.parked += state.parked;
            self.stats.faults.failed += state.failed;
        }
    }

    /// The word that a sector in memory holds, but for one byte that a fault may have damaged.
    pub(super) fn word_but_for_damage(
        &mut self,
        port: usize,
        address: u64,
        len: u64,
    ) -> Option<u64> {
        if !self.guests[port].corrupts {
            return None;
        }
        let word = self.memory.word_but_one_byte(address, len);
        self.stats.faults.damaged += u64::from(word.is_some());
        word
    }
}

fn kind_of(action: FaultAction) -> usize {
    match action {
        FaultAction::Delay(_) => 0,
        FaultAction::Hang => 1,
        FaultAction::Error(_) => 2,
        FaultAction::Short => 3,
        FaultAction::Corrupt => 4,
    }
}

const STORAGE: [&str; 5] = ["delay", "hang", "error", "short", "corrupt"];
pub(super) const LINK: [&str; 8] =
    ["drop", "crc", "no-signature", "unknown-fis", "bad-fis", "retry", "stuck", "poison"];

/// Faults in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStats {
    /// Runs with faults.
    pub runs: u64,
    /// Faults of the storage that were added, by action.
    storage: [u64; STORAGE.len()],
    /// Faults of the link that were injected.
    pub(super) link: [u64; LINK.len()],
    /// Those that the guest was seen to be told of by an interrupt cause of their own.
    pub link_causes: u64,
    /// Requests that a layer has kept for a time.
    pub parked: u64,
    /// Those of them that were released before their time.
    pub released: u64,
    /// Requests that a layer has failed.
    pub failed: u64,
    /// Sectors that reached the guest damaged.
    pub damaged: u64,
}

impl FaultStats {
    pub(super) fn add(&mut self, other: &FaultStats) {
        self.runs += other.runs;
        let mine = self.storage.iter_mut().chain(&mut self.link);
        mine.zip(other.storage.iter().chain(&other.link)).for_each(|(mine, more)| *mine += more);
        self.link_causes += other.link_causes;
        self.parked += other.parked;
        self.released += other.released;
        self.failed += other.failed;
        self.damaged += other.damaged;
    }

    /// What was injected, by name, with how often.
    pub fn injected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.storage.into_iter().chain(self.link);
        STORAGE.into_iter().chain(LINK).zip(counts)
    }

    /// A line for people.
    pub fn text(&self) -> String {
        let mut text = format!("faults in {} seeds:", self.runs);
        for (name, count) in self.injected() {
            let _ = write!(text, " {name} {count},");
        }
        let Self { parked, released, failed, damaged, link_causes, .. } = self;
        let _ = write!(
            text,
            " injected; {parked} requests kept ({released} released), {failed} failed, \
             {damaged} sectors damaged, {link_causes} faults of the link shown in PxIS"
        );
        text
    }
}

impl World {
    /// A fault of the link that the controller refuses: there is no reason to.
    pub(super) fn inject(&mut self, port: usize, fault: LinkFault) {
        self.guests[port].link.expect(fault);
        if let Err(error) = self.hba.inject_link_fault(port, fault, self.now) {
            self.fail(Kind::Register, || format!("{fault:?} is refused: {error}"));
        }
        self.event();
    }
}
