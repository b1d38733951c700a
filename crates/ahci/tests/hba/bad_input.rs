//! What the specification forbids software to do, and what happens then: something defined, and the
//! next command works.

use freewheel_ahci::registers::*;
use freewheel_ahci::{ABAR_LEN_BYTES, HbaConfig, HotPlug};
use freewheel_ata::LinkError;
use freewheel_ata::fis::Status;

use crate::support::*;

const ALL_PORTS: usize = 3;

/// Gets a port from any state to one that works.
fn recover(rig: &mut Rig) {
    for port in 0..2 {
        rig.write(port, PX_CLBU, 0);
        rig.write(port, PX_FBU, 0);
        rig.stop(port);
        rig.write(port, PX_SCTL, DET_COMRESET);
        rig.write(port, PX_SCTL, 0);
        rig.start(port);
        assert!(rig.works(port), "port {port}");
    }
}

#[test]
fn registers_that_are_reserved_read_as_zero_and_take_nothing() {
    let mut rig = Rig::new();
    let of_hba = (0x2c..EM_BUFFER).step_by(4);
    let of_ports = (0..ALL_PORTS as u32).flat_map(|port| {
        let offsets = [0x1c].into_iter().chain((0x48..PORT_STRIDE).step_by(4));
        offsets.map(move |offset| PORTS + port * PORT_STRIDE + offset)
    });
    let beyond = (PORTS + 3 * PORT_STRIDE..0x1100).step_by(4);
    for register in of_hba.chain(of_ports).chain(beyond) {
        rig.write_global(register, u32::MAX);
        assert_eq!(rig.read_global(register), 0, "{register:#x}");
    }
    assert!(rig.works(0));
}

#[test]
fn bits_that_are_reserved_stay_clear() {
    let mut rig = Rig::stopped(HbaConfig::default());
    rig.write(0, PX_IE, u32::MAX);
    assert_eq!(rig.read(0, PX_IE), PxIs::all().bits());
    rig.write(0, PX_CLB, u32::MAX);
    rig.write(0, PX_FB, u32::MAX);
    assert_eq!((rig.read(0, PX_CLB), rig.read(0, PX_FB)), (0xffff_fc00, 0xffff_ff00));
    rig.write_global(GHC, !Ghc::HR.bits());
    assert_eq!(rig.read_global(GHC), (Ghc::AE | Ghc::IE).bits());
    rig.write_global(GHC, 0);
    assert_eq!(rig.read_global(GHC), Ghc::AE.bits(), "AHCI only (CAP.SAM)");
    recover(&mut rig);
}

#[test]
fn accesses_of_any_size_and_place_reach_the_bytes_that_they_name() {
    let mut rig = Rig::stopped(HbaConfig::default());
    let clb = u64::from(PORTS + PX_CLB);
    for len in [1, 2, 4, 8, 3, 5, 16] {
        for offset in 0..8 {
            rig.write(0, PX_CLB, 0x1111_1000);
            rig.write(0, PX_CLBU, 0x2222_2222);
            let mut expected = [0x1111_1000u32, 0x2222_2222].map(u32::to_le_bytes).concat();
            let written: Vec<u8> = vec![0x33; len];
            for (at, byte) in expected.iter_mut().enumerate().skip(offset).take(len) {
                // The list is aligned to 1 KiB.
                *byte = if at == 0 {
                    0
                } else if at == 1 {
                    0x30
                } else {
                    0x33
                };
            }
            rig.hba.mmio_write(clb + offset as u64, &written, rig.now, &rig.memory);
            let mut read = [0; 8];
            rig.hba.mmio_read(clb, &mut read);
            assert_eq!(read[..], expected[..], "{len} at {offset}");
        }
    }
    let mut bytes = [0xff; 16];
    for offset in [ABAR_LEN_BYTES - 3, ABAR_LEN_BYTES, u64::MAX - 3] {
        rig.hba.mmio_write(offset, &bytes.clone(), rig.now, &rig.memory);
        rig.hba.mmio_read(offset, &mut bytes);
    }
    recover(&mut rig);
}

#[test]
fn a_data_command_without_a_prdt_overflows_and_moves_nothing() {
    let mut rig = Rig::new();
    let failed = register(Status::DRDY | Status::ERR);
    rig.script(0).commands.push_back(vec![Act::In(0, vec![1; 512]), Act::Fis(failed)]);
    rig.prepare_with(0, 0, &command(0x25), &[]);
    rig.write(0, PX_CI, 1);
    assert_eq!(rig.script(0).results[0], Err(LinkError::Overflow));
    assert!(rig.is(0).contains(PxIs::OFS));
    recover(&mut rig);
}

#[test]
fn a_prdt_of_65_535_entries_is_taken_as_it_is() {
    let mut rig = Rig::new();
    let base = Rig::base(0);
    let table = 0x10_0000;
    let flags = 5 | 0xffff << 16;
    rig.put(base, &[flags, 0, table as u32, 0].map(u32::to_le_bytes).concat());
    rig.put(table, &command(0x25).encode());
    let entry = [(base + DATA) as u32, 0, 0, 1].map(u32::to_le_bytes).concat();
    rig.put(table + PRDT_OFFSET_BYTES as u64, &entry.repeat(0xffff));
    let bytes = 0xffff * 2;
    rig.script(0).commands.push_back(vec![
        Act::In(bytes - 2, vec![7; 2]),
        Act::In(bytes - 1, vec![8; 2]),
        Act::Fis(good()),
    ]);
    rig.write(0, PX_CI, 1);
    let overflow = Err(LinkError::Overflow);
    assert_eq!(rig.script(0).results, [Ok(()), overflow, Ok(())]);
    assert_eq!(rig.get(base + DATA, 2), [7; 2]);
    recover(&mut rig);
}

