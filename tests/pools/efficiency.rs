//! What a pool makes of its workers (R45-R48): verdicts by overlap and losses by cause, never a duration held against a limit.

use crate::pools::steps::process;
use herder::testing::{TestContext, pool, with_timeout};
use herder::{
    Pool, PoolConfig, assert_concurrent,
    concurrency::{Gain, Inconclusive, Serialized},
    efficiency::{
        Calibration, EfficiencyReport, Measure, MeasureError, Verdict, WorkerStart, measure_concurrency_efficiency,
    },
};
use serde_json::json;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::available_parallelism,
    time::Duration,
};
use tokio::sync::mpsc;

fn demo(context: &TestContext, size: usize) -> Result<PoolConfig, herder::InvalidConfig> {
    context.basic().app("herder.demo:app").pool_size(size).build()
}

/// The parts are all that was lost, but for a nanosecond a lane that a division loses.
fn adds_up(report: &EfficiencyReport) -> bool {
    let account = &report.account;
    let lost = (account.measured - account.ideal) * account.call_slots as u32;
    lost.abs_diff(account.losses.total()) <= Duration::from_nanos(account.call_slots as u64)
}

/// R45, R46: four workers sleep at the same time; all calls are accounted for.
#[tokio::test]
async fn r45_four_workers_are_seen_to_work_side_by_side() {
    let pool = pool("four", |context| demo(context, 4)).await;
    let report = with_timeout("a measurement", measure_concurrency_efficiency(&pool, 40)).await.unwrap();
    assert_eq!((report.operations.len(), report.failures.count, report.account.call_slots), (40, 0, 4));
    assert_eq!(report.verdict, Verdict::Concurrent(assert_concurrent!(report)));
    assert_eq!((report.start, report.account.losses.start_up), (WorkerStart::Warm, Duration::ZERO));
    assert!(adds_up(&report) && report.account.efficiency > 0.0, "{:?}", report.account);
    assert_eq!(report.comparison.unwrap().pairs, 5);
    pool.end().await;
}

/// R46, R48: one worker is never taken for several, and that it is not quicker is no failure.
#[tokio::test]
async fn r46_one_worker_is_serial_and_the_comparison_is_inconclusive() {
    let pool = pool("one", |context| demo(context, 1)).await;
    let report = with_timeout("a measurement", Measure::of(&pool).operations(10).callers(4).run()).await.unwrap();
    assert_eq!(report.verdict, Verdict::Serialized(Serialized::NoOverlap { operations: 10 }));
    assert_eq!(report.comparison.unwrap().verdict, Gain::Inconclusive(Inconclusive::OneCallSlot));
    pool.end().await;
}

/// R45: more workers that compute than cores: it is cores that are missing, not the pool.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r45_workers_that_compute_are_short_of_cores() {
    let workers = 4 * available_parallelism().unwrap().get();
    let pool = pool("burn", |context| demo(context, workers)).await;
    let measure = Measure::of(&pool).command("burn", &json!({ "ms": 5 })).unwrap().operations(10 * workers);
    let report = with_timeout("a measurement", measure.run()).await.unwrap();
    assert_eq!(report.account.losses.largest().unwrap().cause, "cores", "{:?}", report.account);
    assert!(adds_up(&report));
    pool.end().await;
}

/// R45: callers that are too few leave workers idle, and the pool is not blamed for it.
#[tokio::test]
async fn r45_too_few_callers_leave_workers_idle() {
    let pool = pool("lazy", |context| demo(context, 4)).await;
    let report = with_timeout("a measurement", Measure::of(&pool).operations(10).callers(1).run()).await.unwrap();
    let losses = report.account.losses;
    // On a busy machine the caller may lose its core while it encodes a call: then the workers wait for that. Whatever the pool does
    // itself, it does for one of four lanes at a time.
    let callers = losses.idle + losses.serialization;
    assert!(callers > losses.total() - callers, "{losses:?}");
    assert_eq!(report.verdict, Verdict::Serialized(Serialized::NoOverlap { operations: 10 }));
    pool.end().await;
}

/// R48: a cold run begins with the pool's start, which is a loss of its own, and ends the pool.
#[tokio::test]
async fn r48_a_cold_start_is_measured_apart() {
    let context = TestContext::new("cold");
    let config = demo(&context, 2).unwrap();
    let report = with_timeout("a measurement", Measure::cold(config.clone()).operations(4).run()).await.unwrap();
    assert_eq!((report.start, report.operations.len()), (WorkerStart::Cold, 4));
    assert!(!report.account.losses.start_up.is_zero() && adds_up(&report), "{:?}", report.account);
    assert!(report.operations.iter().all(|operation| operation.queued.0 >= report.window.started));
    with_timeout("a pool of the same name", Pool::start(config)).await.unwrap(); // the name is free again
}

/// R45: while a worker is replaced its lane is not idle, it starts up; calls that died with it are told.
#[tokio::test]
async fn r45_a_worker_that_is_replaced_starts_up() {
    let pool = pool("killed", |context| demo(context, 1)).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let once = AtomicBool::new(false);
    let progress = move |done, _| {
        if done > 4 && !once.swap(true, Ordering::Relaxed) {
            let _ = tell.send(());
        }
    };
    let measure = Measure::of(&pool).operations(60).pairs(0).progress(progress);
    let kill = async {
        told.recv().await.unwrap();
        pool.kill_worker(process(1, 1)).await.unwrap();
    };
    let (report, ()) = with_timeout("a measurement", async { tokio::join!(measure.run(), kill) }).await;
    let report = report.unwrap();
    assert!(!report.account.losses.start_up.is_zero() && adds_up(&report), "{:?}", report.account);
    assert_eq!(report.operations.len() + report.failures.count, 60);
    let generations = [report.operations[0].worker.generation.0, report.operations.last().unwrap().worker.generation.0];
    assert_eq!(generations, [1, 2]);
    pool.end().await;
}

/// R45: nothing is measured of calls that all fail; the first error is handed on.
#[tokio::test]
async fn r45_calls_that_all_fail_measure_nothing() {
    let pool = pool("fails", |context| demo(context, 1)).await;
    let failed = Measure::of(&pool).command("no_such_command", &json!({})).unwrap().run();
    match with_timeout("a measurement", failed).await.unwrap_err() {
        MeasureError::AllFailed { first, .. } => assert!(first.to_string().contains("no_such_command"), "{first}"),
        other => panic!("{other}"),
    }
    pool.end().await;
}

/// R47: what is measured here is what this machine and this command are like; it is kept, with its age.
#[tokio::test]
async fn r47_an_environment_is_measured_and_kept() {
    let context = TestContext::new("calibrated");
    let config = demo(&context, 1).unwrap();
    let arguments = json!({ "ms": 5 });
    let measured = with_timeout("a calibration", Calibration::measure(&config, "sleep", &arguments)).await.unwrap();
    let environment = measured.environment;
    assert!(environment.call.low() >= Duration::from_millis(5) && environment.worst_call >= environment.call.low());
    assert!(!environment.start.low().is_zero() && !environment.app_start.low().is_zero(), "{environment:?}");
    assert!(environment.cores >= 1.0 && environment.contention_factor >= 1.0);
    let hour = Duration::from_secs(3600);
    let kept = Calibration::cached(&config, "sleep", &arguments, hour).await.unwrap();
    assert_eq!(kept, measured);
    assert!(kept.age() < hour);
    let anew =
        with_timeout("another", Calibration::cached(&config, "sleep", &arguments, Duration::ZERO)).await.unwrap();
    assert!(anew.at > measured.at);
}
