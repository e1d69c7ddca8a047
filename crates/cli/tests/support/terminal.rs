//! A pseudoterminal for tests of programs that need a terminal.

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
};

/// Returns the two ends of a pseudoterminal.
pub(crate) fn open_terminal() -> (File, OwnedFd) {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&keyboard).unwrap();
    unlockpt(&keyboard).unwrap();
    let name = ptsname(&keyboard, Vec::new()).unwrap();
    let terminal = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    (keyboard.into(), terminal)
}

/// Collects what is shown, until all programs have closed the terminal.
pub(crate) fn record(mut terminal: File, screen: Arc<Mutex<String>>) {
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(count) = terminal.read(&mut bytes)
            && count > 0
        {
            *screen.lock().unwrap() += &String::from_utf8_lossy(&bytes[..count]);
        }
    });
}
