//! Pools with `start = "template"`: workers are forks of a process that has imported the app, and are otherwise like any other
//! worker, whatever happens to that process.

use futures_util::future::join_all;
use herder::{
    Error,
    config::{Basic, NumericThreads, PoolBuilder, StartMethod},
    status::{TemplateStatus, WorkerInfo},
    testing::{Signal, TestPool, pool, signal, wait_for_log, wait_until, with_timeout},
};
use serde_json::{Value, json};
use std::{collections::HashSet, fs, process};

const APP: &str = "
import os, random, threading, time
import herder
app = herder.App()
IMPORTED_BY = os.getpid()
SLOT_AT_IMPORT = os.environ.get('HERDER_SLOT')
SPIN_AT_IMPORT = os.environ.get('OPENBLAS_THREAD_TIMEOUT')
STARTED = []

@app.on_start
def start():
    STARTED.append(os.getpid())

@app.command
def ok() -> int: return os.getpid()

@app.command
def describe(count: int, meeting: str) -> dict:
    os.makedirs(meeting, exist_ok=True)
    open(f'{meeting}/{os.getpid()}', 'w').close()
    while len(os.listdir(meeting)) < count: time.sleep(0.01)
    listed = [f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')]
    fds = sorted(os.readlink(fd).split(':')[0] for fd in listed if os.path.lexists(fd))
    return {
        'imported_by': IMPORTED_BY, 'slot_at_import': SLOT_AT_IMPORT, 'spin': SPIN_AT_IMPORT, 'started': STARTED == [os.getpid()],
        'parent': os.getppid(), 'leads_group': os.getpgrp() == os.getpid(), 'slot': os.environ['HERDER_SLOT'],
        'own': os.environ['DEVICE'], 'threads': os.environ['OMP_NUM_THREADS'], 'random': random.random(), 'fds': fds,
        'marks': [name for name in ('HERDER_TEMPLATE', 'HERDER_FD', 'HERDER_CTL_FD', 'OPENBLAS_THREAD_TIMEOUT') if name in os.environ],
    }

@app.command
def fork_and_exit(status: int) -> int:
    child = os.fork()
    if child == 0: os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

@app.command
def die(status: int) -> int: os._exit(status)

@app.command
async def sleep() -> int: return 1
";

fn forked(builder: PoolBuilder<Basic>) -> PoolBuilder<Basic> {
    builder.app("app.py:app").overflow(0).start(StartMethod::Template).env("DEVICE", "gpu{slot}")
}

async fn forking(hint: &str, app: &str, size: usize) -> TestPool {
    pool(hint, |context| {
        context.file("app.py", app);
        forked(context.basic()).pool_size(size).build()
    })
    .await
}

async fn template(pool: &TestPool) -> TemplateStatus {
    pool.status().await.unwrap().template.unwrap()
}

/// Waits for a template other than this one, and returns its process id.
async fn other_template(pool: &TestPool, before: u32) -> u32 {
    wait_until(
        "another template is ready",
        async || matches!(template(pool).await, TemplateStatus::Ready { pid } if pid != before),
    )
    .await;
    ready(pool).await
}

async fn ready(pool: &TestPool) -> u32 {
    match template(pool).await {
        TemplateStatus::Ready { pid } => pid,
        other => panic!("{other:?}"),
    }
}

/// Returns what each of this number of workers says, at the same time.
async fn describe(pool: &TestPool, count: usize) -> Vec<Value> {
    let meeting = tempfile::tempdir().unwrap();
    let arguments = json!({ "count": count, "meeting": meeting.path() });
    let calls = (0..count).map(|_| pool.call::<Value>("describe", &arguments).into_future());
    let answers = with_timeout("the calls", join_all(calls)).await;
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

async fn imported_by(pool: &TestPool) -> u64 {
    describe(pool, 1).await[0]["imported_by"].as_u64().unwrap()
}

/// Kills the worker and waits for the next process of its slot.
async fn replace(pool: &TestPool) -> WorkerInfo {
    let before = pool.base_workers().await[0].process();
    pool.kill(before).await;
    pool.wait_healthy("ok").await;
    pool.base_workers().await.into_iter().find(|worker| worker.process() != before).unwrap()
}

/// R30, R31: a fork has its own group, descriptors, environment and random numbers, runs `on_start` itself, and is a child of
/// the host: its exit status is known and it leaves no zombie.
#[tokio::test]
async fn r31_forked_workers_are_workers_like_any_other() {
    let pool = forking("forked", APP, 2).await;
    let template = ready(&pool).await;
    let answers = describe(&pool, 2).await;
    let different: HashSet<_> = answers.iter().map(|answer| answer["random"].to_string()).collect();
    assert_eq!(different.len(), 2, "{answers:?}");
    let mut slots: Vec<_> = answers.iter().map(|answer| (answer["slot"].clone(), answer["own"].clone())).collect();
    slots.sort_by_key(|(slot, _)| slot.to_string());
    assert_eq!(slots, [(json!("0"), json!("gpu0")), (json!("1"), json!("gpu1"))]);
    for mut answer in answers {
        let fields = answer.as_object_mut().unwrap();
        ["slot", "own", "random", "threads"].iter().for_each(|name| drop(fields.remove(*name)));
        // The loop of an app with async handlers has an epoll descriptor and a pair of sockets; the other four sockets are those of the worker.
        let fds =
            ["/dev/null", "anon_inode", "pipe", "pipe", "socket", "socket", "socket", "socket", "socket", "socket"];
        let expected = json!({
            "imported_by": template, "slot_at_import": null, "spin": "20", "started": true, "parent": process::id(),
            "leads_group": true, "fds": fds, "marks": [],
        });
        assert_eq!(answer, expected);
    }
    let status = with_timeout("a call", pool.call::<i64>("fork_and_exit", &json!({ "status": 3 }))).await.unwrap();
    assert_eq!(status, 3, "a fork of a forked worker is an ordinary child");
    let error = with_timeout("a call", pool.call::<Value>("die", &json!({ "status": 7 }))).await.unwrap_err();
    assert_eq!(error.report().unwrap().exit_status, Some(7), "{error:?}");
    pool.wait_healthy("ok").await;
    assert_eq!(imported_by(&pool).await, u64::from(template));
    pool.shutdown_and_check().await;
}

/// R30: a template that is killed takes no worker with it. Another one is prepared while the pool serves.
#[tokio::test]
async fn r30_workers_outlive_their_template() {
    let pool = forking("outlive", APP, 1).await;
    let (first, worker) = (ready(&pool).await, pool.base_workers().await[0].pid);
    signal(first, Signal::KILL).unwrap();
    let second = other_template(&pool, first).await;
    assert_eq!(pool.base_workers().await[0].pid, worker, "the worker goes on");
    assert_eq!(imported_by(&pool).await, u64::from(first));
    let error = with_timeout("a call", pool.call::<Value>("die", &json!({ "status": 9 }))).await.unwrap_err();
    assert_eq!(error.report().unwrap().exit_status, Some(9), "the status of a worker does not depend on its template");
    pool.wait_healthy("ok").await;
    assert_eq!(imported_by(&pool).await, u64::from(second));
    pool.shutdown_and_check().await;
}

/// R30: a template that stops between a request and its answer is given up: the worker is spawned, and the template replaced.
#[tokio::test]
async fn r30_a_template_that_does_not_answer_is_replaced() {
    let pool = forking("stopped", APP, 1).await;
    let template = ready(&pool).await;
    signal(template, Signal::STOP).unwrap();
    let worker = replace(&pool).await;
    assert_eq!(Some(imported_by(&pool).await), worker.pid.map(u64::from), "the worker was spawned");
    wait_for_log(&[pool.name().as_str(), "the template is lost"]).await;
    let second = other_template(&pool, template).await;
    replace(&pool).await;
    assert_eq!(imported_by(&pool).await, u64::from(second));
    pool.shutdown_and_check().await;
}

/// R30: templates are killed at any time during forks. Every call is answered once, and nothing is left.
#[tokio::test]
async fn r30_templates_are_killed_while_they_fork() {
    let pool = forking("storm", APP, 2).await;
    for round in 0..12 {
        let template = template(&pool).await;
        let worker = pool.base_workers().await[round % 2].process();
        pool.kill(worker).await;
        // The pool asks for a fork as soon as it has noticed the death: at a different moment in each round.
        for _ in 0..round * round {
            tokio::task::yield_now().await;
        }
        if let TemplateStatus::Ready { pid } = template {
            let _ = signal(pid, Signal::KILL); // it may have been replaced meanwhile
        }
        pool.wait_healthy("ok").await;
    }
    replace(&pool).await; // the start of a worker prepares a template, if the last ones were killed before they had forked
    other_template(&pool, 0).await;
    pool.shutdown_and_check().await;
}

/// R31: a reload replaces the template before the workers.
#[tokio::test]
async fn r31_reload_forks_workers_of_the_new_code() {
    let pool = forking("reloaded", APP, 2).await;
    let before = ready(&pool).await;
    fs::write(pool.dir().join("app.py"), format!("{APP}\n# changed\n")).unwrap();
    with_timeout("the reload", pool.reload()).await.unwrap();
    let after = ready(&pool).await;
    assert_ne!(before, after);
    for answer in describe(&pool, 2).await {
        assert_eq!(answer["imported_by"], json!(after));
    }
    fs::write(pool.dir().join("app.py"), "raise ValueError('no gold')\n").unwrap();
    let error = with_timeout("the reload", pool.reload()).await.unwrap_err();
    let Error::StartFailed { report, .. } = &error else { panic!("{error}") };
    assert!(report.traceback.as_deref().unwrap().ends_with("ValueError: no gold\n"), "{report:?}");
    assert_eq!(imported_by(&pool).await, u64::from(after), "the workers go on");
    pool.shutdown_and_check().await;
}

/// R31: what a fork cannot have is named, and the workers are spawned.
#[tokio::test]
async fn r31_an_app_that_cannot_be_forked_is_spawned() {
    let cases = [
        (
            "threading.Thread(target=threading.Event().wait, name='poller', daemon=True).start()",
            "threads, which a fork does not have: poller",
        ),
        ("import select; POLL = select.epoll()", "an event loop (descriptor "),
        ("import socket; LINK = socket.socket()", "a connection or listening socket (descriptor "),
        (
            "import sys, types; cuda = types.SimpleNamespace(is_initialized=lambda: True)\n\
             sys.modules['torch'] = types.SimpleNamespace(cuda=cuda)",
            "CUDA (torch.cuda), which does not work in a fork",
        ),
    ];
    for (line, reason) in cases {
        let pool = forking("unfit", &format!("{APP}\n{line}\n"), 1).await;
        let unfit = template(&pool).await;
        assert!(matches!(&unfit, TemplateStatus::Unfit { reason: said } if said.contains(reason)), "{unfit:?}");
        wait_for_log(&[pool.name().as_str(), "the app cannot be forked"]).await;
        let worker = replace(&pool).await;
        assert_eq!(Some(imported_by(&pool).await), worker.pid.map(u64::from));
        pool.shutdown_and_check().await;
    }
}

/// A fork has random numbers of its own also from numpy, and the pool's number of threads from threadpoolctl. Both packages are
/// imitated, since the Python of the tests may not have them.
#[tokio::test]
async fn forks_reseed_numpy_and_set_the_threads_of_its_libraries() {
    const NUMPY: &str = "
import sys, types
random = types.ModuleType('numpy.random')
random.seeds = 0
def seed(): random.seeds += 1
random.seed = seed
sys.modules['numpy.random'] = random
";
    const THREADPOOLCTL: &str = "
import types
class ThreadpoolController:
    limits = None
    lib_controllers = [types.SimpleNamespace(internal_api='openblas')]
    def limit(self, *, limits): ThreadpoolController.limits = limits
";
    const APP: &str = "
import sys, numpy, herder
app = herder.App()

@app.command
def found() -> list: return [numpy.random.seeds, sys.modules['threadpoolctl'].ThreadpoolController.limits]

@app.command
def ok() -> int: return 1
";
    let pool = pool("numeric", |context| {
        for (name, text) in [("app.py", APP), ("numpy.py", NUMPY), ("threadpoolctl.py", THREADPOOLCTL)] {
            context.file(name, text);
        }
        let threads = NumericThreads::Fixed(3.try_into().unwrap());
        forked(context.basic()).pool_size(1).numeric_threads(threads).build()
    })
    .await;
    ready(&pool).await;
    let found = with_timeout("a call", pool.call::<Value>("found", &json!({}))).await.unwrap();
    assert_eq!(found, json!([1, 3]));
    pool.shutdown_and_check().await;
}
