//! The configuration file: TOML in, checked pools out. Every problem of a file is told with its place.
//!
//! ```
//! use herder::config::Config;
//! use std::path::Path;
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
//! # Ok::<(), herder::config::ConfigError>(())
//! ```
//!
//! Keys, types, defaults and bounds are those of [`schema::TABLE`](herder_actors::schema::TABLE); nothing is repeated here.

mod check;
mod document;
pub mod duration;
mod error;
mod merge;
mod names;
mod raw;
mod server;
#[cfg(test)]
mod tests;

use error::ProblemCollector;
use herder_actors::PoolConfig;
use std::fs;
use std::path::Path;
use toml::de::DeTable;

pub use error::{ConfigError, ConfigProblem};
pub use server::{InvalidToken, Server, Token};

/// A whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The `[server]` table.
    pub server: Server,
    /// The pools, in the order of the file; at least one.
    pub pools: Vec<PoolConfig>,
}

/// How a file is called that has no name.
const DEFAULT_FILE_NAME: &str = "herder.toml";

impl Config {
    /// Reads a file. Paths in it start at its folder. Blocks on the file system.
    ///
    /// # Errors
    /// When the file can't be read, or anything in it is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        load(path.as_ref(), Programs::Unchecked)
    }

    /// Reads a file as [`load`](Self::load) does, and checks that what its pools start exists: app files, interpreters, programs
    /// ([`PoolConfig::find_programs`]). Starts nothing. Blocks on the file system.
    ///
    /// # Errors
    /// When the file can't be read, anything in it is wrong, or one of them does not exist.
    pub fn load_with_programs(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        load(path.as_ref(), Programs::Checked)
    }

    /// Reads a text as if it were a file in this folder; errors call it `herder.toml`.
    ///
    /// # Errors
    /// When anything in it is wrong.
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        read(text, folder, DEFAULT_FILE_NAME, Programs::Unchecked)
    }
}

/// Whether what pools start has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Programs {
    /// It is not looked for.
    Unchecked,
    /// It is looked for, and what is not there is a problem.
    Checked,
}

fn load(path: &Path, programs: Programs) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&text, folder, &path.display().to_string(), programs)
}

fn read(text: &str, folder: &Path, file: &str, programs: Programs) -> Result<Config, ConfigError> {
    let mut report = ProblemCollector::new(text);
    let (server, pools) = match DeTable::parse(text) {
        Ok(root) => document::read(&mut report, root.get_ref(), folder, programs),
        Err(error) => {
            report.add(&error.span().unwrap_or_default(), "", one_line(error.message()));
            (Server::default(), Vec::new())
        }
    };
    report.finish(file)?;
    Ok(Config { server, pools })
}

fn one_line(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}
