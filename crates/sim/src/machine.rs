//! A controller plugged into guest memory and time: what every access to it goes through.

use freewheel_ahci::Hba;
use freewheel_ahci::registers::{PORT_STRIDE, PORTS};
use freewheel_block::{Engine, Nanos};

use crate::{Environment, GuestRam, Usage};

/// The longest that [`Machine::run_until`] waits before it looks again.
const LONGEST_WAIT_NS: u64 = 10_000_000;

/// A controller, the guest's memory, and the environment.
pub struct Machine {
    /// The controller.
    pub hba: Hba,
    /// The guest's memory.
    pub ram: GuestRam,
    env: Box<dyn Environment>,
    messages_total: u64,
    longest_call_ns: u64,
    longest_call_cpu_ns: u64,
    blocked_calls_total: u64,
    longest_blocked_call_ns: u64,
    calls_total: u64,
}

impl Machine {
    /// Puts the parts together.
    pub fn new(hba: Hba, ram: GuestRam, env: Box<dyn Environment>) -> Self {
        Self {
            hba,
            ram,
            env,
            messages_total: 0,
            longest_call_ns: 0,
            longest_call_cpu_ns: 0,
            blocked_calls_total: 0,
            longest_blocked_call_ns: 0,
            calls_total: 0,
        }
    }

    /// The time.
    pub fn now(&mut self) -> Nanos {
        self.env.now()
    }

    /// Runs one call into the controller, with an eye on how long it takes.
    fn call<R>(&mut self, call: impl FnOnce(&mut Hba, &GuestRam, Nanos) -> R) -> R {
        let before = self.env.usage();
        let start = self.env.now();
        let result = call(&mut self.hba, &self.ram, start);
        let took_ns = self.env.now().since(start);
        self.longest_call_ns = self.longest_call_ns.max(took_ns);
        if let (Some(before), Some(after)) = (before, self.env.usage()) {
            self.longest_call_cpu_ns = self.longest_call_cpu_ns.max(after.cpu_ns - before.cpu_ns);
            if after.waits != before.waits {
                self.blocked_calls_total += 1;
                self.longest_blocked_call_ns = self.longest_blocked_call_ns.max(took_ns);
            }
        }
        self.calls_total += 1;
        self.messages_total += u64::from(self.hba.take_interrupt().messages.count_ones());
        result
    }

    /// Reads a register of the HBA.
    pub fn read(&mut self, register: u32) -> u32 {
        let mut bytes = [0; 4];
        self.call(|hba, _, _| hba.mmio_read(u64::from(register), &mut bytes));
        u32::from_le_bytes(bytes)
    }

    /// Writes a register of the HBA.
    pub fn write(&mut self, register: u32, value: u32) {
        self.write_bytes(u64::from(register), &value.to_le_bytes());
    }

    /// Writes any bytes of register space.
    pub fn write_bytes(&mut self, offset: u64, bytes: &[u8]) {
        self.call(|hba, ram, now| hba.mmio_write(offset, bytes, now, ram));
    }

    /// Reads any bytes of register space.
    pub fn read_bytes(&mut self, offset: u64, bytes: &mut [u8]) {
        self.call(|hba, _, _| hba.mmio_read(offset, bytes));
    }

    /// Reads a register of `port`.
    pub fn read_port(&mut self, port: usize, register: u32) -> u32 {
        self.read(port_register(port, register))
    }

    /// Writes a register of `port`.
    pub fn write_port(&mut self, port: usize, register: u32, value: u32) {
        self.write(port_register(port, register), value);
    }

    /// Lets the devices go on.
    pub fn poll(&mut self) {
        self.call(|hba, ram, now| hba.poll(now, ram));
    }

    /// Resets the PCI function.
    pub fn reset_function(&mut self) {
        self.call(|hba, _, now| hba.reset_function(now));
    }

    /// Lets the devices go on, and waits for their storage, until `is_done` says so or `at_most_ns`
    /// nanoseconds have passed. Returns what it said last.
    pub fn run_until(
        &mut self,
        at_most_ns: u64,
        mut is_done: impl FnMut(&mut Machine) -> bool,
    ) -> bool {
        let deadline = self.now().plus(at_most_ns);
        loop {
            self.poll();
            if is_done(self) {
                return true;
            }
            let now = self.now();
            if now >= deadline {
                return false;
            }
            let due = self.hba.next_wakeup().unwrap_or(deadline).min(deadline);
            if due > now {
                self.env.wait(due.since(now).min(LONGEST_WAIT_NS));
            }
        }
    }

    /// Lets the devices go on for `ns` nanoseconds.
    pub fn run_for(&mut self, ns: u64) {
        self.run_until(ns, |_| false);
    }

    /// Lets the devices go on until none asks to be polled any more without waiting, a bounded
    /// number of times.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.poll();
            let now = self.now();
            if self.hba.next_wakeup().is_none_or(|due| due > now) {
                return;
            }
        }
    }

    /// The engine of the disk on `port`.
    pub fn engine(&mut self, port: usize) -> Option<&mut Engine> {
        self.hba.device_mut(port)?.engine_mut()
    }

    /// The engine of the disk on device port `pm_port` of the port multiplier on `port`.
    pub fn engine_behind(&mut self, port: usize, pm_port: u8) -> Option<&mut Engine> {
        self.hba.device_behind_mut(port, pm_port)?.engine_mut()
    }

    /// Interrupt messages so far.
    pub fn messages_total(&self) -> u64 {
        self.messages_total
    }

    /// The longest that any single call into the controller has taken, in nanoseconds.
    pub fn longest_call_ns(&self) -> u64 {
        self.longest_call_ns
    }

    /// The longest that any single call into the controller has computed, in nanoseconds, if the
    /// environment knows such a thing.
    pub fn longest_call_cpu_ns(&self) -> u64 {
        self.longest_call_cpu_ns
    }

    /// Calls into the controller in which the thread waited for something, if only for a lock that
    /// another thread had for an instant, if the environment knows such a thing.
    pub fn blocked_calls_total(&self) -> u64 {
        self.blocked_calls_total
    }

    /// The longest of those, in nanoseconds.
    pub fn longest_blocked_call_ns(&self) -> u64 {
        self.longest_blocked_call_ns
    }

    /// What the calling thread has used so far, if that can be known.
    pub fn usage(&mut self) -> Option<Usage> {
        self.env.usage()
    }

    /// Calls into the controller so far.
    pub fn calls_total(&self) -> u64 {
        self.calls_total
    }
}

fn port_register(port: usize, register: u32) -> u32 {
    PORTS + port as u32 * PORT_STRIDE + register
}
