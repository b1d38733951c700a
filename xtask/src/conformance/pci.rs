//! The header of the PCI configuration space: which double words say something or can be written.
//! Capabilities are read from the source.

use freewheel_vfio_user::{PciConfig, PciIdentity};

use super::Items;
use super::probe::item;

/// Bytes of the header of type 0.
const HEADER_BYTES: usize = 0x40;

/// Everything.
pub(super) fn items() -> Items {
    let mut config = PciConfig::new(PciIdentity::default());
    let read = |config: &PciConfig| {
        let mut bytes = [0; HEADER_BYTES];
        config.read(0, &mut bytes);
        bytes
    };
    let before = read(&config);
    config.write(0, &[0xff; HEADER_BYTES]);
    let after = read(&config);
    let mut items = Items::new();
    for (index, (before, after)) in before.chunks(4).zip(after.chunks(4)).enumerate() {
        if before != [0; 4] || after != [0; 4] {
            items.insert(format!("PCI {:02X}h", index * 4), item());
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_controller_with_one_bar_is_found() {
        let items = items();
        assert!(items.contains_key("PCI 00h") && items.contains_key("PCI 24h"));
        assert!(!items.contains_key("PCI 10h"));
    }
}
