//! The measurement of concurrency (R45-R48): verdicts by overlap, and losses by cause. No test compares a duration with a
//! limit.

use crate::pools::steps::process;
use herder::{
    Pool, PoolConfig,
    efficiency::{
        Calibration, EfficiencyReport, Measure, MeasureError, Verdict, WorkerStart,
        concurrency::{Gain, Inconclusive, Serialized},
        measure_concurrency_efficiency,
    },
    testing::{TestContext, assert_concurrent, pool, with_timeout},
};
use serde_json::json;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::available_parallelism,
    time::Duration,
};
use tokio::sync::mpsc;

fn demo_config(context: &TestContext, size: usize) -> Result<PoolConfig, herder::config::InvalidConfig> {
    context.basic().app("herder.demo:app").pool_size(size).build()
}

/// Returns whether the losses add up to the measured loss, except for one nanosecond per call slot that a division may lose.
fn losses_add_up(report: &EfficiencyReport) -> bool {
    let account = &report.account;
    let lost = (account.measured - account.ideal) * account.call_slots as u32;
    lost.abs_diff(account.losses.total()) <= Duration::from_nanos(account.call_slots as u64)
}

/// R45, R46: calls that sleep on four workers are reported as concurrent, and all calls are accounted for.
#[tokio::test]
async fn r45_four_workers_are_reported_as_concurrent() {
    let pool = pool("four", |context| demo_config(context, 4)).await;
    let report = with_timeout("a measurement", measure_concurrency_efficiency(&pool, 40)).await.unwrap();
    assert_eq!((report.operations.len(), report.failures.count, report.account.call_slots), (40, 0, 4));
    assert_eq!(report.verdict, Verdict::Concurrent(assert_concurrent!(report)));
    assert_eq!((report.start, report.account.losses.start_up), (WorkerStart::Warm, Duration::ZERO));
    assert!(losses_add_up(&report) && report.account.efficiency > 0.0, "{:?}", report.account);
    assert_eq!(report.comparison.unwrap().pairs, 5);
    pool.shutdown_and_check().await;
}

/// R46, R48: one worker is reported as serial, and the comparison without a gain is inconclusive and not a failure.
#[tokio::test]
async fn r46_one_worker_is_serial_and_the_comparison_is_inconclusive() {
    let pool = pool("one", |context| demo_config(context, 1)).await;
    let report = with_timeout("a measurement", Measure::of(&pool).operations(10).callers(4).run()).await.unwrap();
    assert_eq!(report.verdict, Verdict::Serialized(Serialized::NoOverlap { operations: 10 }));
    assert_eq!(report.comparison.unwrap().verdict, Gain::Inconclusive(Inconclusive::OneCallSlot));
    pool.shutdown_and_check().await;
}

/// R45: with more computing workers than cores the largest loss is missing cores.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r45_missing_cores_are_the_largest_loss_of_computing_workers() {
    let workers = 4 * available_parallelism().unwrap().get();
    let pool = pool("burn", |context| demo_config(context, workers)).await;
    let measure = Measure::of(&pool).command("burn", &json!({ "ms": 5 })).unwrap().operations(10 * workers);
    let report = with_timeout("a measurement", measure.run()).await.unwrap();
    assert_eq!(report.account.losses.largest().unwrap().cause, "cores", "{:?}", report.account);
    assert!(losses_add_up(&report));
    pool.shutdown_and_check().await;
}

/// R45: with too few callers the largest loss is idle workers.
#[tokio::test]
async fn r45_too_few_callers_leave_workers_idle() {
    let pool = pool("lazy", |context| demo_config(context, 4)).await;
    let report = with_timeout("a measurement", Measure::of(&pool).operations(10).callers(1).run()).await.unwrap();
    let losses = report.account.losses;
    // On a busy machine the caller can lose its core while it encodes a call, and the workers wait for that. So `serialization`
    // counts as a loss of the caller. The pool itself can delay only one of the four call slots at a time.
    let callers = losses.idle + losses.serialization;
    assert!(callers > losses.total() - callers, "{losses:?}");
    assert_eq!(report.verdict, Verdict::Serialized(Serialized::NoOverlap { operations: 10 }));
    pool.shutdown_and_check().await;
}

