//! Compares expected with measured times (R47): how many runs lie within the range that was calculated before, on the
//! machine as it is and with all cores busy. Also checks that the losses add up (R45). `cargo bench --bench expected --
//! --runs 10`.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at its first error")]

use clap::Parser;
use herder::{
    Pool, PoolConfig,
    efficiency::{
        Calibration, EfficiencyReport, Measure,
        performance::{Plan, calculate_expected_performance},
    },
};
use serde_json::{Value, json};
use std::{
    process::{Child, Command},
    thread,
    time::Duration,
};

/// Measures how often expected times hold, on an idle and on a loaded machine.
#[derive(Parser)]
struct Arguments {
    /// Number of runs of each kind.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of work: a command with arguments, and the number of workers.
struct Kind {
    name: &'static str,
    command: &'static str,
    arguments: Value,
    workers: usize,
    operations: usize,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, command, arguments, workers, operations| Kind { name, command, arguments, workers, operations };
    vec![
        kind("5 ms sleep, 4 workers", "sleep", json!({ "ms": 5 }), 4, 200),
        kind("2 ms of CPU, 2 workers", "burn", json!({ "ms": 2 }), 2, 200),
        kind("2 ms of CPU, 8 workers", "burn", json!({ "ms": 2 }), 8, 400),
    ]
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    for (load, busy) in [("idle", 0), ("loaded", thread::available_parallelism().unwrap().get())] {
        let spinners = Spinners::start(busy);
        for kind in kinds() {
            series(load, &kind, arguments.runs).await;
        }
        drop(spinners);
    }
}

/// Runs a series. Each run has a new calibration, as for a user: the range is calculated first, and then compared with
/// the run.
async fn series(load: &str, kind: &Kind, runs: usize) {
    let (mut held, mut worst_sum) = (0, 0.0f64);
    for number in 0..runs {
        let config = PoolConfig::basic(format!("expected-{number}")).app("herder.demo:app");
        let config = config.pool_size(kind.workers).overflow(0).build().unwrap();
        let calibration = Calibration::measure(&config, kind.command, &kind.arguments).await.unwrap();
        let expected = calculate_expected_performance(&calibration.environment);
        let expected = expected.time(Plan::warm(kind.workers, kind.operations));
        let pool = Pool::start(config).await.unwrap();
        let measure = Measure::of(&pool).command(kind.command, &kind.arguments).unwrap();
        let report = measure.operations(kind.operations).pairs(5).run().await.unwrap();
        pool.shutdown(Duration::from_secs(5)).await.unwrap();
        let account = &report.account;
        held += usize::from(expected.holds(account.measured));
        worst_sum = worst_sum.max(difference(&report));
        let lost = account.losses.largest().map_or(("nothing", 0.0), |loss| (loss.cause, account.share(loss.lost)));
        println!(
            "  {load:6} {:24} {:7.1?} in {:7.1?} to {:7.1?} {} | efficiency {:.3}, largest loss {} ({:.1} %), other load {:.1} | {:?}",
            kind.name,
            account.measured,
            expected.low,
            expected.high,
            if expected.holds(account.measured) { "yes" } else { "NO " },
            account.efficiency,
            lost.0,
            100.0 * lost.1,
            report.machine.other_load.unwrap_or(f64::NAN),
            report.comparison.map(|comparison| (comparison.speed_up, comparison.verdict)),
        );
    }
    println!(
        "{load:6} {:24} {held} of {runs} within their range; losses add up to {:.4} %",
        kind.name,
        100.0 * worst_sum
    );
}

/// Returns the difference between the sum of the losses and the lost time, as a share of the lost time.
fn difference(report: &EfficiencyReport) -> f64 {
    let account = &report.account;
    let lost = (account.measured - account.ideal).as_secs_f64() * account.call_slots as f64;
    (account.losses.total().as_secs_f64() - lost).abs() / lost
}

/// Processes that compute until they are dropped. Threads of this process would count as the pool's own load.
struct Spinners(Vec<Child>);

impl Spinners {
    #[expect(clippy::disallowed_methods, reason = "these are not workers, and are waited for")]
    fn start(count: usize) -> Self {
        let spin = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..count).map(spin).collect())
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for mut spinner in self.0.drain(..) {
            let _ = spinner.kill();
            let _ = spinner.wait();
        }
    }
}
