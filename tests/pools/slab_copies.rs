//! R43: large arguments are copied to shared memory beside the pool's thread: other calls go on meanwhile, and every call is
//! answered, whatever happens during a copy, which a gate can hold up. The same holds for calls that wait for a full socket.

use super::steps::{answer, queue_is};
use herder::{
    Call, Error, Pool, PoolConfig, Reply, Result,
    config::{Buffers, Health, InvalidConfig, Stop},
    status::{PoolState, WorkerId},
    testing::{HANG_TIMEOUT, TestContext, TestPool, pool, pool_config, wait_until, with_timeout},
};
use herder_actors::InjectHold;
use serde_json::{Value, json};
use std::{sync::mpsc, time::Duration};
use tokio::{
    runtime::Builder,
    task::{JoinHandle, spawn_blocking},
};

const MIB: usize = 1 << 20;
/// Longer than what is copied in the step that sends a call.
const LARGE: usize = 2 * MIB;

const APP: &str = "
import herder, resource, os
app = herder.App()
seen = []

def described(n, x):
    in_slab = 'c_ubyte' in type(getattr(x, 'obj', None)).__name__
    return [n, len(x), set(x[::4096]) <= {n}, in_slab, list(seen)]

@app.command
async def note(n: int, x=b''):
    seen.append(n)
    return described(n, x)

@app.command(idempotent=True)
async def again(n: int, x):
    return described(n, x)

@app.batch(max_batch_size=2, max_wait=60)
async def together(items):
    return [[*described(item['n'], item['x']), len(items)] for item in items]

@app.command
async def ok():
    pass

@app.command
async def use_up():
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
";

/// Holds up the copies of a pool until it is dropped.
struct Gate {
    _open: mpsc::Sender<()>,
}

impl Gate {
    async fn close(pool: &TestPool) -> Self {
        let (open, opened) = mpsc::channel();
        pool.supervisor().send(InjectHold(opened)).await.unwrap().unwrap();
        Self { _open: open }
    }
}

/// Runs a test on a runtime with one thread for blocking work.
fn run(test: impl AsyncFnOnce()) {
    let runtime = || Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(test());
}

fn config(context: &TestContext, size: usize, max_bytes: usize) -> std::result::Result<PoolConfig, InvalidConfig> {
    context.file("app.py", APP);
    let builder = context.basic().app("app.py:app").cwd(context.dir()).pool_size(size).overflow(0).concurrency(5);
    // A worker that a test stops is not found.
    let builder = builder.health(Health::new().interval(Duration::from_secs(3600)));
    builder.buffers(Buffers::new().max_bytes(max_bytes)).build()
}

/// Starts a pool on the runtime of the test.
async fn gated_pool(size: usize, max_bytes: usize) -> TestPool {
    let (config, context) = pool_config("copies", |context| config(context, size, max_bytes));
    let pool = with_timeout("the pool's start", Pool::start(config).on_current_arbiter()).await.unwrap();
    TestPool::new(pool, context)
}

fn call(pool: &TestPool, command: &str, n: u8, size: usize) -> Call<Value> {
    pool.call(command, &json!({ "n": n })).attach("x", vec![n; size])
}

fn start(call: Call<Value>) -> JoinHandle<Result<Reply>> {
    tokio::spawn(call.reply().into_future())
}

async fn ended(call: JoinHandle<Result<Reply>>) -> Result<Reply> {
    with_timeout("an answer", call).await.unwrap()
}

async fn slab_bytes(pool: &TestPool) -> usize {
    pool.status().await.unwrap().buffers.unwrap().slab_bytes as usize
}

/// What `described` returns if the bytes are right.
#[derive(Debug, PartialEq)]
struct Seen {
    in_slab: bool,
    before: Vec<u8>,
}

