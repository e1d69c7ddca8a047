//! R30, R26: how workers end: by the stop sequence, by a kill or by dropping handles; and what happens to the rest of their
//! group.

use crate::support::{Watch, line_reader, numbers, python, read_line, shell, start, wait_until};
use herder_process::{
    Child, ExitStatus, Signal, Spawned,
    inspect::{children, stat},
    spawn,
};
use std::{future::Future, os::unix::net::UnixStream, pin::pin, task::Poll, time::Duration};

const NEVER: Duration = Duration::MAX;

/// A worker with a child process, the grandchild, in its group.
struct Family {
    child: Child,
    calls: UnixStream,
    worker: Watch,
    grandchild: Watch,
}

/// Starts a worker with a grandchild. The worker runs `then` when the host closes its socket.
async fn start_family(then: &str) -> Family {
    let script = format!("g = subprocess.Popen(['sleep', '1000'])\nsend(os.getpid(), g.pid)\ncalls.recv(1)\n{then}");
    let Spawned { calls, child, .. } = start(python(&script)).await;
    let pids = numbers(&read_line(&mut line_reader(calls.try_clone().unwrap())));
    assert_eq!(pids[0], child.pid());
    Family { child, calls, worker: Watch::new(pids[0]), grandchild: Watch::new(pids[1]) }
}

/// R30: a kill also ends the grandchildren in the worker's group.
#[tokio::test]
async fn kill_ends_the_process_group() {
    let Family { child, grandchild, calls: _open, .. } = start_family("").await;
    child.kill();
    assert_eq!(child.wait().await, ExitStatus::Signal(9));
    grandchild.wait_for_exit();
}

/// R30: the exit of the worker also ends the grandchildren in its group.
#[tokio::test]
async fn exit_ends_the_rest_of_the_group() {
    let Family { child, grandchild, calls, .. } = start_family("os._exit(5)").await;
    drop(calls);
    assert_eq!(child.wait().await, ExitStatus::Code(5));
    grandchild.wait_for_exit();
}

/// R30: dropping the last handle ends the group; a remaining clone keeps it.
#[tokio::test]
async fn dropping_the_last_handle_kills_the_group() {
    let Family { child, worker, grandchild, calls: _open } = start_family("").await;
    let other = child.clone();
    drop(child);
    assert!(worker.is_alive() && grandchild.is_alive());
    drop(other);
    worker.wait_for_exit();
    grandchild.wait_for_exit();
}

/// A worker whose start was abandoned by its caller is killed as soon as it is running.
#[tokio::test]
async fn abandoned_start_is_killed() {
    let folder = std::env::temp_dir().join(format!("herder-process-start-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    {
        let mut starting = pin!(spawn(shell("echo $$ > pid; sleep 1000").cwd(&folder)));
        // One poll sends the request. Usually the result is not ready yet; if it is, it is dropped with the future.
        let answer = std::future::poll_fn(|context| Poll::Ready(starting.as_mut().poll(context))).await;
        drop(answer);
    }
    // The same thread handles starts in order, so the abandoned one is finished when this one is.
    start(shell("true")).await.child.wait().await;
    let own_pid = std::process::id();
    let is_running = || {
        let in_folder = |pid: u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
        children(own_pid).any(|child| in_folder(child.pid))
    };
    wait_until("the worker whose start was abandoned has exited", || (!is_running()).then_some(()));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// R30: a worker that does not obey `SIGTERM` receives `SIGTERM` once, then `SIGKILL`.
#[tokio::test]
async fn stop_sequence_ends_with_sigkill() {
    let script = "
signal.signal(signal.SIGTERM, lambda *_: send('term'))
send('ready')
while True: time.sleep(0.01) # a signal handler runs only between two bytecode instructions
";
    let spawned = start(python(script)).await;
    let mut reader = line_reader(spawned.calls);
    assert_eq!(read_line(&mut reader), "ready");
    spawned.child.stop(Duration::ZERO, NEVER);
    assert_eq!(read_line(&mut reader), "term");
    assert_eq!(spawned.child.try_status(), None, "the step after SIGTERM is not due");
    spawned.child.stop(NEVER, NEVER);
    spawned.child.stop(Duration::ZERO, Duration::ZERO);
    assert_eq!(spawned.child.wait().await, ExitStatus::Signal(9));
    assert_eq!(read_line(&mut reader), "", "no second SIGTERM");
}

/// R30: the stop sequence advances with time, without further calls of `stop`.
#[tokio::test]
async fn stop_sequence_advances_without_a_caller() {
    let spawned = start(python("signal.signal(15, signal.SIG_IGN); send('ignoring'); time.sleep(1000)")).await;
    assert_eq!(read_line(&mut line_reader(spawned.calls)), "ignoring");
    spawned.child.stop(Duration::from_millis(20), Duration::from_millis(20));
    assert_eq!(spawned.child.wait().await, ExitStatus::Signal(9));
}

/// R30: a worker that obeys `SIGTERM` is not killed. Python runs a signal handler between two bytecode instructions, so a
/// signal that arrives just before a long sleep would be handled after it. Hence the short sleeps.
#[tokio::test]
async fn worker_that_obeys_sigterm_is_not_killed() {
    let obeying = "signal.signal(15, lambda *_: os._exit(3)); send('ready')\nwhile True: time.sleep(0.01)";
    let spawned = start(python(obeying)).await;
    let mut reader = line_reader(spawned.calls);
    assert_eq!(read_line(&mut reader), "ready");
    spawned.child.stop(Duration::ZERO, NEVER);
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(3));
    spawned.child.stop(Duration::ZERO, Duration::ZERO); // has no effect: the worker has exited
    spawned.child.kill();
}

/// R30: a worker stopped by `SIGSTOP` can be killed.
#[tokio::test]
async fn stopped_worker_can_be_killed() {
    let Family { child, grandchild, calls, .. } = start_family("os.kill(os.getpid(), signal.SIGSTOP)").await;
    drop(calls);
    wait_until("the worker has stopped itself", || stat(child.pid()).filter(|worker| worker.state == 'T'));
    child.stop(Duration::ZERO, Duration::ZERO);
    assert_eq!(child.wait().await, ExitStatus::Signal(9));
    grandchild.wait_for_exit();
}

/// A process that left the group may hold the worker's pipes open. The worker's exit is reported without waiting for it.
#[tokio::test]
async fn grandchild_holding_the_pipes_does_not_delay_the_exit_status() {
    let script = "
g = subprocess.Popen(['sleep', '1000'], start_new_session=True)
send(g.pid)
print('last output', end='', flush=True)
os._exit(0)
";
    let spawned = start(python(script)).await;
    let grandchild = Watch::new(numbers(&read_line(&mut line_reader(spawned.calls)))[0]);
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(0));
    assert_eq!(spawned.child.output_tail(), ["last output"]);
    assert!(grandchild.is_alive(), "it left the group, so it is not killed");
    grandchild.kill();
}

