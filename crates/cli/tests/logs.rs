//! The log and the service: calls are answered whatever happens to standard error (R40).

use crate::support::{Server, folder, wait_until};
use herder::testing::Signal;
use std::{
    fs::{self, File},
    io::{PipeReader, Read, pipe},
    process::Stdio,
};

const TWO: &str = "[pools.two]\napp = 'app.py:app'\npool_size = 2\noverflow = 0\ntimeout = '10m'\nqueue.timeout = '10m'\n\
                   restart.backoff = '1ms'\n";
/// The number of worker deaths; more of them would make the pool fail.
const DEATHS: usize = 3;

/// Starts a server with this standard error.
fn server(stderr: impl Into<Stdio>) -> Server {
    let server = Server::with_stderr(folder(TWO), &[], &[], stderr);
    wait_until("all workers are ready", || server.get("/readyz").json["pools"]["two"]["ready_workers"] == 2);
    server
}

/// Checks that calls are answered: calls that print, calls that kill a worker, and others. The host logs each of them.
fn serves(server: &Server) {
    for _ in 0..DEATHS {
        assert_eq!(server.call("two/tell", r#"{"text": "hello"}"#, &[]).status, 200);
        server.call("two/die", "{}", &[]).problem(502, "worker-lost");
        server.call("two/fail", "{}", &[]).problem(500, "exception");
        assert_eq!(server.call("two/echo", r#"{"x": 1}"#, &[]).result()["x"], 1);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

fn dropped(server: &Server) -> u64 {
    server.get("/v1/pools").json["dropped_log_lines"].as_u64().unwrap()
}

fn stops_gracefully(mut server: Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

/// R40: the reader of the log has exited (EPIPE).
#[test]
fn r40_a_log_without_a_reader_fails_no_call() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let server = server(writer);
    serves(&server);
    wait_until("dropped lines are counted", || dropped(&server) > 0);
    stops_gracefully(server);
}

/// R40: the disk of the log is full (ENOSPC).
#[test]
fn r40_full_log_device_fails_no_call() {
    let server = server(File::options().write(true).open("/dev/full").unwrap());
    serves(&server);
    wait_until("dropped lines are counted", || dropped(&server) > 0);
    stops_gracefully(server);
}

/// R40, R54: the log is a full pipe that is not read, blocking or not (EAGAIN). Calls are answered, the queue is
/// bounded, and when the log is read again it contains the number of dropped lines.
#[test]
fn r40_unread_log_fails_no_call() {
    for blocking in [true, false] {
        let (mut reader, writer) = pipe().unwrap();
        if !blocking {
            rustix::io::ioctl_fionbio(&writer, true).unwrap();
        }
        let server = server(writer);
        let more = r#"{"text": "TEXT"}"#.replace("TEXT", &"x".repeat(1_000_000));
        wait_until("more was printed than fits into the queue", || {
            assert_eq!(server.call("two/tell", &more, &[]).status, 200);
            dropped(&server) > 0
        });
        serves(&server);
        assert!(read_until(&mut reader, "log line(s): the log is read too slowly"));
        drain(reader);
        stops_gracefully(server);
    }
}

/// R30: a log that is not read does not prevent the server from stopping.
#[test]
fn r30_unread_log_does_not_delay_the_exit() {
    let (reader, writer) = pipe().unwrap();
    let server = server(writer);
    let more = r#"{"text": "TEXT"}"#.replace("TEXT", &"x".repeat(1_000_000));
    assert_eq!(server.call("two/tell", &more, &[]).status, 200);
    stops_gracefully(server);
    drop(reader);
}

/// R30: neither does a banner that is not read; standard output is a full pipe.
#[test]
fn r30_unread_banner_blocks_nothing() {
    let folder = folder(TWO);
    let log = folder.path().join("log");
    let (reader, writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[b'.'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let mut server = Server::unread(folder, writer, File::create(&log).unwrap());
    wait_until("the server is ready", || fs::read_to_string(&log).unwrap().contains("all pools are ready"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(reader);
}

/// R40: the error of a command is written after the log, and can be lost, too.
#[test]
fn r40_the_error_of_a_command_follows_the_log() {
    let folder = folder(TWO);
    let output = crate::support::herder(folder.path(), &["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: 0.0.0.0:0 is reachable from other machines"), "{error}");
    let mut command = crate::support::herder(folder.path(), &["serve", "--listen", "0.0.0.0:0"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(
        command.stderr(full).output().unwrap().status.code(),
        Some(2),
        "exit code of a usage error, not of a panic"
    );
}

/// Reads until this text has arrived. Returns false if the other end was closed before.
fn read_until(reader: &mut PipeReader, text: &str) -> bool {
    let (mut seen, mut buffer) = (Vec::new(), [0; 65536]);
    loop {
        match reader.read(&mut buffer) {
            Ok(count @ 1..) => seen.extend_from_slice(&buffer[..count]),
            _ => return false,
        }
        if seen.windows(text.len()).any(|part| part == text.as_bytes()) {
            return true;
        }
        seen.drain(..seen.len().saturating_sub(text.len()));
    }
}

/// Continues to read, so that the server can write its last lines.
fn drain(mut reader: PipeReader) {
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
}