fn seen(reply: &Reply, n: u8, size: usize) -> Seen {
    let (found, length, is_same, in_slab, before) = reply.decode::<(u8, usize, bool, bool, Vec<u8>)>().unwrap();
    assert_eq!((found, length, is_same), (n, size, true));
    Seen { in_slab, before }
}

/// Other workers are sent calls during a copy.
#[test]
fn r43_other_calls_go_on_while_large_arguments_are_copied() {
    run(async || {
        let pool = gated_pool(2, 8 * MIB).await;
        let gate = Gate::close(&pool).await;
        let large = start(call(&pool, "note", 1, LARGE));
        queue_is(&pool, 1, 0).await;
        let mut other = None;
        for _ in 0..20 {
            let reply = answer(call(&pool, "again", 9, 10).reply()).await.unwrap();
            assert!(!large.is_finished() && *other.get_or_insert(reply.process()) == reply.process());
        }
        drop(gate);
        let reply = ended(large).await.unwrap();
        assert!(seen(&reply, 1, LARGE).in_slab && Some(reply.process()) != other);
        pool.shutdown_and_check().await;
    });
}

/// The calls of one worker keep their order, whether they are copied or not.
#[test]
fn r43_calls_keep_their_order_while_arguments_are_copied() {
    run(async || {
        let pool = gated_pool(1, 8 * MIB).await;
        let gate = Gate::close(&pool).await;
        let mut calls = Vec::new();
        for (n, size) in [(1, LARGE), (2, 10), (3, LARGE), (4, 10), (5, LARGE)] {
            calls.push((start(call(&pool, "note", n, size)), n, size));
            queue_is(&pool, calls.len(), 0).await;
        }
        drop(gate);
        for (call, n, size) in calls {
            let found = seen(&ended(call).await.unwrap(), n, size);
            assert_eq!(found, Seen { in_slab: size == LARGE, before: (1..=n).collect() });
        }
        pool.shutdown_and_check().await;
    });
}

/// A worker that dies before its arguments are copied has not run the call: another one does, as if it had not been sent before. What
/// the worker had of slabs is released.
#[test]
fn r43_a_worker_can_die_while_arguments_are_copied() {
    run(async || {
        let pool = gated_pool(1, 2 * LARGE).await;
        for _ in ["a new slab", "one that is used again"] {
            let gate = Gate::close(&pool).await;
            let calls = [(1, LARGE), (2, 10)].map(|(n, size)| start(call(&pool, "note", n, size)));
            queue_is(&pool, 2, 0).await;
            assert!(pool.kill(pool.base_workers().await[0].process()).await);
            wait_until("the other worker gets a slab", async || slab_bytes(&pool).await == 2 * LARGE).await;
            assert!(calls.iter().all(|call| !call.is_finished()));
            drop(gate);
            for (call, n, size) in calls.into_iter().zip([(1, LARGE), (2, 10)]).map(|(call, (n, size))| (call, n, size))
            {
                let reply = ended(call).await.unwrap();
                let expected = Seen { in_slab: size == LARGE, before: (1..=n).collect() };
                assert_eq!((reply.attempts, seen(&reply, n, size)), (1, expected));
            }
            wait_until("the lost slab is released", async || slab_bytes(&pool).await == LARGE).await;
            pool.wait_healthy("ok").await; // the worker gives its slab back
        }
        pool.shutdown_and_check().await;
    });
}

/// Short arguments are copied by the steps that send their calls, also of several calls at once. No copy of them waits for a thread.
#[test]
fn r43_short_arguments_are_copied_at_once() {
    run(async || {
        const SHORT: usize = 100_000;
        let pool = gated_pool(1, 8 * MIB).await;
        let calls = || [1, 2, 3].map(|n| start(call(&pool, "again", n, SHORT)));
        for are_new in [true, false] {
            let gate = if are_new { None } else { Some(Gate::close(&pool).await) };
            for (call, n) in calls().into_iter().zip(1..) {
                assert!(seen(&ended(call).await.unwrap(), n, SHORT).in_slab);
            }
            drop(gate);
            pool.wait_healthy("ok").await; // the worker gives its slabs back
        }
        pool.shutdown_and_check().await;
    });
}

