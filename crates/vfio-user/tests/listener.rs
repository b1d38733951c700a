//! The socket's path: taken, left behind, in use, and removed at the end.

use freewheel_vfio_user::Listener;
use freewheel_vfio_user::server::ListenError;
use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

#[test]
fn accepts_one_and_refuses_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ahci.sock");
    let listener = Listener::bind(&path).unwrap();
    assert!(listener.accept().unwrap().is_none(), "never blocks");
    let first = UnixStream::connect(&path).unwrap();
    let served = listener.accept().unwrap().unwrap();
    let mut second = UnixStream::connect(&path).unwrap();
    assert_eq!(listener.refuse().unwrap(), 1);
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0, "closed at once");
    assert_eq!(listener.refuse().unwrap(), 0);
    drop((first, served, listener));
    assert!(!path.exists());
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ahci.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    assert!(listener.accept().unwrap().is_some());
}

#[test]
fn a_live_server_is_neither_replaced_nor_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ahci.sock");
    let live = Listener::bind(&path).unwrap();
    let error = Listener::bind(&path).unwrap_err();
    assert!(matches!(&error, ListenError::InUse(at) if *at == path), "{error}");
    assert!(live.accept().unwrap().is_none(), "the probe was not a connection");
    assert!(path.exists());
    let other = dir.path().join("datagram.sock");
    let _live = UnixDatagram::bind(&other).unwrap();
    assert!(matches!(Listener::bind(&other).unwrap_err(), ListenError::InUse(_)));
}

#[test]
fn other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(matches!(Listener::bind(&path).unwrap_err(), ListenError::NotASocket(_)));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
    let missing = dir.path().join("no/such/dir.sock");
    assert!(matches!(Listener::bind(&missing).unwrap_err(), ListenError::Os { .. }));
    let long = dir.path().join("x".repeat(200));
    assert!(matches!(Listener::bind(&long).unwrap_err(), ListenError::TooLong(_)));
}

#[test]
fn a_successors_socket_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ahci.sock");
    let old = Listener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _new = Listener::bind(&path).unwrap();
    drop(old);
    assert!(path.exists());
}
