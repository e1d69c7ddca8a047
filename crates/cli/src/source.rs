//! The source of the pools: a configuration file, an app, or two demo pools if neither is given.

use crate::{
    error::{CommandError, Outcome},
    python,
};
use herder::{
    PoolConfig,
    config::{Config, ConfigError, Server, Traces},
};
use std::path::{Path, PathBuf};

/// The file that is read if no source is given.
const DEFAULT_FILE: &str = "herder.toml";
const DEMO_APP: &str = "herder.demo:app";
const DEMO_WORKERS: usize = 4;
/// The environment variable that enables `notebook.run` in the demo app.
pub(crate) const ALLOW_CODE: &str = "HERDER_ALLOW_CODE";

/// The pools to start, and their source.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    pub(crate) server: Server,
    pub(crate) traces: Traces,
    pub(crate) pools: Vec<PoolConfig>,
}

/// The source of pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    App,
    Demo,
}

/// The options for pools that are not described by a file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) enhanced: bool,
    pub(crate) pool_size: Option<usize>,
    pub(crate) allow_code: bool,
}

impl Source {
    /// Returns the source for the argument `APP|FILE`.
    pub(crate) fn of(text: Option<&str>, overrides: Overrides) -> Outcome<Self> {
        match text {
            Some(text) if is_toml(text) => Self::file(Path::new(text), overrides),
            Some(text) if text.contains(':') => Self::app(text, overrides),
            Some(text) => Err(CommandError::usage(not_a_source(text))),
            None if Path::new(DEFAULT_FILE).exists() => Self::file(Path::new(DEFAULT_FILE), overrides),
            None => Self::demo(overrides),
        }
    }

    /// Fails if a pool's app file, interpreter or program does not exist.
    pub(crate) fn with_programs(self) -> Outcome<Self> {
        self.check_programs()?;
        Ok(self)
    }

    /// Does the same, without taking the source.
    pub(crate) fn check_programs(&self) -> Outcome {
        if let Origin::File(path) = &self.origin {
            // Read the file again with these checks: they report the position in the file, which the configuration of a
            // pool does not contain.
            Config::load_with_programs(path).map_err(configuration_error)?;
        }
        self.pools.iter().try_for_each(PoolConfig::find_programs).map_err(CommandError::usage)
    }

    /// Reads the pools of a file.
    pub(crate) fn file(path: &Path, overrides: Overrides) -> Outcome<Self> {
        let refused = [
            (overrides.enhanced, "--enhanced", "set `worker_type = \"enhanced\"` in the pool"),
            (overrides.pool_size.is_some(), "--pool-size", "set `pool_size` in the pool"),
            (overrides.allow_code, "--allow-code", "it applies only to the demo pools and to apps"),
        ];
        if let Some((_, flag, instead)) = refused.into_iter().find(|(given, ..)| *given) {
            return Err(CommandError::usage(format_args!(
                "{flag} cannot be used with the file {}: {instead}",
                path.display()
            )));
        }
        let Config { server, traces, pools, .. } = load(path)?;
        Ok(Self { origin: Origin::File(path.into()), server, traces, pools })
    }

    /// Returns the pool with this name.
    pub(crate) fn named(self, name: &str) -> Outcome<PoolConfig> {
        let names = self.names();
        let pool = self.pools.into_iter().find(|pool| pool.name().as_str() == name);
        pool.ok_or_else(|| CommandError::usage(format_args!("unknown pool `{name}`; available pools: {names}")))
    }

