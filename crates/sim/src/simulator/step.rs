//! The steps of a run, and how a seed becomes a list of them. A step names what it is about by
//! numbers that are taken modulo what there is, so that a list with steps cut out is still a run:
//! that is what makes shrinking possible.

use super::faults::Fault;
use super::rng::Rng;
use crate::ResetWay;

/// Commands that every run tries to issue at least.
const COMMANDS: u32 = 205;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Writes with FUA.
    WriteFua,
    /// TRIM of a number of ranges.
    Trim,
    /// FLUSH CACHE EXT.
    Flush,
    /// READ VERIFY SECTOR(S) EXT.
    Verify,
    /// SET FEATURES: the write cache is disabled.
    CacheOff,
    /// SET FEATURES: the write cache is enabled.
    CacheOn,
}

/// What a packet command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketOp {
    /// TEST UNIT READY.
    Ready,
    /// REQUEST SENSE.
    Sense,
    /// START STOP UNIT that opens the tray.
    Open,
    /// START STOP UNIT that closes it.
    Load,
    /// PREVENT ALLOW MEDIUM REMOVAL that prevents.
    Lock,
    /// The same that allows.
    Unlock,
    /// READ CAPACITY.
    Capacity,
    /// READ (10).
    Read,
    /// GET EVENT STATUS NOTIFICATION for media events.
    Event,
}

impl PacketOp {
    /// The packet.
    pub(super) fn packet(self, lba: u32, count: u32) -> [u8; 12] {
        let mut packet = [0; 12];
        match self {
            PacketOp::Ready => {}
            PacketOp::Sense => (packet[0], packet[4]) = (0x03, 18),
            PacketOp::Open => (packet[0], packet[4]) = (0x1b, 2),
            PacketOp::Load => (packet[0], packet[4]) = (0x1b, 3),
            PacketOp::Lock => (packet[0], packet[4]) = (0x1e, 1),
            PacketOp::Unlock => packet[0] = 0x1e,
            PacketOp::Capacity => packet[0] = 0x25,
            PacketOp::Event => {
                (packet[0], packet[1], packet[4], packet[8]) = (0x4a, 1, 0x10, 8);
            }
            PacketOp::Read => {
                (packet[0], packet[8]) = (0x28, count as u8);
                packet[2..6].copy_from_slice(&lba.to_be_bytes());
            }
        }
        packet
    }
}

/// How the storage ends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// It is carried out and completes.
    Well,
    /// It is carried out, and completes at some later time.
    Silently,
    /// A part of it is carried out, and it fails.
    Fails,
    /// A part is carried out, and that is what completes.
    Short,
    /// It completes twice.
    Twice,
}