/// Calls can have all threads for blocking work of the runtime on which their pool runs, and wait for a copy.
#[test]
fn r43_a_copy_needs_no_thread_of_the_runtime() {
    run(async || {
        let pool = gated_pool(1, 8 * MIB).await;
        let (open, opened) = mpsc::channel::<()>();
        let taken = spawn_blocking(move || opened.recv());
        for n in [1, 2] {
            let reply = answer(call(&pool, "note", n, LARGE).reply()).await.unwrap();
            assert!(seen(&reply, n, LARGE).in_slab && !taken.is_finished());
        }
        drop(open);
        pool.shutdown_and_check().await;
    });
}

/// Starts calls with arguments that a worker that is stopped does not read: the socket is full when the first one is written in part.
async fn written_in_part(pool: &TestPool) -> Vec<JoinHandle<Result<Reply>>> {
    assert!(pool.stop(pool.base_workers().await[0].process()).await);
    let calls: Vec<_> = (1..=3).map(|n| start(call(pool, "note", n, LARGE))).collect();
    queue_is(pool, 3, 0).await;
    calls
}

/// A worker gets all the calls that it was sent, although the socket is full when it is to stop.
#[test]
fn r20_a_reload_loses_no_call_that_waits_for_a_full_socket() {
    run(async || {
        let pool = gated_pool(1, 0).await;
        let process = pool.base_workers().await[0].process();
        let calls = written_in_part(&pool).await;
        with_timeout("the reload", pool.reload()).await.unwrap();
        // Behind the calls only: a worker that has read one on the control descriptor exits when its socket is empty.
        let recording = pool.recorder(WorkerId(1), None).await.unwrap();
        assert_eq!(recording.frames.iter().filter(|frame| frame.kind == "shutdown").count(), 1);
        assert!(pool.resume(process).await && calls.iter().all(|call| !call.is_finished()));
        for (call, n) in calls.into_iter().zip(1..) {
            let reply = ended(call).await.unwrap();
            assert_eq!(seen(&reply, n, LARGE), Seen { in_slab: false, before: (1..=n).collect() });
            assert_eq!((reply.process(), reply.attempts), (process, 1));
        }
        pool.shutdown_and_check().await;
    });
}

/// A worker that reads nothing is ended in time, although its shutdown message waits for the socket.
#[tokio::test]
async fn r28_a_worker_that_does_not_read_is_ended() {
    let limit = Duration::from_millis(10);
    let pool = pool("unread", |context| {
        context.file("app.py", APP);
        let builder = context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).overflow(0).concurrency(5);
        builder.buffers(Buffers::new().max_bytes(0)).stop(Stop::new().grace(limit).term(limit)).build()
    })
    .await;
    let calls = written_in_part(&pool).await;
    with_timeout("the shutdown", pool.shutdown(limit)).await.unwrap();
    for call in calls {
        assert!(matches!(ended(call).await, Err(Error::PoolClosed { .. })));
    }
    pool.processes().nothing_left().await;
}

/// A worker that dies has run none of the calls of which nothing was written to it. Of one that was written in part, that is not said:
/// it may be what has ended the worker.
#[test]
fn r20_calls_that_wait_for_a_full_socket_did_not_run() {
    run(async || {
        let pool = gated_pool(1, 0).await;
        let mut calls = written_in_part(&pool).await.into_iter();
        assert!(pool.kill(pool.base_workers().await[0].process()).await);
        let lost = ended(calls.next().unwrap()).await.unwrap_err();
        assert!(matches!(&lost, Error::WorkerLost { .. }) && lost.may_have_run(), "{lost:?}");
        for (call, n) in calls.zip(2..) {
            let reply = ended(call).await.unwrap();
            assert_eq!((reply.attempts, seen(&reply, n, LARGE).before), (1, (2..=n).collect()));
        }
        pool.shutdown_and_check().await;
    });
}

