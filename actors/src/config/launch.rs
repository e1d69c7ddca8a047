//! How a worker is started: the program, its interpreter, and its environment. Reads the host's environment once, when a pool
//! is built, to find an interpreter; starts nothing.

use super::InvalidConfig;
use super::interpreter::{Interpreter, interpreter};
use super::table::{APP, COMMAND, CWD, PYTHON};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::{env, fmt, io, str::FromStr};

/// How a worker is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// A Python app and its interpreter.
    App {
        /// The app.
        app: AppPath,
        /// The interpreter: an absolute path, or a name to look up in `PATH`.
        python: PathBuf,
    },
    /// An executable that implements the worker protocol.
    Command {
        /// The program (an absolute path, or a name to look up in `PATH`) and its arguments. Never empty.
        argv: Vec<String>,
    },
}

/// The environment of a worker, apart from the variables of `env`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EnvMode {
    /// The host's environment, without `HERDER_TOKEN`.
    #[default]
    Inherit,
    /// Only `PATH`, `HOME`, `LANG` and `TMPDIR`.
    Clean,
}

/// How a process becomes a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StartMethod {
    /// Each worker is a new Python process, which imports the app.
    #[default]
    Spawn,
    /// One process, the template, imports the app, and each worker is a fork of it. Linux only. If the import leaves something that
    /// a fork cannot have, such as threads, the workers are spawned, and the log says why.
    Template,
}

/// The location of a Python app: `module:app`, or `path/to/file.py:app`.
///
/// ```
/// # use herder_actors::AppPath;
/// let app: AppPath = "workers/carts.py:app".parse()?;
/// assert_eq!((app.target(), app.attribute(), app.stem()), ("workers/carts.py", "app", "carts"));
/// assert!("carts.py".parse::<AppPath>().is_err());
/// # Ok::<(), herder_actors::InvalidConfig>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPath {
    text: String,
    colon: usize,
}

impl AppPath {
    /// Returns the text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the module or file.
    pub fn target(&self) -> &str {
        &self.text[..self.colon]
    }

    /// Returns the name of the app in the module.
    pub fn attribute(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// Returns the file's name without directories and extension, or the last part of the module.
    pub fn stem(&self) -> &str {
        let target = self.target();
        match target.strip_suffix(".py") {
            Some(file) => file.rsplit('/').next().unwrap_or(file),
            None => target.rsplit('.').next().unwrap_or(target),
        }
    }
}

impl FromStr for AppPath {
    type Err = InvalidConfig;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidConfig::new(APP.path, format_args!("`{}`", text.escape_debug()), APP.allowed);
        let colon = text.rfind(':').ok_or_else(invalid)?;
        let (target, attribute) = (&text[..colon], &text[colon + 1..]);
        let file = target.strip_suffix(".py").is_some_and(|path| !path.is_empty() && !path.ends_with('/'));
        let fits = (file || is_dotted_name(target)) && is_dotted_name(attribute) && !text.contains('\0');
        if fits { Ok(Self { text: text.into(), colon }) } else { Err(invalid()) }
    }
}

impl fmt::Display for AppPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Returns whether the text is a Python name such as `a.b.c`.
fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The program with its working directory, and the virtual environments to warn about.
#[derive(Debug)]
pub(super) struct ResolvedProgram {
    pub(super) launch: Launch,
    pub(super) cwd: PathBuf,
    /// Virtual environments that have precedence but contain no interpreter.
    pub(super) stale_venvs: Vec<PathBuf>,
}

/// The program and its directories as they were given.
#[derive(Clone, Debug, Default)]
pub(super) struct ProgramSource {
    pub(super) app: Option<String>,
    pub(super) command: Option<Vec<String>>,
    pub(super) python: Option<PathBuf>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) base: Option<PathBuf>,
}

impl ProgramSource {
    /// Finds the program and the working directory.
    pub(super) fn build(self) -> Result<ResolvedProgram, InvalidConfig> {
        let base = absolute(self.base.unwrap_or_default()).map_err(|error| {
            let text = format_args!("relative to the current folder, which cannot be found ({error})");
            InvalidConfig::new(CWD.path, text, "an existing folder; change to one first")
        })?;
        let (launch, stale_venvs) = match (self.app, self.command) {
            (Some(app), None) => {
                let (app, Interpreter { python, stale_venvs }) = (app.parse()?, interpreter(self.python, &base)?);
                (Launch::App { app, python }, stale_venvs)
            }
            (None, Some(argv)) => (command(argv, self.python, &base)?, Vec::new()),
            (None, None) => return Err(InvalidConfig::new(APP.path, "not set", ONE_OF)),
            (Some(_), Some(_)) => return Err(InvalidConfig::new(COMMAND.path, "set together with `app`", ONE_OF)),
        };
        let cwd = self.cwd.map_or_else(|| base.clone(), |cwd| base.join(cwd));
        // Checked here, since a missing directory and a missing program cause the same errno when the process is spawned.
        if cwd.is_dir() {
            Ok(ResolvedProgram { launch, cwd, stale_venvs })
        } else {
            Err(InvalidConfig::new(CWD.path, cwd.display(), CWD.allowed))
        }
    }
}

const ONE_OF: &str = "exactly one of `app` and `command`";

fn absolute(base: PathBuf) -> io::Result<PathBuf> {
    if base.as_os_str().is_empty() { env::current_dir() } else { std::path::absolute(base) }
}

fn command(mut argv: Vec<String>, python: Option<PathBuf>, base: &Path) -> Result<Launch, InvalidConfig> {
    if let Some(python) = python {
        return Err(InvalidConfig::new(
            PYTHON.path,
            python.display(),
            "not set; `python` requires `app`, and `command` names its own program",
        ));
    }
    let is_valid =
        argv.first().is_some_and(|program| !program.is_empty()) && argv.iter().all(|arg| !arg.contains('\0'));
    if !is_valid {
        return Err(InvalidConfig::new(COMMAND.path, format_args!("{argv:?}"), COMMAND.allowed));
    }
    if argv[0].contains('/') {
        let program = base.join(&argv[0]).into_os_string().into_string();
        argv[0] = program.map_err(|path| InvalidConfig::new(CWD.path, path.display(), "a path in UTF-8"))?;
    }
    Ok(Launch::Command { argv })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_paths_name_a_module_or_a_file() {
        for (good, stem) in
            [("a:app", "a"), ("pkg.mod:make.app", "mod"), ("./x/ca.rts.py:app", "ca.rts"), ("C é.py:a", "C é")]
        {
            assert_eq!(good.parse::<AppPath>().map(|app| app.stem().to_owned()), Ok(stem.to_owned()), "{good}");
        }
        for bad in [
            "",
            "app",
            "carts.py",
            ":app",
            "a:",
            "a/b:app",
            ".py:app",
            "x/.py:app",
            "1a:app",
            "a:b c",
            "a.:b",
            "\0.py:a",
        ] {
            assert!(bad.parse::<AppPath>().is_err(), "{bad}");
        }
    }
}
