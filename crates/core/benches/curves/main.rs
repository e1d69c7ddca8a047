//! The cost of an operation by the size of what it works on: workers, waiting calls, sessions. Prints a table of instructions and
//! of nanoseconds: `cargo bench -p herder-core-benches --features curves --bench curves`. It needs valgrind, and several minutes for all sizes.
//!
//! Arguments after `--`: `--max N` leaves out sizes above N, `--svg FILE` also draws the curves.
//!
//! The program starts itself twice for each size: under callgrind, and on its own for the times. Instructions do not depend on
//! the load of the machine. Times include what instructions do not show, cache misses above all; each is the median of its
//! operation's steps. Only the steps of the core are measured, not what prepares them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark may panic, read the clock and the environment, start itself, and print"
)]

mod chart;
mod child;
mod pool;
mod sessions;
mod steps;
mod waiting;
mod workers;

use std::{env, fs, path::PathBuf};
use steps::Steps;

/// The curves over one kind of size.
struct Subject {
    /// The name of the subject, and of the size.
    name: &'static str,
    sizes: &'static [usize],
    /// Measures all operations at one size.
    measure: fn(usize, &mut Steps),
}

const SUBJECTS: [Subject; 3] = [
    Subject { name: "workers", sizes: &[1, 4, 16, 64, 256, 1024], measure: workers::measure },
    Subject { name: "waiting calls", sizes: &[1, 1000, 50_000, 100_000, 1_000_000], measure: waiting::measure },
    Subject { name: "sessions", sizes: &[1000, 10_000, 100_000, 1_000_000], measure: sessions::measure },
];

/// The cost of an operation at each size.
struct Curve {
    operation: String,
    points: Vec<Point>,
}

/// The cost of one operation at one size: the mean number of instructions, and the median time.
#[derive(Clone, Copy)]
struct Point {
    size: usize,
    instructions: f64,
    ns: f64,
}

fn main() {
    if let Some((subject, size)) = child::requested() {
        let subject = SUBJECTS.iter().find(|known| known.name == subject).expect("a subject of this name");
        return (subject.measure)(size, &mut Steps::default());
    }
    let (max, svg) = arguments();
    let subjects: Vec<_> = SUBJECTS.iter().map(|subject| (subject.name, curves(subject, max))).collect();
    if let Some(file) = svg {
        fs::write(&file, chart::draw(&subjects)).expect("a file that can be written");
    }
}

/// Returns the largest size and the file of the chart.
fn arguments() -> (usize, Option<PathBuf>) {
    let (mut max, mut svg) = (usize::MAX, None);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--max" => max = arguments.next().and_then(|max| max.parse().ok()).expect("--max needs a number"),
            "--svg" => svg = Some(arguments.next().expect("--svg needs a file").into()),
            "--bench" => {} // cargo adds it
            _ => panic!("unknown argument {argument}; allowed: --max N, --svg FILE"),
        }
    }
    (max, svg)
}

/// Measures and prints the curves of one subject.
fn curves(subject: &Subject, max: usize) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    let sizes: Vec<usize> = subject.sizes.iter().copied().filter(|size| *size <= max).collect();
    for &size in &sizes {
        for (operation, instructions, ns) in child::run(subject.name, size) {
            let point = Point { size, instructions, ns };
            match curves.iter_mut().find(|curve| curve.operation == operation) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { operation, points: vec![point] }),
            }
        }
    }
    print(subject.name, &sizes, &curves);
    curves
}

fn print(subject: &str, sizes: &[usize], curves: &[Curve]) {
    let row = |name: &str, cells: Vec<String>| {
        println!("{name:<40}{}", cells.iter().map(|cell| format!("{cell:>13}")).collect::<String>());
    };
    row(&format!("by the number of {subject}"), sizes.iter().map(ToString::to_string).collect());
    for curve in curves {
        row(&curve.operation, curve.points.iter().map(|point| format!("{:.0}", point.instructions)).collect());
        row("  nanoseconds", curve.points.iter().map(|point| format!("{:.0}", point.ns)).collect());
    }
    println!();
}
