//! The operations of a pool in layers: single calls, many callers, a minute of load, and the cost of affinity; pinned
//! to one core and unpinned. Run `cargo bench --bench layers`, or with `-- --quick --json FILE`.
//! `scripts/bench-compare` uses it to compare two revisions.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark: it may end with a panic, and prints its table"
)]

#[path = "../common/calls.rs"]
mod calls;
mod figures;
mod layers;
#[path = "../common/pairs.rs"]
mod pairs;
#[path = "../common/proc.rs"]
mod proc;
#[path = "../common/regimes.rs"]
mod regimes;
#[path = "../common/rounds.rs"]
mod rounds;

use clap::{Parser, ValueEnum};
use figures::Table;
use pairs::Rounds;
use std::{path::PathBuf, time::Duration};

/// Pool operations in layers.
#[derive(Parser)]
#[command(name = "layers")]
struct Arguments {
    /// Run fewer and shorter rounds: half a minute instead of three
    #[arg(long)]
    quick: bool,
    /// Measure only these layers [default: all]
    #[arg(long, value_enum)]
    layer: Vec<Layer>,
    /// Also write one line of JSON for each figure to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Layer {
    Latency,
    Throughput,
    Sustained,
    Affinity,
}

/// The amount of work of a measurement.
#[derive(Clone, Copy)]
struct Effort {
    rounds: Rounds,
    sustained: Duration,
}

impl Effort {
    const FULL: Self = Self { rounds: Rounds::FULL, sustained: Duration::from_secs(60) };
    const QUICK: Self =
        Self { rounds: Rounds { count: 7, length: Duration::from_millis(100) }, sustained: Duration::from_secs(4) };
}

fn main() {
    let arguments = Arguments::parse();
    regimes::each(|regime| measure(regime, &arguments));
}

fn measure(regime: &str, arguments: &Arguments) {
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let is_selected = |layer| arguments.layer.is_empty() || arguments.layer.contains(&layer);
    let mut table = Table::new(regime, arguments.json.as_deref());
    actix_rt::System::new().block_on(async {
        if is_selected(Layer::Latency) {
            layers::latency(effort, &mut table).await;
        }
        if is_selected(Layer::Throughput) {
            layers::throughput(effort, &mut table).await;
        }
        if is_selected(Layer::Sustained) {
            layers::sustained(effort, &mut table).await;
        }
        if is_selected(Layer::Affinity) {
            layers::affinity(effort, &mut table).await;
        }
    });
}
