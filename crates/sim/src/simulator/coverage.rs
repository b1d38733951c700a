//! What a run has visited: slot states × events, commands × resets, and port states × register
//! writes. A cell that can be reached and never was is a hole in the simulation.

use core::fmt::Write as _;

use super::faults::LINK;

/// What a slot of the engine does, as the storage sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing.
    Free,
    /// A live read.
    Reading,
    /// A live write.
    Writing,
    /// A live discard.
    Discarding,
    /// A live flush.
    Flushing,
    /// Storage has completed it, and the engine has not looked yet.
    Completed,
    /// An orphan with a fence.
    OrphanFenced,
    /// An orphan without.
    OrphanFree,
    /// No slot yet: an operation that waits for one, or for its turn.
    Queued,
    /// No slot yet: an operation that is held behind a fence or an unaligned write.
    Held,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// It is handed to the storage.
    HandOver,
    /// The storage completes it.
    Done,
    /// The storage carries it out and says nothing.
    CarriedOut,
    /// The transfer falls short.
    Short,
    /// It fails.
    Failed,
    /// It completes twice.
    Twice,
    /// A completion of its former use arrives again.
    Repeated,
    /// It hangs.
    Hung,
    /// It is cancelled.
    Cancelled,
    /// It is held.
    Hold,
    /// What held it is gone.
    Release,
    /// A fault layer keeps it.
    Parked,
    /// The fault layer lets it go on to the storage.
    Unparked,
}

/// What a port is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Stopped.
    Stopped,
    /// Running, with nothing to do.
    Idle,
    /// Running commands that are not queued.
    Busy,
    /// Running queued commands.
    Queue,
    /// Halted by an error.
    Halted,
    /// The link is in COMRESET.
    Dark,
    /// SRST is set.
    InReset,
    /// The device has been pulled out.
    Gone,
}

/// A write to a register, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortWrite {
    /// PxCLB, PxFB.
    Base,
    /// PxCI.
    Issue,
    /// PxSACT.
    Active,
    /// PxCMD.ST set.
    Start,
    /// PxCMD.ST cleared.
    Stop,
    /// PxCMD.CLO.
    Override,
    /// PxSCTL.DET to 1.
    Comreset,
    /// PxSCTL.DET to 0.
    LinkOn,
    /// PxIS.
    Clear,
    /// PxSERR.
    ClearErrors,
    /// PxIE.
    Mask,
    /// GHC.HR.
    HbaReset,
    /// Function reset.
    FunctionReset,
    /// The device is pulled out.
    Detach,
    /// It comes back.
    Attach,
    /// Another device comes, with the same medium.
    AttachNew,
    /// Another device does not come, because ranges of the medium are in doubt.
    AttachRefused,
}

/// What a drive is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveState {
    /// The tray is closed and empty.
    Empty,
    /// It is open and empty.
    Open,
    /// It is open with a disc in it: the guest has opened it.
    OpenLoaded,
    /// A disc is in it.
    Loaded,
    /// And the guest has locked it.
    Locked,
    /// It reads.
    Reading,
    /// The disc was taken out while it was read, and the guest does not know.
    Lost,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveEvent {
    /// The user inserts a disc.
    Insert,
    /// There is one.
    Occupied,
    /// The user ejects.
    Eject,
    /// Which the guest's lock prevents.
    Refused,
    /// Which nothing prevents.
    Forced,
    /// The guest opens the tray.
    Opens,
    /// Which its own lock prevents.
    Prevented,
    /// It closes the tray.
    Loads,
    /// It issues a read.
    Reads,
    /// Another command ends well.
    Good,
    /// A command ends with a unit attention.
    Attention,
    /// A command finds no medium.
    NotReady,
    /// A read ends well.
    Data,
    /// A read fails.
    Error,
    /// The port is stopped.
    Stop,
    /// COMRESET.
    Comreset,
    /// All ports are reset.
    HbaReset,
}

