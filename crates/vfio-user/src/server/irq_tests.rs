use super::*;
use rustix::event::{EventfdFlags, eventfd};

const OPEN_INTX: InterruptRoute =
    InterruptRoute { msi_enabled: false, msi_open: false, messages: 0, intx_open: true };
const OPEN_MSI: InterruptRoute =
    InterruptRoute { msi_enabled: true, msi_open: true, messages: 1, intx_open: false };

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// How often the eventfd was fired since the last look.
fn fired(fd: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(fd, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(Errno::AGAIN) => 0,
        Err(errno) => panic!("{errno}"),
    }
}

fn set(index: u32, action: IrqAction, data: IrqData<'static>) -> SetIrqs<'static> {
    SetIrqs { index, start: 0, count: 1, action, data }
}

fn with_event(index: u32, route: InterruptRoute) -> (Interrupts, OwnedFd) {
    let mut irqs = Interrupts::new(1);
    irqs.set_route(route);
    let fd = event();
    let assign = set(index, IrqAction::Trigger, IrqData::EventFd);
    irqs.configure(&assign, &mut vec![fd.try_clone().unwrap()]).unwrap();
    (irqs, fd)
}

fn level(level: bool) -> Interrupt {
    Interrupt { level, messages: 0 }
}

const EDGE: Interrupt = Interrupt { level: true, messages: 1 };

fn apply(irqs: &mut Interrupts, index: u32, action: IrqAction, data: IrqData<'static>) {
    irqs.configure(&set(index, action, data), &mut Vec::new()).unwrap();
}

#[test]
fn inta_fires_once_and_again_on_unmask_while_asserted() {
    let (mut irqs, fd) = with_event(INTX, OPEN_INTX);
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1);
    irqs.set(level(true));
    irqs.set(EDGE);
    assert_eq!(fired(&fd), 0, "it has masked itself");
    apply(&mut irqs, INTX, IrqAction::Unmask, IrqData::None);
    assert_eq!(fired(&fd), 1, "still asserted");
    irqs.set(level(false));
    apply(&mut irqs, INTX, IrqAction::Unmask, IrqData::None);
    assert_eq!(fired(&fd), 0);
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1);
}

#[test]
fn inta_can_be_masked_by_the_monitor() {
    let (mut irqs, fd) = with_event(INTX, OPEN_INTX);
    apply(&mut irqs, INTX, IrqAction::Mask, IrqData::Bool(&[0]));
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1, "a false boolean does nothing");
    irqs.set(level(false));
    apply(&mut irqs, INTX, IrqAction::Unmask, IrqData::Bool(&[1]));
    apply(&mut irqs, INTX, IrqAction::Mask, IrqData::Bool(&[1]));
    irqs.set(level(true));
    assert_eq!(fired(&fd), 0);
    apply(&mut irqs, INTX, IrqAction::Unmask, IrqData::Bool(&[0]));
    assert_eq!(fired(&fd), 0);
    apply(&mut irqs, INTX, IrqAction::Unmask, IrqData::Bool(&[1]));
    assert_eq!(fired(&fd), 1);
}

#[test]
fn an_eventfd_that_comes_late_finds_the_line_asserted() {
    let mut irqs = Interrupts::new(1);
    irqs.set_route(OPEN_INTX);
    irqs.set(level(true));
    let fd = event();
    let assign = set(INTX, IrqAction::Trigger, IrqData::EventFd);
    irqs.configure(&assign, &mut vec![fd.try_clone().unwrap()]).unwrap();
    assert_eq!(fired(&fd), 1);
}

#[test]
fn de_assigned_eventfds_are_silent() {
    for disable in [
        set(INTX, IrqAction::Trigger, IrqData::EventFd),
        SetIrqs { count: 0, ..set(INTX, IrqAction::Trigger, IrqData::None) },
    ] {
        let (mut irqs, fd) = with_event(INTX, OPEN_INTX);
        irqs.configure(&disable, &mut Vec::new()).unwrap();
        irqs.set(level(true));
        assert_eq!(fired(&fd), 0);
    }
}

#[test]
fn interrupt_disable_holds_inta_back() {
    let (mut irqs, fd) = with_event(INTX, InterruptRoute::default());
    irqs.set(level(true));
    assert_eq!(fired(&fd), 0);
    irqs.set_route(OPEN_INTX);
    assert_eq!(fired(&fd), 1);
}

