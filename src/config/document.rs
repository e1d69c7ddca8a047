//! The tables of a configuration file, and the order of the work: check, merge, build. No pool is built from a file
//! that has any problem.

use super::check::{Check, Owner};
use super::error::ProblemCollector;
use super::names::unknown;
use super::raw::RawPool;
use super::server::{self, Server};
use super::traces::{self, Traces};
use herder_actors::{
    InvalidConfig, PoolConfig, WorkerType,
    schema::{Scope, TABLE},
};
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Whether the programs that pools start must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// The programs are not checked.
    Unchecked,
    /// A program that does not exist is a problem.
    Checked,
}

/// Checks the file, and builds the pools if there is no problem.
pub(super) fn read(
    report: &mut ProblemCollector<'_>,
    root: &DeTable<'_>,
    folder: &Path,
    programs: Programs,
) -> (Server, Traces, Vec<PoolConfig>) {
    let tables = ["server", "traces", "defaults", "pools"];
    for (name, _) in root.iter().filter(|(name, _)| !tables.contains(&name.get_ref().as_ref())) {
        let name_text = name.get_ref().as_ref();
        report.add(&name.span(), name_text, unknown(name_text, &tables));
    }
    let [server, traces, defaults, pools] = tables.map(|name| subtable(report, name, root.get(name)));
    let server = server.map(|table| server::read(report, table, folder)).unwrap_or_default();
    let traces = traces.map(|table| traces::read(report, table)).unwrap_or_default();
    if let Some(table) = defaults {
        Check { report: &mut *report, at: "defaults", owner: Owner::Defaults }.table(table);
    }
    let pools = pools.map(|table| in_file_order(report, table, defaults)).unwrap_or_default();
    if pools.is_empty() && report.is_empty() {
        report.add(&(0..0), "pools", "no pool is defined; add a table [pools.NAME] with an `app`");
    }
    let built = if report.is_empty() { build(report, &pools, defaults, folder, programs) } else { Vec::new() };
    check_buffers(report, root, &server, &built);
    (server, traces, built)
}

/// Checks the keys of `[server]` that depend on the pools.
fn check_buffers(report: &mut ProblemCollector<'_>, root: &DeTable<'_>, server: &Server, pools: &[PoolConfig]) {
    let Some(bytes) = server.buffer_limit else { return };
    if let Err(message) = Server::check_buffer_limit(bytes, pools) {
        report.add(&span(root, "server.buffer_limit").unwrap_or_default(), "server.buffer_limit", message);
    }
}

/// Builds the pools of a file that passed the checks. Reports what a builder refuses.
fn build(
    report: &mut ProblemCollector<'_>,
    pools: &[PoolTable<'_, '_>],
    defaults: Option<&DeTable<'_>>,
    folder: &Path,
    programs: Programs,
) -> Vec<PoolConfig> {
    let plain = match toml::from_str(report.text()) {
        Ok(plain) => plain,
        Err(error) => {
            report.add(&error.span().unwrap_or_default(), "", error.message());
            return Vec::new();
        }
    };
    let with_programs = |config: PoolConfig| match programs {
        Programs::Unchecked => Ok(config),
        Programs::Checked => config.find_programs().map(|()| config),
    };
    let built = pools.iter().filter_map(|pool| {
        let (span, key, message) =
            match raw(&plain, pool).map(|raw| raw.build(pool.name, folder).and_then(with_programs)) {
                Ok(Ok(config)) => return Some(config),
                Ok(Err(error)) => pool.refused(&error, defaults),
                Err(error) => (pool.span.clone(), format!("pools.{}", pool.name), error.message().into()),
            };
        report.add(&span, key, message);
        None
    });
    built.collect()
}

/// Returns the values of a pool merged with the defaults, without their positions in the file.
fn raw(plain: &Table, pool: &PoolTable<'_, '_>) -> Result<RawPool, toml::de::Error> {
    let none = Table::new();
    let table = |value: Option<&'_ Value>| value.and_then(Value::as_table).cloned();
    let own = plain.get("pools").and_then(|pools| table(pools.get(pool.name)));
    let defaults = table(plain.get("defaults"));
    merged(own.as_ref().unwrap_or(&none), defaults.as_ref().unwrap_or(&none), pool.worker_type).try_into()
}

