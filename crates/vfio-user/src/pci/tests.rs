use super::*;

fn config() -> PciConfig {
    PciConfig::new(PciIdentity::default())
}

fn read<const N: usize>(config: &PciConfig, at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    config.read(at, &mut bytes);
    bytes
}

fn read32(config: &PciConfig, at: usize) -> u32 {
    u32::from_le_bytes(read(config, at))
}

#[test]
fn identifies_as_an_ahci_controller() {
    let config = config();
    assert_eq!(read32(&config, 0), 0x2922_8086);
    assert_eq!(read(&config, 9), [0x01, 0x06, 0x01], "programming interface, subclass, class");
    assert_eq!(read(&config, 0x0e), [0x00], "header of type 0, single function");
    assert_eq!(read32(&config, 0x2c), 0x2922_8086);
    assert_eq!(read(&config, 0x3d), [1], "INTA");
}

#[test]
fn bar5_tells_its_size() {
    for size in [4096_u32, 8192, 1 << 20] {
        let mut config = PciConfig::new(PciIdentity { bar5_size: size, ..Default::default() });
        config.write(0x24, &u32::MAX.to_le_bytes());
        assert_eq!(read32(&config, 0x24), !(size - 1));
        config.write(0x24, &0xfebf_1234_u32.to_le_bytes());
        assert_eq!(read32(&config, 0x24), 0xfebf_1234 & !(size - 1));
    }
}

#[test]
fn other_bars_and_the_rom_are_absent() {
    let mut config = config();
    for at in [0x10, 0x14, 0x18, 0x1c, 0x20, 0x30] {
        config.write(at, &u32::MAX.to_le_bytes());
        assert_eq!(read32(&config, at), 0, "{at:#x}");
    }
}

#[test]
fn bar5_sizes_for_port_counts() {
    assert_eq!(PciIdentity::bar5_size_for(1), 4096);
    assert_eq!(PciIdentity::bar5_size_for(30), 4096);
    assert_eq!(PciIdentity::bar5_size_for(31), 8192);
    assert_eq!(PciIdentity::bar5_size_for(32), 8192);
}

#[test]
fn bad_bar_sizes_are_refused_or_rounded() {
    for size in [0, 100, 4097, 1 << 21, u32::MAX] {
        let identity = PciIdentity { bar5_size: size, ..Default::default() };
        assert_eq!(identity.validate(), Err(IdentityError::BarSize(size)));
        assert_eq!(PciConfig::new(identity).identity().validate(), Ok(()));
    }
    assert_eq!(PciIdentity::default().validate(), Ok(()));
}

#[test]
fn only_the_right_bits_can_be_written() {
    let mut config = config();
    config.write(0, &[0xff; CONFIG_SIZE]);
    assert_eq!(read32(&config, 0), 0x2922_8086);
    assert_eq!(read32(&config, 4), 0x0010_0546, "command; status is read-only");
    assert_eq!(read32(&config, 8) >> 8, 0x01_06_01);
    assert_eq!(read(&config, 0x0c), [0xff, 0, 0, 0]);
    assert_eq!(read(&config, 0x3c), [0xff, 1, 0, 0], "line is writable, pin is not");
    config.write(0, &[0; CONFIG_SIZE]);
    assert_eq!(read32(&config, 4), 0x0010_0000);
    assert_eq!(read32(&config, 0x2c), 0x2922_8086);
}

#[test]
fn the_capability_list_is_truthful() {
    let config = config();
    assert_eq!(read::<1>(&config, 6)[0] & 0x10, 0x10);
    let mut at = usize::from(read::<1>(&config, 0x34)[0]);
    let mut ids = Vec::new();
    while at != 0 {
        let [id, next] = read(&config, at);
        ids.push(id);
        at = next.into();
    }
    assert_eq!(ids, [0x05, 0x01, 0x12]);
    assert_eq!(read(&config, SATA_OFFSET + 2), [0x10, 0], "revision 1.0");
    assert_eq!(read32(&config, SATA_OFFSET + 4), 0xf, "index-data pair follows");
}

