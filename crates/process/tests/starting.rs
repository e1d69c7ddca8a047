//! What a worker is started with, and what is said when it can't be.

use crate::support::{line, lines, numbers, python, shell, started};
use herder_process::{Command, ExitStatus, Signal, SpawnError, inspect::descriptors, spawn};
use std::{
    io::{Read, Write},
    os::fd::AsFd,
    thread,
};

#[tokio::test]
async fn exit_codes_and_signals_are_told_to_every_waiter_at_any_time() {
    let child = started(shell("exit 42")).await.child;
    let clone = child.clone();
    let (one, other) = tokio::join!(child.wait(), clone.wait());
    assert_eq!((one, other), (ExitStatus::Code(42), ExitStatus::Code(42)));
    assert_eq!((child.wait().await, child.try_status()), (ExitStatus::Code(42), Some(ExitStatus::Code(42))));

    let child = started(shell("kill -SEGV $$")).await.child;
    assert_eq!(child.wait().await, ExitStatus::Signal(11));

    let child = started(shell("sleep 1000")).await.child;
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
    assert!(error.to_string().contains("`/bin/sh` can't start in the directory `/no/such/place`"), "{error}");
    let error = spawn(shell("true").cwd("/bin/sh")).await.unwrap_err();
    assert!(matches!(error, SpawnError::WorkingDirectory { .. }), "{error:?}");

    let error = spawn(Command::new("/")).await.unwrap_err();
    assert!(matches!(error, SpawnError::PermissionDenied { .. }), "{error:?}");

    let folder = std::env::temp_dir().join(format!("herder-process-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("script"), "#!/no/such/interpreter\n").unwrap();
    assert_eq!(started(shell("chmod +x script").cwd(&folder)).await.child.wait().await, ExitStatus::Code(0));
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
async fn environment_and_directory_are_as_ordered() {
    let clean =
        shell("echo $ONE-$TWO-${HOME-unset} $PWD").env_clear(true).env("ONE", "1").env("TWO", "a").env("TWO", "2");
    let child = started(clean.cwd("/usr")).await.child;
    child.wait().await;
    assert_eq!(child.output_tail(), ["1-2-unset /usr"]);
}

/// R40: calls and control each go both ways, and neither is standard input or output.
#[tokio::test]
async fn both_sockets_carry_both_ways() {
    let script = "
while word := calls.recv(99): calls.sendall(b'calls ' + word + b'\\n'); control.sendall(b'control ' + control.recv(99) + b'\\n')
print('input', repr(sys.stdin.read()))
";
    let mut spawned = started(python(script)).await;
    spawned.calls.write_all(b"one").unwrap();
    spawned.control.write_all(b"two").unwrap();
    let (mut calls, mut control) = (lines(spawned.calls.try_clone().unwrap()), lines(spawned.control));
    assert_eq!((line(&mut calls), line(&mut control)), ("calls one".into(), "control two".into()));
    spawned.calls.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(0));
    assert_eq!(calls.read(&mut [0]).unwrap(), 0, "end of file: the host holds no copy of the worker's end");
    assert_eq!(spawned.child.output_tail(), ["input ''"]);
}

#[tokio::test]
async fn the_hosts_sockets_do_not_block() {
    let mut spawned = started(shell("sleep 1000")).await;
    for socket in [&mut spawned.calls, &mut spawned.control] {
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// A descriptor the host forgot to mark close-on-exec, and other workers' sockets, stay out of a worker.
#[tokio::test]
async fn a_worker_inherits_its_own_descriptors_only() {
    let forgotten = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(forgotten.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let _other = started(shell("sleep 1000")).await;
    let spawned = started(python("say(calls.fileno(), control.fileno()); calls.recv(1)")).await;
    let its_own: Vec<u32> = numbers(&line(&mut lines(spawned.calls.try_clone().unwrap())));
    let mut expected = [vec![0, 1, 2], its_own].concat();
    expected.sort();
    assert_eq!(descriptors(spawned.child.pid()).into_keys().collect::<Vec<_>>(), expected);
}

/// On Linux a death signal follows the *thread* that started the child. Workers started from a thread and a runtime that are
/// gone must live on, and several runtimes may share the crate.
/// R30: the watchdog covers the same ends, so that only the worker itself can tell whether it has its death signal.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r30_a_worker_is_killed_by_its_hosts_death_signal() {
    let ask =
        "import ctypes; signal = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(signal)); say(signal.value)";
    let spawned = started(python(ask)).await; // 2 is PR_GET_PDEATHSIG
    assert_eq!(line(&mut lines(spawned.calls)), Signal::KILL.as_raw().to_string());
}

#[test]
fn a_worker_survives_the_thread_and_the_runtime_that_ordered_it() {
    let order = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(started(python("say('alive', calls.recv(1))")))
    };
    let workers: Vec<_> = (0..3).map(|_| thread::spawn(order)).map(|thread| thread.join().unwrap()).collect();
    for mut worker in workers {
        worker.calls.write_all(b"?").unwrap();
        assert_eq!(line(&mut lines(worker.calls)), "alive b'?'");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(worker.child.wait()), ExitStatus::Code(0));
    }
}
