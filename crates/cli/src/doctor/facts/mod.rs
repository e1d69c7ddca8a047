//! What the checks examine, read from the machine, from interpreters, from one started worker of each pool, and from a server.
//! `None` means that something is unknown, or does not exist on this system.

pub(super) mod cgroup;
pub(super) mod machine;
mod progress;
pub(super) mod python;
pub(super) mod server;
pub(super) mod traces;

use crate::{
    access::{Access, exposed_files},
    args,
    error::{CommandError, Outcome},
    logs,
    serve::Descriptors,
    source::{Origin, Overrides, Source, is_app, is_toml},
    units::counted,
};
use cgroup::Cgroup;
use herder::config::Server;
use machine::Machine;
use progress::Progress;
use python::PoolFacts;
use server::ServerFacts;
use std::path::PathBuf;
use traces::Collector;

/// All facts.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What the pools come from, or why the configuration cannot be read.
    pub(super) source: Option<Result<String, String>>,
    /// Why `serve` refuses the source although it can be read: the app file, the interpreter or the program of a pool is missing.
    pub(super) missing_programs: Option<String>,
    /// Who may use a server with this configuration, or why its tokens keep it from starting.
    pub(super) access: Option<Result<String, String>>,
    /// The token files that every user of this machine can read.
    pub(super) exposed_files: Vec<PathBuf>,
    pub(super) pools: Vec<PoolFacts>,
    /// The limit of descriptors, after it was raised as `serve` raises it; and what a server with these pools needs.
    pub(super) descriptors: Option<(u64, u64)>,
    pub(super) cgroup: Cgroup,
    pub(super) machine: Machine,
    pub(super) server: Option<ServerFacts>,
    /// The collector of traces, if one is configured.
    pub(super) collector: Option<Collector>,
    /// `HERDER_LOG`, if it is set, or why it is invalid.
    pub(super) log: Option<Result<String, String>>,
}

impl Facts {
    /// Reads all facts. Starts each interpreter and one worker of each pool. Shows its progress on a terminal.
    ///
    /// # Errors
    /// Fails if what was named is neither an app nor a TOML file. An invalid one is a fact.
    pub(super) fn gather(options: &args::Doctor) -> Outcome<Self> {
        let progress = Progress::start();
        let source = match Source::of(options.app.as_deref(), Overrides::default()) {
            Err(error) if options.app.as_deref().is_some_and(|text| !is_app(text) && !is_toml(text)) => {
                return Err(error);
            }
            read => read.map_err(CommandError::into_text),
        };
        let began = machine::Clocks::read();
        let (configs, settings) = match &source {
            Ok(source) => (source.pools.as_slice(), source.server.clone()),
            Err(_) => (&[][..], Server::default()),
        };
        let access = source.as_ref().ok().map(|source| {
            let access = Access::decide(source.server.listen, source, false);
            access.map(|access| access.describe()).map_err(CommandError::into_text)
        });
        let pools = configs.iter().map(|config| PoolFacts::gather(config, &progress)).collect();
        let descriptors = Descriptors::raise(1, configs);
        progress.show("asking the server");
        let server = ServerFacts::gather(&options.server, &settings, matches!(access, Some(Err(_))))?;
        let endpoint = source.as_ref().ok().and_then(|source| source.traces.endpoint.as_ref());
        let missing = source.as_ref().ok().and_then(|source| source.check_programs().err());
        Ok(Self {
            source: Some(source.as_ref().map(named).map_err(Clone::clone)),
            missing_programs: missing.map(CommandError::into_text),
            access,
            exposed_files: exposed_files(&settings),
            pools,
            descriptors: descriptors.limit().map(|limit| (limit, descriptors.needed())),
            cgroup: Cgroup::read(),
            machine: Machine::read(began),
            server: Some(server),
            collector: endpoint.map(Collector::ask),
            log: logs::check_variable().transpose(),
        })
    }
}

/// Names the source.
fn named(source: &Source) -> String {
    let pools = counted(source.pools.len() as u64, "pool");
    match &source.origin {
        Origin::File(path) => format!("{}: {pools}", path.display()),
        Origin::App => "the app's pool".into(),
        Origin::Demo => "no ./herder.toml: the demo pools".into(),
    }
}
