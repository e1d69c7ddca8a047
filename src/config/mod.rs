//! The settings of a pool, and the configuration file. All problems of a file are reported together, with their
//! positions.
//!
//! ```
//! use herder::{PoolConfig, config::{Config, Queue}};
//! use std::{path::Path, time::Duration};
//!
//! let text = r#"
//! [defaults]
//! timeout = "10s"
//!
//! [pools.models]
//! worker_type = "enhanced"
//! app = "my_models.py:app"
//! pool_size = 4
//! queue = { limit = 200, timeout = "1s" }
//! "#;
//! let config = Config::from_toml(text, Path::new("."))?;
//! assert_eq!(config.pools[0].pool_size(), 4);
//!
//! let error = Config::from_toml("[pools.models]\napp = 'm:app'\npool_sze = 4", Path::new(".")).unwrap_err();
//! assert!(error.to_string().starts_with("herder.toml:3:1: pools.models.pool_sze: unknown key; did you mean `pool_size`?"));
//!
//! // The same pool without a file:
//! let queue = Queue::new().limit(200).timeout(Duration::from_secs(1));
//! let models = PoolConfig::enhanced("models").app("my_models.py:app").pool_size(4).queue(queue);
//! assert_eq!(models.timeout(Duration::from_secs(10)).build()?, config.pools[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Keys, types, defaults and bounds are defined in [`schema::TABLE`](herder_actors::schema::TABLE).

mod batches;
mod check;
mod document;
mod dspex;
pub mod duration;
mod error;
mod names;
mod raw;
mod server;
mod session_names;
#[cfg(test)]
mod tests;
mod token;
mod traces;

use document::Programs;
use error::ProblemCollector;
use herder_actors::PoolConfig;
use std::fs;
use std::path::Path;
use toml::de::DeTable;

pub use error::{ConfigError, ConfigProblem};
#[doc(inline)]
pub use herder_actors::{
    AppPath, Backoff, Basic, BatchSettings, Breaker, Buffers, Cancel, CountedFailures, Enhanced, EnvMode, Expiry,
    Features, Health, InvalidConfig, Launch, NumericThreads, OnExpired, Pipeline, Poison, PoolBuilder, Queue, Restart,
    Retry, Routed, Sessions, StartMethod, Stop, StopSettings, Streams, Tracked, WorkerType,
};
pub use server::Server;
pub use session_names::{InvalidSessionName, SessionCookie, SessionHeader};
pub use token::{InvalidToken, Token, TokenFileError};
pub use traces::{InvalidTracesEndpoint, Traces, TracesEndpoint};

/// The contents of a configuration file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The `[traces]` table.
    pub traces: Traces,
    /// The pools, in the order of the file. At least one.
    pub pools: Vec<PoolConfig>,
}

/// The name in errors of a configuration that was not read from a file.
const DEFAULT_FILE_NAME: &str = "herder.toml";

impl Config {
    /// Reads a configuration file. Relative paths in it are resolved against its directory. Blocks on the file system.
    ///
    /// # Errors
    /// Fails if the file cannot be read or has a problem.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        load(path.as_ref(), Programs::Unchecked)
    }

    /// Reads a configuration file like [`load`](Self::load), and checks that the app files, interpreters and programs
    /// that its pools start exist ([`PoolConfig::find_programs`]). Starts no process. Blocks on the file system.
    ///
    /// # Errors
    /// Fails if the file cannot be read or has a problem, or if a program does not exist.
    pub fn load_with_programs(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        load(path.as_ref(), Programs::Checked)
    }

    /// Reads a configuration from a string. Relative paths are resolved against `folder`. Errors call the file
    /// `herder.toml`.
    ///
    /// # Errors
    /// Fails if the text has a problem.
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        read(text, folder, DEFAULT_FILE_NAME, Programs::Unchecked)
    }
}

fn load(path: &Path, programs: Programs) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&text, folder, &path.display().to_string(), programs)
}

fn read(text: &str, folder: &Path, file: &str, programs: Programs) -> Result<Config, ConfigError> {
    let mut report = ProblemCollector::new(text);
    let (server, traces, pools) = match DeTable::parse(text) {
        Ok(root) => document::read(&mut report, root.get_ref(), folder, programs),
        Err(error) => {
            report.add(&error.span().unwrap_or_default(), "", one_line(error.message()));
            (Server::default(), Traces::default(), Vec::new())
        }
    };
    report.finish(file)?;
    Ok(Config { server, traces, pools })
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}
