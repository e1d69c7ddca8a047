//! R30: how workers end: the ladder, kills, dropped handles, and what happens to the rest of the group.

use crate::support::{Watch, line, lines, numbers, python, shell, started, until};
use herder_process::{
    Child, ExitStatus, Signal, Spawned,
    inspect::{children, stat},
    spawn,
};
use std::{future::Future, os::unix::net::UnixStream, pin::pin, task::Poll, time::Duration};

const NEVER: Duration = Duration::MAX;

/// A worker that has a grandchild in its group.
struct Family {
    child: Child,
    calls: UnixStream,
    worker: Watch,
    grandchild: Watch,
}

/// Starts one; once its host hangs up, the worker does `then`.
async fn family(then: &str) -> Family {
    let script = format!("g = subprocess.Popen(['sleep', '1000'])\nsay(os.getpid(), g.pid)\ncalls.recv(1)\n{then}");
    let Spawned { calls, child, .. } = started(python(&script)).await;
    let pids = numbers(&line(&mut lines(calls.try_clone().unwrap())));
    assert_eq!(pids[0], child.pid());
    Family { child, calls, worker: Watch::new(pids[0]), grandchild: Watch::new(pids[1]) }
}

/// R30: grandchildren in the worker's group go too.
#[tokio::test]
async fn kill_takes_the_whole_group() {
    let Family { child, grandchild, calls: _open, .. } = family("").await;
    child.kill();
    assert_eq!(child.wait().await, ExitStatus::Signal(9));
    grandchild.ended();
}

/// R30: also when the worker ends by itself.
#[tokio::test]
async fn an_exit_takes_the_rest_of_the_group() {
    let Family { child, grandchild, calls, .. } = family("os._exit(5)").await;
    drop(calls);
    assert_eq!(child.wait().await, ExitStatus::Code(5));
    grandchild.ended();
}

/// R30: the drop of the last handle ends the group; a clone keeps it.
#[tokio::test]
async fn dropping_the_last_handle_kills() {
    let Family { child, worker, grandchild, calls: _open } = family("").await;
    let other = child.clone();
    drop(child);
    assert!(worker.is_alive() && grandchild.is_alive());
    drop(other);
    worker.ended();
    grandchild.ended();
}