/// A worker that is deadlocked in C while it holds the GIL. It prints its stack on `SIGUSR1`.
const STUCK: &str = "
import ctypes, faulthandler
faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
mutex = ctypes.create_string_buffer(128)
def handler():
    print('last output', file=sys.stderr, flush=True)
    send('stuck')
    for _ in range(2): ctypes.PyDLL(None).pthread_mutex_lock(mutex)
handler()";

/// Starts a deadlocked worker and ends it with `end`. Returns its stack, the tail of its output and its exit status.
async fn end_stuck_worker(end: impl FnOnce(&Child)) -> (Option<String>, Vec<String>, ExitStatus) {
    let Spawned { calls, child, .. } = start(python(STUCK)).await;
    assert_eq!(read_line(&mut line_reader(calls)), "stuck");
    end(&child);
    let status = child.wait().await;
    (child.stack(), child.output_tail(), status)
}

/// R26: the stack of a worker that hangs with the GIL held is captured before the kill, and its output is kept.
#[tokio::test]
async fn r26_stack_is_captured_before_a_hanging_worker_is_killed() {
    let (stack, tail, status) = end_stuck_worker(|child| child.kill_with_stack(Signal::USR1)).await;
    assert!(stack.as_deref().is_some_and(|stack| stack.contains("in handler")), "{stack:?}");
    assert_eq!((tail, status), (vec!["last output".to_owned()], ExitStatus::Signal(9)));
}

/// R26: the stop sequence waits for the stack even if the time before its `SIGTERM` is zero.
#[tokio::test]
async fn r26_stop_sequence_waits_for_the_stack() {
    let (stack, _, status) = end_stuck_worker(|child| child.stop_with_stack(Signal::USR1, Duration::ZERO, NEVER)).await;
    assert!(stack.as_deref().is_some_and(|stack| stack.contains("in handler")), "{stack:?}");
    assert_eq!(status, ExitStatus::Signal(15));
}

/// R26: a worker that prints no stack is killed after a wait, also if it is requested twice.
#[tokio::test]
async fn r26_worker_that_prints_no_stack_is_killed() {
    let ignoring = "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\nsend('ignoring')\ntime.sleep(1000)";
    let Spawned { calls, child, .. } = start(python(ignoring)).await;
    assert_eq!(read_line(&mut line_reader(calls)), "ignoring");
    child.kill_with_stack(Signal::USR1);
    child.kill_with_stack(Signal::USR1);
    assert_eq!((child.wait().await, child.stack()), (ExitStatus::Signal(9), None));
}

/// R26: CPU time increases only with work, and a stopped process is reported as stopped.
#[tokio::test]
async fn r26_sample_distinguishes_work_sleep_and_stop() {
    let work = "calls.recv(1)\nwhile time.process_time() < 0.1: pass\nsend('done')\ncalls.recv(1)";
    let Spawned { mut calls, child, .. } = start(python(work)).await;
    let before = child.sample().unwrap();
    std::io::Write::write_all(&mut calls, b"x").unwrap();
    assert_eq!(read_line(&mut line_reader(calls.try_clone().unwrap())), "done");
    let after = child.sample().unwrap();
    assert!(after.cpu > before.cpu && !after.stopped, "{before:?} {after:?}");
    child.signal(Signal::STOP);
    wait_until("the worker is stopped", || child.sample().filter(|activity| activity.stopped));
    child.kill();
    child.wait().await;
    assert_eq!(child.sample(), None);
}