/// Merges the defaults into the keys of a pool. Keys that a pool of this type cannot have are not inherited.
///
/// Returns the keys of a pool by their paths, such as `queue.limit`. A key that the pool does not set has the value of
/// the defaults.
fn merged(own: &Table, defaults: &Table, worker_type: WorkerType) -> Table {
    let mut keys = Table::new();
    for key in TABLE {
        let inherits = match key.scope {
            Scope::Any => key.path != "python" || !own.contains_key("command"),
            Scope::Own => false,
            Scope::Enhanced => worker_type == WorkerType::Enhanced,
        };
        let default = find(defaults, key.path).filter(|_| inherits);
        if let Some(value) = both(find(own, key.path), default) {
            keys.insert(key.path.into(), value);
        }
    }
    keys
}

/// Returns the pool's value, or else the default. Two tables (`env`) are merged; the pool's entries win.
fn both(own: Option<&Value>, default: Option<&Value>) -> Option<Value> {
    match (own, default) {
        (Some(Value::Table(own)), Some(Value::Table(default))) => {
            let mut table = default.clone();
            table.extend(own.clone());
            Some(Value::Table(table))
        }
        (own, default) => own.or(default).cloned(),
    }
}

fn find<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        Some((group, rest)) => find(table.get(group)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// Returns the table under this key, if there is one. A value that is not a table is reported.
fn subtable<'t, 'i>(
    report: &mut ProblemCollector<'_>,
    key: &str,
    value: Option<&'t Spanned<DeValue<'i>>>,
) -> Option<&'t DeTable<'i>> {
    let value = value?;
    let table = value.get_ref().as_table();
    if table.is_none() {
        let given = report.quote(&value.span());
        report.add(&value.span(), key, format!("{given} is not a table; allowed: a table [{key}]"));
    }
    table
}

/// The table of a pool in the file.
struct PoolTable<'t, 'i> {
    name: &'t str,
    span: Range<usize>,
    table: &'t DeTable<'i>,
    worker_type: WorkerType,
}

impl PoolTable<'_, '_> {
    /// Returns the position, the key and the message for an error of the builder. The position is where the key is set,
    /// in the pool or in the defaults; if it is not set, it is the pool's name.
    fn refused(&self, error: &InvalidConfig, defaults: Option<&DeTable<'_>>) -> (Range<usize>, String, String) {
        let set = span(self.table, error.key()).or_else(|| span(defaults?, error.key()));
        let key = match error.key() {
            "name" => format!("pools.{}", self.name),
            key => format!("pools.{}.{key}", self.name),
        };
        let message = format!("is {}; allowed: {}", error.given(), error.allowed());
        (set.unwrap_or_else(|| self.span.clone()), key, message)
    }
}

/// Returns the position of the value at this path.
fn span(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    match path.split_once('.') {
        Some((group, rest)) => span(table.get(group)?.get_ref().as_table()?, rest),
        None => table.get(path).map(Spanned::span),
    }
}

/// Checks each pool's table, and returns the tables in the order of the file.
fn in_file_order<'t, 'i>(
    report: &mut ProblemCollector<'_>,
    pools: &'t DeTable<'i>,
    defaults: Option<&DeTable<'_>>,
) -> Vec<PoolTable<'t, 'i>> {
    let mut tables = Vec::new();
    for (name, value) in pools {
        let at = format!("pools.{}", name.get_ref());
        let Some(table) = subtable(report, &at, Some(value)) else { continue };
        let worker_type = worker_type(table).or_else(|| worker_type(defaults?)).unwrap_or_default();
        Check { report: &mut *report, at: &at, owner: Owner::Pool(worker_type) }.table(table);
        tables.push(PoolTable { name: name.get_ref(), span: name.span(), table, worker_type });
    }
    tables.sort_by_key(|pool| pool.span.start);
    tables
}

/// Returns the worker type that a table sets. An invalid value counts as `enhanced`: the check of the values reports
/// it, and the keys of enhanced pools in the table must not be reported as well.
fn worker_type(table: &DeTable<'_>) -> Option<WorkerType> {
    let basic = matches!(table.get("worker_type")?.get_ref().as_str(), Some("basic"));
    Some(if basic { WorkerType::Basic } else { WorkerType::Enhanced })
}
