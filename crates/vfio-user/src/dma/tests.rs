use super::*;
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, OFlags, ftruncate, memfd_create};
use rustix::io::{Errno, pread, pwrite};

const PAGE: u64 = 4096;
const RW: DmaMapFlags = DmaMapFlags::READABLE.union(DmaMapFlags::WRITEABLE);

fn memfd(size: u64) -> OwnedFd {
    let fd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, size).unwrap();
    fd
}

fn range(address: u64, size: u64, offset: u64) -> DmaMap {
    DmaMap { flags: RW, offset, address, size }
}

fn space() -> DmaSpace {
    let mut space = DmaSpace::new();
    space.set_bus_master(true);
    space
}

fn unmap(address: u64, size: u64) -> DmaUnmap {
    DmaUnmap { flags: DmaUnmapFlags::empty(), address, size }
}

#[test]
fn reads_and_writes_reach_the_file() {
    let fd = memfd(4 * PAGE);
    let mut space = space();
    space.map(&range(0x10_0000, 2 * PAGE, PAGE), Some(fd.try_clone().unwrap())).unwrap();
    for len in [0, 1, 2, 3, 4, 7, 8, 9, 4096, 5000] {
        let data: Vec<u8> = (0..len).map(|i| i as u8 ^ 0x5a).collect();
        for at in [0_u64, 1, 2, 4, 8] {
            space.write(0x10_0000 + at, &data).unwrap();
            let mut file = vec![0; len];
            pread(&fd, &mut file, PAGE + at).unwrap();
            assert_eq!(file, data);
            let mut back = vec![0; len];
            space.read(0x10_0000 + at, &mut back).unwrap();
            assert_eq!(back, data);
        }
    }
    let mut outside = [0; 8];
    pread(&fd, &mut outside, PAGE - 8).unwrap();
    assert_eq!(outside, [0; 8]);
}

#[test]
fn an_access_may_span_ranges_of_several_files() {
    let (one, two) = (memfd(4 * PAGE), memfd(PAGE));
    let mut space = space();
    // Out of order, and in the file in another order than in the address space.
    space.map(&range(2 * PAGE, PAGE, 0), Some(one.try_clone().unwrap())).unwrap();
    space.map(&range(0, PAGE, 3 * PAGE), Some(one.try_clone().unwrap())).unwrap();
    space.map(&range(PAGE, PAGE, 0), Some(two.try_clone().unwrap())).unwrap();
    let data: Vec<u8> = (0..2 * PAGE + 10).map(|i| (i % 251) as u8).collect();
    space.write(PAGE - 10, &data).unwrap();
    let mut back = vec![0; data.len()];
    space.read(PAGE - 10, &mut back).unwrap();
    assert_eq!(back, data);
    let mut piece = [0; 10];
    pread(&one, &mut piece, 4 * PAGE - 10).unwrap();
    assert_eq!(piece, data[..10]);
    pread(&two, &mut piece, 0).unwrap();
    assert_eq!(piece, data[10..20]);
    pread(&one, &mut piece, 0).unwrap();
    assert_eq!(piece, data[PAGE as usize + 10..][..10]);
}

#[test]
fn all_or_nothing() {
    let fd = memfd(2 * PAGE);
    let mut space = space();
    space.map(&range(0, PAGE, 0), Some(fd.try_clone().unwrap())).unwrap();
    let error = Err(DmaError::Unmapped { address: PAGE });
    assert_eq!(space.write(PAGE - 4, &[1; 8]), error);
    let mut buf = [7; 8];
    assert_eq!(space.read(PAGE - 4, &mut buf), error);
    assert_eq!(buf, [7; 8]);
    let readonly = DmaMap { flags: DmaMapFlags::READABLE, ..range(PAGE, PAGE, PAGE) };
    space.map(&readonly, Some(fd.try_clone().unwrap())).unwrap();
    let error = Err(DmaError::Denied { address: PAGE, write: true });
    assert_eq!(space.write(PAGE - 4, &[1; 8]), error);
    space.read(PAGE - 4, &mut buf).unwrap();
    assert_eq!(buf, [0; 8], "no byte of the failed writes arrived");
}

