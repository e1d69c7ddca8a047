//! Pool operations in layers: one call at a time, many at once, a minute of load, and what affinity costs; on one core and unpinned:
//! `cargo bench --bench layers`, or with `-- --quick --json FILE`. `scripts/bench-compare` compares two revisions by it.
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
    /// Fewer and shorter rounds: about half a minute, where all takes three
    #[arg(long)]
    quick: bool,
    /// Only these layers [default: all]
    #[arg(long, value_enum)]
    layer: Vec<Layer>,
    /// Write one line of JSON for each figure, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo adds
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

/// How much is measured.
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
    let wanted = |layer| arguments.layer.is_empty() || arguments.layer.contains(&layer);
    let mut table = Table::new(regime, arguments.json.as_deref());
    actix_rt::System::new().block_on(async {
        if wanted(Layer::Latency) {
            layers::latency(effort, &mut table).await;
        }
        if wanted(Layer::Throughput) {
            layers::throughput(effort, &mut table).await;
        }
        if wanted(Layer::Sustained) {
            layers::sustained(effort, &mut table).await;
        }
        if wanted(Layer::Affinity) {
            layers::affinity(effort, &mut table).await;
        }
    });
}