/// Whoever stops waiting for a start gets no worker: it is killed as soon as it is there.
#[tokio::test]
async fn abandoned_start_is_killed() {
    let folder = std::env::temp_dir().join(format!("herder-process-start-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    {
        let mut start = pin!(spawn(shell("echo $$ > pid; sleep 1000").cwd(&folder)));
        // One poll sends the order. Mostly the answer is not here yet; if it is, it is dropped with the future.
        let answer = std::future::poll_fn(|context| Poll::Ready(start.as_mut().poll(context))).await;
        drop(answer);
    }
    // The next start comes after it on the same thread, so by now the first has been started and given up.
    started(shell("true")).await.child.wait().await;
    let us = std::process::id();
    let left = || {
        let in_folder = |pid: u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
        children(us).any(|seen| in_folder(seen.pid))
    };
    until("the worker nobody waited for is gone", || (!left()).then_some(()));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// R30: a worker that ignores `SIGTERM` is told so first, and then killed. The order is the evidence.
#[tokio::test]
async fn stop_sequence_ends_with_sigkill() {
    let script = "
signal.signal(signal.SIGTERM, lambda *_: say('term'))
say('ready')
while True: time.sleep(0.01) # a handler runs between two steps of Python, never inside a sleep that had begun
";
    let spawned = started(python(script)).await;
    let mut words = lines(spawned.calls);
    assert_eq!(line(&mut words), "ready");
    spawned.child.stop(Duration::ZERO, NEVER);
    assert_eq!(line(&mut words), "term");
    assert_eq!(spawned.child.try_status(), None, "the second rung is far away");
    spawned.child.stop(NEVER, NEVER);
    spawned.child.stop(Duration::ZERO, Duration::ZERO);
    assert_eq!(spawned.child.wait().await, ExitStatus::Signal(9));
    assert_eq!(line(&mut words), "", "no second SIGTERM");
}

/// R30: by the clock too: nothing but the ladder's own time ends this one.
#[tokio::test]
async fn stop_sequence_advances_without_a_caller() {
    let spawned = started(python("signal.signal(15, signal.SIG_IGN); say('deaf'); time.sleep(1000)")).await;
    assert_eq!(line(&mut lines(spawned.calls)), "deaf");
    spawned.child.stop(Duration::from_millis(20), Duration::from_millis(20));
    assert_eq!(spawned.child.wait().await, ExitStatus::Signal(9));
}

/// R30: a worker that obeys the message or `SIGTERM` is not killed. It sleeps in small pieces: Python runs a handler between two steps
/// of its own, so a signal just before one long sleep would be obeyed after it.
#[tokio::test]
async fn a_polite_worker_is_not_killed() {
    let polite = "signal.signal(15, lambda *_: os._exit(3)); say('on')\nwhile True: time.sleep(0.01)";
    let spawned = started(python(polite)).await;
    let mut words = lines(spawned.calls);
    assert_eq!(line(&mut words), "on");
    spawned.child.stop(Duration::ZERO, NEVER);
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(3));
    spawned.child.stop(Duration::ZERO, Duration::ZERO); // nothing is left to be signalled
    spawned.child.kill();
}

/// R30: a stopped process can't hold up its end.
#[tokio::test]
async fn a_stopped_worker_can_be_ended() {
    let Family { child, grandchild, calls, .. } = family("os.kill(os.getpid(), signal.SIGSTOP)").await;
    drop(calls);
    until("it has stopped itself", || stat(child.pid()).filter(|seen| seen.state == 'T'));
    child.stop(Duration::ZERO, Duration::ZERO);
    assert_eq!(child.wait().await, ExitStatus::Signal(9));
    grandchild.ended();
}

/// What left the group may hold the pipes as long as it likes: the worker's end is told all the same.
#[tokio::test]
async fn a_grandchild_that_holds_the_pipes_does_not_delay_the_end() {
    let script = "
g = subprocess.Popen(['sleep', '1000'], start_new_session=True)
say(g.pid)
print('last words', end='', flush=True)
os._exit(0)
";
    let spawned = started(python(script)).await;
    let grandchild = Watch::new(numbers(&line(&mut lines(spawned.calls)))[0]);
    assert_eq!(spawned.child.wait().await, ExitStatus::Code(0));
    assert_eq!(spawned.child.output_tail(), ["last words"]);
    assert!(grandchild.is_alive(), "it left the group, so it is not ours to end");
    grandchild.kill();
}

/// A worker in a deadlock in C, with the GIL held, that prints its stacks when it is asked to.
const STUCK: &str = "
import ctypes, faulthandler
faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
mutex = ctypes.create_string_buffer(128)
def handler():
    print('last words', file=sys.stderr, flush=True)
    say('stuck')
    for _ in range(2): ctypes.PyDLL(None).pthread_mutex_lock(mutex)
handler()";

/// Its stack, beside the tail; and the signal that ended it.
async fn hung(end: impl FnOnce(&Child)) -> (Option<String>, Vec<String>, ExitStatus) {
    let Spawned { calls, child, .. } = started(python(STUCK)).await;
    assert_eq!(line(&mut lines(calls)), "stuck");
    end(&child);
    let status = child.wait().await;
    (child.stack(), child.output_tail(), status)
}

/// R26: what a worker hung in is known after the kill, though it held the GIL; its last words are still there.
#[tokio::test]
async fn r26_a_worker_that_hangs_is_asked_for_its_stack_before_the_kill() {
    let (stack, tail, status) = hung(|child| child.kill_with_stack(Signal::USR1)).await;
    assert!(stack.as_deref().is_some_and(|stack| stack.contains("in handler")), "{stack:?}");
    assert_eq!((tail, status), (vec!["last words".to_owned()], ExitStatus::Signal(9)));
}

/// R26: also before the SIGTERM of a ladder without any patience of its own.
#[tokio::test]
async fn r26_stop_sequence_waits_for_the_stack() {
    let (stack, _, status) = hung(|child| child.stop_with_stack(Signal::USR1, Duration::ZERO, NEVER)).await;
    assert!(stack.as_deref().is_some_and(|stack| stack.contains("in handler")), "{stack:?}");
    assert_eq!(status, ExitStatus::Signal(15));
}

/// R26: who prints none is killed all the same, whatever becomes of the one who asked; and a plain kill waits for nobody.
#[tokio::test]
async fn r26_a_worker_without_a_stack_is_killed_all_the_same() {
    let deaf = "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\nsay('deaf')\ntime.sleep(1000)";
    let Spawned { calls, child, .. } = started(python(deaf)).await;
    assert_eq!(line(&mut lines(calls)), "deaf");
    child.kill_with_stack(Signal::USR1);
    child.kill_with_stack(Signal::USR1);
    assert_eq!((child.wait().await, child.stack()), (ExitStatus::Signal(9), None));
}

/// R26: processor time grows with work alone, and a stopped process is seen to be stopped.
#[tokio::test]
async fn r26_sample_distinguishes_work_sleep_and_stop() {
    let work = "calls.recv(1)\nwhile time.process_time() < 0.1: pass\nsay('done')\ncalls.recv(1)";
    let Spawned { mut calls, child, .. } = started(python(work)).await;
    let before = child.sample().unwrap();
    std::io::Write::write_all(&mut calls, b"x").unwrap();
    assert_eq!(line(&mut lines(calls.try_clone().unwrap())), "done");
    let after = child.sample().unwrap();
    assert!(after.cpu > before.cpu && !after.stopped, "{before:?} {after:?}");
    child.signal(Signal::STOP);
    until("it is stopped", || child.sample().filter(|activity| activity.stopped));
    child.kill();
    child.wait().await;
    assert_eq!(child.sample(), None);
}