#[test]
fn msi_fires_for_each_edge() {
    let (mut irqs, fd) = with_event(MSI, OPEN_MSI);
    irqs.set(EDGE);
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1, "a level is no edge");
    irqs.set(EDGE);
    irqs.set(EDGE);
    assert_eq!(fired(&fd), 2);
}

#[test]
fn msi_is_kept_while_it_cannot_be_sent() {
    // No eventfd yet: QEMU enables MSI in configuration space first.
    let mut irqs = Interrupts::new(1);
    irqs.set_route(OPEN_MSI);
    irqs.set(EDGE);
    let fd = event();
    let assign = set(MSI, IrqAction::Trigger, IrqData::EventFd);
    irqs.configure(&assign, &mut vec![fd.try_clone().unwrap()]).unwrap();
    assert_eq!(fired(&fd), 1);
    // Masked.
    apply(&mut irqs, MSI, IrqAction::Mask, IrqData::None);
    irqs.set(EDGE);
    irqs.set(EDGE);
    assert_eq!(fired(&fd), 0);
    apply(&mut irqs, MSI, IrqAction::Unmask, IrqData::None);
    assert_eq!(fired(&fd), 1);
    // The bus may not be mastered.
    irqs.set_route(InterruptRoute { msi_open: false, ..OPEN_MSI });
    irqs.set(EDGE);
    assert_eq!(fired(&fd), 0);
    irqs.set_route(OPEN_MSI);
    assert_eq!(fired(&fd), 1);
}

#[test]
fn enabling_msi_with_the_line_asserted_sends_a_message() {
    let (mut irqs, fd) = with_event(MSI, OPEN_INTX);
    irqs.set(EDGE);
    assert_eq!(fired(&fd), 0, "MSI is not enabled");
    irqs.set_route(OPEN_MSI);
    assert_eq!(fired(&fd), 1);
    irqs.set(level(false));
    irqs.set_route(OPEN_INTX);
    irqs.set_route(OPEN_MSI);
    assert_eq!(fired(&fd), 0);
}

#[test]
fn the_client_may_trigger() {
    let (mut irqs, fd) = with_event(MSI, InterruptRoute::default());
    apply(&mut irqs, MSI, IrqAction::Trigger, IrqData::None);
    apply(&mut irqs, MSI, IrqAction::Trigger, IrqData::Bool(&[1]));
    apply(&mut irqs, MSI, IrqAction::Trigger, IrqData::Bool(&[0]));
    assert_eq!(fired(&fd), 2);
}

#[test]
fn bad_requests_change_nothing() {
    let (mut irqs, fd) = with_event(INTX, OPEN_INTX);
    let trigger = set(INTX, IrqAction::Trigger, IrqData::EventFd);
    for (bad, fds) in [
        (SetIrqs { index: 5, ..trigger }, 1),
        (SetIrqs { index: u32::MAX, ..trigger }, 1),
        (SetIrqs { index: 2, ..trigger }, 1),
        (SetIrqs { start: 1, ..trigger }, 1),
        (SetIrqs { count: 2, ..trigger }, 2),
        (SetIrqs { count: 0, ..trigger }, 0),
        (SetIrqs { start: u32::MAX, ..trigger }, 1),
        (SetIrqs { count: u32::MAX, ..trigger }, 1),
        (trigger, 2),
        (set(INTX, IrqAction::Mask, IrqData::EventFd), 1),
        (set(INTX, IrqAction::Unmask, IrqData::EventFd), 1),
        (set(INTX, IrqAction::Mask, IrqData::None), 1),
        (SetIrqs { count: 0, ..set(INTX, IrqAction::Mask, IrqData::None) }, 0),
    ] {
        let mut fds: Vec<_> = (0..fds).map(|_| event()).collect();
        assert!(irqs.configure(&bad, &mut fds).is_err(), "{bad:?}");
    }
    // MSI-X, ERR and REQ have no vectors, but disabling them is no error.
    for index in 2..5 {
        let disable = SetIrqs { count: 0, ..set(index, IrqAction::Trigger, IrqData::None) };
        irqs.configure(&disable, &mut Vec::new()).unwrap();
    }
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1);
}

#[test]
fn a_full_counter_does_not_block() {
    let (mut irqs, fd) = with_event(MSI, OPEN_MSI);
    rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    irqs.set(EDGE);
    // Nor does an eventfd that its owner made blocking.
    let blocking = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&blocking, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    let assign = set(MSI, IrqAction::Trigger, IrqData::EventFd);
    irqs.configure(&assign, &mut vec![blocking]).unwrap();
    irqs.set(EDGE);
}

