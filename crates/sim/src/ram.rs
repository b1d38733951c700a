//! Guest memory that knows what the device may touch, and notes every access to anything else.

use std::cell::RefCell;
use std::ops::Range;

use freewheel_ahci::{BusError, GuestMemory};

/// How many breaches are kept; all are counted.
const BREACHES_KEPT: usize = 64;

/// What a device does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// An access of the device to memory that was not its to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What it did.
    pub access: Access,
    /// The first byte of the access.
    pub address: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
}

struct Allowance {
    key: u64,
    range: Range<u64>,
    access: Access,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Mapped for the device, disjoint; the flag says whether it may write there.
    mapped: Vec<(Range<u64>, bool)>,
    allowed: Vec<Allowance>,
    armed: bool,
    breaches: Vec<Breach>,
    breaches_total: u64,
    /// Accesses to memory that is not mapped, or not writable.
    refused_total: u64,
}

/// Flat guest memory from address 0. The device sees what is mapped; the guest's own processor
/// ([`GuestRam::peek`], [`GuestRam::poke`]) sees everything.
///
/// While it is *armed*, each access of the device outside the ranges that were
/// [allowed](GuestRam::allow) is a [`Breach`]. It still takes place, so that its harm can be seen.
#[derive(Default)]
pub struct GuestRam {
    state: RefCell<State>,
}

impl GuestRam {
    /// `len_bytes` of zeroed memory, all of it mapped and writable.
    pub fn new(len_bytes: usize) -> Self {
        let ram = Self::default();
        ram.state.borrow_mut().bytes = vec![0; len_bytes];
        ram.map_all();
        ram
    }

    /// Its size in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.state.borrow().bytes.len() as u64
    }

    /// Maps all of it for the device, writable.
    pub fn map_all(&self) {
        let mut state = self.state.borrow_mut();
        state.mapped = vec![(0..state.bytes.len() as u64, true)];
    }

    /// Unmaps all of it.
    pub fn unmap_all(&self) {
        self.state.borrow_mut().mapped.clear();
    }

    /// Maps `range` for the device, instead of what was mapped there.
    pub fn map(&self, range: Range<u64>, writable: bool) {
        self.unmap(range.clone());
        self.state.borrow_mut().mapped.push((range, writable));
    }

    /// Takes `range` away from the device.
    pub fn unmap(&self, range: Range<u64>) {
        let mut state = self.state.borrow_mut();
        let old = std::mem::take(&mut state.mapped);
        for (had, writable) in old {
            let before = had.start..had.end.min(range.start);
            let after = had.start.max(range.end)..had.end;
            for part in [before, after] {
                if part.start < part.end {
                    state.mapped.push((part, writable));
                }
            }
        }
    }

    /// The bytes at `address`.
    ///
    /// # Panics
    /// If they are not in memory: a mistake of the test.
    pub fn peek(&self, address: u64, len_bytes: usize) -> Vec<u8> {
        let start = address as usize;
        self.state.borrow().bytes[start..start + len_bytes].to_vec()
    }

    /// Stores `data` at `address`.
    ///
    /// # Panics
    /// If that is not in memory: a mistake of the test.
    pub fn poke(&self, address: u64, data: &[u8]) {
        let start = address as usize;
        self.state.borrow_mut().bytes[start..start + data.len()].copy_from_slice(data);
    }

    /// Fills `range` with `value`.
    ///
    /// # Panics
    /// If that is not in memory: a mistake of the test.
    pub fn fill(&self, range: Range<u64>, value: u8) {
        self.state.borrow_mut().bytes[range.start as usize..range.end as usize].fill(value);
    }

    /// The first byte of `range` that is not `value`.
    pub fn first_other_than(&self, range: Range<u64>, value: u8) -> Option<u64> {
        let state = self.state.borrow();
        let bytes = &state.bytes[range.start as usize..range.end as usize];
        bytes.iter().position(|byte| *byte != value).map(|at| range.start + at as u64)
    }

    /// Starts to watch.
    pub fn arm(&self) {
        self.state.borrow_mut().armed = true;
    }

    /// Stops to watch.
    pub fn disarm(&self) {
        self.state.borrow_mut().armed = false;
    }

    /// Lets the device access `range` in this way, until `key` is [revoked](GuestRam::revoke).
    pub fn allow(&self, key: u64, range: Range<u64>, access: Access) {
        self.state.borrow_mut().allowed.push(Allowance { key, range, access });
    }

    /// Takes back all that was allowed under `key`.
    pub fn revoke(&self, key: u64) {
        self.state.borrow_mut().allowed.retain(|allowance| allowance.key != key);
    }

    /// The breaches since the last call, and how many there were (some may not have been kept).
    pub fn take_breaches(&self) -> (Vec<Breach>, u64) {
        let mut state = self.state.borrow_mut();
        let total = std::mem::take(&mut state.breaches_total);
        (std::mem::take(&mut state.breaches), total)
    }

    /// How often the device was refused, because memory was not mapped or not writable.
    pub fn refused_total(&self) -> u64 {
        self.state.borrow().refused_total
    }
}