/// A deadline and a cancel are in time during a copy, and the slab is used again. A shutdown waits for the copy.
#[test]
fn r43_calls_end_while_their_arguments_are_copied() {
    run(async || {
        let pool = gated_pool(1, 2 * LARGE).await;
        let first = answer(call(&pool, "note", 0, LARGE).reply()).await.unwrap();
        let gate = Gate::close(&pool).await;
        let abandoned = start(call(&pool, "note", 1, LARGE));
        queue_is(&pool, 1, 0).await;
        let late = call(&pool, "note", 2, LARGE).timeout(Duration::from_millis(50)).reply();
        assert!(matches!(answer(late).await, Err(Error::DeadlineExceeded { .. })));
        abandoned.abort();
        wait_until("the worker has withdrawn both", async || {
            let recording = pool.recorder(WorkerId(1), None).await.unwrap();
            recording.frames.iter().filter(|frame| frame.kind == "attempt_state").count() == 2
        })
        .await;
        drop(gate);
        // The worker gives the slabs back with its next frames.
        wait_until("both slabs are used again", async || {
            let both = [start(call(&pool, "again", 5, LARGE)), start(call(&pool, "again", 6, LARGE))];
            let [first, second] = both.map(ended);
            seen(&first.await.unwrap(), 5, LARGE).in_slab & seen(&second.await.unwrap(), 6, LARGE).in_slab
        })
        .await;
        let gate = Gate::close(&pool).await;
        let calls = [start(call(&pool, "note", 3, LARGE)), start(call(&pool, "note", 4, LARGE))];
        queue_is(&pool, 2, 0).await;
        let stopping = Pool::clone(&pool);
        let shutdown = tokio::spawn(async move { stopping.shutdown(HANG_TIMEOUT).await });
        wait_until("the pool drains", async || pool.health().await.unwrap().state == PoolState::Draining).await;
        assert!(calls.iter().all(|call| !call.is_finished()) && !shutdown.is_finished());
        drop(gate);
        for (call, n) in calls.into_iter().zip(3..) {
            let reply = ended(call).await.unwrap();
            let before = if n == 3 { vec![0, 3] } else { vec![0, 3, 4] };
            assert_eq!(seen(&reply, n, LARGE), Seen { in_slab: true, before });
            assert_eq!(reply.process(), first.process());
        }
        with_timeout("the shutdown", shutdown).await.unwrap().unwrap();
        pool.processes().nothing_left().await;
    });
}

/// A worker that is replaced by a reload gets the calls that it was sent, although their arguments are not copied yet.
#[test]
fn r43_a_reload_loses_no_call_whose_arguments_are_copied() {
    run(async || {
        let pool = gated_pool(1, 8 * MIB).await;
        let gate = Gate::close(&pool).await;
        let calls = [start(call(&pool, "note", 1, LARGE)), start(call(&pool, "note", 2, 10))];
        queue_is(&pool, 2, 0).await;
        with_timeout("the reload", pool.reload()).await.unwrap();
        // Behind the calls only: a worker that has read one on the control descriptor exits when it has no call.
        let recording = pool.recorder(WorkerId(1), None).await.unwrap();
        assert_eq!(recording.frames.iter().filter(|frame| frame.kind == "shutdown").count(), 1);
        assert!(calls.iter().all(|call| !call.is_finished()));
        drop(gate);
        for (call, n, size) in calls.into_iter().zip([(1, LARGE), (2, 10)]).map(|(call, (n, size))| (call, n, size)) {
            let found = seen(&ended(call).await.unwrap(), n, size);
            assert_eq!(found, Seen { in_slab: size == LARGE, before: (1..=n).collect() });
        }
        pool.shutdown_and_check().await;
    });
}

