//! The process of the pool: starts it, lets callers and faults at it, ends it, and tells what was left. What callers were told goes to
//! a file; it judges nothing.

#![expect(clippy::disallowed_methods, reason = "faults are injected and callers leave at set times")]

use crate::{answer::Answer, callers::CallerContext, config, faults::Faults, options::Options};
use herder::{
    Pool, PoolConfig, ShutdownReport,
    chaos::{
        FaultInjector, Figures, MarkedProcesses, RecoveryTracker, Rng, open_descriptors, own_resident_bytes, zombies,
    },
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::Ordering::Relaxed,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// What the callers were told, in the folder of a run.
pub(crate) const ANSWERS: &str = "answers";
/// What is told to the judge in the end begins with it.
pub(crate) const DONE: &str = "in the end: ";
/// How long things that must come may take on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// A call for each of these must be answered well in the end.
const PROBE_CALLS: usize = 100;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs it, and prints the figures of the host.
pub(crate) fn run(options: &Options, folder: &Path) -> Outcome {
    silence_injected_panics();
    exit_with_judge();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let figures = runtime.block_on(storm(options, folder))?;
    println!("{DONE}{}", figures.json());
    Ok(())
}

async fn storm(options: &Options, folder: &Path) -> Outcome<Figures> {
    // What a process has once and for good (threads, a watchdog) comes with its first pool.
    once(config::small(options, folder)?).await?;
    let before = open_descriptors();
    let pool = Pool::start(config::chaos_config(options, folder)?).await?;
    let (answers, written) = mpsc::channel();
    let file = File::create(folder.join(ANSWERS))?;
    let writer = thread::spawn(move || write(&written, BufWriter::new(file)));
    let context = Arc::new(CallerContext::new(pool.clone(), answers));
    let mut figures = run_load(options, folder, &context).await;
    figures.calls = context.calls();
    drop(context); // with it ends what is to be written
    let report = pool.shutdown(Duration::from_secs(10)).await?;
    drop(pool);
    writer.join().map_err(|_| "the writer panicked")??;
    wait_until(|| zombies().is_empty() && open_descriptors() <= before).await;
    figures.zombies = zombies().len() as u64;
    figures.leaked_descriptors = open_descriptors().saturating_sub(before);
    figures.lost += unsettled(&report);
    Ok(figures)
}

async fn once(config: PoolConfig) -> Outcome {
    Pool::start(config).await?.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Callers all the time; faults from when it is warm until the time is over; then it must be whole.
async fn run_load(options: &Options, folder: &Path, context: &Arc<CallerContext>) -> Figures {
    let begun = Instant::now();
    let recovery = Arc::new(RecoveryTracker::new(context.pool.clone()));
    let mut callers = JoinSet::new();
    for caller in 0..options.callers {
        let (context, rng) = (context.clone(), Rng::of(options.seed, caller));
        callers.spawn(async move { context.caller(caller % 4 == 0, rng).await });
    }
    let mut watching = JoinSet::new();
    let watched = recovery.clone();
    watching.spawn(async move { watched.watch().await });
    let telling = context.clone();
    watching.spawn(async move { progress(&telling).await });
    sleep(Duration::from_secs(2)).await;
    let warm = own_resident_bytes();
    let faults = Arc::new(Faults {
        context: context.clone(),
        injector: FaultInjector::new(context.pool.clone(), MarkedProcesses::new(&options.mark)),
        recovery: recovery.clone(),
        folder: folder.into(),
        counts: Mutex::default(),
        rare: Mutex::new(Instant::now()),
        until: Instant::now() + Duration::from_secs(options.seconds),
    });
    fault_counts(options, &faults).await;
    let _ = std::fs::remove_file(folder.join(config::BROKEN));
    let healed = until_whole(&recovery).await;
    context.closed.store(true, Relaxed);
    while callers.join_next().await.is_some() {}
    let grown = own_resident_bytes().saturating_sub(warm);
    let served = serves(context).await;
    watching.shutdown().await;
    let [slots, wholes] = recovery.spans();
    let counts = faults.counts();
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let rss_growth_mb = grown as f64 / 1e6;
    Figures {
        seed: options.seed,
        seconds: begun.elapsed().as_secs_f64(),
        kills: counts.iter().filter(|(name, _)| name.starts_with("kill")).map(|(_, count)| count).sum(),
        faults: counts,
        recovered: healed && served,
        replacement_ms_median: slots.median,
        replacement_ms_max: slots.max,
        recovery_ms_median: wholes.median,
        recovery_ms_max: wholes.max,
        rss_growth_mb,
        ..Figures::default()
    }
}

async fn fault_counts(options: &Options, faults: &Faults) {
    let kills = faults.kills(options.kill_every(), Rng::of(options.seed, 1 << 20));
    if options.defaults {
        let cascade = async {
            sleep(Duration::from_secs(options.seconds) / 2).await;
            faults.cascade().await;
        };
        tokio::join!(kills, cascade);
    } else {
        tokio::join!(kills, faults.others(options.fault_every, Rng::of(options.seed, 1 << 21)));
    }
}

async fn until_whole(recovery: &RecoveryTracker) -> bool {
    timeout(WAIT_TIMEOUT, recovery.wait_recovered()).await.unwrap_or(false)
}

async fn serves(context: &CallerContext) -> bool {
    let mut well = true;
    for _ in 0..PROBE_CALLS {
        well &= context.serves().await;
    }
    well
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = timeout(WAIT_TIMEOUT / 4, look).await;
}

async fn progress(context: &CallerContext) {
    loop {
        println!("{} calls, {} ok, {} failed", context.calls(), context.ok.load(Relaxed), context.not_ok.load(Relaxed));
        sleep(Duration::from_millis(200)).await;
    }
}

fn write(answers: &Receiver<Answer>, mut file: impl Write) -> io::Result<()> {
    for answer in answers {
        writeln!(file, "{answer}")?;
    }
    file.flush()
}

/// Calls that the pool itself counts as having no end, or more than one; it forgets what it counted when it is built anew.
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

/// The injected panics are many, and no news.
fn silence_injected_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&"injected") {
            usual(info);
        }
    }));
}

/// The judge holds the other end of standard input.
fn exit_with_judge() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(3);
    });
}
