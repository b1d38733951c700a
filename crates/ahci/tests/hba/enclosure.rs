//! Enclosure management (12): LED messages.

use freewheel_ahci::Leds;
use freewheel_ahci::registers::*;

use crate::support::*;

const LED_MESSAGE: u32 = 4 << 8;
const TRANSMIT: u32 = 1 << 8;
const RESET: u32 = 1 << 9;
const LOCATE: u32 = 1 << 19;
const FAULT: u32 = 1 << 22;

fn buffer(rig: &mut Rig) -> u32 {
    (rig.read_global(EM_LOC) >> 16) * 4
}

fn send(rig: &mut Rig, header: u32, message: u32) {
    let at = buffer(rig);
    rig.write_global(at, header);
    rig.write_global(at + 4, message);
    rig.write_global(EM_CTL, TRANSMIT);
    assert_eq!(rig.read_global(EM_CTL) & (TRANSMIT | RESET), 0, "it is over");
}

fn leds(rig: &Rig, port: usize) -> (bool, bool) {
    let Leds { locate, fault, .. } = rig.status(port).leds;
    (locate, fault)
}

#[test]
fn the_registers_say_what_there_is() {
    let mut rig = Rig::new();
    assert_ne!(rig.read_global(CAP) & Cap::EMS.bits(), 0);
    assert_eq!(rig.read_global(EM_CTL) >> 16 & 0xf, 1, "LED messages, and no others");
    let (at, len) = (buffer(&mut rig), (rig.read_global(EM_LOC) & 0xffff) * 4);
    assert!(at >= 0xa0 && at + len <= PORTS && len >= 8, "in the vendor's space");
    for offset in (0..len).step_by(4) {
        rig.write_global(at + offset, 0x1234_0000 | offset);
    }
    for offset in (0..len).step_by(4) {
        assert_eq!(rig.read_global(at + offset), 0x1234_0000 | offset);
    }
    assert_eq!(rig.read_global(at - 4), 0);
}

#[test]
fn leds_follow_messages() {
    let mut rig = Rig::new();
    send(&mut rig, LED_MESSAGE, LOCATE | 1);
    assert_eq!((leds(&rig, 0), leds(&rig, 1)), ((false, false), (true, false)));
    send(&mut rig, LED_MESSAGE, FAULT);
    assert_eq!((leds(&rig, 0), leds(&rig, 1)), ((false, true), (true, false)));
    send(&mut rig, LED_MESSAGE, 1);
    assert_eq!(leds(&rig, 1), (false, false));
    send(&mut rig, LED_MESSAGE, LOCATE | FAULT | 2);
    assert_eq!(leds(&rig, 2), (true, true), "a port without a device has LEDs too");
    rig.write_global(EM_CTL, RESET | TRANSMIT);
    assert_eq!((leds(&rig, 2), leds(&rig, 0)), ((false, false), (false, false)));
    let at = buffer(&mut rig);
    assert_eq!(rig.read_global(at + 4), 0);
}

#[test]
fn other_messages_are_lost() {
    let mut rig = Rig::new();
    send(&mut rig, LED_MESSAGE | 1 << 24, LOCATE);
    send(&mut rig, LED_MESSAGE, LOCATE | 1 << 8);
    send(&mut rig, LED_MESSAGE, LOCATE | 31);
    send(&mut rig, LED_MESSAGE, 2 << 19 | 7 << 22);
    for port in 0..3 {
        assert_eq!(leds(&rig, port), (false, false));
    }
    let at = buffer(&mut rig);
    rig.write_global(at + 4, LOCATE);
    assert_eq!(leds(&rig, 0), (false, false), "not before it is transmitted");
}

#[test]
fn the_activity_led_follows_commands_by_itself() {
    let mut rig = Rig::new();
    assert_ne!(rig.read_global(EM_CTL) & 1 << 26, 0, "ATTR.ALHD");
    rig.issue_queued(0, 1);
    assert!(rig.status(0).leds.activity && !rig.status(1).leds.activity);
    rig.script(0).later = vec![(1, Act::Loose(set_device_bits(2)))];
    rig.pass(1);
    assert!(!rig.status(0).leds.activity);
}

#[test]
fn an_hba_reset_leaves_the_leds_and_a_function_reset_does_not() {
    let mut rig = Rig::new();
    send(&mut rig, LED_MESSAGE, FAULT);
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(leds(&rig, 0), (false, true));
    rig.hba.reset_function(rig.now);
    assert_eq!(leds(&rig, 0), (false, false));
}