/// A batch is copied one call after the other, and each of its calls is answered once.
#[test]
fn r43_the_arguments_of_a_batch_are_copied_beside_the_pool() {
    run(async || {
        let pool = gated_pool(1, 4 * LARGE).await;
        let batch = || [1, 2].map(|n| start(call(&pool, "together", n, LARGE)));
        let gate = Gate::close(&pool).await;
        let calls = batch();
        queue_is(&pool, 1, 0).await;
        let killed = pool.base_workers().await[0].process();
        assert!(pool.kill(killed).await);
        wait_until("the other worker has the batch", async || {
            let worker = &pool.base_workers().await[0];
            worker.process() != killed && pool.status().await.unwrap().queue.in_flight == 1
        })
        .await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        drop(gate);
        for (call, n) in calls.into_iter().zip(1..) {
            let found = ended(call).await.unwrap().decode::<(u8, usize, bool, bool, Vec<u8>, usize)>().unwrap();
            assert_eq!(found, (n, LARGE, true, true, Vec::new(), 2));
        }
        pool.shutdown_and_check().await;
    });
}

/// A worker without a free descriptor cannot get a slab: it answers that call with an error, and gets the next ones in frames.
#[tokio::test]
async fn r43_a_worker_without_free_descriptors_is_not_lost() {
    let pool = pool("no_descriptors", |context| config(context, 1, 8 * MIB)).await;
    let first = answer(call(&pool, "note", 1, 100_000).reply()).await.unwrap();
    assert!(seen(&first, 1, 100_000).in_slab);
    answer(pool.call::<Value>("use_up", &json!({})).reply()).await.unwrap();
    let error = answer(call(&pool, "note", 2, LARGE).reply()).await.unwrap_err();
    assert!(matches!(&error, Error::Exception { .. }) && error.to_string().contains("no descriptor"), "{error}");
    for n in 3..6 {
        let reply = answer(call(&pool, "note", n, LARGE).reply()).await.unwrap();
        let before = [1].into_iter().chain(3..=n).collect();
        assert_eq!((seen(&reply, n, LARGE), reply.process()), (Seen { in_slab: false, before }, first.process()));
    }
    pool.shutdown_and_check().await;
}

/// A worker gets the room of slabs that another one does not use, or itself, long before those are dropped anyway, which happens with
/// pings.
#[tokio::test]
async fn r43_an_idle_worker_gives_its_room_to_another() {
    let pool = pool("room", |context| {
        context.file("app.py", APP);
        let builder = context.enhanced().app("app.py:app").cwd(context.dir()).pool_size(2).overflow(0);
        let health = Health::new().interval(Duration::from_secs(3600));
        builder.buffers(Buffers::new().max_bytes(MIB)).health(health).build()
    })
    .await;
    let in_slab = async |session: &str| {
        let reply = answer(call(&pool, "again", 1, 100_000).session(session).reply()).await.unwrap();
        (reply.process(), seen(&reply, 1, 100_000).in_slab)
    };
    let (first, second) = (in_slab("ann").await, in_slab("bob").await);
    assert!(first.0 != second.0 && first.1 && !second.1, "{first:?} {second:?}");
    wait_until("the other worker has the slab", async || in_slab("bob").await.1).await;
    assert!(!in_slab("ann").await.1);
    pool.shutdown_and_check().await;
}

/// Small slabs that are not used make room for a large one of the same worker, if they suffice.
#[tokio::test]
async fn r43_small_slabs_make_room_for_a_large_one() {
    let pool = pool("own_room", |context| config(context, 1, 3 * MIB)).await;
    let in_slab =
        async |size: usize| seen(&answer(call(&pool, "again", 1, size).reply()).await.unwrap(), 1, size).in_slab;
    assert!(in_slab(100_000).await && !in_slab(3 * MIB).await);
    wait_until("the small one is dropped", async || in_slab(3 * MIB).await).await;
    pool.shutdown_and_check().await;
}