const SLOT_STATES: [&str; 10] = [
    "free",
    "reading",
    "writing",
    "discarding",
    "flushing",
    "completed",
    "orphan, fenced",
    "orphan, no fence",
    "queued",
    "held",
];
const SLOT_EVENTS: [&str; 13] = [
    "hand-over",
    "done",
    "carried out",
    "short",
    "failed",
    "twice",
    "repeated",
    "hangs",
    "cancelled",
    "hold",
    "release",
    "parked",
    "unparked",
];
const PORT_STATES: [&str; 8] =
    ["stopped", "idle", "busy", "queue", "halted", "link dark", "SRST set", "no device"];
const PORT_WRITES: [&str; 17] = [
    "CLB/FB",
    "CI",
    "SACT",
    "ST=1",
    "ST=0",
    "CLO",
    "DET=1",
    "DET=0",
    "IS",
    "SERR",
    "IE",
    "GHC.HR",
    "FLR",
    "detach",
    "attach",
    "new device",
    "refused",
];

const DRIVE_STATES: [&str; 7] =
    ["empty", "open", "open, loaded", "loaded", "locked", "reading", "disc lost"];
const DRIVE_EVENTS: [&str; 17] = [
    "insert",
    "occupied",
    "eject",
    "refused",
    "forced",
    "guest opens",
    "prevented",
    "guest loads",
    "read",
    "other",
    "attention",
    "not ready",
    "read: data",
    "read: error",
    "ST=0",
    "COMRESET",
    "all reset",
];

/// The tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    slots: [[u64; SLOT_EVENTS.len()]; SLOT_STATES.len()],
    ports: [[u64; PORT_WRITES.len()]; PORT_STATES.len()],
    links: [[u64; LINK.len()]; PORT_STATES.len()],
    drives: [[u64; DRIVE_EVENTS.len()]; DRIVE_STATES.len()],
}

impl Coverage {
    /// Counts an event of a slot.
    pub fn slot(&mut self, state: SlotState, event: SlotEvent) {
        self.slots_by(state, event, 1);
    }

    /// Counts several of them.
    pub fn slots_by(&mut self, state: SlotState, event: SlotEvent, count: u64) {
        self.slots[state as usize][event as usize] += count;
    }

    /// Counts a register write.
    pub fn port(&mut self, state: PortState, write: PortWrite) {
        self.ports[state as usize][write as usize] += 1;
    }

    /// Counts a fault of the link.
    pub(super) fn link_fault(&mut self, state: PortState, fault: usize) {
        self.links[state as usize][fault] += 1;
    }

    /// Counts what happens to a drive.
    pub fn drive(&mut self, state: DriveState, event: DriveEvent) {
        self.drives[state as usize][event as usize] += 1;
    }

