//! The process that runs the pool: starts it, runs callers and faults, shuts it down, and reports what remains. Writes the
//! answers of all calls to a file; the judge checks them.

#![expect(clippy::disallowed_methods, reason = "faults are injected and calls are abandoned at chosen times")]

use crate::{
    answer::{Answer, CallOutcome},
    callers::CallerContext,
    config,
    faults::Faults,
    options::Options,
};
use futures_util::future::join_all;
use herder::{
    Pool, PoolConfig,
    chaos::{
        FaultInjector, Figures, MarkedProcesses, RecoveryTracker, Rng, open_descriptors, own_resident_bytes, zombies,
    },
    status::ShutdownReport,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// The name of the file of answers in the folder of the run.
pub(crate) const ANSWERS: &str = "answers";
/// The prefix of the last line of the host's output, which contains its figures.
pub(crate) const DONE: &str = "figures: ";
/// The time within which the pool must recover, even on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// The number of calls after the faults that must all succeed.
const PROBE_CALLS: usize = 100;
/// The callers of a host that is killed.
const CALLERS: usize = 4;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs the host and prints its figures.
pub(crate) fn run(options: &Options, folder: &Path) -> Outcome {
    silence_injected_panics();
    exit_with_judge();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let figures = runtime.block_on(run_pool(options, folder))?;
    println!("{DONE}{}", figures.json());
    Ok(())
}

async fn run_pool(options: &Options, folder: &Path) -> Outcome<Figures> {
    // The first pool of a process starts threads and the watchdog, which stay until the process exits. A small pool starts them
    // before the descriptors are counted, so that they do not count as leaked.
    start_and_stop(config::small(options, folder)?).await?;
    let before = open_descriptors();
    let pool = Pool::start(config::chaos_config(options, folder)?).await?;
    let (answers, written) = mpsc::channel();
    let file = File::create(folder.join(ANSWERS))?;
    let writer = thread::spawn(move || write_answers(&written, BufWriter::new(file)));
    let context = Arc::new(CallerContext::new(pool.clone(), answers));
    let mut figures = run_load(options, folder, &context).await;
    figures.calls = context.calls();
    drop(context); // closes the channel of answers, so that the writer ends
    // The counters in the report are final only after all callers have stopped.
    let report = pool.shutdown(Duration::from_secs(10)).await?;
    drop(pool);
    writer.join().map_err(|_| "the thread that writes the answers panicked")??;
    // Other threads may still be reaping processes and closing descriptors.
    wait_until(|| zombies().is_empty() && open_descriptors() <= before).await;
    figures.zombies = zombies().len() as u64;
    figures.leaked_descriptors = open_descriptors().saturating_sub(before);
    figures.lost += unsettled(&report);
    Ok(figures)
}

async fn start_and_stop(config: PoolConfig) -> Outcome {
    Pool::start(config).await?.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Runs the callers. Injects faults after two seconds of warm-up until the time is over, then waits until the pool has
/// recovered.
async fn run_load(options: &Options, folder: &Path, context: &Arc<CallerContext>) -> Figures {
    let started = Instant::now();
    let recovery = Arc::new(RecoveryTracker::new(context.pool.clone()));
    let mut callers = JoinSet::new();
    for caller in 0..options.callers {
        let (context, rng) = (context.clone(), Rng::of(options.seed, caller));
        callers.spawn(async move { context.caller(caller % 4 == 0, rng).await });
    }
    let mut background = JoinSet::new();
    let tracker = recovery.clone();
    background.spawn(async move { tracker.watch().await });
    let reported = context.clone();
    background.spawn(async move { progress(&reported).await });
    sleep(Duration::from_secs(2)).await;
    let warm = own_resident_bytes();
    let faults = Arc::new(Faults {
        context: context.clone(),
        injector: FaultInjector::new(context.pool.clone(), MarkedProcesses::new(&options.mark)),
        recovery: recovery.clone(),
        folder: folder.into(),
        counts: Mutex::default(),
        last_rare_panic: Mutex::new(Instant::now()),
        ends_at: Instant::now() + Duration::from_secs(options.seconds),
    });
    inject_faults(options, &faults).await;
    let _ = std::fs::remove_file(folder.join(config::FAIL_STARTS));
    let recovered = recovered_in_time(&recovery).await;
    // Callers stop only now: the pool has to recover under load.
    context.closed.store(true, Relaxed);
    while callers.join_next().await.is_some() {}
    let growth = own_resident_bytes().saturating_sub(warm);
    let probes_ok = all_probes_succeed(context).await;
    background.shutdown().await;
    let [replacements, recoveries] = recovery.spans();
    let counts = faults.counts();
    #[expect(clippy::cast_precision_loss, reason = "an approximate size in megabytes")]
    let rss_growth_mb = growth as f64 / 1e6;
    Figures {
        seed: options.seed,
        seconds: started.elapsed().as_secs_f64(),
        kills: counts.iter().filter(|(name, _)| name.starts_with("kill")).map(|(_, count)| count).sum(),
        faults: counts,
        recovered: recovered && probes_ok,
        replacement_ms_median: replacements.median,
        replacement_ms_max: replacements.max,
        recovery_ms_median: recoveries.median,
        recovery_ms_max: recoveries.max,
        rss_growth_mb,
        ..Figures::default()
    }
}

async fn inject_faults(options: &Options, faults: &Faults) {
    let kills = faults.kills(options.kill_every(), Rng::of(options.seed, 1 << 20));
    if options.defaults {
        let cascade = async {
            sleep(Duration::from_secs(options.seconds) / 2).await;
            faults.cascade().await;
        };
        tokio::join!(kills, cascade);
    } else {
        tokio::join!(kills, faults.other_faults(options.fault_every, Rng::of(options.seed, 1 << 21)));
    }
}

async fn recovered_in_time(recovery: &RecoveryTracker) -> bool {
    timeout(WAIT_TIMEOUT, recovery.wait_recovered()).await.unwrap_or(false)
}

async fn all_probes_succeed(context: &CallerContext) -> bool {
    let mut all_ok = true;
    for _ in 0..PROBE_CALLS {
        all_ok &= context.probe().await;
    }
    all_ok
}

async fn wait_until(condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(WAIT_TIMEOUT / 4, poll).await;
}

async fn progress(context: &CallerContext) {
    loop {
        println!("{} calls, {} ok, {} failed", context.calls(), context.ok.load(Relaxed), context.not_ok.load(Relaxed));
        sleep(Duration::from_millis(200)).await;
    }
}

fn write_answers(answers: &Receiver<Answer>, mut file: impl Write) -> io::Result<()> {
    for answer in answers {
        writeln!(file, "{answer}")?;
    }
    file.flush()
}

/// Returns by how much the pool's own counters of answers differ from its counter of submitted calls. The counters restart at
/// zero when the state is rebuilt after a panic, so that nothing can be concluded then.
fn unsettled(report: &ShutdownReport) -> u64 {
    let counted = report.counters;
    let ends = counted.refused
        + counted.ok
        + counted.failed
        + counted.lost
        + counted.timeouts
        + counted.abandoned
        + counted.failed_by_pool;
    if counted.state_rebuilds > 0 { 0 } else { counted.submitted.abs_diff(ends) }
}

/// Silences the output of injected panics, of which there are many.
fn silence_injected_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&"injected") {
            usual(info);
        }
    }));
}

/// Exits when the judge exits. The judge holds the other end of standard input.
fn exit_with_judge() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(3);
    });
}

/// Runs a host that is killed: a small pool under load, until the kill. Prints a line after every 50th call, so that the judge
/// sees that it makes progress.
pub(crate) fn run_until_killed(options: &Options, folder: &Path) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pool = Pool::start(config::small(options, folder)?).await?;
        let calls = AtomicU64::new(0);
        join_all((0..CALLERS).map(|_| call_repeatedly(&pool, &calls))).await;
        Ok(())
    })
}

async fn call_repeatedly(pool: &Pool, calls: &AtomicU64) {
    loop {
        let id = calls.fetch_add(1, Relaxed) + 1;
        let reply = pool.call::<Value>("once", &json!({ "id": id, "ms": 1 })).reply().await;
        if id.is_multiple_of(50) && matches!(CallOutcome::of(reply, 0), CallOutcome::Ok { echo, .. } if echo == id) {
            println!("{id}");
        }
    }
}
