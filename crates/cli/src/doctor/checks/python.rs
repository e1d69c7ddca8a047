//! Interpreter, package, start of a worker, and import of the app.

use super::super::{check::Check, facts::python::PoolFacts};
use crate::{
    python::{Imports, Interpreter},
    units::counted,
};
use std::time::Duration;

/// An import that takes longer is a finding.
const SLOW_IMPORT: Duration = Duration::from_secs(2);
/// Packages that take longer are named, at most this many.
const SLOW_PACKAGE: Duration = Duration::from_millis(100);
const MAX_PACKAGES: usize = 5;

pub(super) fn interpreter(pool: &PoolFacts) -> Option<Check> {
    let check = match pool.interpreter.as_ref()? {
        Err(reason) if matches!(pool.worker, Some(Ok(_))) => {
            Check::ok("interpreter", format!("unknown version ({reason}), but a worker starts"))
        }
        Err(reason) => Check::error(
            "interpreter",
            reason.as_str(),
            "it starts every worker of the pool",
            "set `python` of the pool to a Python 3.10 or later; or remove the key and create a `.venv` beside the configuration \
             file, or in the current folder for an app without one",
        ),
        Ok(interpreter) => match interpreter.too_old() {
            Some(reason) => Check::error(
                "interpreter",
                reason,
                "workers do not start with it",
                "set `python` of the pool to a newer one, or create its environment again, such as with `uv venv --python 3.13`",
            ),
            None => Check::ok("interpreter", interpreter.to_string()),
        },
    };
    Some(check.of(&pool.name))
}

/// Which copy of the package `herder` workers import.
pub(super) fn package(pool: &PoolFacts) -> Option<Check> {
    let installed = pool.interpreter.as_ref().and_then(|answer| answer.as_ref().ok());
    if let Some(unused) = installed.and_then(Interpreter::unused_package) {
        let check = Check::warning(
            "package",
            format!("workers do not import {unused}"),
            "workers import the package of this program; editors, type checkers and tests see the other one",
            "run `herder python install` in the environment, or uninstall the copy",
        );
        return Some(check.of(&pool.name));
    }
    let folder = match pool.worker.as_ref()? {
        Ok(worker) => worker.package.as_ref()?,
        Err(_) => return None,
    };
    // The name of the folder in the cache; a private folder has another one.
    let is_cached = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python-"));
    let place = if is_cached { "" } else { ", a temporary folder that each start of a server writes again" };
    Some(Check::ok("package", format!("written to {}{place}", folder.display())).of(&pool.name))
}

pub(super) fn worker(pool: &PoolFacts) -> Option<Check> {
    let check = match pool.worker.as_ref()? {
        Ok(worker) => {
            let commands = counted(worker.commands as u64, "command");
            Check::ok("worker", format!("started in {}, {commands}", seconds(worker.start)))
        }
        Err(reason) => Check::error(
            "worker",
            format!("no worker starts: {reason}"),
            "the pool has no worker, and refuses its calls",
            "correct the cause above; `herder check --import` starts the workers again",
        ),
    };
    Some(check.of(&pool.name))
}

pub(super) fn import(pool: &PoolFacts) -> Option<Check> {
    let app = pool.app.as_ref()?;
    let check = match pool.import.as_ref()? {
        Err(reason) => Check::ok("import", format!("the time of {app} is unknown: {reason}")),
        Ok(imports) if imports.total < SLOW_IMPORT => {
            Check::ok("import", format!("{app} in {}", seconds(imports.total)))
        }
        Ok(imports) => {
            let found = format!("{app} in {}{}", seconds(imports.total), slowest(imports));
            let template = "set `start = \"template\"`, which imports the app once and forks the workers";
            let action = if pool.is_forked {
                "import packages in the handlers that need them".to_owned()
            } else {
                format!("import packages in the handlers that need them, or {template}")
            };
            Check::warning("import", found, "each start of a worker, also after a crash, takes this long", action)
        }
    };
    Some(check.of(&pool.name))
}

