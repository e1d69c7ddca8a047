//! R40, R30: a blocked log (a stopped terminal, a full disk) delays no start, no exit and no kill, and loses no line. A
//! separate binary, because it blocks the only subscriber of the process.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use herder_process::ExitStatus;
use std::{
    io::{self, Write},
    sync::{Mutex, mpsc},
};
use support::{line_reader, numbers, python, read_line, shell, start};

/// The writer of the log needs this lock, so that a test can block the log.
static LOG_LOCK: Mutex<()> = Mutex::new(());

struct Writer(mpsc::Sender<String>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _lock = LOG_LOCK.lock().unwrap();
        self.0.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints until the pipe stays full for one second, sends the number of lines, and exits. The lines in the pipe are read after
/// the exit.
const FLOOD: &str = "
import select
os.set_blocking(1, False)
text, count = b'.' * 99 + b'\\n', 0
while select.select([], [1], [], 1)[1]:
    try: os.write(1, text); count += 1
    except BlockingIOError: pass
send(count)
";

/// Sends records until the host has read none for one second, and then one that reports the dropped ones when the host reads
/// again. Sends the number of records that fitted.
const RECORDS: &str = "
import json, select
records = int(os.environ['HERDER_LOG_FD'])
text, count, refused = json.dumps({'message': '.' * 300}).encode(), 0, 0
while select.select([], [records], [], 1)[1]:
    try: os.write(records, text); count += 1
    except BlockingIOError: refused += 1
for n in range(1000):
    try: os.write(records, text); count += 1
    except BlockingIOError: refused += 1
send(count, refused)
calls.recv(1)
select.select([], [records], [])
os.write(records, json.dumps({'message': 'after', 'dropped': refused}).encode())
";

#[expect(clippy::await_holding_lock, reason = "only the log thread waits for it, which is what the test needs")]
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a time limit for a test that hangs")]
async fn blocked_log_delays_nothing_and_loses_nothing() {
    let (sender, events) = mpsc::channel();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || Writer(sender.clone())).init();
    let blocked = LOG_LOCK.lock().unwrap();

    let flood = start(python(FLOOD).label("flood")).await;
    let count = numbers(&read_line(&mut line_reader(flood.calls)))[0] as usize;
    assert_eq!(flood.child.wait().await, ExitStatus::Code(0));
    assert!(count > 5_000, "the queue and the pipe hold only {count} lines");

    // R69: log records do not block their worker. Those that do not fit are dropped.
    let mut logging = start(python(RECORDS).label("logging")).await;
    let counts = numbers(&read_line(&mut line_reader(logging.calls.try_clone().unwrap())));
    let (records, refused) = (counts[0] as usize, counts[1]);
    assert!(records > 200 && refused > 100, "{records} {refused}");

    let brief = start(shell("echo last output; exit 4").label("brief")).await.child;
    assert_eq!(brief.wait().await, ExitStatus::Code(4));
    assert_eq!(brief.output_tail(), ["last output"]);
    // The monitor does not read while the queue is full. It reads what is left when the worker has exited.
    let record = r#"os.write(int(os.environ['HERDER_LOG_FD']), b'{"message": "last record"}'); os._exit(5)"#;
    let recording = start(python(record).label("recording")).await.child;
    assert_eq!(recording.wait().await, ExitStatus::Code(5));
    assert_eq!(recording.output_tail(), ["INFO log: last record"]);
    let lasting = start(shell("sleep 1000").label("lasting")).await.child;
    lasting.stop(std::time::Duration::ZERO, std::time::Duration::MAX);
    assert_eq!(lasting.wait().await, ExitStatus::Signal(15));
    assert!(events.try_recv().is_err(), "the log must have been blocked until now");

    drop(blocked);
    logging.calls.write_all(b"x").unwrap();
    assert_eq!(logging.child.wait().await, ExitStatus::Code(0));
    start(shell("echo the end")).await.child.wait().await;
    let mut events_seen = Vec::new();
    while events_seen.last().is_none_or(|line: &String| !line.contains("the end")) {
        events_seen.push(events.recv_timeout(std::time::Duration::from_secs(60)).unwrap());
    }
    assert_eq!(events_seen.iter().filter(|line| line.contains("worker=flood")).count(), count);
    assert_eq!(events_seen.iter().filter(|line| line.contains("last output")).count(), 1);
    assert_eq!(events_seen.iter().filter(|line| line.contains("last record")).count(), 1);
    let of_records: Vec<_> = events_seen.iter().filter(|line| line.contains("worker=logging")).collect();
    assert_eq!(of_records.iter().filter(|line| line.contains("....")).count(), records);
    assert!(of_records.iter().any(|line| line.contains(&format!("dropped={refused}"))), "{:?}", of_records.last());
}
