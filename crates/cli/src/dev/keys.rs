//! Reads the lines that are typed while `herder dev` runs, except those for a debugger in a worker.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, retry_on_intr},
    process::getpgrp,
    termios::{isatty, tcgetpgrp},
};
use std::{
    io::{Stdin, stdin},
    sync::Arc,
    thread,
};
use tokio::sync::Mutex;

/// Starts a thread that reads standard input. It reads nothing while the lock is held by others.
pub(super) fn start(input: Arc<Mutex<()>>, take: impl Fn(&str) + Send + 'static) {
    // Not joined: the thread waits for input until the process ends.
    _ = thread::Builder::new().name("herder-keys".into()).spawn(move || read_lines(&input, &take));
}

/// Returns whether standard input is the terminal of this process group.
pub(super) fn is_own_terminal() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
}

fn read_lines(input: &Mutex<()>, take: &impl Fn(&str)) {
    let stdin = stdin();
    // In the background of a shell, reading from the terminal would stop the process.
    if isatty(&stdin) && !is_own_terminal() {
        return;
    }
    let mut line = Vec::new();
    // Waits without the lock, which a worker needs to get the terminal.
    while has_input(&stdin, None).is_ok() {
        let mut bytes = [0; 256];
        let count = {
            let _input = input.blocking_lock();
            match has_input(&stdin, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
                Ok(true) => retry_on_intr(|| read(&stdin, &mut bytes)),
                Ok(false) => continue, // it was for a debugger, which has read it
                Err(error) => Err(error),
            }
        };
        match count {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes[..count].iter().for_each(|&byte| add(byte, &mut line, take)),
        }
    }
}

/// Adds a byte to the line, and passes the line on if it is complete.
fn add(byte: u8, line: &mut Vec<u8>, take: &impl Fn(&str)) {
    if byte == b'\n' {
        take(String::from_utf8_lossy(line).trim());
        line.clear();
    } else if line.len() < 1024 {
        line.push(byte);
    }
}

/// Waits until there is something to read, or the end of the input. Returns whether that happened in time.
fn has_input(stdin: &Stdin, timeout: Option<&Timespec>) -> Result<bool, Errno> {
    let mut waited = [PollFd::new(stdin, PollFlags::IN)];
    retry_on_intr(|| poll(&mut waited, timeout)).map(|ready| ready > 0)
}