/// Names the packages that take most of the time.
fn slowest(imports: &Imports) -> String {
    let slow = imports.packages.iter().filter(|(_, time)| *time >= SLOW_PACKAGE).take(MAX_PACKAGES);
    let named: Vec<String> = slow.map(|(name, time)| format!("{name} {}", seconds(*time))).collect();
    let known: Duration = imports.packages.iter().map(|(_, time)| *time).sum();
    let own = imports.total.saturating_sub(known);
    let own = (own >= SLOW_PACKAGE).then(|| format!("code of the app {}", seconds(own)));
    let all: Vec<String> = own.into_iter().chain(named).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{check::Level, facts::python::Worker};

    fn pool() -> PoolFacts {
        PoolFacts { name: "carts".into(), app: Some("app.py:app".into()), ..PoolFacts::default() }
    }

    fn answer(version: &str, installed: &str) -> Option<Result<Interpreter, String>> {
        let json = format!(
            r#"{{"version": {version}, "executable": "/v/bin/python", "prefix": "/v", "packages": "/v/lib", "environment": null,
                "installed": {installed}}}"#
        );
        Some(Ok(serde_json::from_str(&json).unwrap()))
    }

    #[test]
    fn an_interpreter_that_cannot_run_workers_is_an_error() {
        let checked = |answer, worker| {
            let check = interpreter(&PoolFacts { interpreter: answer, worker, ..pool() }).unwrap();
            (check.level, check.found)
        };
        assert_eq!(checked(answer("[3, 12, 1]", "null"), None).0, Level::Ok);
        let (level, found) = checked(answer("[3, 9, 1]", "null"), None);
        assert!(level == Level::Error && found.contains("Herder needs Python 3.10"), "{found}");
        let silent = || Some(Err("python3 cannot be started".to_owned()));
        assert_eq!(checked(silent(), Some(Err("no".into()))).0, Level::Error);
        assert_eq!(checked(silent(), Some(Ok(Worker::default()))).0, Level::Ok, "a wrapper that only starts workers");
        assert!(interpreter(&pool()).is_none(), "a pool with its own program");
    }

    #[test]
    fn another_installed_package_is_a_warning() {
        let worker = Worker { package: Some("/c/herder/python-0.1.0-00".into()), ..Worker::default() };
        let facts = |installed| PoolFacts {
            interpreter: answer("[3, 12, 1]", installed),
            worker: Some(Ok(worker.clone())),
            ..pool()
        };
        let own = package(&facts("null")).unwrap();
        assert_eq!((own.level, own.found.as_str()), (Level::Ok, "written to /c/herder/python-0.1.0-00"));
        let skewed = package(&facts(r#"["0.0.1", "/v/lib"]"#)).unwrap();
        assert_eq!(skewed.level, Level::Warning);
        assert_eq!(skewed.found, "workers do not import the installed 0.0.1 in /v/lib");
    }

    #[test]
    fn a_worker_that_does_not_start_is_an_error() {
        let checked = |started| worker(&PoolFacts { worker: Some(started), ..pool() }).unwrap();
        let ready = Worker { commands: 1, start: Duration::from_millis(420), ..Worker::default() };
        assert_eq!(checked(Ok(ready)).found, "started in 0.42 s, 1 command");
        let failed = checked(Err("No module named `torch`".into()));
        assert!(failed.level == Level::Error && failed.found.ends_with("No module named `torch`"));
    }

    #[test]
    fn a_slow_import_names_its_packages() {
        let millis = Duration::from_millis;
        let packages = vec![("torch".into(), millis(1800)), ("app".into(), millis(150)), ("json".into(), millis(2))];
        let imports = Imports { total: millis(2500), packages };
        let facts = PoolFacts { import: Some(Ok(imports.clone())), ..pool() };
        let slow = import(&facts).unwrap();
        assert_eq!(slow.level, Level::Warning);
        assert_eq!(slow.found, "app.py:app in 2.50 s: code of the app 0.55 s, torch 1.80 s, app 0.15 s");
        assert!(slow.action.unwrap().contains("start = \"template\""));
        let forked = import(&PoolFacts { is_forked: true, ..facts }).unwrap();
        assert!(!forked.action.unwrap().contains("template"));
        let fast = Imports { total: millis(1999), ..imports };
        assert_eq!(import(&PoolFacts { import: Some(Ok(fast)), ..pool() }).unwrap().level, Level::Ok);
    }
}