#[test]
fn descriptors_that_could_block_are_refused() {
    let file = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let assign = set(MSI, IrqAction::Trigger, IrqData::EventFd);
    let result = Interrupts::new(1).configure(&assign, &mut vec![file]);
    assert_eq!(result, Err(IrqError::NotAnEventFd));
}

#[test]
fn reset_forgets_requests_and_masks_but_not_eventfds() {
    let (mut irqs, fd) = with_event(INTX, OPEN_INTX);
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1);
    irqs.reset(OPEN_INTX);
    assert!(!irqs.level());
    irqs.set(level(true));
    assert_eq!(fired(&fd), 1);
}

/// Eight messages with an eventfd each, which come in two requests.
fn eight_messages() -> (Interrupts, Vec<OwnedFd>) {
    let mut irqs = Interrupts::new(8);
    irqs.set_route(InterruptRoute { messages: 8, ..OPEN_MSI });
    assert_eq!(irqs.info(MSI).unwrap().count, 8);
    let fds: Vec<_> = (0..8).map(|_| event()).collect();
    for (start, count) in [(0, 5), (5, 3)] {
        let part = &fds[start as usize..(start + count) as usize];
        let mut part = part.iter().map(|fd| fd.try_clone().unwrap()).collect();
        let assign = set(MSI, IrqAction::Trigger, IrqData::EventFd);
        irqs.configure(&SetIrqs { start, count, ..assign }, &mut part).unwrap();
    }
    (irqs, fds)
}

fn all_fired(fds: &[OwnedFd]) -> Vec<u64> {
    fds.iter().map(fired).collect()
}

fn messages(messages: u32) -> Interrupt {
    Interrupt { level: true, messages }
}

#[test]
fn each_message_has_its_eventfd() {
    let (mut irqs, fds) = eight_messages();
    irqs.set(messages(0b1001_0010));
    assert_eq!(all_fired(&fds), [0, 1, 0, 0, 1, 0, 0, 1]);
    irqs.set(messages(0));
    assert_eq!(all_fired(&fds), [0; 8]);
}

#[test]
fn messages_that_were_not_allocated_go_the_way_of_the_first() {
    let (mut irqs, fds) = eight_messages();
    irqs.set_route(InterruptRoute { messages: 2, ..OPEN_MSI });
    irqs.set(messages(0b1010));
    assert_eq!(all_fired(&fds), [1, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn messages_are_masked_kept_and_triggered_one_by_one() {
    let (mut irqs, fds) = eight_messages();
    let some = |action| SetIrqs { start: 2, count: 3, action, ..set(MSI, action, IrqData::None) };
    irqs.configure(&some(IrqAction::Mask), &mut Vec::new()).unwrap();
    irqs.set(messages(0xff));
    assert_eq!(all_fired(&fds), [1, 1, 0, 0, 0, 1, 1, 1]);
    let two_of_three = SetIrqs { data: IrqData::Bool(&[1, 0, 1]), ..some(IrqAction::Unmask) };
    irqs.configure(&two_of_three, &mut Vec::new()).unwrap();
    assert_eq!(all_fired(&fds), [0, 0, 1, 0, 1, 0, 0, 0]);
    irqs.configure(&some(IrqAction::Trigger), &mut Vec::new()).unwrap();
    assert_eq!(all_fired(&fds), [0, 0, 1, 1, 1, 0, 0, 0]);
    // None at all for some of them.
    let none = SetIrqs { data: IrqData::EventFd, ..some(IrqAction::Trigger) };
    irqs.configure(&none, &mut Vec::new()).unwrap();
    irqs.set(messages(0xff));
    assert_eq!(all_fired(&fds), [1, 1, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn ranges_of_messages_that_are_not_there_change_nothing() {
    let (mut irqs, fds) = eight_messages();
    let assign = set(MSI, IrqAction::Trigger, IrqData::EventFd);
    for (start, count, fd_count) in
        [(8, 1, 1), (7, 2, 2), (0, 9, 9), (0, 8, 7), (4, u32::MAX, 0), (0, 0, 0)]
    {
        let mut fds: Vec<_> = (0..fd_count).map(|_| event()).collect();
        let request = SetIrqs { start, count, ..assign };
        assert!(irqs.configure(&request, &mut fds).is_err(), "{start} {count}");
    }
    let file = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let request = SetIrqs { count: 2, ..assign };
    assert!(irqs.configure(&request, &mut vec![event(), file]).is_err());
    irqs.set(messages(0xff));
    assert_eq!(all_fired(&fds), [1; 8]);
}
