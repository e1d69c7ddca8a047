//! The results: a table on standard output, and a line of JSON for each figure in a file.

use super::rounds::{Figures, Spread};
use serde_json::json;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
};

/// Whether lower or higher values are better.
#[derive(Clone, Copy)]
pub enum Better {
    Lower,
    Higher,
}

/// Prints the figures of one regime.
pub struct Table {
    regime: String,
    file: Option<File>,
}

impl Table {
    /// Creates a table. The JSON file is appended to, because each regime is a separate process.
    pub fn new(regime: &str, json: Option<&Path>) -> Self {
        println!("\n{:<10} {:<62} {:>12}   {:<26} unit", "regime", "figure", "median", "from - to");
        let open = |path| OpenOptions::new().create(true).append(true).open(path).expect("the file for JSON");
        Self { regime: regime.into(), file: json.map(open) }
    }

    /// Adds one figure with its samples of all rounds.
    pub fn add(&mut self, name: &str, unit: &str, better: Better, samples: Vec<f64>) {
        let count = samples.len();
        let Spread { min, median, max } = Spread::of(samples);
        let range = format!("{min:.3} - {max:.3}");
        println!("{:<10} {name:<62} {median:>12.3}   {range:<26} {unit}", self.regime);
        let better = if matches!(better, Better::Lower) { "lower" } else { "higher" };
        let line = json!({ "figure": name, "regime": self.regime, "unit": unit, "better": better, "median": median, "min": min, "max": max, "rounds": count });
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}").expect("a line of JSON");
        }
    }

    /// Adds the latency and the rate of one kind of call.
    pub fn add_calls(&mut self, name: &str, rounds: &[Figures]) {
        let of = |value: fn(&Figures) -> f64| rounds.iter().map(value).collect();
        self.add(&format!("{name}.p50"), "us", Better::Lower, of(|figures| figures.p50_us));
        self.add(&format!("{name}.p99"), "us", Better::Lower, of(|figures| figures.p99_us));
        self.add(&format!("{name}.rate"), "calls/s", Better::Higher, of(|figures| figures.per_second));
    }
}
