//! Words of IDENTIFY DEVICE data that say the same on every disk.

use crate::support::*;

#[test]
fn words_that_never_change_are_as_the_standard_has_them() {
    let words = Rig::default().identify();
    assert_eq!(words[2], 0xc837, "no SET FEATURES needed to spin up; data complete");
    assert_eq!(words[48], 1 << 14, "no trusted computing");
    assert_eq!(words[50], 1 << 14, "the Standby timer has no minimum");
    assert_eq!(words[64] & 0xff, 0x03, "PIO modes 3 and 4");
    assert_eq!(words[65..69], [120; 4], "cycles of 120 ns, the fastest that PIO 4 has");
    assert_eq!(words[80] & 0x0f, 0, "nothing older than ATA/ATAPI-4");
    assert_eq!(words[81], 0x005e, "ACS-4 revision 5");
}

#[test]
fn the_current_translation_is_told_with_its_capacity() {
    let mut rig = Rig::default();
    let words = rig.identify();
    assert_eq!(words[53] & 1, 1, "words 54 to 58 are valid");
    assert_eq!(words[54..57], [2, 16, 63]);
    assert_eq!(words[57..59], [2016, 0]);
    // INITIALIZE DEVICE PARAMETERS: 4 heads, 32 sectors in a track.
    let mut parameters = at28(0x91, 0, 32);
    parameters.device |= 3;
    rig.good(parameters);
    let words = rig.identify();
    assert_eq!(words[54..57], [16, 4, 32]);
    assert_eq!(words[57..59], [2048, 0]);
    assert_eq!((words[1], words[3], words[6]), (2, 16, 63), "the default one stays");
}