    /// Adds the visits of `other`.
    pub fn add(&mut self, other: &Coverage) {
        let mine = self.slots.iter_mut().flatten().chain(self.ports.iter_mut().flatten());
        let mine = mine.chain(self.links.iter_mut().flatten());
        let mine = mine.chain(self.drives.iter_mut().flatten());
        let theirs = other.slots.iter().flatten().chain(other.ports.iter().flatten());
        let theirs = theirs.chain(other.links.iter().flatten());
        let theirs = theirs.chain(other.drives.iter().flatten());
        mine.zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The cells that can be reached and were not.
    pub fn holes(&self) -> Vec<String> {
        let mut holes = Vec::new();
        for (state, row) in self.slots.iter().enumerate() {
            for (event, count) in row.iter().enumerate() {
                if *count == 0 && slot_cannot(state, event).is_none() {
                    holes.push(format!("slot {} × {}", SLOT_STATES[state], SLOT_EVENTS[event]));
                }
            }
        }
        for (state, row) in self.ports.iter().enumerate() {
            for (write, count) in row.iter().enumerate() {
                if *count == 0 && port_cannot(state, write).is_none() {
                    holes.push(format!("port {} × {}", PORT_STATES[state], PORT_WRITES[write]));
                }
            }
        }
        for (state, row) in self.links.iter().enumerate() {
            for (fault, count) in row.iter().enumerate() {
                if *count == 0 && link_cannot(state, fault).is_none() {
                    holes.push(format!("port {} × link:{}", PORT_STATES[state], LINK[fault]));
                }
            }
        }
        for (state, row) in self.drives.iter().enumerate() {
            for (event, count) in row.iter().enumerate() {
                if *count == 0 && drive_cannot(state, event).is_none() {
                    holes.push(format!("drive {} × {}", DRIVE_STATES[state], DRIVE_EVENTS[event]));
                }
            }
        }
        holes
    }

    /// The tables for people, with the reasons for what cannot be.
    pub fn text(&self) -> String {
        let mut reasons: Vec<&str> = Vec::new();
        let mut text = String::from("slot states × events\n");
        let rows: Vec<&[u64]> = self.slots.iter().map(|row| &row[..]).collect();
        table(&mut text, &SLOT_STATES, &SLOT_EVENTS, &rows, &mut reasons, slot_cannot);
        text.push_str("\nport states × register writes\n");
        let rows: Vec<&[u64]> = self.ports.iter().map(|row| &row[..]).collect();
        table(&mut text, &PORT_STATES, &PORT_WRITES, &rows, &mut reasons, port_cannot);
        text.push_str("\nport states × faults of the link\n");
        let rows: Vec<&[u64]> = self.links.iter().map(|row| &row[..]).collect();
        table(&mut text, &PORT_STATES, &LINK, &rows, &mut reasons, link_cannot);
        text.push_str("\ndrive states × events\n");
        let rows: Vec<&[u64]> = self.drives.iter().map(|row| &row[..]).collect();
        table(&mut text, &DRIVE_STATES, &DRIVE_EVENTS, &rows, &mut reasons, drive_cannot);
        text.push('\n');
        for (index, reason) in reasons.iter().enumerate() {
            let _ = writeln!(text, "  ({}) cannot be: {reason}", letter(index));
        }
        text
    }
}

fn letter(index: usize) -> char {
    let mut letters = ('a'..='z').chain('A'..='Z');
    letters.nth(index).unwrap_or('?')
}

fn table(
    text: &mut String,
    states: &[&'static str],
    events: &[&'static str],
    rows: &[&[u64]],
    reasons: &mut Vec<&'static str>,
    cannot: fn(usize, usize) -> Option<&'static str>,
) {
    let _ = write!(text, "{:17}", "");
    for event in events {
        let _ = write!(text, "{event:>13}");
    }
    text.push('\n');
    for (state, row) in rows.iter().enumerate() {
        let _ = write!(text, "{:17}", states[state]);
        for (event, count) in row.iter().enumerate() {
            match cannot(state, event) {
                Some(reason) if *count == 0 => {
                    let index = reasons.iter().position(|known| *known == reason);
                    let index = index.unwrap_or_else(|| {
                        reasons.push(reason);
                        reasons.len() - 1
                    });
                    let _ = write!(text, "{:>13}", format!("({})", letter(index)));
                }
                _ => {
                    let _ = write!(text, "{count:>13}");
                }
            }
        }
        text.push('\n');
    }
}

/// Why a slot in `state` cannot see `event`; `None` if it can.
fn slot_cannot(state: usize, event: usize) -> Option<&'static str> {
    use SlotEvent as E;
    use SlotState as S;
    let is = |what: SlotState| state == what as usize;
    let sees = |what: SlotEvent| event == what as usize;
    if is(S::Queued) || is(S::Held) {
        let possible = sees(E::Cancelled)
            || is(S::Queued) && (sees(E::HandOver) || sees(E::Hold))
            || is(S::Held) && sees(E::Release);
        return (!possible)
            .then_some("the storage has not been asked; a held one is released first");
    }
    if sees(E::Hold) || sees(E::Release) {
        return Some("only what waits is held, and what is held is released");
    }
    if sees(E::Parked) && (is(S::OrphanFenced) || is(S::OrphanFree)) {
        return Some("a fault layer keeps what is handed over, which is live");
    }
    if is(S::Free) {
        return (!sees(E::HandOver) && !sees(E::Repeated))
            .then_some("a free slot has no request that anything could happen to");
    }
    if sees(E::HandOver) {
        return Some("only a free slot is handed over (a violation otherwise)");
    }
    if is(S::Completed) {
        return (!sees(E::Cancelled)).then_some("the storage has let go of it already");
    }
    if sees(E::Cancelled) && (is(S::OrphanFenced) || is(S::OrphanFree)) {
        return Some("an orphan has been cancelled, and is cancelled once");
    }
    None
}

/// Why a port in `state` never meets an injection; `None` if it does.
fn link_cannot(state: usize, _fault: usize) -> Option<&'static str> {
    if state == PortState::Gone as usize {
        return Some("without a device there is no link");
    }
    let middle = [PortState::Dark as usize, PortState::InReset as usize];
    middle
        .contains(&state)
        .then_some("faults are injected between what this guest does, resets included")
}

/// Why a driver of a port in `state` never does `write`; `None` if it does.
fn port_cannot(state: usize, write: usize) -> Option<&'static str> {
    use PortState as S;
    use PortWrite as W;
    let is = |what: PortState| state == what as usize;
    let does = |what: PortWrite| write == what as usize;
    let comes = does(W::Attach) || does(W::AttachNew) || does(W::AttachRefused);
    if is(S::Gone) {
        let starts = does(W::Start) || does(W::Issue) || does(W::Active);
        let whole = does(W::Base) || does(W::Override) || does(W::Detach);
        return (starts || whole || does(W::LinkOn))
            .then_some("without a device this guest stops and resets the port, no more");
    }
    if comes {
        return Some("devices come to ports that have none");
    }
    if does(W::Detach) && (is(S::Dark) || is(S::InReset)) {
        return Some("this user pulls nothing out in the middle of a reset");
    }
    if does(W::LinkOn) && !is(S::Dark) {
        return Some("DET goes to 0 only after it was 1");
    }
    if does(W::Base) && !is(S::Stopped) {
        return Some("bases may be written only while the port is stopped (3.3.1)");
    }
    if does(W::Override) && !is(S::Stopped) {
        return Some("CLO may be set only while the port is stopped (3.3.7)");
    }
    if does(W::Start) && !is(S::Stopped) {
        return Some("ST is set only while it is clear and a device is there (10.3.1)");
    }
    if does(W::Stop) && is(S::Stopped) {
        return Some("ST is clear already");
    }
    if does(W::Active) && (is(S::Busy) || is(S::Stopped)) {
        return Some("drivers queue nothing among other commands, nor on a port that stands still");
    }
    if does(W::Issue) && is(S::Stopped) {
        return Some("drivers issue nothing to a port that stands still");
    }
    if is(S::Dark) || is(S::InReset) {
        let resets = does(W::HbaReset) || does(W::FunctionReset) || does(W::Stop);
        let wanted = resets
            || is(S::Dark) && does(W::LinkOn)
            || is(S::InReset) && (does(W::Issue) || does(W::Comreset));
        return (!wanted).then_some("in the middle of a reset this guest ends it, or resets again");
    }
    None
}