#[test]
fn access_rights_are_honoured() {
    let fd = memfd(2 * PAGE);
    pwrite(&fd, &[9; 4], 0).unwrap();
    let mut space = space();
    let readonly = DmaMap { flags: DmaMapFlags::READABLE, ..range(0, PAGE, 0) };
    space.map(&readonly, Some(fd.try_clone().unwrap())).unwrap();
    let writeonly = DmaMap { flags: DmaMapFlags::WRITEABLE, ..range(PAGE, PAGE, PAGE) };
    space.map(&writeonly, Some(fd.try_clone().unwrap())).unwrap();
    let mut buf = [0; 4];
    space.read(0, &mut buf).unwrap();
    assert_eq!(buf, [9; 4]);
    assert_eq!(space.write(0, &[0]), Err(DmaError::Denied { address: 0, write: true }));
    space.write(PAGE, &[1]).unwrap();
    assert_eq!(space.read(PAGE, &mut buf), Err(DmaError::Denied { address: PAGE, write: false }));
    assert_eq!(space.check_access(0, 1, false), Ok(()));
    assert_eq!(space.check_access(0, 1, true), Err(DmaError::Denied { address: 0, write: true }));
}

#[test]
fn a_descriptor_that_is_read_only_serves_read_only_ranges() {
    let fd = memfd(PAGE);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let readonly = rustix::fs::open(path, OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let mut space = space();
    let error = space.map(&range(0, PAGE, 0), Some(readonly.try_clone().unwrap()));
    assert_eq!(error, Err(MapError::Os(Errno::ACCESS)));
    let map = DmaMap { flags: DmaMapFlags::READABLE, ..range(0, PAGE, 0) };
    space.map(&map, Some(readonly)).unwrap();
    space.read(0, &mut [0; 4]).unwrap();
}

#[test]
fn the_bus_master_flag_closes_everything() {
    let mut space = DmaSpace::new();
    space.map(&range(0, PAGE, 0), Some(memfd(PAGE))).unwrap();
    assert_eq!(space.read(0, &mut [0]), Err(DmaError::BusMasterDisabled));
    assert_eq!(space.write(0, &[0]), Err(DmaError::BusMasterDisabled));
    space.set_bus_master(true);
    space.read(0, &mut [0]).unwrap();
}

#[test]
fn ranges_without_a_descriptor_are_known_but_unreachable() {
    let mut space = space();
    space.map(&range(0, 4 << 20, 0), None).unwrap();
    assert!(space.warned_map, "the operator is told about share=on");
    assert_eq!(space.read(8, &mut [0]), Err(DmaError::Unreachable { address: 8 }));
    assert!(space.warned_access.load(Ordering::Relaxed));
    assert_eq!(space.map(&range(PAGE, PAGE, 0), None), Err(MapError::Overlaps));
    assert_eq!(space.unmap(&unmap(0, 4 << 20)), Ok(1));

    // A ROM or a frame buffer beside shared RAM is nothing to warn about.
    let mut space = DmaSpace::new();
    space.map(&range(0, 2 << 20, 0), Some(memfd(2 << 20))).unwrap();
    let rom = DmaMap { flags: DmaMapFlags::READABLE, ..range(1 << 30, 4 << 20, 0) };
    space.map(&rom, None).unwrap();
    space.map(&range(2 << 30, 16 << 20, 0), None).unwrap();
    assert!(!space.warned_map);
}

#[test]
fn bad_maps_change_nothing() {
    let mut space = space();
    space.map(&range(4 * PAGE, 4 * PAGE, 0), Some(memfd(4 * PAGE))).unwrap();
    let generation = space.generation();
    for (map, error) in [
        (range(0, 0, 0), MapError::Empty),
        (range(1, PAGE, 0), MapError::Misaligned),
        (range(0, PAGE + 1, 0), MapError::Misaligned),
        (range(0, PAGE, 512), MapError::Misaligned),
        (range(u64::MAX - PAGE + 1, 2 * PAGE, 0), MapError::Wraps),
        (range(0, PAGE, u64::MAX - PAGE + 1), MapError::Wraps),
        (range(4 * PAGE, 4 * PAGE, 0), MapError::Overlaps),
        (range(7 * PAGE, PAGE, 0), MapError::Overlaps),
        (range(0, 5 * PAGE, 0), MapError::Overlaps),
        (range(0, 16 * PAGE, 0), MapError::Overlaps),
        (range(7 * PAGE, 16 * PAGE, 0), MapError::Overlaps),
        (range(0, 2 * PAGE, 0), MapError::FileTooShort),
        (range(0, PAGE, PAGE), MapError::FileTooShort),
        (range(0, PAGE, 1 << 62), MapError::FileTooShort),
        (DmaMap { flags: DmaMapFlags::empty(), ..range(0, PAGE, 0) }, MapError::Flags),
        (
            DmaMap { flags: DmaMapFlags::from_bits_retain(0x13), ..range(0, PAGE, 0) },
            MapError::Flags,
        ),
    ] {
        assert_eq!(space.map(&map, Some(memfd(PAGE))), Err(error), "{map:?}");
    }
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    assert_eq!(space.map(&range(0, PAGE, 0), Some(pipe)), Err(MapError::NotAFile));
    assert_eq!((space.len(), space.generation()), (1, generation));
    space.map(&range(u64::MAX - PAGE + 1, PAGE, 0), Some(memfd(PAGE))).unwrap();
    space.write(u64::MAX - 3, &[1; 4]).unwrap();
    let wraps = DmaError::Wraps { address: u64::MAX - 3 };
    assert_eq!(space.write(u64::MAX - 3, &[1; 5]), Err(wraps));
}

#[test]
fn what_is_unmapped_is_out_of_reach() {
    let fd = memfd(2 * PAGE);
    let mut space = space();
    space.map(&range(0, PAGE, 0), Some(fd.try_clone().unwrap())).unwrap();
    space.map(&range(PAGE, PAGE, PAGE), Some(fd.try_clone().unwrap())).unwrap();
    let generation = space.generation();
    assert_eq!(space.unmap(&unmap(0, PAGE)), Ok(1));
    assert_ne!(space.generation(), generation);
    assert_eq!(space.write(0, &[1]), Err(DmaError::Unmapped { address: 0 }));
    space.write(PAGE, &[1]).unwrap();
    assert_eq!(space.unmap(&unmap(0, PAGE)), Ok(0), "once more is harmless");
    space.map(&range(0, PAGE, PAGE), Some(fd)).unwrap();
    let mut byte = [0];
    space.read(0, &mut byte).unwrap();
    assert_eq!(byte, [1], "the range shows other memory now");
}

#[test]
fn unmap_covers_whole_ranges_or_refuses() {
    let mut space = space();
    for page in [2, 3, 6] {
        space.map(&range(page * PAGE, PAGE, 0), Some(memfd(PAGE))).unwrap();
    }
    space.map(&range(8 * PAGE, 4 * PAGE, 0), Some(memfd(4 * PAGE))).unwrap();
    for (address, size) in [(8, 1), (9, 1), (11, 1), (7, 2), (10, 10), (0, 9)] {
        let result = space.unmap(&unmap(address * PAGE, size * PAGE));
        assert_eq!(result, Err(MapError::Bisects), "{address} {size}");
        assert_eq!(space.len(), 4);
    }
    assert_eq!(space.unmap(&unmap(0, 0)), Err(MapError::Empty));
    assert_eq!(space.unmap(&unmap(PAGE, u64::MAX)), Err(MapError::Wraps));
    let dirty = DmaUnmap { flags: DmaUnmapFlags::GET_DIRTY_BITMAP, ..unmap(0, 7 * PAGE) };
    assert_eq!(space.unmap(&dirty), Err(MapError::Flags));
    assert_eq!(space.unmap(&unmap(0, 7 * PAGE)), Ok(3));
    assert_eq!(space.unmap(&unmap(0, 1 << 63)), Ok(1));
    assert!(space.is_empty() && space.files.is_empty());
}

#[test]
fn unmap_all() {
    let mut space = space();
    for page in 0..10 {
        space.map(&range(2 * page * PAGE, PAGE, 0), Some(memfd(PAGE))).unwrap();
    }
    let all = DmaUnmap { flags: DmaUnmapFlags::ALL, address: 0, size: 0 };
    for bad in [
        DmaUnmap { size: PAGE, ..all },
        DmaUnmap { address: PAGE, ..all },
        DmaUnmap { flags: DmaUnmapFlags::all(), ..all },
        DmaUnmap { flags: DmaUnmapFlags::from_bits_retain(0x10), ..all },
    ] {
        assert_eq!(space.unmap(&bad), Err(MapError::Flags));
    }
    assert_eq!(space.unmap(&all), Ok(10));
    assert!(space.is_empty());
    assert_eq!(space.unmap(&all), Ok(0));
}

#[test]
fn tens_of_thousands_of_ranges_share_one_mapping() {
    let count = MAX_DMA_MAPS as u64;
    let fd = memfd(64 * PAGE);
    let mut space = space();
    for i in 0..count {
        // Every other page, so that no two could be merged.
        let map = range(2 * i * PAGE, PAGE, (i % 64) * PAGE);
        space.map(&map, Some(fd.try_clone().unwrap())).unwrap();
    }
    let one_more = space.map(&range(2 * count * PAGE, PAGE, 0), Some(fd.try_clone().unwrap()));
    assert_eq!(one_more, Err(MapError::TooMany));
    assert_eq!(space.files.len(), 1);
    space.write(2 * 40_002 * PAGE + 5, b"hello").unwrap();
    let mut back = [0; 5];
    pread(&fd, &mut back, (40_002 % 64) * PAGE + 5).unwrap();
    assert_eq!(&back, b"hello");
    assert_eq!(space.unmap(&unmap(0, 1 << 40)), Ok(MAX_DMA_MAPS));
    assert!(space.files.is_empty(), "the file is let go with its last range");
}

#[test]
fn a_file_that_has_grown_is_mapped_again() {
    let fd = memfd(PAGE);
    let mut space = space();
    space.map(&range(0, PAGE, 0), Some(fd.try_clone().unwrap())).unwrap();
    ftruncate(&fd, 3 * PAGE).unwrap();
    space.map(&range(PAGE, 2 * PAGE, PAGE), Some(fd.try_clone().unwrap())).unwrap();
    space.write(PAGE - 2, &[1, 2, 3, 4]).unwrap();
    let mut back = [0; 4];
    pread(&fd, &mut back, PAGE - 2).unwrap();
    assert_eq!(back, [1, 2, 3, 4]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against a model that knows, for each page, where in the file it is.
    #[test]
    fn agrees_with_a_model(ops in proptest::collection::vec((any::<bool>(), 0_u64..32, 1_u64..6, 0_u64..32), 1..60)) {
        let fd = memfd(40 * PAGE);
        let mut space = space();
        let mut model: [Option<(u64, usize)>; 40] = [None; 40];
        for (step, (map, at, pages, offset)) in ops.into_iter().enumerate() {
            let span = at as usize..(at + pages) as usize;
            if map {
                let free = model[span.clone()].iter().all(Option::is_none);
                let result = space.map(
                    &range(at * PAGE, pages * PAGE, offset * PAGE),
                    Some(fd.try_clone().unwrap()),
                );
                prop_assert_eq!(result.is_ok(), free);
                if free {
                    for (i, page) in span.enumerate() {
                        model[page] = Some((offset + i as u64, step));
                    }
                }
            } else {
                let edge = |a: usize, b: usize| match (model.get(a).copied().flatten(), model.get(b).copied().flatten()) {
                    (Some((_, x)), Some((_, y))) => x == y,
                    _ => false,
                };
                let cuts = (at > 0 && edge(at as usize - 1, at as usize)) || edge(span.end - 1, span.end);
                let result = space.unmap(&unmap(at * PAGE, pages * PAGE));
                prop_assert_eq!(result.is_ok(), !cuts);
                if !cuts {
                    model[span].fill(None);
                }
            }
            for (page, slot) in model.iter().enumerate() {
                let result = space.write(page as u64 * PAGE, &(page as u32).to_le_bytes());
                prop_assert_eq!(result.is_ok(), slot.is_some());
                if let Some((offset, _)) = slot {
                    let mut back = [0; 4];
                    pread(&fd, &mut back, offset * PAGE).unwrap();
                    prop_assert_eq!(u32::from_le_bytes(back), page as u32);
                }
            }
        }
    }
}
