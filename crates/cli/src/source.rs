//! Where pools come from: a configuration file, an app, or nothing at all, which gives two demo pools.

use crate::error::{CommandError, Outcome};
use herder::{
    Config, PoolConfig,
    config::{ConfigError, Server},
};
use std::path::{Path, PathBuf};

/// Looked for where nothing was named.
const DEFAULT_FILE: &str = "herder.toml";
const DEMO_APP: &str = "herder.demo:app";
const DEMO_WORKERS: usize = 4;
/// Lets the demo app have `notebook.run`.
pub(crate) const ALLOW_CODE: &str = "HERDER_ALLOW_CODE";

/// Pools to start, and where they came from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) origin: Origin,
    pub(crate) server: Server,
    pub(crate) pools: Vec<PoolConfig>,
}

/// Where pools came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    App,
    Demo,
}

/// What `serve` may say of pools that no file describes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) enhanced: bool,
    pub(crate) pool_size: Option<usize>,
    pub(crate) allow_code: bool,
}

impl Source {
    /// What `APP|FILE` stands for.
    pub(crate) fn of(text: Option<&str>, overrides: Overrides) -> Outcome<Self> {
        match text {
            Some(text) if is_toml(text) => Self::file(Path::new(text), overrides),
            Some(text) if text.contains(':') => Self::app(text, overrides),
            Some(text) => Err(CommandError::usage(not_a_source(text))),
            None if Path::new(DEFAULT_FILE).exists() => Self::file(Path::new(DEFAULT_FILE), overrides),
            None => Self::demo(overrides),
        }
    }

    /// Refuses pools that start what is not there.
    pub(crate) fn with_programs(self) -> Outcome<Self> {
        if let Origin::File(path) = &self.origin {
            // Once more, since only the file has the places of what is wrong.
            Config::load_with_programs(path).map_err(wrong_configuration)?;
        }
        self.pools.iter().try_for_each(PoolConfig::find_programs).map_err(CommandError::usage)?;
        Ok(self)
    }

    /// The pools of this file.
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
        let Config { server, pools, .. } = load(path)?;
        Ok(Self { origin: Origin::File(path.into()), server, pools })
    }

    /// The pool of this name.
    pub(crate) fn named(self, name: &str) -> Outcome<PoolConfig> {
        let known = self.names();
        let found = self.pools.into_iter().find(|pool| pool.name().as_str() == name);
        found.ok_or_else(|| CommandError::usage(format_args!("unknown pool `{name}`; known: {known}")))
    }

    /// The pool of this name, or without one the only pool there is.
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
        let pool = pool(&name_of(app)?, app, overrides.enhanced, overrides.pool_size, overrides.allow_code)?;
        Ok(Self { origin: Origin::App, server: Server::default(), pools: vec![pool] })
    }

    fn demo(overrides: Overrides) -> Outcome<Self> {
        if overrides.enhanced {
            return Err(CommandError::usage("--enhanced needs an APP; the demo pool `sessions` is enhanced already"));
        }
        let size = Some(overrides.pool_size.unwrap_or(DEMO_WORKERS));
        let demo = |name, enhanced| pool(name, DEMO_APP, enhanced, size, overrides.allow_code);
        let pools = vec![demo("basic", false)?, demo("sessions", true)?];
        Ok(Self { origin: Origin::Demo, server: Server::default(), pools })
    }
}

/// Reads a configuration file.
pub(crate) fn load(path: &Path) -> Outcome<Config> {
    Config::load(path).map_err(wrong_configuration)
}

fn wrong_configuration(error: ConfigError) -> CommandError {
    match error {
        ConfigError::Invalid { .. } => CommandError::usage(format_args!("invalid configuration\n{error}")),
        other => CommandError::usage(other),
    }
}

// The variable is set either way: what herder itself was started with must not decide it.
fn pool(name: &str, app: &str, enhanced: bool, size: Option<usize>, allow_code: bool) -> Outcome<PoolConfig> {
    let allow = if allow_code { "1" } else { "0" };
    let built = if enhanced {
        let pool = PoolConfig::enhanced(name).app(app).env(ALLOW_CODE, allow);
        size.map_or(pool.clone(), |size| pool.pool_size(size)).build()
    } else {
        let pool = PoolConfig::basic(name).app(app).env(ALLOW_CODE, allow);
        size.map_or(pool.clone(), |size| pool.pool_size(size)).build()
    };
    built.map_err(CommandError::usage)
}

/// The pool of an app is called after its file or module: `shop/carts.py:app` and `shop.carts:app` are `carts`.
fn name_of(app: &str) -> Outcome<String> {
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

fn is_toml(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn not_a_source(text: &str) -> String {
    let hint = if text.ends_with(".py") { format!("; did you mean `{text}:app`?") } else { String::new() };
    format!("`{text}` is neither a TOML file nor an app{hint}; allowed: NAME.toml, `module:app`, `path/to/file.py:app`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_s_pool_is_called_after_its_file() {
        let cases = [("shop/carts.py:app", "carts"), ("shop.carts:app", "carts"), ("./my models.py:x", "my_models")];
        for (app, name) in cases {
            assert_eq!(name_of(app).unwrap(), name, "{app}");
        }
        assert!(name_of("____:app").is_err());
    }

    #[test]
    fn code_is_allowed_only_where_it_was_asked_for() {
        let allowed = |allow_code| {
            let demo = Source::demo(Overrides { allow_code, ..Overrides::default() }).unwrap();
            demo.pools.iter().map(|pool| pool.env()[ALLOW_CODE].clone()).collect::<Vec<_>>()
        };
        assert_eq!((allowed(false), allowed(true)), (vec!["0".into(), "0".into()], vec!["1".into(), "1".into()]));
    }

    #[test]
    fn a_file_s_pools_are_described_by_the_file() {
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
