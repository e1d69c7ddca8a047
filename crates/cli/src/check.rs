//! `herder check`: reads a configuration file and says what is wrong with it. Starts nothing.

use crate::{
    args::Check,
    failure::{Failure, Outcome},
    table,
};
use herder::{Config, PoolConfig, WorkerType, config::ConfigError};

/// Checks a file.
pub(crate) fn run(options: &Check) -> Outcome {
    let Config { server, pools, .. } = Config::load(&options.file).map_err(|error| match error {
        ConfigError::Invalid { ref problems, .. } => {
            let count = problems.len();
            // Problems are what was asked for: on standard output, one a line, for editors and `grep`.
            table::out(&error.to_string());
            Failure::usage(format_args!(
                "{count} problem{} in {}",
                if count == 1 { "" } else { "s" },
                options.file.display()
            ))
        }
        other => Failure::usage(other),
    })?;
    let count = pools.len();
    let pools: Vec<_> = pools.iter().map(shown).collect();
    let noun = if count == 1 { "pool" } else { "pools" };
    table::out(&format!("ok: {count} {noun}: {}; listens on {}", pools.join(", "), server.listen));
    Ok(())
}

fn shown(pool: &PoolConfig) -> String {
    format!("{} ({}, {} workers)", pool.name(), type_name(pool.worker_type()), pool.pool_size())
}

/// A worker type as the configuration spells it.
pub(crate) fn type_name(worker_type: WorkerType) -> &'static str {
    match worker_type {
        WorkerType::Basic => "basic",
        WorkerType::Enhanced => "enhanced",
    }
}
