//! The 2,352 bytes of a CD-ROM sector of mode 1 around its 2,048 of user data: sync pattern,
//! header, error detection and correction codes (ECMA-130, clause 14 and annex A).

/// Bytes of user data in a sector, and of every logical block here.
pub(crate) const USER_BYTES: usize = 2048;
/// Bytes of a whole sector.
pub(crate) const RAW_BYTES: usize = 2352;

const SYNC: [u8; 12] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
const HEADER_AT: usize = 12;
const USER_AT: usize = 16;
const EDC_AT: usize = USER_AT + USER_BYTES;
const P_AT: usize = EDC_AT + 12;
const Q_AT: usize = P_AT + 172;

/// Minutes, seconds and frames of an address on the disc; LBA 0 is at 00:02:00.
pub(crate) fn msf(lba: u32) -> [u8; 3] {
    let frames = u64::from(lba) + 150;
    match u8::try_from(frames / (60 * 75)) {
        Ok(minutes) => [minutes, (frames / 75 % 60) as u8, (frames % 75) as u8],
        // Only a DVD or BD gets here: the highest that can be said.
        Err(_) => [255, 59, 74],
    }
}

/// The LBA of minutes, seconds and frames; `None` if they are none or lie before LBA 0.
pub(crate) fn lba_of([minutes, seconds, frames]: [u8; 3]) -> Option<u32> {
    if seconds >= 60 || frames >= 75 {
        return None;
    }
    let address = (u32::from(minutes) * 60 + u32::from(seconds)) * 75 + u32::from(frames);
    address.checked_sub(150)
}

/// Which parts of a sector READ CD asks for (MMC-6, 6.18: main channel selection).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    sync: bool,
    header: bool,
    user: bool,
    codes: bool,
}

impl Layout {
    /// The selection in byte 9 of the command; `None` for a combination that a sector of mode 1
    /// does not offer, since the parts would not lie side by side.
    pub(crate) fn parse(flags: u8) -> Option<Self> {
        // Mode 1 has no subheader: to ask for it alone asks for nothing.
        let layout = Self {
            sync: flags & 0x80 != 0,
            header: flags & 0x20 != 0,
            user: flags & 0x10 != 0,
            codes: flags & 0x08 != 0,
        };
        let Self { sync, header, user, codes } = layout;
        let torn = sync && !header || codes && !user;
        // C2 error pointers are not to be had.
        (!torn && flags & 0x07 == 0).then_some(layout)
    }

    /// User data and nothing else.
    pub(crate) fn is_plain(self) -> bool {
        self == Self { sync: false, header: false, user: true, codes: false }
    }

    /// Bytes of a sector.
    pub(crate) fn len_bytes(self) -> usize {
        let part = |wanted, len_bytes| if wanted { len_bytes } else { 0 };
        part(self.sync, HEADER_AT)
            + part(self.header, USER_AT - HEADER_AT)
            + part(self.user, USER_BYTES)
            + part(self.codes, RAW_BYTES - EDC_AT)
    }

    /// Appends the wanted parts of the sector at `lba`.
    pub(crate) fn append(self, lba: u32, user: &[u8; USER_BYTES], out: &mut alloc::vec::Vec<u8>) {
        let raw = raw_sector(lba, user);
        let mut part = |wanted, span: core::ops::Range<usize>| {
            if wanted {
                out.extend_from_slice(&raw[span]);
            }
        };
        part(self.sync, 0..HEADER_AT);
        part(self.header, HEADER_AT..USER_AT);
        part(self.user, USER_AT..EDC_AT);
        part(self.codes, EDC_AT..RAW_BYTES);
    }
}

fn raw_sector(lba: u32, user: &[u8; USER_BYTES]) -> [u8; RAW_BYTES] {
    let mut raw = [0; RAW_BYTES];
    raw[..HEADER_AT].copy_from_slice(&SYNC);
    let [minutes, seconds, frames] = msf(lba);
    raw[HEADER_AT..USER_AT].copy_from_slice(&[bcd(minutes), bcd(seconds), bcd(frames), 1]);
    raw[USER_AT..EDC_AT].copy_from_slice(user);
    let edc = edc(&raw[..EDC_AT]);
    raw[EDC_AT..EDC_AT + 4].copy_from_slice(&edc.to_le_bytes());
    parity(&mut raw, P_AT, 86, 24, 2, 86);
    parity(&mut raw, Q_AT, 52, 43, 86, 88);
    raw
}

fn bcd(value: u8) -> u8 {
    (value / 10 * 16) | (value % 10)
}

/// The error detection code: a CRC with the polynomial (x^16+x^15+x^2+1)(x^16+x^2+x+1), the lowest
/// bit of each byte first (ECMA-130, 14.3).
fn edc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum >> 8) ^ EDC_TABLE[usize::from(sum as u8 ^ byte)])
}

