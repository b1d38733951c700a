//! Faults of the link at the level of registers: what a driver sees, and that the contract holds.

mod any_order;
mod crc;
mod drop;
mod signature;
mod support;

use freewheel_ahci::LinkFaultError;
use freewheel_block::fault::LinkFault;

use support::Rig;

#[test]
fn a_fault_of_a_link_that_is_not_there_is_refused() {
    let mut rig = Rig::new(&[]);
    let mut inject = |port| rig.hba.inject_link_fault(port, LinkFault::Crc, rig.now);
    assert_eq!(inject(1), Err(LinkFaultError::NoDevice(1)));
    assert_eq!(inject(2), Err(LinkFaultError::NoPort(2)));
    assert_eq!(inject(usize::MAX), Err(LinkFaultError::NoPort(usize::MAX)));
}
