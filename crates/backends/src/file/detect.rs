//! What kind of storage an open image lies on.
//!
//! Nothing here changes the image's content or size.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FallocateFlags, StatxFlags, fallocate, fstatfs, statx};
use rustix::io::Errno;

/// File or block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediumKind {
    /// A regular file.
    File,
    /// A block device.
    Block,
}

/// File systems we know something about. Whatever is not listed gets the cautious treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
    Other,
}

impl FileSystem {
    /// The file system that holds `file`, by the magic number in `statfs`.
    pub(super) fn of(file: &File) -> Self {
        // <linux/magic.h>. The field's type differs between architectures, hence the cast.
        match fstatfs(file).map(|stat| stat.f_type as u64 & 0xffff_ffff) {
            Ok(0xef53) => Self::Ext4,
            Ok(0x5846_5342) => Self::Xfs,
            Ok(0x9123_683e) => Self::Btrfs,
            Ok(0x0102_1994) => Self::Tmpfs,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
            Self::Other => "another file system",
        }
    }
}

/// What O_DIRECT needs offsets, lengths and memory to be multiples of, in bytes; `None` where the
/// kernel says that there is no O_DIRECT for this image.
pub(super) fn direct_align_bytes(file: &File, kind: MediumKind) -> Option<u64> {
    if let Ok(stat) = statx(file.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        && stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0
    {
        let align = stat.stx_dio_mem_align.max(stat.stx_dio_offset_align);
        return (align != 0).then(|| u64::from(align).next_power_of_two());
    }
    Some(match kind {
        MediumKind::Block => sector_bytes(file),
        // A kernel before 6.1, or a file system that doesn't tell: no device asks for more.
        MediumKind::File => 4096,
    })
}

/// The logical sector of a block device.
pub(super) fn sector_bytes(file: &File) -> u64 {
    rustix::fs::ioctl_blksszget(file).map_or(4096, u64::from)
}

/// Whether holes can be punched into the regular file `file`, which is `size_bytes` long.
///
/// Punching beyond the end changes nothing, and is refused all the same where it can't be done.
pub(super) fn can_punch(file: &File, size_bytes: u64) -> bool {
    let beyond = size_bytes.next_multiple_of(1 << 20);
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match fallocate(file, mode, beyond, 4096) {
            Ok(()) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Whether the block device `file` takes BLKDISCARD, by what sysfs says of its queue.
pub(super) fn can_blk_discard(file: &File) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return false;
    };
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    // A partition has no queue of its own; its parent directory is the whole device.
    ["queue", "../queue"].iter().any(|queue| {
        std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/{queue}/discard_max_bytes"))
            .is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|max| max > 0))
    })
}
