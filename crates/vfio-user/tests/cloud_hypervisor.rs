//! The client that Cloud Hypervisor uses (crate `vfio_user`), as a peer that is not ours.

mod common;

use common::{DMA_READ, DMA_WRITE, FakeDevice, LEVEL, event, fired, memfd};
use freewheel_vfio_user::{Connection, Disconnect, Listener, PciConfig, PciIdentity};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{pread, pwrite};
use std::os::fd::AsRawFd;

const CONFIG: u32 = 7;
const BAR5: u32 = 5;

/// Serves one client, from a poll loop, until it disconnects.
fn serve(listener: Listener) -> Disconnect {
    let mut dev = FakeDevice::default();
    poll(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();
    let socket = listener.accept().unwrap().unwrap();
    let mut conn = Connection::new(socket, PciConfig::new(PciIdentity::default()));
    loop {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, conn.wants_read());
        events.set(PollFlags::OUT, conn.wants_write());
        poll(&mut [PollFd::new(&conn, events)], None).unwrap();
        if let Err(reason) = conn.on_ready(&mut dev) {
            return reason;
        }
    }
}

#[test]
fn cloud_hypervisors_client_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ahci.sock");
    let listener = Listener::bind(&path).unwrap();
    let server = std::thread::spawn(move || serve(listener));
    let mut client = vfio_user::Client::new(&path).unwrap();

    let region = |index| client.region(index).map(|region| (region.size, region.flags));
    assert_eq!(region(BAR5), Some((4096, 3)));
    assert_eq!(region(CONFIG), Some((256, 3)));
    assert_eq!(region(0), Some((0, 0)));
    let irqs: Vec<_> = (0..5).map(|i| client.get_irq_info(i).unwrap().count).collect();
    assert_eq!(irqs, [1, 1, 0, 0, 0]);

    let mut id = [0; 4];
    client.region_read(CONFIG, 0, &mut id).unwrap();
    assert_eq!(id, [0x86, 0x80, 0x22, 0x29]);
    client.region_write(CONFIG, 4, &[6, 0]).unwrap();

    let ram = memfd(1 << 20);
    pwrite(&ram, b"freewhee", 0x2000).unwrap();
    client.dma_map(0x1000, 0x10_0000, 0x8000, ram.as_raw_fd()).unwrap();
    client.region_write(BAR5, DMA_READ, &0x10_1000_u64.to_le_bytes()).unwrap();
    client.region_write(BAR5, DMA_WRITE, &0x10_3008_u64.to_le_bytes()).unwrap();
    let mut back = [0; 8];
    pread(&ram, &mut back, 0x4008).unwrap();
    assert_eq!(&back, b"freewhee");

    // INTx, then MSI in Cloud Hypervisor's order: eventfd first, configuration space second.
    let (intx, msi) = (event(), event());
    client.set_irqs(0, 0x24, 0, 1, &[intx.as_raw_fd()]).unwrap();
    client.region_write(BAR5, LEVEL, &[1]).unwrap();
    assert_eq!(fired(&intx), 1);
    client.set_irqs(0, 0x11, 0, 1, &[]).unwrap();
    assert_eq!(fired(&intx), 1);
    client.region_write(BAR5, LEVEL, &[0]).unwrap();
    client.set_irqs(0, 0x21, 0, 0, &[]).unwrap();
    client.set_irqs(1, 0x24, 0, 1, &[msi.as_raw_fd()]).unwrap();
    client.region_write(CONFIG, 0x82, &[0x81, 0]).unwrap();
    client.region_write(BAR5, LEVEL, &[1]).unwrap();
    assert_eq!((fired(&intx), fired(&msi)), (0, 1));

    client.reset().unwrap();
    let mut command = [0xff; 2];
    client.region_read(CONFIG, 4, &mut command).unwrap();
    assert_eq!(command, [0, 0]);
    client.dma_unmap(0x10_0000, 0x8000).unwrap();
    client.shutdown().unwrap();
    assert_eq!(server.join().unwrap(), Disconnect::Clean);
    assert!(!path.exists());
}
