//! The session table of one pool: operations per second compared with a plain `HashMap` in the same run, bytes per session, and
//! the longest pauses at a million sessions: `cargo bench -p herder-core-benches --features sessions --bench sessions`.
//!
//! Both sides run alternately in small rounds, so that a change of the machine's speed affects both. Quote ratios only.
#![expect(
    clippy::expect_used,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark may panic, read the clock and print its table"
)]

mod baseline_map;
mod pauses;
mod pool;
mod rates;
mod spread;

/// The numbers of sessions that are measured.
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
