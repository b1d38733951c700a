//! A served controller as a child process, and a VMM in a few lines to drive it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use freewheel_vfio_user::client::{Client, MapRange, REGION_CONFIG};
use serde_json::{Value, json};

/// Longer than anything takes, unless it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Runs a command that is to end by itself, soon.
pub(crate) fn freewheel(args: &[&str], dir: &Path) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_freewheel"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("freewheel starts");
    let start = Instant::now();
    while child.try_wait().expect("waiting").is_none() {
        if start.elapsed() >= HANG {
            let _ = child.kill();
            panic!("freewheel {args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

pub(crate) fn image(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let file = File::create(&path).expect("an image");
    file.set_len(16 << 20).expect("its size");
    path
}

/// `freewheel serve` in a directory of its own.
pub(crate) struct Server {
    pub(crate) dir: tempfile::TempDir,
    child: Child,
}

impl Server {
    pub(crate) fn start(disk_keys: &str, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        image(dir.path(), "disk.img");
        Self::start_on(dir, &format!("path=disk.img{disk_keys}"), options)
    }

    /// On a disk that is there already.
    pub(crate) fn start_on(dir: tempfile::TempDir, disk: &str, options: &[&str]) -> Self {
        Self::launch(dir, &[&["--disk", disk], options].concat())
    }

    /// With nothing but what `options` say.
    pub(crate) fn launch(dir: tempfile::TempDir, options: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_freewheel"))
            .args(["serve", "--socket", "vm.sock", "--control", "vm.ctl"])
            .args(options)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("freewheel starts");
        let server = Self { dir, child };
        let start = Instant::now();
        while UnixStream::connect(server.dir.path().join("vm.ctl")).is_err() {
            assert!(start.elapsed() < HANG, "the control socket does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("vm.sock")
    }

    pub(crate) fn control(&self) -> UnixStream {
        let socket = UnixStream::connect(self.dir.path().join("vm.ctl")).expect("connected");
        socket.set_read_timeout(Some(HANG)).expect("a timeout");
        socket
    }

    pub(crate) fn call(&self, method: &str, params: &Value) -> Value {
        let mut socket = self.control();
        let request = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        socket.write_all(format!("{request}\n").as_bytes()).expect("sent");
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    pub(crate) fn status(&self) -> Value {
        self.call("status", &json!({}))["result"].clone()
    }

    /// Waits until the status fulfils `condition`.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let status = self.status();
            if condition(&status) {
                return status;
            }
            assert!(start.elapsed() < HANG, "{what} does not come: {status:#}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn terminate(&self) {
        rustix::process::kill_process(self.id(), rustix::process::Signal::TERM).expect("a signal");
    }

    /// Waits for the end of the process with nobody at the other end of its standard output.
    pub(crate) fn end_unread(mut self) -> (Option<i32>, String) {
        drop(self.child.stdout.take());
        let (stdout, unread) = UnixStream::pair().expect("a pair");
        drop(unread);
        self.child.stdout = Some(std::os::fd::OwnedFd::from(stdout).into());
        let (code, _, stderr) = self.end();
        (code, stderr)
    }

    /// Its standard output, to be read while it runs; [`Server::end`] has none then.
    #[allow(dead_code, reason = "not every test reads it")]
    pub(crate) fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("piped")
    }

    /// Waits for the end of the process.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let start = Instant::now();
        while self.child.try_wait().expect("waiting").is_none() {
            if start.elapsed() >= HANG {
                let _ = self.child.kill();
                panic!("the server does not end");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().expect("waiting");
        let read = |pipe: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            if let Some(pipe) = pipe {
                pipe.read_to_string(&mut text).expect("text");
            }
            text
        };
        let stdout = read(self.child.stdout.as_mut().map(|pipe| pipe as &mut dyn std::io::Read));
        let stderr = read(self.child.stderr.as_mut().map(|pipe| pipe as &mut dyn std::io::Read));
        (status.code(), stdout, stderr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const BASE: u64 = 0x10_0000;
const LIST: u64 = 0x0000;
const RECEIVED: u64 = 0x1000;
const TABLES: u64 = 0x2000;
const DATA: u64 = 0x1_0000;
const PORT: u64 = 0x100;

/// A guest on port 0, behind a vfio-user socket.
pub(crate) struct Vmm {
    pub(crate) client: Client,
    ram: File,
}

impl Vmm {
    pub(crate) fn connect(server: &Server) -> Self {
        let mut client = Client::connect(&server.socket()).expect("connected");
        let ram = rustix::fs::memfd_create("ram", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
        let ram = File::from(ram);
        ram.set_len(1 << 20).expect("memory");
        let range = MapRange { address: BASE, size: 1 << 20, offset: 0, writable: true };
        client.dma_map(range, Some(ram.as_fd())).expect("mapped");
        // Memory space and bus master.
        client.region_write(REGION_CONFIG, 4, &6u16.to_le_bytes()).expect("configured");
        let mut vmm = Self { client, ram };
        vmm.write(0x04, 1 << 31);
        vmm.write(PORT, (BASE + LIST) as u32);
        vmm.write(PORT + 0x08, (BASE + RECEIVED) as u32);
        vmm.start();
        vmm
    }

    pub(crate) fn read(&mut self, offset: u64) -> u32 {
        self.client.read32(offset).expect("a register")
    }

    pub(crate) fn write(&mut self, offset: u64, value: u32) {
        self.client.write32(offset, value).expect("a register");
    }

    pub(crate) fn start(&mut self) {
        self.write(PORT + 0x18, 0x10);
        self.write(PORT + 0x18, 0x11);
    }

    pub(crate) fn stop(&mut self) {
        self.write(PORT + 0x18, 0x10);
    }

    /// Starts the port again after an error or a change of its device.
    #[allow(dead_code, reason = "not every test has errors")]
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.write(PORT + 0x30, !0);
        self.write(PORT + 0x10, !0);
        self.start();
    }

    /// Issues a packet command that moves up to 4096 bytes, by DMA, in slot 0.
    #[allow(dead_code, reason = "not every test has a drive")]
    pub(crate) fn issue_packet(&mut self, packet: &[u8]) {
        let mut table = [0u8; 0x80 + 16];
        table[..4].copy_from_slice(&[0x27, 0x80, 0xa0, 0x01]);
        table[0x40..0x40 + packet.len()].copy_from_slice(packet);
        table[0x80..0x88].copy_from_slice(&(BASE + DATA).to_le_bytes());
        table[0x8c..0x90].copy_from_slice(&4095u32.to_le_bytes());
        self.ram.write_all_at(&table, TABLES).expect("memory");
        let mut header = [0u8; 32];
        header[0..4].copy_from_slice(&(5u32 | 1 << 5 | 1 << 16).to_le_bytes());
        header[8..16].copy_from_slice(&(BASE + TABLES).to_le_bytes());
        self.ram.write_all_at(&header, LIST).expect("memory");
        self.write(PORT + 0x38, 1);
    }

    /// Waits for a packet command; the sense key if it fails.
    #[allow(dead_code, reason = "not every test has a drive")]
    pub(crate) fn wait_packet(&mut self) -> Result<(), u32> {
        let start = Instant::now();
        loop {
            if self.read(PORT + 0x10) & 1 << 30 != 0 {
                let key = self.read(PORT + 0x20) >> 12 & 0xf;
                self.restart();
                return Err(key);
            }
            if self.read(PORT + 0x38) & 1 == 0 {
                return Ok(());
            }
            assert!(start.elapsed() < HANG, "a packet command does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// PxCI, PxSACT and PxCMD.CR.
    pub(crate) fn in_flight(&mut self) -> (u32, u32, bool) {
        let command_list_running = self.read(PORT + 0x18) & 0x8000 != 0;
        (self.read(PORT + 0x38), self.read(PORT + 0x34), command_list_running)
    }

    pub(crate) fn fill(&self, slot: u64, value: u8) {
        self.ram.write_all_at(&[value; 4096], DATA + slot * 4096).expect("memory");
    }

    pub(crate) fn data(&self, slot: u64) -> Vec<u8> {
        let mut data = vec![0; 4096];
        self.ram.read_exact_at(&mut data, DATA + slot * 4096).expect("memory");
        data
    }

    /// Issues a queued read or write of 8 sectors in `slot`.
    pub(crate) fn issue(&mut self, slot: u64, write: bool, lba: u64) {
        let mut fis = [0u8; 0x80 + 16];
        let lba = lba.to_le_bytes();
        fis[..3].copy_from_slice(&[0x27, 0x80, if write { 0x61 } else { 0x60 }]);
        fis[3] = 8;
        fis[4..7].copy_from_slice(&lba[..3]);
        fis[7] = 0x40;
        fis[8..11].copy_from_slice(&lba[3..6]);
        fis[12] = (slot as u8) << 3;
        fis[0x80..0x88].copy_from_slice(&(BASE + DATA + slot * 4096).to_le_bytes());
        fis[0x8c..0x90].copy_from_slice(&4095u32.to_le_bytes());
        self.ram.write_all_at(&fis, TABLES + slot * 0x100).expect("memory");
        let mut header = [0u8; 32];
        header[0..4].copy_from_slice(&(5 | u32::from(write) << 6 | 1 << 16).to_le_bytes());
        header[8..16].copy_from_slice(&(BASE + TABLES + slot * 0x100).to_le_bytes());
        self.ram.write_all_at(&header, LIST + slot * 32).expect("memory");
        self.write(PORT + 0x34, 1 << slot);
        self.write(PORT + 0x38, 1 << slot);
    }

    /// Sends a FIS with the device control register, such as the two of a software reset.
    #[allow(dead_code, reason = "not every test resets in this way")]
    pub(crate) fn control(&mut self, control: u8) {
        let mut fis = [0u8; 0x80];
        fis[0] = 0x27;
        fis[15] = control;
        self.ram.write_all_at(&fis, TABLES).expect("memory");
        let mut header = [0u8; 32];
        // Reset, and clear busy upon R_OK, with the first.
        let flags = if control != 0 { 1 << 8 | 1 << 10 } else { 0 };
        header[0..4].copy_from_slice(&(5u32 | flags).to_le_bytes());
        header[8..16].copy_from_slice(&(BASE + TABLES).to_le_bytes());
        self.ram.write_all_at(&header, LIST).expect("memory");
        self.write(PORT + 0x38, 1);
        let start = Instant::now();
        while self.read(PORT + 0x38) & 1 != 0 {
            assert!(start.elapsed() < HANG, "a software reset does not end");
        }
    }

    /// Waits until `slot` has ended; true if without an error.
    pub(crate) fn wait(&mut self, slot: u64) -> bool {
        let start = Instant::now();
        while self.read(PORT + 0x34) & 1 << slot != 0 {
            if self.read(PORT + 0x10) & 1 << 30 != 0 {
                return false;
            }
            assert!(start.elapsed() < HANG, "slot {slot} does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}
