//! The guest's commands: how they are put into memory and issued, seen to end, and tried again.

use freewheel_ahci::registers::*;

use super::config::SECTORS;
use super::coverage::PortWrite;
use super::guest::{self, CHUNK, Live, word};
use super::memory::{FETCH, READ, WRITE};
use super::oracle::{Mask, add, sectors};
use super::step::{How, Op, Retry};
use super::world::World;

/// What a guest's memory holds where a read is going to put data.
const POISON: u64 = 0xdead_dead_dead_dead;
/// How much longer a guest waits for a command that the storage still has.
const PATIENCE_NS: u64 = 500_000;
/// Bits of PxIS that stop a port.
pub(super) const ERRORS: u32 = 0x7900_0000;

/// A command before it has a tag and memory.
struct Plan {
    op: Op,
    queued: bool,
    lba: usize,
    count: usize,
    mask: Mask,
    sure: Mask,
    ranges: Vec<(usize, usize)>,
    stamp: Option<u32>,
    extra: u32,
}

impl World {
    /// Issues a command of the workload, at `lba` or, if others are in the way there, elsewhere.
    pub(super) fn issue_new(&mut self, port: usize, op: Op, queued: bool, lba: usize, extra: u32) {
        for attempt in 0..9 {
            match attempt {
                4 => self.relieve(port, 8),
                // Whatever is in the way does not move.
                8 => self.time_out(port, extra),
                _ => {}
            }
            let lba = (lba + attempt * 37) % SECTORS;
            let most = if self.config.sector_bytes == 512 { 8 } else { 2 };
            let count = match extra >> 5 & 7 {
                0..=1 => 1,
                2 => most,
                _ => 1 + (extra >> 8) as usize % most,
            };
            let plan = self.plan(op, queued, lba, count.min(SECTORS - lba), extra);
            if self.guests[port].may_issue(&plan.mask, op.changes()) {
                self.issue(port, plan);
                return;
            }
        }
    }

    /// Tries something on the range of a command that a reset has ended.
    pub(super) fn retry(&mut self, port: usize, how: Retry, queued: bool, extra: u32) {
        let count = self.guests[port].lost.len();
        if count == 0 {
            return;
        }
        let lost = self.guests[port].lost.remove(extra as usize % count);
        let (op, queued) = match how {
            Retry::Same => (lost.op, queued && !matches!(lost.op, Op::Trim | Op::Verify)),
            Retry::OtherData => (Op::Write, queued),
            Retry::Read => (Op::Read, queued),
            Retry::Trim => (Op::Trim, false),
        };
        let mut plan = self.plan(op, queued, lost.lba, lost.count, extra);
        if how == Retry::Same {
            plan.stamp = Some(lost.stamp);
        }
        if self.guests[port].may_issue(&plan.mask, op.changes()) {
            self.issue(port, plan);
        }
    }

    fn plan(&self, op: Op, queued: bool, lba: usize, count: usize, extra: u32) -> Plan {
        let op = match op {
            Op::Trim if self.config.discard_align_bytes.is_none() => Op::Write,
            op => op,
        };
        let queued = queued && matches!(op, Op::Read | Op::Write | Op::WriteFua);
        let (mut mask, mut sure) = (Mask::default(), Mask::default());
        let mut ranges = Vec::new();
        match (op, self.config.discard_align_bytes) {
            (Op::Flush | Op::CacheOff | Op::CacheOn, _) => {}
            (Op::Trim, Some(align_bytes)) => {
                let align = align_bytes.div_ceil(u64::from(self.config.sector_bytes)) as usize;
                (ranges, mask, sure) = guest::trim(lba, extra, align);
            }
            _ => {
                add(&mut mask, lba, count);
                sure = mask;
            }
        }
        Plan { op, queued, lba, count, mask, sure, ranges, stamp: None, extra }
    }