    /// Returns the pool with this name; without a name, the only pool.
    pub(crate) fn one(mut self, name: Option<&str>) -> Outcome<PoolConfig> {
        match name {
            Some(name) => self.named(name),
            None if self.pools.len() == 1 => Ok(self.pools.remove(0)),
            None => Err(CommandError::usage(format_args!(
                "the file has several pools; name one with --pool: {}",
                self.names()
            ))),
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.pools.iter().map(|pool| format!("`{}`", pool.name())).collect();
        names.join(", ")
    }

    fn app(app: &str, overrides: Overrides) -> Outcome<Self> {
        let name = name_of(app)?;
        let python = python::inline_python(app)?;
        let pool = pool(&name, app, python, overrides.enhanced, overrides.pool_size, overrides.allow_code)?;
        Ok(Self { origin: Origin::App, server: Server::default(), traces: Traces::default(), pools: vec![pool] })
    }

    fn demo(overrides: Overrides) -> Outcome<Self> {
        if overrides.enhanced {
            return Err(CommandError::usage("--enhanced needs an APP; the demo pool `sessions` is enhanced already"));
        }
        let size = Some(overrides.pool_size.unwrap_or(DEMO_WORKERS));
        let demo = |name, enhanced| pool(name, DEMO_APP, None, enhanced, size, overrides.allow_code);
        let pools = vec![demo("basic", false)?, demo("sessions", true)?];
        Ok(Self { origin: Origin::Demo, server: Server::default(), traces: Traces::default(), pools })
    }
}

/// Reads a configuration file.
pub(crate) fn load(path: &Path) -> Outcome<Config> {
    Config::load(path).map_err(configuration_error)
}

fn configuration_error(error: ConfigError) -> CommandError {
    match error {
        ConfigError::Invalid { .. } => CommandError::usage(format_args!("invalid configuration\n{error}")),
        other => CommandError::usage(other),
    }
}

// The variable is always set. Otherwise the worker would inherit it from the environment of `herder`.
fn pool(
    name: &str,
    app: &str,
    python: Option<PathBuf>,
    enhanced: bool,
    size: Option<usize>,
    allow_code: bool,
) -> Outcome<PoolConfig> {
    let allow = if allow_code { "1" } else { "0" };
    // The two builders have different types.
    macro_rules! build {
        ($start:expr) => {{
            let pool = $start.app(app).env(ALLOW_CODE, allow);
            let pool = python.map_or(pool.clone(), |python| pool.python(python));
            size.map_or(pool.clone(), |size| pool.pool_size(size)).build()
        }};
    }
    let built = if enhanced { build!(PoolConfig::enhanced(name)) } else { build!(PoolConfig::basic(name)) };
    built.map_err(CommandError::usage)
}

/// Returns the name of an app's pool, which is that of its file or module: `shop/carts.py:app` and `shop.carts:app`
/// give `carts`.
pub(crate) fn name_of(app: &str) -> Outcome<String> {
    let target = app.rsplit_once(':').map_or(app, |(target, _)| target);
    let last = match target.strip_suffix(".py") {
        Some(path) => path.rsplit('/').next(),
        None => target.rsplit('.').next(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = last.unwrap_or_default().chars().map(plain).collect();
    let name: String = name.trim_start_matches(['_', '-']).chars().take(64).collect();
    if name.is_empty() { Err(CommandError::usage(not_a_source(app))) } else { Ok(name) }
}

/// Returns whether the text can be an app: `module:app` or `path/to/file.py:app`.
pub(crate) fn is_app(text: &str) -> bool {
    !is_toml(text) && text.contains(':')
}

/// Returns whether the text names a TOML file.
pub(crate) fn is_toml(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn not_a_source(text: &str) -> String {
    let allowed = "NAME.toml, `module:app`, `path/to/file.py:app`";
    if text.ends_with(".py") {
        return format!("`{text}` is neither a TOML file nor an app; did you mean `{text}:app`? Allowed: {allowed}");
    }
    format!("`{text}` is neither a TOML file nor an app; allowed: {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_of_an_app_has_the_name_of_its_file() {
        let cases = [("shop/carts.py:app", "carts"), ("shop.carts:app", "carts"), ("./my models.py:x", "my_models")];
        for (app, name) in cases {
            assert_eq!(name_of(app).unwrap(), name, "{app}");
        }
        assert!(name_of("____:app").is_err());
    }

    #[test]
    fn code_is_allowed_only_with_the_option() {
        let allowed = |allow_code| {
            let demo = Source::demo(Overrides { allow_code, ..Overrides::default() }).unwrap();
            demo.pools.iter().map(|pool| pool.env()[ALLOW_CODE].clone()).collect::<Vec<_>>()
        };
        assert_eq!((allowed(false), allowed(true)), (vec!["0".into(), "0".into()], vec!["1".into(), "1".into()]));
    }

    #[test]
    fn options_for_pools_are_refused_with_a_file() {
        for overrides in [
            Overrides { enhanced: true, ..Overrides::default() },
            Overrides { pool_size: Some(1), ..Overrides::default() },
            Overrides { allow_code: true, ..Overrides::default() },
        ] {
            assert!(
                matches!(Source::of(Some("x.toml"), overrides), Err(CommandError::Usage(text)) if text.starts_with("--"))
            );
        }
        assert!(
            matches!(Source::of(Some("a.py"), Overrides::default()), Err(CommandError::Usage(text)) if text.contains("`a.py:app`?"))
        );
    }
}