/// What a guest does about a command that a reset has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same again, with the same data, as Linux does.
    Same,
    /// Other data over the same range.
    OtherData,
    /// Reads the range.
    Read,
    /// Trims the range.
    Trim,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The guest issues a command.
    Issue {
        /// On this disk.
        disk: u8,
        /// What it does.
        op: Op,
        /// As a queued command, where there is such a one.
        queued: bool,
        /// Where.
        lba: u16,
        /// Decides length, scatter list, tag and memory.
        extra: u32,
    },
    /// The guest tries again what a reset has ended.
    Retry {
        /// On this disk.
        disk: u8,
        /// In this way.
        how: Retry,
        /// As a queued command.
        queued: bool,
        /// Decides which, and the rest.
        extra: u32,
    },
    /// The storage ends one request.
    Storage {
        /// Of this disk.
        disk: u8,
        /// Which of those that wait.
        which: u8,
        /// In this way.
        how: How,
    },
    /// The storage ends this many requests, the first, the last or any first.
    Batch {
        /// Of this disk.
        disk: u8,
        /// How many.
        count: u8,
        /// Decides the order.
        order: u8,
    },
    /// The storage reports once more what it completed before.
    Repeat {
        /// Of this disk.
        disk: u8,
        /// Which of the latest.
        which: u8,
    },
    /// A request hangs until it is released.
    Hang {
        /// Of this disk.
        disk: u8,
        /// Which of those that wait.
        which: u8,
    },
    /// What hangs goes on, one in four of it, or all.
    Release {
        /// Of this disk.
        disk: u8,
        /// All of it.
        all: bool,
    },
    /// The storage writes a part of its cache back.
    WriteBack {
        /// Of this disk.
        disk: u8,
        /// Which.
        which: u8,
    },
    /// The controller's owner polls it.
    Poll,
    /// The guest handles an interrupt.
    Interrupt {
        /// Of this port.
        disk: u8,
    },
    /// The guest resets.
    Reset {
        /// This port (or all).
        disk: u8,
        /// In this way.
        way: ResetWay,
        /// A request of the storage completes in the middle of it.
        middle: Option<u8>,
    },
    /// The guest masks or unmasks interrupts.
    Mask {
        /// Of this port.
        disk: u8,
        /// Off.
        masked: bool,
    },
    /// The VMM takes the guest's memory away from the device.
    Unmap,
    /// And gives it back.
    Map,
    /// What is durable is compared with what was promised, as if the process were killed here.
    Probe,
    /// What the engine says of itself is compared with the truth.
    Inspect,
    /// A fault is injected, or taken back.
    Fault {
        /// Of this disk, or of its port.
        disk: u8,
        /// Which.
        fault: Fault,
    },
    /// The device is pulled out.
    Detach {
        /// From this port.
        disk: u8,
        /// A request of the storage completes right before.
        before: Option<u8>,
    },
    /// It comes back.
    Attach {
        /// To this port.
        disk: u8,
        /// It is another device, with an engine of its own over the same medium, unless ranges of
        /// that are in doubt.
        new: bool,
    },
    /// The guest gives the drive a packet command.
    Packet {
        /// What it does.
        op: PacketOp,
        /// Decides slot, block and length.
        extra: u32,
    },
    /// The user puts another disc into the drive.
    Insert,
    /// The user takes the disc out.
    Eject {
        /// Whatever the guest has locked.
        force: bool,
    },
    /// The storage of a disc, in the drive or ejected, ends a request.
    Disc {
        /// Which of those that wait.
        which: u8,
        /// In this way.
        how: How,
    },
    /// The guest resets the drive.
    ResetDrive {
        /// By COMRESET; if not, it only stops the port.
        comreset: bool,
    },
    /// The guest waits for all that it has issued, as far as it ends.
    Drain {
        /// Of this disk.
        disk: u8,
    },
}

/// The steps of the run that `rng` decides on.
pub fn plan(rng: &mut Rng, disks: usize, drive: bool) -> Vec<Step> {
    let mut steps = Vec::with_capacity(720);
    let mut issued = 0;
    // How sick the storage is: how often something odd happens, in percent.
    let sickness = rng.pick(&[2, 8, 8, 20]);
    let resets = rng.pick(&[3, 6, 10]);
    let mut planner = Planner { rng, steps: &mut steps, disks: disks as u32, sickness };
    while issued < COMMANDS {
        issued += planner.phase(resets);
        if drive {
            planner.discs();
        }
    }
    // Whatever happened before: at least one reset with commands in flight.
    planner.steps.push(Step::Release { disk: 0, all: true });
    planner.steps.push(Step::Drain { disk: 0 });
    for _ in 0..3 {
        planner.issue(0, true);
    }
    planner.reset(0, true);
    if planner.rng.percent(50) {
        planner.steps.push(Step::Probe);
    }
    steps
}

struct Planner<'a> {
    rng: &'a mut Rng,
    steps: &'a mut Vec<Step>,
    disks: u32,
    sickness: u32,
}