    fn issue(&mut self, port: usize, plan: Plan) {
        if !self.memory.is_mapped() || self.guests[port].gone {
            return;
        }
        if self.guests[port].halted {
            self.interrupt(port);
        }
        if !self.guests[port].running {
            self.recover(port);
        }
        let wrong_kind =
            self.guests[port].busy != 0 && self.guests[port].any_queued() != plan.queued;
        if wrong_kind && !self.drain(port) {
            self.time_out(port, plan.extra);
        }
        // Settings are changed with nothing else in flight, or their order would not be known.
        let is_setting = matches!(plan.op, Op::CacheOff | Op::CacheOn);
        if is_setting && !self.drain(port) {
            return;
        }
        let data_bytes = match plan.op {
            Op::Flush | Op::Verify | Op::CacheOff | Op::CacheOn => 0,
            Op::Trim => plan.ranges.len().div_ceil(64) as u64 * 512,
            _ => plan.count as u64 * u64::from(self.config.sector_bytes),
        };
        let chunk_count = data_bytes.div_ceil(CHUNK) as usize;
        let tags = self.config.tags;
        let mut attempts = 0;
        let slot = loop {
            let tag = self.guests[port].free_tag(tags, plan.extra);
            if let Some(tag) = tag
                && self.guests[port].running
                && let Some(chunks) = self.guests[port].take_chunks(chunk_count)
            {
                break (tag, chunks);
            }
            attempts += 1;
            match attempts {
                1..=3 => self.relieve(port, 4),
                4 => self.time_out(port, plan.extra),
                _ => return,
            }
        };
        // Draining may have changed what is in flight; it can only have become less.
        self.moment += 1;
        let (tag, chunks) = slot;
        let live = Live {
            id: self.moment,
            op: plan.op,
            queued: plan.queued,
            lba: plan.lba,
            count: plan.count,
            mask: plan.mask,
            sure: plan.sure,
            stamp: plan.stamp.unwrap_or(self.moment),
            chunks,
            chunk_count,
            through: !self.guests[port].write_cache,
            issued: self.moment,
            ended: false,
            service: false,
        };
        self.stats.operations += 1;
        let size = u64::from(self.config.sector_bytes);
        let guest = &self.guests[port];
        match plan.op {
            Op::Read => {
                for at in (0..data_bytes).step_by(CHUNK as usize) {
                    let address = guest.data(&live, at);
                    self.memory.fill(address, (data_bytes - at).min(CHUNK), POISON);
                }
            }
            Op::Write | Op::WriteFua => {
                for (index, sector) in sectors(&live.mask).enumerate() {
                    let address = guest.data(&live, index as u64 * size);
                    self.memory.fill(address, size, word(live.op, live.stamp, sector));
                }
            }
            Op::Trim => {
                let mut payload = [0; CHUNK as usize];
                for (entry, (lba, count)) in payload.chunks_exact_mut(8).zip(&plan.ranges) {
                    entry.copy_from_slice(&(*lba as u64 | (*count as u64) << 48).to_le_bytes());
                }
                self.memory.poke(guest.data(&live, 0), &payload[..data_bytes as usize]);
            }
            Op::Flush | Op::Verify | Op::CacheOff | Op::CacheOn => {}
        }
        // From now on nothing is promised any more, whenever the disk gets to it.
        self.guests[port].write_cache |= live.op == Op::CacheOn;
        if live.op.changes() {
            let (op, stamp) = (live.op, live.stamp);
            self.guests[port].oracle.begin(live.id, &live.mask, |sector| word(op, stamp, sector));
        }
        let fis = fis_of(&live, tag, data_bytes, plan.extra >> 28);
        self.say(|| {
            let kind = if live.queued { "queued " } else { "" };
            let (lba, count, stamp) = (live.lba, live.count, live.stamp);
            format!(
                "  port {port} slot {tag}: {kind}{:?} {lba}+{count} (stamp {stamp:#x})",
                live.op
            )
        });
        self.ring(port, tag, live, &fis, data_bytes, plan.extra);
    }