/// R48: a cold run starts and ends its own pool, and reports the start as a separate loss.
#[tokio::test]
async fn r48_cold_start_is_reported_as_a_separate_loss() {
    let context = TestContext::new("cold");
    let config = demo_config(&context, 2).unwrap();
    let report = with_timeout("a measurement", Measure::cold(config.clone()).operations(4).run()).await.unwrap();
    assert_eq!((report.start, report.operations.len()), (WorkerStart::Cold, 4));
    assert!(!report.account.losses.start_up.is_zero() && losses_add_up(&report), "{:?}", report.account);
    assert!(report.operations.iter().all(|operation| operation.queued.0 >= report.window.started));
    with_timeout("a pool of the same name", Pool::start(config)).await.unwrap(); // the name is free again
}

/// R45: while a worker is replaced, its call slot counts as starting up and not as idle. Calls that were lost with the worker
/// are counted.
#[tokio::test]
async fn r45_replacement_of_a_worker_counts_as_start_up() {
    let pool = pool("killed", |context| demo_config(context, 1)).await;
    let (reached, mut kill_now) = mpsc::unbounded_channel();
    let once = AtomicBool::new(false);
    let progress = move |done, _| {
        if done > 4 && !once.swap(true, Ordering::Relaxed) {
            let _ = reached.send(());
        }
    };
    let measure = Measure::of(&pool).operations(60).pairs(0).progress(progress);
    let kill = async {
        kill_now.recv().await.unwrap();
        pool.kill_worker(process(1, 1)).await.unwrap();
    };
    let (report, ()) = with_timeout("a measurement", async { tokio::join!(measure.run(), kill) }).await;
    let report = report.unwrap();
    assert!(!report.account.losses.start_up.is_zero() && losses_add_up(&report), "{:?}", report.account);
    assert_eq!(report.operations.len() + report.failures.count, 60);
    let generations = [report.operations[0].worker.generation.0, report.operations.last().unwrap().worker.generation.0];
    assert_eq!(generations, [1, 2]);
    pool.shutdown_and_check().await;
}

/// R45: if all calls fail, the measurement fails with the first error.
#[tokio::test]
async fn r45_measurement_fails_when_all_calls_fail() {
    let pool = pool("fails", |context| demo_config(context, 1)).await;
    let failed = Measure::of(&pool).command("no_such_command", &json!({})).unwrap().run();
    match with_timeout("a measurement", failed).await.unwrap_err() {
        MeasureError::AllFailed { first, .. } => assert!(first.to_string().contains("no_such_command"), "{first}"),
        other => panic!("{other}"),
    }
    pool.shutdown_and_check().await;
}

/// R47: a calibration measures this machine and this command, and is cached with its age.
#[tokio::test]
async fn r47_calibration_is_measured_and_cached() {
    let context = TestContext::new("calibrated");
    let config = demo_config(&context, 1).unwrap();
    let arguments = json!({ "ms": 5 });
    let measured = with_timeout("a calibration", Calibration::measure(&config, "sleep", &arguments)).await.unwrap();
    let environment = measured.environment;
    assert!(environment.call.low() >= Duration::from_millis(5) && environment.worst_call >= environment.call.low());
    assert!(!environment.start.low().is_zero() && !environment.app_start.low().is_zero(), "{environment:?}");
    assert!(environment.cores >= 1.0 && environment.contention_factor >= 1.0);
    let hour = Duration::from_secs(3600);
    let cached = Calibration::cached(&config, "sleep", &arguments, hour).await.unwrap();
    assert_eq!(cached, measured);
    assert!(cached.age() < hour);
    let second =
        with_timeout("another", Calibration::cached(&config, "sleep", &arguments, Duration::ZERO)).await.unwrap();
    assert!(second.at > measured.at);
}
