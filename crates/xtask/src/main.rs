//! Chores of the project that are programs: `cargo xtask --help`. Holds no state; nothing of the product is imported.

mod args;
mod error;
mod flake;
mod interval;
mod regress;
mod workspace;

use args::{Arguments, Chore};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Flake(options) => flake::run(&options),
        Chore::Regress(options) => regress::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