    /// Puts a command into memory, lends its memory to the controller, and rings the doorbell.
    fn ring(&mut self, port: usize, slot: u8, live: Live, fis: &[u8; 20], bytes: u64, extra: u32) {
        let to_device = live.op.changes();
        let guest = &mut self.guests[port];
        let mut table = [0; 0x80 + 6 * 16];
        table[..20].copy_from_slice(fis);
        let mut entries = 0;
        let mut at = 0;
        while at < bytes {
            // Each piece in one entry or two, cut anywhere even.
            let whole = (bytes - at).min(CHUNK - at % CHUNK);
            let cut = u64::from(extra >> 9 & 0x7f) * 32;
            let len =
                if extra & 16 != 0 && cut > 0 && cut < whole && entries < 4 { cut } else { whole };
            let entry = &mut table[0x80 + entries * 16..0x90 + entries * 16];
            entry[..8].copy_from_slice(&guest.data(&live, at).to_le_bytes());
            entry[12..].copy_from_slice(&(len as u32 - 1).to_le_bytes());
            let rights = if to_device { READ } else { WRITE };
            self.memory.set(guest.data(&live, at), len, rights);
            entries += 1;
            at += len;
        }
        let used = 0x80 + entries * 16;
        let address = guest.table(slot);
        self.memory.poke(address, &table[..used]);
        self.memory.set(address, used as u64, FETCH);
        let flags = 5 | u32::from(to_device) << 6 | (entries as u32) << 16;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&address.to_le_bytes());
        self.memory.poke(guest.header(slot), &header);
        // PRDBC is in the header, and means nothing for queued commands.
        let rights = if live.queued { FETCH } else { FETCH | WRITE };
        self.memory.set(guest.header(slot), 32, rights);
        let queued = live.queued;
        self.doorbell(port, slot, live, queued);
    }

    fn doorbell(&mut self, port: usize, slot: u8, live: Live, queued: bool) {
        let state = self.port_state(port);
        let guest = &mut self.guests[port];
        guest.live[usize::from(slot)] = Some(live);
        guest.busy |= 1 << slot;
        if queued {
            self.write_port_in(state, port, PX_SACT, 1 << slot, PortWrite::Active);
        }
        self.write_port_in(state, port, PX_CI, 1 << slot, PortWrite::Issue);
    }

    /// A control FIS, or a command of the driver's own that ends at once.
    pub(super) fn ring_service(
        &mut self,
        port: usize,
        slot: u8,
        fis: &[u8; 20],
        header_bits: u32,
        bytes: u64,
    ) {
        let chunk_count = usize::from(bytes > 0);
        let Some(chunks) = self.guests[port].take_chunks(chunk_count) else { return };
        self.moment += 1;
        let live = Live {
            id: self.moment,
            op: Op::Verify,
            queued: false,
            lba: 0,
            count: 0,
            mask: Mask::default(),
            sure: Mask::default(),
            stamp: 0,
            chunks,
            chunk_count,
            through: false,
            issued: self.moment,
            ended: false,
            service: true,
        };
        let guest = &mut self.guests[port];
        let address = guest.table(slot);
        let mut table = [0; 0x90];
        table[..20].copy_from_slice(fis);
        let mut used = 0x80;
        if bytes > 0 {
            table[0x80..0x88].copy_from_slice(&guest.data(&live, 0).to_le_bytes());
            table[0x8c..].copy_from_slice(&(bytes as u32 - 1).to_le_bytes());
            self.memory.set(guest.data(&live, 0), bytes, WRITE);
            used = 0x90;
        }
        self.memory.poke(address, &table[..used]);
        self.memory.set(address, used as u64, FETCH);
        let flags = 5 | header_bits | u32::from(bytes > 0) << 16;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&address.to_le_bytes());
        self.memory.poke(guest.header(slot), &header);
        self.memory.set(guest.header(slot), 32, FETCH | WRITE);
        // A slot of a queued command may be used for SRST: what it had is lost anyway.
        self.doorbell(port, slot, live, false);
    }

    /// What an interrupt handler does: clears the causes, sees what has ended, and recovers from
    /// errors.
    pub(super) fn interrupt(&mut self, port: usize) {
        if self.guests[port].gone {
            return self.miss(port);
        }
        let is = self.read_port(port, PX_IS);
        if is & ERRORS != 0 {
            self.guests[port].halted = true;
        }
        if is & PxIs::UFS.bits() != 0 {
            self.write_port(port, PX_SERR, PxSerr::DIAG_F.bits(), PortWrite::ClearErrors);
        }
        self.write_port(port, PX_IS, is, PortWrite::Clear);
        self.write_global(IS, 1 << port);
        self.collect(port);
        if is & ERRORS != 0 {
            self.stats.errors += 1;
            self.recover(port);
        }
    }

    /// Takes in what has ended.
    pub(super) fn collect(&mut self, port: usize) {
        let active = self.read_port(port, PX_CI) | self.read_port(port, PX_SACT);
        let mut ended = self.guests[port].busy & !active;
        while ended != 0 {
            let slot = ended.trailing_zeros() as u8;
            ended &= ended - 1;
            self.end(port, slot);
        }
    }

    fn end(&mut self, port: usize, slot: u8) {
        self.moment += 1;
        let now = self.moment;
        let guest = &mut self.guests[port];
        let Some(live) = guest.live[usize::from(slot)].take() else { return };
        guest.busy &= !(1 << slot);
        guest.give_chunks(&live);
        if live.service {
            return;
        }
        match live.op {
            Op::Read => self.check_data(port, &live),
            Op::Write | Op::WriteFua | Op::Trim => {
                let durable = live.op == Op::WriteFua || live.through && !guest.write_cache;
                guest.oracle.maybe(live.id, &live.mask);
                guest.oracle.complete(live.id, &live.sure, now, durable);
                if durable {
                    self.check_durable(port);
                }
            }
            Op::Flush | Op::CacheOff => {
                guest.write_cache &= live.op == Op::Flush;
                guest.oracle.flushed(live.issued);
                self.check_durable(port);
            }
            Op::Verify | Op::CacheOn => {}
        }
        self.say(|| format!("  port {port} slot {slot}: {:?} has ended", live.op));
    }

    /// Forgets what is in flight: all of it may or may not have happened.
    pub(super) fn lose(&mut self, port: usize) {
        for slot in 0..32 {
            let guest = &mut self.guests[port];
            let Some(live) = guest.live[slot].take() else { continue };
            guest.busy &= !(1 << slot);
            guest.give_chunks(&live);
            if live.op.changes() {
                guest.oracle.maybe(live.id, &live.mask);
            }
            guest.remember(&live);
        }
    }

    /// Lets the storage end up to `count` requests, and takes in what that ends.
    pub(super) fn relieve(&mut self, port: usize, count: u32) {
        for _ in 0..count {
            self.storage(port, 0, How::Well);
        }
        self.poll();
        self.interrupt(port);
    }

    /// Waits for everything in flight, for as long as the storage ends things. Says whether all
    /// has ended.
    pub(super) fn drain(&mut self, port: usize) -> bool {
        for _ in 0..2000 {
            if self.guests[port].busy == 0 || self.guests[port].gone {
                return self.guests[port].busy == 0;
            }
            self.relieve(port, 8);
            let idle = {
                let state = self.disks[port].state();
                state.choose(0).is_none() && state.untaken() == 0
            };
            let due = self.hba.next_wakeup().is_some_and(|due| due <= self.now);
            if idle && !due && self.guests[port].busy != 0 {
                if self.wait_for_layer(port, PATIENCE_NS) {
                    continue;
                }
                return false;
            }
        }
        self.guests[port].busy == 0
    }
}