/// Why a drive in `state` cannot see `event`; `None` if it can.
fn drive_cannot(state: usize, event: usize) -> Option<&'static str> {
    use DriveEvent as E;
    use DriveState as S;
    let is = |what: DriveState| state == what as usize;
    let sees = |what: DriveEvent| event == what as usize;
    let runs = is(S::Reading) || is(S::Lost);
    let commands = E::Opens as usize..=E::NotReady as usize;
    if runs && commands.contains(&event) {
        return Some("one packet command at a time");
    }
    if !runs && (sees(E::Data) || sees(E::Error)) {
        return Some("no read is in flight");
    }
    let full = is(S::OpenLoaded) || is(S::Loaded) || is(S::Locked) || is(S::Reading);
    if full && sees(E::Insert) || (is(S::Empty) || is(S::Open)) && sees(E::Occupied) {
        return Some("a disc is there, or none");
    }
    if is(S::Loaded) && (sees(E::Refused) || sees(E::Prevented)) {
        return Some("nothing is locked");
    }
    if is(S::Locked) && (sees(E::Eject) || sees(E::Opens)) {
        return Some("it is locked");
    }
    if (is(S::Empty) || is(S::Open) || is(S::OpenLoaded)) && sees(E::Reads) {
        return Some("there is nothing to read");
    }
    if (is(S::Loaded) || is(S::Locked)) && sees(E::NotReady) {
        return Some("the disc can be read");
    }
    if is(S::Lost) && sees(E::Refused) {
        return Some("an eject has unlocked it");
    }
    if is(S::Lost) && sees(E::Data) {
        return Some("its data may not arrive (a violation otherwise)");
    }
    None
}
