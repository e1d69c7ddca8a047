//! The `herder` Python package as data. Holds no state and does no I/O: `herder-actors` writes it where `python3` finds it.

/// Every file of the package: its path below the package's folder, and its content.
pub const FILES: &[(&str, &str)] = &[];