/// The command FIS. Of some commands there are more variants than one: PIO, 28-bit addresses.
fn fis_of(live: &Live, tag: u8, data_bytes: u64, variant: u32) -> [u8; 20] {
    let lba = (live.lba as u64).to_le_bytes();
    let count = (live.count as u16).to_le_bytes();
    let (command, features, count, device) = match (live.op, live.queued) {
        (Op::Read, true) => (0x60, count, [tag << 3, 0], 0x40),
        (Op::Write, true) => (0x61, count, [tag << 3, 0], 0x40),
        (Op::WriteFua, true) => (0x61, count, [tag << 3, 0], 0xc0),
        (Op::Read, false) if variant < 3 => (0x24, [0; 2], count, 0x40),
        (Op::Read, false) if variant < 6 => (0xc8, [0; 2], count, 0x40),
        (Op::Write, false) if variant < 3 => (0x34, [0; 2], count, 0x40),
        (Op::Write, false) if variant < 6 => (0xca, [0; 2], count, 0x40),
        (Op::Read, false) => (0x25, [0; 2], count, 0x40),
        (Op::Write, false) => (0x35, [0; 2], count, 0x40),
        (Op::WriteFua, false) => (0x3d, [0; 2], count, 0x40),
        (Op::Trim, _) => (0x06, [1, 0], [(data_bytes / 512) as u8, 0], 0x40),
        (Op::Flush, _) if variant < 4 => (0xe7, [0; 2], [0; 2], 0x40),
        (Op::Flush, _) => (0xea, [0; 2], [0; 2], 0x40),
        (Op::CacheOff, _) => (0xef, [0x82, 0], [0; 2], 0x40),
        (Op::CacheOn, _) => (0xef, [0x02, 0], [0; 2], 0x40),
        (Op::Verify, _) => (0x42, [0; 2], count, 0x40),
    };
    let mut fis = [0; 20];
    fis[0] = 0x27;
    fis[1] = 0x80;
    fis[2] = command;
    (fis[3], fis[11]) = (features[0], features[1]);
    fis[7] = device;
    if live.count > 0 && !matches!(live.op, Op::Trim | Op::Flush) {
        fis[4..7].copy_from_slice(&lba[..3]);
        fis[8..11].copy_from_slice(&lba[3..6]);
    }
    fis[12..14].copy_from_slice(&count);
    fis
}
