//! What the calling thread has used so far: `getrusage(RUSAGE_THREAD)` and its clock.
//!
//! The one place with `unsafe` in this program; no safe crate that we use has the first call.

use freewheel_sim::Usage;
use rustix::time::{ClockId, clock_gettime};

/// The time that this thread has spent on a processor, and how often it had to wait.
pub(crate) fn of_this_thread() -> Option<Usage> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let cpu_ns = u64::try_from(time.tv_sec).ok()? * 1_000_000_000;
    let cpu_ns = cpu_ns + u64::try_from(time.tv_nsec).ok()?;
    Some(Usage { cpu_ns, waits: voluntary_switches()? })
}

/// How often the thread gave its processor away because it had to wait.
#[allow(unsafe_code)]
fn voluntary_switches() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for writes of a `rusage`, which is all that the call does with
    // it; it keeps nothing.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    // SAFETY: a `rusage` is all integers, so zeroes are a good value, and so is what the kernel
    // has written over them.
    let usage = unsafe { usage.assume_init() };
    (result == 0).then(|| u64::try_from(usage.ru_nvcsw).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_is_a_wait_and_computing_is_none() {
        let before = of_this_thread().expect("this kernel knows");
        let mut value = 1_u64;
        for step in 0..1_000_000_u64 {
            value = std::hint::black_box(value.wrapping_mul(31).wrapping_add(step));
        }
        let computed = of_this_thread().expect("this kernel knows");
        assert!(computed.cpu_ns > before.cpu_ns + 100_000);
        assert_eq!(computed.waits, before.waits, "nothing was waited for");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let slept = of_this_thread().expect("this kernel knows");
        assert!(slept.waits > computed.waits);
        assert!(slept.cpu_ns < computed.cpu_ns + 15_000_000, "sleeping costs nothing");
    }
}
