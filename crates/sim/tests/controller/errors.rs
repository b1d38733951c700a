//! What AHCI defines for what goes wrong, and that the next command works.

use freewheel_ahci::registers::*;
use freewheel_block::fault::FaultLayer;
use freewheel_sim::{Command, DriverError, PrdtEntry};

use crate::support::*;

fn port_error(result: Result<(), DriverError>) -> (PxIs, u32, u32) {
    match result {
        Err(DriverError::Port { is, task_file, serr, .. }) => {
            (PxIs::from_bits_retain(is), task_file, serr)
        }
        other => panic!("no error of the port: {other:?}"),
    }
}

fn works_again(rig: &mut Rig) {
    // Reading the log is what ends the error state of the queue, where there is one.
    rig.driver.recover_queue(&mut rig.machine, AMPLE_NS).expect("the log can be read");
    rig.write(64, &pattern(64, 8));
    assert_eq!(rig.read(64, 8), pattern(64, 8));
}

fn faults(rig: &mut Rig) -> &mut FaultLayer {
    let engine = rig.machine.engine(0).expect("an engine");
    engine.backend_mut().fault_layer().expect("a fault layer")
}

#[test]
fn a_command_list_outside_memory_is_a_bus_error() {
    let mut rig = Rig::new();
    rig.driver.stop(&mut rig.machine);
    rig.driver.write(&mut rig.machine, PX_CLBU, 0xffff_ffff);
    rig.driver.start(&mut rig.machine);
    let (is, ..) = port_error(rig.run(0, &Command::identify()));
    assert!(is.contains(PxIs::HBFS), "{is:?}");
    works_again(&mut rig);
}

#[test]
fn a_command_table_outside_memory_is_a_bus_error() {
    let mut rig = Rig::new();
    let layout = *rig.driver.layout();
    rig.driver.prepare(&rig.machine, 0, &Command::identify());
    rig.machine.ram.poke(layout.header(0) + 8, &0xffff_ffff_ffff_ff80u64.to_le_bytes());
    rig.driver.ring(&mut rig.machine, 1, 0);
    let (is, ..) = port_error(rig.wait(1));
    assert!(is.contains(PxIs::HBFS), "{is:?}");
    works_again(&mut rig);
}

#[test]
fn data_outside_memory_is_a_bus_error_in_both_directions() {
    for queued in [false, true] {
        for write in [false, true] {
            let mut rig = Rig::new();
            let mut command = match (queued, write) {
                (false, false) => Command::read_dma(0, 8, SECTOR),
                (false, true) => Command::write_dma(0, 8, SECTOR),
                (true, false) => Command::read_queued(0, 8, SECTOR),
                (true, true) => Command::write_queued(0, 8, SECTOR),
            };
            let address = rig.machine.ram.len_bytes() - 4094;
            command.prdt = Some(vec![PrdtEntry { address, len_bytes: 4096 }]);
            let (is, ..) = port_error(rig.run(0, &command));
            assert!(is.contains(PxIs::HBFS), "{queued} {write} {is:?}");
            works_again(&mut rig);
        }
    }
}

#[test]
fn a_read_into_read_only_memory_is_a_bus_error() {
    let mut rig = Rig::new();
    let address = rig.driver.layout().scratch().start;
    rig.machine.ram.map(address..address + 4096, false);
    let mut command = Command::read_queued(0, 8, SECTOR);
    command.prdt = Some(vec![PrdtEntry { address, len_bytes: 4096 }]);
    let (is, ..) = port_error(rig.run(0, &command));
    assert!(is.contains(PxIs::HBFS), "{is:?}");
    works_again(&mut rig);
}

#[test]
fn a_prdt_that_is_too_short_is_an_overflow() {
    for command in [
        Command::read_dma(0, 8, SECTOR),
        Command::write_dma(0, 8, SECTOR),
        Command::read_queued(0, 8, SECTOR),
        Command::write_queued(0, 8, SECTOR),
        Command::read_pio(0, 8, SECTOR),
        Command::write_pio(0, 8, SECTOR),
    ] {
        let mut rig = Rig::new();
        let address = rig.driver.layout().scratch().start;
        let mut short = command.clone();
        short.prdt = Some(vec![PrdtEntry { address, len_bytes: 4094 }]);
        let (is, ..) = port_error(rig.run(0, &short));
        assert!(is.contains(PxIs::OFS), "{command:?} {is:?}");
        works_again(&mut rig);
    }
}

#[test]
fn no_prdt_at_all_is_an_overflow() {
    let mut rig = Rig::new();
    let mut command = Command::read_dma(0, 1, SECTOR);
    command.prdt = Some(Vec::new());
    let (is, ..) = port_error(rig.run(0, &command));
    assert!(is.contains(PxIs::OFS), "{is:?}");
    works_again(&mut rig);
}

#[test]
fn a_fis_of_another_type_is_an_interface_error() {
    let mut rig = Rig::new();
    let mut command = Command::identify();
    command.fis_type = 0x46;
    let (is, _, serr) = port_error(rig.run(7, &command));
    assert!(is.contains(PxIs::IFS), "{is:?}");
    assert_ne!(serr, 0);
    works_again(&mut rig);
}

