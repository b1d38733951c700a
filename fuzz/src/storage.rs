//! Storage that completes late, never, short, twice, wrong or out of order, as the input has it.

use freewheel_block::{IoError, OpKind};
use freewheel_sim::{MemoryDisk, MemoryDiskConfig};

use crate::Input;

/// Size of the disk.
pub const SIZE_BYTES: u64 = 1 << 20;

/// A disk as two bytes describe it.
pub fn disk(bits: u8, align: u8, sector_bytes: u32) -> MemoryDisk {
    let flag = |bit: u8| bits & 1 << bit != 0;
    let align_bytes = [1, 512, 4096][usize::from(align) % 3];
    let discard_align_bytes = [512, 4096][usize::from(flag(3))];
    MemoryDisk::new(&MemoryDiskConfig {
        size_bytes: SIZE_BYTES,
        io_align_bytes: align_bytes,
        read_only: flag(0) && flag(1),
        fua: flag(2),
        discard_align_bytes: (!flag(4))
            .then_some(u64::max(discard_align_bytes, sector_bytes.into())),
        queue_depth: if flag(5) { 3 } else { 64 },
    })
}

/// One event at the storage.
pub fn event(disk: &MemoryDisk, input: &mut Input) {
    let what = input.u8();
    let pending = disk.pending();
    // Storage logs what it did for whoever wants to know; nobody does.
    let _ = disk.take_log();
    if what < 32 {
        disk.hold(what & 1 != 0);
        return;
    }
    let Some(index) = usize::from(input.u8()).checked_rem(pending.len()) else { return };
    match what % 8 {
        0..=2 => disk.complete(index),
        3 => {
            // Only transfers can fall short, and never by nothing.
            let io = pending[index];
            if matches!(io.kind, OpKind::Read | OpKind::Write) {
                let sectors = io.range.len_bytes / 512;
                disk.complete_short(index, u64::from(what) % (sectors + 1) * 512);
            }
        }
        4 => disk.complete_twice(index),
        5 => disk.fail(index, IoError::NoSpace),
        6 => disk.fail(index, IoError::Os(5)),
        _ => disk.complete_all_reversed(),
    }
}
