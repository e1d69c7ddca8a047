//! The state in which a worker starts, and the errors of failed starts.

use crate::support::{line_reader, numbers, python, read_line, shell, start};
use herder_process::{Command, ExitStatus, Signal, SpawnError, Template, TemplateReport, inspect::descriptors, spawn};
use std::{
    io::{Read, Write},
    os::fd::AsFd,
    thread,
};

#[tokio::test]
async fn exit_status_is_reported_to_every_waiter() {
    let child = start(shell("exit 42")).await.child;
    let clone = child.clone();
    let (one, other) = tokio::join!(child.wait(), clone.wait());
    assert_eq!((one, other), (ExitStatus::Code(42), ExitStatus::Code(42)));
    assert_eq!((child.wait().await, child.try_status()), (ExitStatus::Code(42), Some(ExitStatus::Code(42))));

    let child = start(shell("kill -SEGV $$")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Signal(11));

    let child = start(shell("sleep 1000")).await.child;
    assert_eq!(child.try_status(), None);
    child.signal(Signal::USR1);
    assert_eq!(child.wait().await, ExitStatus::Signal(Signal::USR1.as_raw()));
}

#[tokio::test]
async fn spawn_errors_name_the_cause() {
    let error = spawn(Command::new("no-such-program")).await.unwrap_err();
    assert!(matches!(error, SpawnError::ProgramNotFound { .. }), "{error:?}");
    assert_eq!(error.to_string(), "program not found: `no-such-program`");
    assert!(!error.is_resource());

    let error = spawn(shell("true").cwd("/no/such/place")).await.unwrap_err();
    assert!(matches!(error, SpawnError::WorkingDirectory { .. }), "{error:?}");
    assert!(error.to_string().contains("cannot start `/bin/sh` in the directory `/no/such/place`"), "{error}");
    let error = spawn(shell("true").cwd("/bin/sh")).await.unwrap_err();
    assert!(matches!(error, SpawnError::WorkingDirectory { .. }), "{error:?}");

    let error = spawn(Command::new("/")).await.unwrap_err();
    assert!(matches!(error, SpawnError::PermissionDenied { .. }), "{error:?}");

    let folder = std::env::temp_dir().join(format!("herder-process-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("script"), "#!/no/such/interpreter\n").unwrap();
    assert_eq!(start(shell("chmod +x script").cwd(&folder)).await.child.wait().await, ExitStatus::Code(0));
    let error = spawn(Command::new("./script").cwd(&folder)).await.unwrap_err();
    assert!(matches!(error, SpawnError::InterpreterNotFound { .. }), "{error:?}");
    std::os::unix::fs::symlink("/gone/python3.9", folder.join("python")).unwrap();
    let error = spawn(Command::new(folder.join("python"))).await.unwrap_err();
    assert!(matches!(error, SpawnError::DanglingLink { .. }), "{error:?}");
    assert!(
        error.to_string().ends_with("/python` is a symbolic link to `/gone/python3.9`, which does not exist"),
        "{error}"
    );
    std::fs::remove_dir_all(&folder).unwrap();

    let error = spawn(Command::new("zero\0byte")).await.unwrap_err();
    assert!(matches!(error, SpawnError::Os { .. }), "{error:?}");
}

#[tokio::test]
async fn environment_and_directory_are_as_configured() {
    let command =
        shell("echo $ONE-$TWO-${HOME-unset} $PWD").env_clear(true).env("ONE", "1").env("TWO", "a").env("TWO", "2");
    let child = start(command.cwd("/usr")).await.child;
    child.wait().await;
    assert_eq!(child.output_tail(), ["1-2-unset /usr"]);
}

/// R40: the sockets for calls and for control work in both directions, and neither is standard input or output.
#[tokio::test]
async fn both_sockets_work_in_both_directions() {
    let script = "
while word := calls.recv(99): calls.sendall(b'calls ' + word + b'\\n'); control.sendall(b'control ' + control.recv(99) + b'\\n')
print('input', repr(sys.stdin.read()))
";
    let mut spawned = start(python(script)).await;
    spawned.calls.write_all(b"one").unwrap();
    spawned.control.write_all(b"two").unwrap();
    let (mut calls, mut control) = (line_reader(spawned.calls.try_clone().unwrap()), line_reader(spawned.control));
    assert_eq!((read_line(&mut calls), read_line(&mut control)), ("calls one".into(), "control two".into()));
    spawned.calls.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(0));
    assert_eq!(calls.read(&mut [0]).unwrap(), 0, "end of file: the host holds no copy of the worker's end");
    assert_eq!(spawned.child.output_tail(), ["input ''"]);
}

#[tokio::test]
async fn sockets_of_the_host_are_nonblocking() {
    let mut spawned = start(shell("sleep 1000")).await;
    for socket in [&mut spawned.calls, &mut spawned.control] {
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// Neither a descriptor that the host forgot to mark close-on-exec nor another worker's socket reaches a worker.
#[tokio::test]
async fn worker_inherits_only_its_own_descriptors() {
    let forgotten = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(forgotten.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let _other = start(shell("sleep 1000")).await;
    let spawned =
        start(python("send(calls.fileno(), control.fileno(), os.environ['HERDER_LOG_FD']); calls.recv(1)")).await;
    let own_sockets: Vec<u32> = numbers(&read_line(&mut line_reader(spawned.calls.try_clone().unwrap())));
    let mut expected = [vec![0, 1, 2], own_sockets].concat();
    expected.sort();
    assert_eq!(descriptors(spawned.child.pid()).into_keys().collect::<Vec<_>>(), expected);
}

/// R30: a worker has a parent death signal. The watchdog ends workers in the same cases, so only the worker itself can show
/// whether the signal is set.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r30_worker_has_a_parent_death_signal() {
    let send_death_signal =
        "import ctypes; signal = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(signal)); send(signal.value)";
    let spawned = start(python(send_death_signal)).await; // 2 is PR_GET_PDEATHSIG
    assert_eq!(read_line(&mut line_reader(spawned.calls)), Signal::KILL.as_raw().to_string());
}

/// On Linux, a parent death signal is sent when the *thread* that started the child exits. A worker must survive the exit of the
/// thread and of the runtime that requested its start, and several runtimes may share this crate.
#[test]
fn worker_survives_the_thread_and_runtime_that_started_it() {
    let start_worker = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(start(python("send('alive', calls.recv(1))")))
    };
    let workers: Vec<_> = (0..3).map(|_| thread::spawn(start_worker)).map(|thread| thread.join().unwrap()).collect();
    for mut worker in workers {
        worker.calls.write_all(b"?").unwrap();
        assert_eq!(read_line(&mut line_reader(worker.calls)), "alive b'?'");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(worker.child.wait()), ExitStatus::Code(0));
    }
}

/// A template reports that it cannot be forked and ends. Its report is read although the process has ended, and the wait for a
/// report ends although a process that it has started keeps its socket open.
#[tokio::test]
async fn report_of_an_ended_template_is_read() {
    let report = "import os, struct
report = b'{\"state\": \"unfit\", \"reason\": \"threads\"}'
";
    let send = "calls.sendall(struct.pack('<I', len(report)) + report)\n";
    let keep_open = "if os.fork() == 0: os.read(control.fileno(), 1); os._exit(0)\n";
    for (sent, expected) in [(send, Some("threads")), ("", None)] {
        let spawned = start(python(&format!("{report}{sent}{keep_open}"))).await;
        spawned.child.wait().await;
        let (_template, report) = Template::prepare(spawned).await.unwrap();
        let reason = report.map(|report| match report {
            TemplateReport::Unfit { reason } => reason,
            other => panic!("{other:?}"),
        });
        assert_eq!(reason.as_deref(), expected);
    }
}