#[test]
fn a_fis_of_a_bad_length_is_an_interface_error() {
    for dwords in [0, 1, 17, 31] {
        let mut rig = Rig::new();
        let mut command = Command::identify();
        command.fis_dwords = dwords;
        let (is, ..) = port_error(rig.run(7, &command));
        assert!(is.contains(PxIs::IFS), "{dwords}: {is:?}");
        works_again(&mut rig);
    }
}

#[test]
fn an_lba_outside_the_disk_is_not_found() {
    let mut rig = Rig::new();
    let end = (64 << 20) / 512;
    let (is, task_file, _) = port_error(rig.run(5, &Command::read_dma(end - 4, 8, SECTOR)));
    assert!(is.contains(PxIs::TFES), "{is:?}");
    assert_eq!(task_file, 0x1051, "IDNF; DRDY, DSC, ERR");
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CMD) >> PX_CMD_CCS_SHIFT & 0x1f, 5, "CCS");
    works_again(&mut rig);
}

#[test]
fn an_unknown_command_is_aborted() {
    let mut rig = Rig::new();
    let (is, task_file, _) = port_error(rig.run(0, &Command::without_data(0xff)));
    assert!(is.contains(PxIs::TFES), "{is:?}");
    assert_eq!(task_file, 0x0451, "ABRT; DRDY, DSC, ERR");
    works_again(&mut rig);
}

#[test]
fn a_failed_queued_read_is_found_in_the_log() {
    let mut rig = Rig::new();
    let fault = "read@168+8:error=EIO".parse().expect("a fault");
    faults(&mut rig).add(fault).expect("a fault that is there");
    let commands: Vec<_> = (0..32u8)
        .map(|slot| (slot, Command::read_queued(u64::from(slot) * 8, 8, SECTOR)))
        .collect();
    rig.driver.issue_all(&mut rig.machine, &commands);
    let (is, task_file, _) = port_error(rig.wait(u32::MAX));
    assert!(is.contains(PxIs::TFES), "{is:?}");
    assert_eq!(task_file & 1, 1);
    assert_ne!(rig.driver.read(&mut rig.machine, PX_SACT) & 1 << 21, 0, "the failed tag stays");
    let error = rig
        .driver
        .recover_queue(&mut rig.machine, AMPLE_NS)
        .expect("the log can be read")
        .expect("with a good checksum");
    assert_eq!((error.tag, error.lba), (Some(21), 168));
    assert_eq!(error.error, 0x40, "UNC");
    faults(&mut rig).clear();
    works_again(&mut rig);
}

#[test]
fn an_injected_error_in_the_middle_of_128_kib_is_reported_at_its_lba() {
    for lba in [1000, 1117, 1255] {
        let mut rig = Rig::new();
        let fault = format!("read@{lba}:error=EIO").parse().expect("a fault");
        faults(&mut rig).add(fault).expect("a fault that is there");
        rig.driver.issue(&mut rig.machine, 4, &Command::read_queued(1000, 256, SECTOR));
        let (is, ..) = port_error(rig.wait(1 << 4));
        assert!(is.contains(PxIs::TFES), "{is:?}");
        let error = rig
            .driver
            .recover_queue(&mut rig.machine, AMPLE_NS)
            .expect("the log can be read")
            .expect("with a good checksum");
        assert_eq!((error.tag, error.lba, error.error), (Some(4), lba, 0x40));
        faults(&mut rig).clear();
        works_again(&mut rig);
    }
}

#[test]
fn a_failed_write_and_a_failed_flush_end_with_an_error() {
    let mut rig = Rig::new();
    for (spec, command) in [
        ("write:error=ENOSPC", Command::write_dma(0, 8, SECTOR)),
        ("flush:error=EIO", Command::flush()),
        ("discard:error=EIO", Command::trim(&[(0, 8)]).0),
    ] {
        rig.driver.fill(&rig.machine, 0, &Command::trim(&[(0, 8)]).1);
        faults(&mut rig).add(spec.parse().expect("a fault")).expect("a fault that is there");
        let (is, task_file, _) = port_error(rig.run(0, &command));
        assert!(is.contains(PxIs::TFES), "{spec} {is:?}");
        assert_eq!(task_file & 1, 1, "{spec}");
        faults(&mut rig).clear();
        works_again(&mut rig);
    }
}

#[test]
fn after_a_halt_nothing_is_fetched_until_the_port_was_stopped() {
    let mut rig = Rig::new();
    port_error(rig.run(0, &Command::without_data(0xff)));
    let commands = rig.status().counters.submitted_total;
    rig.driver.issue(&mut rig.machine, 1, &Command::read_dma(0, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_CI) & 2, 2, "still in the list");
    assert_eq!(rig.status().counters.submitted_total, commands);
    works_again(&mut rig);
}

#[test]
fn a_queued_command_that_is_refused_is_in_the_log() {
    let mut rig = Rig::new();
    let mut bad = Command::read_queued(0, 8, SECTOR);
    bad.fis.features = 0;
    bad.fis.lba = u64::MAX >> 16;
    let (is, ..) = port_error(rig.run(2, &bad));
    assert!(is.contains(PxIs::TFES), "{is:?}");
    let log = rig.driver.recover_queue(&mut rig.machine, AMPLE_NS).expect("the log");
    assert_eq!(log.and_then(|log| log.tag), Some(2));
    works_again(&mut rig);
}