#[test]
fn msi_can_be_programmed() {
    let mut config = config();
    config.write(MSI_OFFSET + 4, &0xfee0_1003_u32.to_le_bytes());
    config.write(MSI_OFFSET + 8, &1_u32.to_le_bytes());
    config.write(MSI_OFFSET + 12, &0x4022_u16.to_le_bytes());
    assert_eq!(read32(&config, MSI_OFFSET + 4), 0xfee0_1000);
    assert_eq!(read32(&config, MSI_OFFSET + 8), 1);
    assert_eq!(read(&config, MSI_OFFSET + 12), 0x4022_u16.to_le_bytes());
    assert_eq!(config.interrupt_route(), InterruptRoute { intx_open: true, ..Default::default() });

    config.write(MSI_OFFSET + 2, &0xffff_u16.to_le_bytes());
    assert_eq!(read(&config, MSI_OFFSET + 2), 0x0081_u16.to_le_bytes(), "one vector, 64 bits");
    let route = config.interrupt_route();
    assert!(route.msi_enabled && !route.intx_open);
    assert!(!route.msi_open, "a message is a bus master's write");
    config.write(4, &[4]);
    assert!(config.interrupt_route().msi_open);
}

#[test]
fn many_messages_can_be_asked_for_and_fewer_allocated() {
    for (asked, capable) in [(1, 0), (2, 1), (8, 3), (32, 5), (0, 0), (5, 3), (u32::MAX, 5)] {
        let identity = PciIdentity { messages: asked, ..Default::default() };
        let mut config = PciConfig::new(identity);
        let control = read::<2>(&config, MSI_OFFSET + 2);
        assert_eq!(control, (0x80_u16 | capable << 1).to_le_bytes(), "{asked}");
        assert_eq!(config.interrupt_route().messages, 0);
        for allocated in 0..8_u16 {
            config.write(MSI_OFFSET + 2, &(allocated << 4 | 1).to_le_bytes());
            let messages = config.interrupt_route().messages;
            assert_eq!(messages, 1 << allocated.min(capable), "{asked}, {allocated}");
        }
        config.write(MSI_OFFSET + 2, &[0xfe]);
        assert_eq!(config.interrupt_route().messages, 0);
    }
}

#[test]
fn interrupt_disable_silences_inta_only() {
    let mut config = config();
    config.write(5, &[4]);
    assert!(!config.interrupt_route().intx_open);
    config.set_interrupt_status(true);
    assert_eq!(read::<1>(&config, 6)[0], 0x18, "the status bit shows the line all the same");
    config.set_interrupt_status(false);
    assert_eq!(read::<1>(&config, 6)[0], 0x10);
}

#[test]
fn d3hot_closes_everything_and_keeps_state() {
    let mut config = config();
    config.write(4, &[6]);
    config.write(0x24, &0xfebf_0000_u32.to_le_bytes());
    assert!(config.memory_open() && config.bus_master());
    config.write(PM_OFFSET + 4, &[3]);
    assert!(!config.in_d0() && !config.memory_open() && !config.bus_master());
    assert!(!config.interrupt_route().intx_open);
    config.write(PM_OFFSET + 4, &[0]);
    assert!(config.memory_open() && config.bus_master());
    assert_eq!(read32(&config, 0x24), 0xfebf_0000);
    assert_eq!(read::<1>(&config, PM_OFFSET + 4)[0], 8, "No_Soft_Reset");
    config.write(PM_OFFSET + 4, &[1]);
    assert!(config.in_d0(), "D1 is not supported");
    config.write(PM_OFFSET + 4, &[3]);
    config.write(PM_OFFSET + 4, &[2]);
    assert!(!config.in_d0(), "nor is D2");
}

#[test]
fn the_index_data_pair_reaches_bar5() {
    let mut config = config();
    config.write(SATA_OFFSET + 8, &0xffff_ffff_u32.to_le_bytes());
    assert_eq!(read32(&config, SATA_OFFSET + 8), 0xffc);
    config.write(SATA_OFFSET + 8, &0x118_u32.to_le_bytes());
    let data = (SATA_OFFSET + 12) as u64;
    assert_eq!(config.data_access(data, 4), Some(ConfigData { offset: 0x118 }));
    assert_eq!(config.data_access(data, 2), None);
    assert_eq!(config.data_access(data - 4, 4), None);
}

#[test]
fn accesses_of_any_size_and_place_are_harmless() {
    let mut config = config();
    for at in [0, 1, 0xfd, 0xff, 0x100, usize::MAX - 1] {
        for len in 0..300 {
            config.write(at, &vec![0xa5; len]);
            let mut data = vec![0; len];
            config.read(at, &mut data);
        }
    }
    assert_eq!(read::<2>(&config, 0x100), [0xff; 2]);
}

#[test]
fn reset_returns_to_power_on() {
    let mut config = config();
    let fresh: [u8; CONFIG_SIZE] = read(&config, 0);
    config.write(0, &[0xff; CONFIG_SIZE]);
    config.set_interrupt_status(true);
    assert_ne!(read::<CONFIG_SIZE>(&config, 0), fresh);
    config.reset();
    assert_eq!(read::<CONFIG_SIZE>(&config, 0), fresh);
}