#[test]
fn a_prdt_that_runs_out_of_memory_is_a_fatal_error() {
    let mut rig = Rig::new();
    let header = [5 | 0xffff << 16, 0, 0x3f_ff00u32, 0].map(u32::to_le_bytes).concat();
    rig.put(Rig::base(0), &header);
    rig.write(0, PX_CI, 1);
    assert_eq!((rig.is(0), rig.read(0, PX_CI)), (PxIs::HBFS, 1));
    recover(&mut rig);
}

#[test]
fn odd_addresses_and_lengths_are_made_even() {
    let mut rig = Rig::new();
    let data = Rig::base(0) + DATA;
    // 512 bytes, of which the count's bit 0 says 511 (it is fixed to 1); at an odd address.
    rig.prepare_with(0, 0, &command(0x25), &[(data + 1, 510)]);
    rig.script(0).commands.push_back(vec![Act::In(0, vec![9; 512]), Act::Fis(good())]);
    rig.write(0, PX_CI, 1);
    assert_eq!(rig.get(data, 513), [vec![9; 512], vec![0]].concat());
    assert_eq!(rig.read(0, PX_CI), 0);
    assert!(rig.works(0));
}

#[test]
fn a_port_started_without_fre_carries_commands_out_and_receives_nothing() {
    let mut rig = Rig::new();
    rig.stop(0);
    rig.command(0, PxCmd::ST | PxCmd::SUD | PxCmd::POD);
    rig.put(Rig::base(0) + FIS_AREA + FIS_AREA_RFIS, &[0]);
    assert!(rig.works(0));
    assert_eq!(rig.is(0), PxIs::empty());
    assert_eq!(rig.received(0, FIS_AREA_RFIS, 1), [0]);
    recover(&mut rig);
}

#[test]
fn a_list_that_is_moved_while_it_runs_counts_from_the_next_command() {
    let mut rig = Rig::new();
    rig.issue_queued(0, 1);
    rig.write(0, PX_CLB, Rig::base(1) as u32);
    rig.prepare(1, 2, &command(0xec));
    rig.write(0, PX_CI, 1 << 2);
    assert_eq!(rig.script(0).taken.last().map(|(_, fis)| fis.command), Some(0xec));
    rig.script(0).later = vec![(1, Act::Loose(set_device_bits(0b10)))];
    rig.pass(1);
    assert_eq!(rig.read(0, PX_SACT), 0, "what was fetched before goes on");
    recover(&mut rig);
}

#[test]
fn two_ports_may_share_a_list() {
    let mut rig = Rig::new();
    rig.start(1);
    rig.write(1, PX_CLB, Rig::base(0) as u32);
    rig.prepare(0, 3, &command(0x25));
    for port in 0..2 {
        rig.write(port, PX_CI, 1 << 3);
        assert_eq!(rig.read(port, PX_CI), 0, "port {port}");
        assert_eq!(rig.script(port).taken.len(), 1);
    }
    recover(&mut rig);
}

#[test]
fn a_fis_of_any_other_kind_or_length_is_refused_by_the_device() {
    for flags in [0, 1, 17, 31] {
        let mut rig = Rig::new();
        rig.prepare(0, 0, &command(0x25));
        rig.put(Rig::base(0), &[flags]);
        rig.write(0, PX_CI, 1);
        assert_eq!((rig.is(0), rig.script(0).taken.len()), (PxIs::IFS, 0), "CFL {flags}");
        recover(&mut rig);
    }
    let mut rig = Rig::new();
    rig.prepare(0, 0, &command(0x25));
    rig.put(Rig::base(0) + TABLES, &[0x34]);
    rig.write(0, PX_CI, 1);
    assert_eq!((rig.is(0), rig.script(0).taken.len()), (PxIs::IFS, 0));
    recover(&mut rig);
}

#[test]
fn a_port_without_a_device_is_harmless() {
    let mut rig = Rig::new();
    rig.scripts.push(rig.scripts[0].clone());
    assert_eq!((rig.read(2, PX_SSTS), rig.read(2, PX_TFD)), (0, 0x7f));
    assert_eq!(rig.read(2, PX_SIG), u32::MAX);
    rig.start(2);
    rig.issue(2, 0);
    assert_eq!((rig.is(2), rig.read(2, PX_CI)), (PxIs::empty(), 1), "7Fh has DRQ: it waits");
    rig.stop(2);
    rig.command(2, PxCmd::FRE | PxCmd::CLO);
    rig.start(2);
    rig.issue(2, 0);
    assert_eq!(rig.is(2), PxIs::IFS, "nobody acknowledges the FIS");
    rig.stop(2);
    rig.comreset(2);
    assert_eq!(rig.read(2, PX_SERR), 0, "and nobody answers");
    recover(&mut rig);
}

#[test]
fn noise_in_every_register_is_survived() {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for hot_plug in [HotPlug::None, HotPlug::ColdPresence] {
        let config = HbaConfig { hot_plug, staggered_spin_up: true, ..HbaConfig::default() };
        let mut rig = Rig::with(config);
        for _ in 0..20_000 {
            let offset = next() % 0x300;
            let len = 1 + next() as usize % 8;
            let value = next() & next();
            rig.hba.mmio_write(offset, &value.to_le_bytes()[..len], rig.now, &rig.memory);
            let mut bytes = [0; 8];
            rig.hba.mmio_read(next() % 0x300, &mut bytes[..len]);
            rig.now = rig.now.plus(next() % MILLISECOND);
            rig.hba.poll(rig.now, &rig.memory);
        }
        rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
        recover(&mut rig);
    }
}
