//! The checked options and the pool of a measurement. Starts nothing.

use super::Options;
use crate::{
    error::{CommandError, Outcome},
    problem::check_object,
    source::{Origin, Overrides, Source},
};
use herder::{PoolConfig, config::WorkerType, efficiency::WorkerStart};
use serde_json::{Map, Value};

/// The default number of callers for each call slot. With one, the slot would be idle while a result is on its way to
/// the caller and the next call on its way back. With two, the next call already waits.
const CALLERS_PER_SLOT: usize = 2;
/// The default duration of a run.
const SECONDS: u32 = 2;
/// The default call: it only waits, so that the number of cores does not matter.
const DEMO_CALL: (&str, &str) = ("sleep", r#"{"ms":5}"#);
/// The number of characters of the arguments that are shown.
const MAX_SHOWN: usize = 60;
/// The demo pools: without and with sessions.
const DEMO_POOLS: [&str; 2] = ["basic", "sessions"];

/// The measurements to run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) config: PoolConfig,
    pub(super) command: String,
    pub(super) arguments: Map<String, Value>,
    /// The numbers of workers: ascending, without duplicates, at least one.
    pub(super) workers: Vec<usize>,
    pub(super) callers: Option<usize>,
    /// The number of sessions; 0 for calls without a session.
    pub(super) sessions: usize,
    pub(super) amount: Amount,
    pub(super) start: WorkerStart,
    pub(super) rounds: usize,
}

/// The amount of work of each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// A number of calls.
    Operations(usize),
    /// The number of calls that would take this many seconds without losses, estimated from an earlier run.
    Seconds(u32),
}

impl Plan {
    /// Checks the options, and reads the configuration.
    pub(super) fn of(options: &Options) -> Outcome<Self> {
        let overrides = Overrides { enhanced: options.enhanced, ..Overrides::default() };
        let source = Source::of(options.source.as_deref(), overrides)?;
        let (command, arguments) = call(options, &source.origin)?;
        let config = config(options, source)?;
        let mut workers: Vec<usize> = options.workers.iter().map(|workers| *workers as usize).collect();
        workers.sort_unstable();
        workers.dedup();
        let seconds = options.seconds.unwrap_or(SECONDS);
        Ok(Self {
            config,
            command,
            arguments,
            workers,
            callers: options.callers.map(|callers| callers as usize),
            sessions: options.sessions.unwrap_or(0) as usize,
            amount: options.operations.map_or(Amount::Seconds(seconds), |calls| Amount::Operations(calls as usize)),
            start: if options.cold { WorkerStart::Cold } else { WorkerStart::Warm },
            rounds: options.rounds as usize,
        })
    }

    /// Returns the number of call slots of this number of workers.
    pub(super) fn call_slots(&self, workers: usize) -> usize {
        workers * self.config.settings().concurrency as usize
    }

    /// Returns the number of callers for this number of workers.
    pub(super) fn callers(&self, workers: usize) -> usize {
        self.callers.unwrap_or(CALLERS_PER_SLOT * self.call_slots(workers))
    }

    /// Returns the call as it is shown in charts and tables.
    pub(super) fn call(&self) -> String {
        let arguments = Value::from(self.arguments.clone()).to_string();
        let shown: String = arguments.chars().take(MAX_SHOWN).collect();
        let more = if shown == arguments { "" } else { ".." };
        format!("{} {shown}{more}", self.command)
    }
}

fn call(options: &Options, origin: &Origin) -> Outcome<(String, Map<String, Value>)> {
    let (command, arguments) = match (&options.command, origin) {
        (Some(command), _) => (command.as_str(), options.args.as_deref().unwrap_or("{}")),
        (None, Origin::Demo) => DEMO_CALL,
        (None, _) => {
            return Err(CommandError::usage(
                "no command given; name one with --command (it is called thousands of times)",
            ));
        }
    };
    check_object(arguments)?;
    Ok((command.into(), serde_json::from_str(arguments).map_err(CommandError::usage)?))
}

fn config(options: &Options, source: Source) -> Outcome<PoolConfig> {
    let demo_pool = (source.origin == Origin::Demo).then(|| DEMO_POOLS[usize::from(options.sessions.is_some())]);
    let config = source.one(options.pool.as_deref().or(demo_pool))?;
    if options.sessions.is_some() && config.worker_type() == WorkerType::Basic {
        let name = config.name();
        return Err(CommandError::usage(format_args!(
            "--sessions needs an enhanced pool, but `{name}` is basic: use `--enhanced` for an app, or set \
             `worker_type = \"enhanced\"` in the file"
        )));
    }
    Ok(config)
}
