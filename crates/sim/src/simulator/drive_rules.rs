//! What a guest knows of its drive: the rules of MMC-6 for unit attention, the tray, its lock and
//! media events, written down a second time, so that each answer of the real drive can be foreseen.

use super::disc::BLOCKS;
use super::step::PacketOp;

/// Sense key, additional code and qualifier.
pub(super) type Sense = (u8, u8, u8);

const NONE: Sense = (0, 0, 0);
const NO_MEDIUM: Sense = (2, 0x3a, 1);
const TRAY_OPEN: Sense = (2, 0x3a, 2);
pub(super) const READ_ERROR: Sense = (3, 0x11, 0);
const PREVENTED: Sense = (5, 0x53, 2);
const CHANGED: Sense = (6, 0x28, 0);
const RESET: Sense = (6, 0x29, 0);

/// The answer to a packet command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It ends well, with this data.
    Good(Vec<u8>),
    /// CHECK CONDITION, and this is why.
    Check(Sense),
    /// It reads the medium.
    Reads,
}

/// A drive, as its guest and its user know it.
pub(super) struct Rules {
    /// The disc in the tray.
    pub(super) medium: Option<u32>,
    pub(super) open: bool,
    pub(super) locked: bool,
    pub(super) sense: Sense,
    reset: bool,
    changed: bool,
    removal: bool,
    arrival: bool,
    request: bool,
}

impl Rules {
    pub(super) fn power_on() -> Self {
        Self {
            medium: None,
            open: false,
            locked: false,
            sense: NONE,
            reset: true,
            changed: false,
            removal: false,
            arrival: false,
            request: false,
        }
    }

    pub(super) fn reset(&mut self) {
        (self.reset, self.locked, self.sense) = (true, false, NONE);
    }

    fn arrived(&mut self) {
        (self.changed, self.arrival) = (true, true);
    }

    fn departed(&mut self) {
        (self.changed, self.arrival, self.request, self.removal) = (false, false, false, true);
    }

    /// The user puts a disc in.
    pub(super) fn insert(&mut self, disc: u32) {
        (self.medium, self.open) = (Some(disc), false);
        self.arrived();
    }

    /// The user takes the disc out, if that is possible. Says whether it is.
    pub(super) fn eject(&mut self, force: bool) -> bool {
        if self.locked && !force {
            self.request = true;
            return false;
        }
        if !self.open {
            self.departed();
        }
        (self.medium, self.open, self.locked) = (None, true, false);
        true
    }

    /// Why a read ends whose medium has gone.
    pub(super) fn lost(&self) -> Sense {
        self.not_ready().unwrap_or(CHANGED)
    }

    fn not_ready(&self) -> Option<Sense> {
        match self.medium {
            _ if self.open => Some(TRAY_OPEN),
            None => Some(NO_MEDIUM),
            Some(_) => None,
        }
    }

    fn attention(&mut self) -> Option<Sense> {
        if std::mem::take(&mut self.reset) {
            return Some(RESET);
        }
        std::mem::take(&mut self.changed).then_some(CHANGED)
    }

    /// What the drive is going to say to this command.
    pub(super) fn answer(&mut self, op: PacketOp) -> Answer {
        let attends = !matches!(op, PacketOp::Sense | PacketOp::Event);
        let needs_medium = matches!(op, PacketOp::Ready | PacketOp::Capacity | PacketOp::Read);
        let gate = attends.then(|| self.attention()).flatten();
        let gate = gate.or_else(|| self.not_ready().filter(|_| needs_medium));
        if let Some(sense) = gate {
            self.sense = sense;
            return Answer::Check(sense);
        }
        if op == PacketOp::Sense {
            let mut sense = std::mem::replace(&mut self.sense, NONE);
            if sense == NONE {
                sense = self.attention().unwrap_or(NONE);
            }
            let mut data = vec![0; 18];
            (data[0], data[2], data[7], data[12], data[13]) = (0x70, sense.0, 10, sense.1, sense.2);
            return Answer::Good(data);
        }
        self.sense = NONE;
        match op {
            PacketOp::Read => return Answer::Reads,
            PacketOp::Capacity => {
                return Answer::Good([BLOCKS - 1, 2048].map(u32::to_be_bytes).concat());
            }
            PacketOp::Event => return Answer::Good(self.event()),
            PacketOp::Lock | PacketOp::Unlock => self.locked = op == PacketOp::Lock,
            PacketOp::Open if self.locked => {
                self.sense = PREVENTED;
                return Answer::Check(PREVENTED);
            }
            PacketOp::Open if !self.open => {
                self.open = true;
                self.departed();
            }
            PacketOp::Load if self.open => {
                self.open = false;
                if self.medium.is_some() {
                    self.arrived();
                }
            }
            _ => {}
        }
        Answer::Good(Vec::new())
    }

    fn event(&mut self) -> Vec<u8> {
        let present = self.medium.is_some() && !self.open;
        let status = u8::from(present) << 1 | u8::from(self.open);
        let waiting = [(&mut self.removal, 3), (&mut self.arrival, 2), (&mut self.request, 1)];
        let first = waiting.into_iter().find(|(event, _)| **event);
        let code = first.map_or(0, |(event, code)| {
            *event = false;
            code
        });
        vec![0, 6, 4, 0x56, code, status, 0, 0]
    }
}
