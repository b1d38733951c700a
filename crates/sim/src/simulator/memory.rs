//! Guest memory in which every stretch of 32 bytes knows what the controller may do to it now. An
//! access to anything else is a violation, in whatever way its bytes change: there is no other
//! path from the controller to memory than this one.

use std::cell::RefCell;

use freewheel_ahci::{BusError, GuestMemory};

use super::violation::{Kind, Violation};

/// Bytes of a stretch.
const GRANULE: u64 = 32;

/// The controller may read it.
pub(super) const READ: u8 = 1;
/// The controller may write it.
pub(super) const WRITE: u8 = 2;
/// The controller may read it once: what it fetches may have changed afterwards.
pub(super) const FETCH: u8 = 4;

struct State {
    bytes: Vec<u8>,
    rights: Vec<u8>,
    mapped: bool,
    violation: Option<Violation>,
}

/// Guest memory from address 0.
pub(super) struct Memory(RefCell<State>);

impl Memory {
    pub(super) fn new(len_bytes: usize) -> Self {
        Self(RefCell::new(State {
            bytes: vec![0; len_bytes],
            rights: vec![0; len_bytes / GRANULE as usize],
            mapped: true,
            violation: None,
        }))
    }

    pub(super) fn set_mapped(&self, mapped: bool) {
        self.0.borrow_mut().mapped = mapped;
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.0.borrow().mapped
    }

    /// Sets what the controller may do to `len` bytes at `address`, widened to whole stretches.
    pub(super) fn set(&self, address: u64, len: u64, rights: u8) {
        let granules = granules(address, len);
        self.0.borrow_mut().rights[granules].fill(rights);
    }

    pub(super) fn poke(&self, address: u64, data: &[u8]) {
        let at = address as usize;
        self.0.borrow_mut().bytes[at..at + data.len()].copy_from_slice(data);
    }

    pub(super) fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        let at = address as usize;
        self.0.borrow().bytes[at..at + len].to_vec()
    }

    /// Fills `len` bytes with the word `value`.
    pub(super) fn fill(&self, address: u64, len: u64, value: u64) {
        let at = address as usize;
        let mut state = self.0.borrow_mut();
        let (words, _) = state.bytes[at..at + len as usize].as_chunks_mut::<8>();
        words.fill(value.to_le_bytes());
    }

    /// The word that all of `len` bytes hold over and over; `None` if they don't.
    pub(super) fn word(&self, address: u64, len: u64) -> Option<u64> {
        let at = address as usize;
        uniform(&self.0.borrow().bytes[at..at + len as usize])
    }

    /// The word that all of `len` bytes hold over and over, but for one byte of them.
    pub(super) fn word_but_one_byte(&self, address: u64, len: u64) -> Option<u64> {
        let at = address as usize;
        let state = self.0.borrow();
        let bytes = &state.bytes[at..at + len as usize];
        let (words, _) = bytes.as_chunks::<8>();
        // Of three words at most one is damaged.
        let [first, second, third, ..] = words else { return None };
        let word = if first == second || first == third { first } else { second };
        let differing = bytes.iter().zip(word.iter().cycle()).filter(|(one, other)| one != other);
        (differing.count() == 1).then(|| u64::from_le_bytes(*word))
    }

    pub(super) fn take_violation(&self) -> Option<Violation> {
        self.0.borrow_mut().violation.take()
    }
}

/// The word that `bytes` consist of.
pub(super) fn uniform(bytes: &[u8]) -> Option<u64> {
    let (words, rest) = bytes.as_chunks::<8>();
    let first = words.first()?;
    let differs = words
        .iter()
        .fold(0, |acc, word| acc | (u64::from_le_bytes(*word) ^ u64::from_le_bytes(*first)));
    (differs == 0 && rest.is_empty()).then(|| u64::from_le_bytes(*first))
}

fn granules(address: u64, len: u64) -> std::ops::Range<usize> {
    (address / GRANULE) as usize..(address + len).div_ceil(GRANULE) as usize
}

impl State {
    fn access(&mut self, address: u64, len: usize, rights: u8) -> Result<usize, BusError> {
        let end = address.saturating_add(len as u64);
        let inside = end <= self.bytes.len() as u64;
        let allowed = inside
            && self.rights[granules(address, len as u64)].iter().all(|have| have & rights != 0);
        if !allowed && self.violation.is_none() {
            let verb = if rights == WRITE { "wrote" } else { "read" };
            let what = format!("the controller {verb} {len} bytes at {address:#x}");
            self.violation = Some(Violation::new(Kind::Memory, what));
        }
        if !inside || !self.mapped {
            return Err(BusError { address });
        }
        Ok(address as usize)
    }
}

impl GuestMemory for Memory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let mut state = self.0.borrow_mut();
        let start = state.access(address, buf.len(), READ | FETCH)?;
        for rights in &mut state.rights[granules(address, buf.len() as u64)] {
            *rights &= !FETCH;
        }
        buf.copy_from_slice(&state.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        let mut state = self.0.borrow_mut();
        let start = state.access(address, data.len(), WRITE)?;
        state.bytes[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_damaged_byte_is_seen_through_wherever_it_is_and_two_are_not() {
        const WORD: u64 = 0x0123_4567_89ab_cdef;
        let memory = Memory::new(1024);
        for at in 0..512 {
            memory.fill(512, 512, WORD);
            assert_eq!(memory.word_but_one_byte(512, 512), None, "nothing is damaged");
            memory.poke(512 + at, &[0x5a]);
            assert_eq!(memory.word(512, 512), None);
            assert_eq!(memory.word_but_one_byte(512, 512), Some(WORD), "byte {at}");
            memory.poke(512 + (at + 9) % 512, &[0x5a]);
            assert_eq!(memory.word_but_one_byte(512, 512), None, "byte {at}");
        }
    }
}