impl State {
    fn access(&mut self, address: u64, len: usize, access: Access) -> Result<usize, BusError> {
        let refused = BusError { address };
        let end = address.checked_add(len as u64);
        let is_mapped = end.is_some_and(|end| {
            self.mapped.iter().any(|(range, writable)| {
                range.start <= address && end <= range.end && (*writable || access == Access::Read)
            })
        });
        if let Some(end) = end
            && self.armed
            && len > 0
            && !self.is_allowed(address..end, access)
        {
            self.breaches_total += 1;
            if self.breaches.len() < BREACHES_KEPT {
                self.breaches.push(Breach { access, address, len_bytes: len as u64 });
            }
        }
        if !is_mapped {
            self.refused_total += 1;
            return Err(refused);
        }
        Ok(address as usize)
    }

    fn is_allowed(&self, wanted: Range<u64>, access: Access) -> bool {
        self.allowed.iter().any(|allowance| {
            allowance.access == access
                && allowance.range.start <= wanted.start
                && wanted.end <= allowance.range.end
        })
    }
}

impl GuestMemory for GuestRam {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let mut state = self.state.borrow_mut();
        let start = state.access(address, buf.len(), Access::Read)?;
        buf.copy_from_slice(&state.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        let mut state = self.state.borrow_mut();
        let start = state.access(address, data.len(), Access::Write)?;
        state.bytes[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_mapped_is_refused_whole() {
        let ram = GuestRam::new(0x4000);
        ram.unmap(0x1000..0x2000);
        ram.map(0x2000..0x3000, false);
        assert!(ram.write(0xfff, &[1]).is_ok());
        assert!(ram.write(0xfff, &[1, 2]).is_err());
        assert_eq!(ram.peek(0xfff, 2), [1, 0]);
        assert!(ram.write(0x2000, &[1]).is_err());
        assert!(ram.read(0x2fff, &mut [0]).is_ok());
        assert!(ram.write(u64::MAX, &[1, 2]).is_err());
        ram.unmap_all();
        assert!(ram.read(0, &mut [0]).is_err());
        assert_eq!(ram.refused_total(), 4);
    }

    #[test]
    fn an_armed_memory_notes_what_nobody_allowed() {
        let ram = GuestRam::new(0x1000);
        ram.allow(7, 0x100..0x200, Access::Write);
        ram.arm();
        ram.write(0x100, &[0; 0x100]).expect("mapped");
        assert_eq!(ram.take_breaches().1, 0);
        ram.read(0x100, &mut [0; 4]).expect("mapped");
        ram.write(0x1fe, &[0; 4]).expect("mapped");
        ram.revoke(7);
        ram.write(0x100, &[0]).expect("mapped");
        let (breaches, total) = ram.take_breaches();
        assert_eq!(total, 3);
        assert_eq!(breaches[1], Breach { access: Access::Write, address: 0x1fe, len_bytes: 4 });
        ram.disarm();
        ram.write(0x100, &[0]).expect("mapped");
        assert_eq!(ram.take_breaches().1, 0);
    }
}