impl Planner<'_> {
    fn disk(&mut self) -> u8 {
        if self.disks == 1 { 0 } else { self.rng.below(self.disks) as u8 }
    }

    fn small(&mut self) -> u8 {
        self.rng.below(64) as u8
    }

    /// Queued commands, or others; then perhaps a reset with some of them in flight.
    fn phase(&mut self, resets: u32) -> u32 {
        let disk = self.disk();
        let queued = self.rng.percent(70);
        let length = 8 + self.rng.below(24);
        let reset_at_end = self.rng.below(10) < resets;
        let mut issued = 0;
        if self.rng.percent(60) {
            self.steps.push(Step::Drain { disk });
            if self.rng.percent(5) {
                self.steps.push(Step::Mask { disk, masked: false });
            }
        }
        for _ in 0..length {
            let burst = 1 + self.rng.below(3);
            for _ in 0..burst {
                self.issue(disk, queued);
            }
            issued += burst;
            self.storage(disk, burst);
            if self.rng.percent(3) {
                self.reset(disk, queued);
            }
            if self.rng.percent(1) {
                issued += self.hot_plug(disk, queued);
            }
        }
        if reset_at_end {
            for _ in 0..1 + self.rng.below(6) {
                self.issue(disk, queued);
                issued += 1;
            }
            self.reset(disk, queued);
        }
        issued
    }

    fn issue(&mut self, disk: u8, queued: bool) {
        let op = match self.rng.below(100) {
            0..=36 => Op::Read,
            37..=69 => Op::Write,
            70..=81 => Op::WriteFua,
            82..=90 if !queued => Op::Trim,
            91..=94 if !queued => Op::Flush,
            95..=97 if !queued => Op::Verify,
            98 if !queued => Op::CacheOff,
            99 if !queued => Op::CacheOn,
            _ => Op::Write,
        };
        let lba = self.rng.below(super::config::SECTORS as u32) as u16;
        let extra = self.rng.bits() as u32;
        self.steps.push(Step::Issue { disk, op, queued, lba, extra });
    }

    fn storage(&mut self, disk: u8, about: u32) {
        if self.rng.below(100) < self.sickness {
            let which = self.small();
            let other = self.disk();
            let step = match self.rng.below(20) {
                0..=3 => Step::Hang { disk, which },
                4..=5 => Step::Release { disk, all: which.is_multiple_of(4) },
                6..=7 => Step::Storage { disk, which, how: How::Silently },
                8..=10 => Step::Storage { disk, which, how: How::Short },
                11..=12 => Step::Storage { disk, which, how: How::Twice },
                13 => Step::Storage { disk, which, how: How::Fails },
                14 => Step::Repeat { disk, which },
                15..=16 => Step::WriteBack { disk, which },
                17 => Step::Mask { disk, masked: which.is_multiple_of(2) },
                18 => Step::Inspect,
                _ => Step::Reset { disk: other, way: self.way(), middle: None },
            };
            self.steps.push(step);
        }
        if self.rng.percent(55) {
            let count = 1 + self.rng.below(about * 2 + 1) as u8;
            let order = self.small();
            self.steps.push(Step::Batch { disk, count, order });
        }
        if self.rng.percent(60) {
            self.steps.push(Step::Poll);
            if self.rng.percent(80) {
                self.steps.push(Step::Interrupt { disk });
            }
        }
        if self.rng.percent(2) {
            self.steps.push(Step::Probe);
        }
    }

    /// Discs come and go, and are read.
    fn discs(&mut self) {
        for _ in 0..self.rng.below(10) {
            let (which, extra) = (self.small(), self.rng.bits() as u32);
            let read = Step::Packet { op: PacketOp::Read, extra };
            let step = match self.rng.below(41) {
                0..=9 => read,
                10..=11 => Step::Packet { op: PacketOp::Ready, extra },
                12..=14 => Step::Packet { op: PacketOp::Sense, extra },
                15..=16 => Step::Packet { op: PacketOp::Event, extra },
                17 => Step::Packet { op: PacketOp::Capacity, extra },
                18..=19 => Step::Packet { op: PacketOp::Lock, extra },
                20..=21 => Step::Packet { op: PacketOp::Unlock, extra },
                22 => Step::Packet { op: PacketOp::Open, extra },
                23 => Step::Packet { op: PacketOp::Load, extra },
                24..=27 => Step::Insert,
                28..=30 => Step::Eject { force: which.is_multiple_of(3) },
                31..=32 => Step::Disc { which, how: How::Well },
                33 => Step::Disc { which, how: How::Short },
                34 => Step::Disc { which, how: How::Fails },
                35..=37 => Step::Poll,
                38..=39 => Step::ResetDrive { comreset: which.is_multiple_of(2) },
                _ => Step::Reset { disk: 0, way: ResetWay::HbaReset, middle: None },
            };
            self.steps.push(step);
            if step == read && self.rng.percent(30) {
                self.steps.push(Step::Poll);
            }
        }
    }

    /// A device is pulled out with commands in flight, and comes back.
    fn hot_plug(&mut self, disk: u8, queued: bool) -> u32 {
        let mut issued = 0;
        if self.rng.percent(15) {
            self.steps.push(Step::Reset { disk, way: ResetWay::Stop, middle: None });
        } else {
            issued = self.rng.below(4);
            for _ in 0..issued {
                self.issue(disk, queued);
            }
        }
        if self.rng.percent(15) {
            let which = self.small();
            self.steps.push(Step::Hang { disk, which });
        }
        let unmapped = self.rng.percent(6);
        if unmapped {
            self.steps.push(Step::Unmap);
            if self.rng.percent(50) {
                // Without memory the port stays as a reset leaves it.
                self.steps.push(Step::Reset { disk, way: ResetWay::Stop, middle: None });
            }
        }
        let before = self.rng.percent(25).then(|| self.small());
        self.steps.push(Step::Detach { disk, before });
        for _ in 0..self.rng.below(6) {
            let which = self.small();
            let step = match self.rng.below(12) {
                0..=2 => Step::Interrupt { disk },
                3..=5 => Step::Poll,
                6..=7 => Step::Storage { disk, which, how: How::Well },
                8 => Step::Storage { disk, which, how: How::Silently },
                9 => Step::Reset { disk, way: self.way(), middle: None },
                10 => Step::Probe,
                _ => Step::Mask { disk, masked: false },
            };
            self.steps.push(step);
        }
        let new = self.rng.percent(60);
        if new && self.rng.percent(60) {
            self.steps.push(Step::Release { disk, all: true });
            self.steps.push(Step::Batch { disk, count: 64, order: 0 });
            self.steps.push(Step::Poll);
        }
        self.steps.push(Step::Attach { disk, new });
        if unmapped {
            self.steps.push(Step::Map);
        }
        for _ in 0..self.rng.below(4) {
            let how = self.rng.pick(&[Retry::Same, Retry::OtherData, Retry::Read, Retry::Read]);
            let extra = self.rng.bits() as u32;
            self.steps.push(Step::Retry { disk, how, queued, extra });
        }
        issued
    }

    fn way(&mut self) -> ResetWay {
        self.rng.pick(&ResetWay::ALL)
    }

    fn reset(&mut self, disk: u8, queued: bool) {
        if self.rng.percent(15) {
            let which = self.small();
            self.steps.push(Step::Hang { disk, which });
        }
        if self.rng.percent(6) {
            self.steps.push(Step::Unmap);
            self.steps.push(Step::Batch { disk, count: 2, order: 0 });
            self.steps.push(Step::Poll);
        }
        let middle = self.rng.percent(25).then(|| self.small());
        let way = self.way();
        self.steps.push(Step::Reset { disk, way, middle });
        self.steps.push(Step::Map);
        if self.rng.percent(25) {
            self.steps.push(Step::Inspect);
        }
        for _ in 0..self.rng.below(6) {
            let how = match self.rng.below(10) {
                0..=3 => Retry::Same,
                4..=6 => Retry::OtherData,
                7..=8 => Retry::Read,
                _ => Retry::Trim,
            };
            let extra = self.rng.bits() as u32;
            self.steps.push(Step::Retry { disk, how, queued, extra });
            if self.rng.percent(30) {
                let which = self.small();
                self.steps.push(Step::Storage { disk, which, how: How::Well });
                self.steps.push(Step::Poll);
            }
        }
    }
}
