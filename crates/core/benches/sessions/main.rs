//! The session table of one pool: operations a second beside a plain `HashMap` in the same run, bytes a session, and the longest
//! pauses at a million: `cargo bench -p herder-core --bench sessions`.
//!
//! Both sides take turns in small rounds, so that a machine that changes its pace changes both. Quote ratios.
#![expect(
    clippy::expect_used,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark: it may end with a panic, reads the clock and prints its table"
)]

mod baseline_map;
mod pauses;
mod pool;
mod rates;
mod spread;

/// Numbers of sessions.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

fn main() {
    rates::bytes(SIZES[2]);
    println!("\n{}", rates::HEAD);
    for sessions in SIZES {
        rates::measure(sessions);
    }
    println!();
    pauses::measure(SIZES[2]);
}