static EDC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = value >> 1 ^ if value & 1 != 0 { 0xd801_8001 } else { 0 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// Multiplication by x in GF(2^8) over x^8+x^4+x^3+x^2+1 (ECMA-130, annex A).
const fn times_x(value: u8) -> u8 {
    value << 1 ^ if value & 0x80 != 0 { 0x1d } else { 0 }
}

/// Division by x + 1.
static OVER_X_PLUS_1: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let value = index as u8;
        table[(value ^ times_x(value)) as usize] = value;
        index += 1;
    }
    table
};

/// Reed-Solomon parity of `vectors` vectors of `len` bytes (ECMA-130, annex A): P runs down the
/// columns, Q along the diagonals. Each gets two parity bytes, the second ones behind all first
/// ones. `along` is the step within a vector, `between` that from one pair of vectors to the next.
fn parity(
    raw: &mut [u8; RAW_BYTES],
    to: usize,
    vectors: usize,
    len: usize,
    between: usize,
    along: usize,
) {
    let span = vectors * len;
    for vector in 0..vectors {
        let mut at = vector / 2 * between + vector % 2;
        let (mut sum, mut weighted) = (0u8, 0u8);
        for _ in 0..len {
            // Both run over header, user data and what follows, without the sync pattern.
            let byte = raw[HEADER_AT + at];
            at += along;
            if at >= span {
                at -= span;
            }
            weighted = times_x(weighted ^ byte);
            sum ^= byte;
        }
        let first = OVER_X_PLUS_1[usize::from(times_x(weighted) ^ sum)];
        raw[to + vector] = first;
        raw[to + vector + vectors] = first ^ sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every P and Q vector of a sector, its two parity bytes at its end.
    fn vectors(raw: &[u8; RAW_BYTES]) -> alloc::vec::Vec<alloc::vec::Vec<u8>> {
        let word = |index: usize, byte: usize| raw[HEADER_AT + 2 * index + byte];
        let mut all = alloc::vec::Vec::new();
        for byte in 0..2 {
            for column in 0..43 {
                all.push((0..26).map(|row| word(43 * row + column, byte)).collect());
            }
            for diagonal in 0..26 {
                let mut q: alloc::vec::Vec<u8> =
                    (0..43).map(|m| word((44 * m + 43 * diagonal) % 1118, byte)).collect();
                q.push(word(1118 + diagonal, byte));
                q.push(word(1144 + diagonal, byte));
                all.push(q);
            }
        }
        all
    }

    #[test]
    fn the_parity_vectors_fulfil_the_equations_of_the_standard() {
        let mut user = [0; USER_BYTES];
        for (at, byte) in user.iter_mut().enumerate() {
            *byte = (at * 7 + at / 256) as u8;
        }
        for vector in vectors(&raw_sector(4_711, &user)) {
            // H times V is zero: the sum, and the sum weighted with powers of x, the last byte with
            // x^0 (ECMA-130, annex A).
            let sum = vector.iter().fold(0, |sum, byte| sum ^ byte);
            let weighted = vector.iter().fold(0, |sum, byte| times_x(sum) ^ byte);
            assert_eq!((sum, weighted), (0, 0));
        }
    }

    #[test]
    fn the_error_detection_code_makes_the_remainder_vanish() {
        let raw = raw_sector(16, &[0xa5; USER_BYTES]);
        assert_eq!(edc(&raw[..EDC_AT + 4]), 0);
        assert_ne!(edc(&raw[..EDC_AT]), 0);
    }

    #[test]
    fn addresses_on_the_disc_start_at_two_seconds() {
        assert_eq!(msf(0), [0, 2, 0]);
        assert_eq!(msf(16), [0, 2, 16]);
        assert_eq!(lba_of([0, 2, 16]), Some(16));
        assert_eq!(lba_of([0, 1, 74]), None);
        assert_eq!(lba_of([0, 60, 0]), None);
        let raw = raw_sector(75 * 58 + 9, &[0; USER_BYTES]);
        assert_eq!(raw[HEADER_AT..USER_AT], [0x01, 0x00, 0x09, 1]);
    }

    #[test]
    fn parts_that_do_not_touch_are_refused() {
        assert!(Layout::parse(0x10).unwrap().is_plain());
        assert_eq!(Layout::parse(0xf8).unwrap().len_bytes(), RAW_BYTES);
        assert_eq!(Layout::parse(0xb0).unwrap().len_bytes(), 12 + 4 + 2048);
        assert_eq!(Layout::parse(0x00).unwrap().len_bytes(), 0);
        for torn in [0x80, 0x90, 0x08, 0x28, 0x12] {
            assert_eq!(Layout::parse(torn), None, "{torn:x}");
        }
    }
}
