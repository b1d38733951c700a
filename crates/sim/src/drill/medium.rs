//! What the drill knows about the medium: for each chunk, the versions that it may hold.

use freewheel_block::ByteRange;

/// From one chunk to the next, in bytes: far enough apart for any alignment.
pub(super) const CHUNK_STRIDE_BYTES: u64 = 64 << 10;
/// How much of a chunk is used, in bytes.
pub(super) const CHUNK_BYTES: u64 = 16 << 10;

/// The version of a chunk that reads as zeroes.
pub(super) const ZEROES: u32 = 0;

/// Some of the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    /// The versions of which it may hold one; empty if nothing is known.
    allowed: Vec<u32>,
}

/// The chunks that the drill uses.
#[derive(Clone, Debug)]
pub(super) struct Medium {
    sector_bytes: u32,
    chunks: Vec<Chunk>,
    versions: u32,
}

impl Medium {
    pub(super) fn new(sector_bytes: u32, chunks: usize) -> Self {
        let unknown = Chunk { allowed: Vec::new() };
        Self { sector_bytes, chunks: vec![unknown; chunks], versions: ZEROES }
    }

    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// A version that no chunk has had before.
    pub(super) fn next_version(&mut self) -> u32 {
        self.versions += 1;
        self.versions
    }

    pub(super) fn lba(&self, chunk: usize) -> u64 {
        chunk as u64 * CHUNK_STRIDE_BYTES / u64::from(self.sector_bytes)
    }

    pub(super) fn sectors(&self) -> u16 {
        (CHUNK_BYTES / u64::from(self.sector_bytes)) as u16
    }

    pub(super) fn range(&self, chunk: usize) -> ByteRange {
        ByteRange::new(chunk as u64 * CHUNK_STRIDE_BYTES, CHUNK_BYTES)
    }

    /// A write of `version` was answered: it holds that and nothing else.
    pub(super) fn set(&mut self, chunk: usize, version: u32) {
        self.chunks[chunk].allowed = vec![version];
    }

    /// A write of `version` was cancelled: it may hold that, or what it held before.
    pub(super) fn may_become(&mut self, chunk: usize, version: u32) {
        let allowed = &mut self.chunks[chunk].allowed;
        if !allowed.is_empty() {
            allowed.push(version);
        }
    }

    /// It may hold anything.
    pub(super) fn forget(&mut self, chunk: usize) {
        self.chunks[chunk].allowed.clear();
    }

    /// Whether `data`, read from `chunk` just now, is of one version that is allowed. What was
    /// seen once is what it holds from now on.
    pub(super) fn observe(&mut self, chunk: usize, data: &[u8]) -> bool {
        let allowed = &self.chunks[chunk].allowed;
        if allowed.is_empty() {
            return true;
        }
        let found = allowed.iter().copied().find(|version| self.matches(chunk, *version, data));
        match found {
            Some(version) => self.set(chunk, version),
            None => self.forget(chunk),
        }
        found.is_some()
    }

    fn matches(&self, chunk: usize, version: u32, data: &[u8]) -> bool {
        data == self.content(chunk, version)
    }

    /// The content of a chunk: each 8 bytes depend on version, chunk and place.
    pub(super) fn content(&self, chunk: usize, version: u32) -> Vec<u8> {
        if version == ZEROES {
            return vec![0; CHUNK_BYTES as usize];
        }
        let seed = u64::from(version) << 32 | chunk as u64;
        (0..CHUNK_BYTES / 8).flat_map(|word| mix(seed ^ word << 16).to_le_bytes()).collect()
    }
}

/// SplitMix64's finaliser: neighbours look unrelated.
pub(super) fn mix(value: u64) -> u64 {
    let mut word = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_write_leaves_two_answers_and_a_look_leaves_one() {
        let mut medium = Medium::new(512, 2);
        assert!(medium.observe(0, &[1; CHUNK_BYTES as usize]), "nothing is known yet");
        medium.set(0, 1);
        medium.may_become(0, 2);
        let (old, new) = (medium.content(0, 1), medium.content(0, 2));
        assert_ne!(old, new);
        assert_ne!(old, medium.content(1, 1));
        assert!(medium.clone().observe(0, &old));
        assert!(medium.observe(0, &new));
        assert!(!medium.observe(0, &old), "it has been seen to be new");
    }

    #[test]
    fn half_of_each_is_neither() {
        let mut medium = Medium::new(4096, 1);
        medium.set(0, 1);
        medium.may_become(0, 2);
        let mut torn = medium.content(0, 1);
        torn[8192..].copy_from_slice(&medium.content(0, 2)[8192..]);
        assert!(!medium.observe(0, &torn));
    }
}
