//! R40, R30: a log that stands still (a stopped terminal, a full disk) delays no start, no end, no kill, and loses no line. A
//! binary of its own, since it stops the one subscriber of the process.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use herder_process::ExitStatus;
use std::{
    io::{self, Write},
    sync::{Mutex, mpsc},
};
use support::{line, lines, numbers, python, shell, started};

/// Who holds this holds up the log.
static GATE: Mutex<()> = Mutex::new(());

struct Writer(mpsc::Sender<String>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _open = GATE.lock().unwrap();
        self.0.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints until nobody reads any more, says how often, and ends: what fills the pipe is read at its end.
const FLOOD: &str = "
import select
os.set_blocking(1, False)
text, count = b'.' * 99 + b'\\n', 0
while select.select([], [1], [], 1)[1]:
    try: os.write(1, text); count += 1
    except BlockingIOError: pass
say(count)
";

#[expect(clippy::await_holding_lock, reason = "only the log thread waits for it, and that is the point")]
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a guard against hanging")]
async fn a_log_that_stands_still_delays_nothing_and_loses_nothing() {
    let (sender, events) = mpsc::channel();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || Writer(sender.clone())).init();
    let closed = GATE.lock().unwrap();

    let flood = started(python(FLOOD).label("flood")).await;
    let count = numbers(&line(&mut lines(flood.calls)))[0] as usize;
    assert_eq!(flood.child.wait().await, ExitStatus::Code(0));
    assert!(count > 5_000, "the queue and the pipe take some: {count}");

    let brief = started(shell("echo last words; exit 4").label("brief")).await.child;
    assert_eq!(brief.wait().await, ExitStatus::Code(4));
    assert_eq!(brief.output_tail(), ["last words"]);
    let lasting = started(shell("sleep 1000").label("lasting")).await.child;
    lasting.stop(std::time::Duration::ZERO, std::time::Duration::MAX);
    assert_eq!(lasting.wait().await, ExitStatus::Signal(15));
    assert!(events.try_recv().is_err(), "and the log stood still all the while");

    started(shell("echo the end")).await.child.wait().await;
    drop(closed);
    let mut seen = Vec::new();
    while seen.last().is_none_or(|line: &String| !line.contains("the end")) {
        seen.push(events.recv_timeout(std::time::Duration::from_secs(60)).unwrap());
    }
    assert_eq!(seen.iter().filter(|line| line.contains("worker=flood")).count(), count);
    assert_eq!(seen.iter().filter(|line| line.contains("last words")).count(), 1);
}
