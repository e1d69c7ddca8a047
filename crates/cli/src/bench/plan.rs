//! What is to be run, checked: the options, and the pool they are about. Starts nothing.

use super::Options;
use crate::{
    call::check_object,
    error::{CommandError, Outcome},
    source::{Origin, Overrides, Source},
};
use herder::{PoolConfig, WorkerType, efficiency::WorkerStart};
use serde_json::{Map, Value};

/// Callers for each place where a call can run. With one, it would be idle while an answer goes to its caller and the next call
/// comes back; with two, the next call waits there already.
const CALLERS_A_LANE: usize = 2;
/// Unless the user says how much.
const SECONDS: u32 = 2;
/// What is measured unless the user says: a wait, so that cores don't matter.
const DEMO_CALL: (&str, &str) = ("sleep", r#"{"ms":5}"#);
/// Letters of the arguments that are shown.
const LONGEST: usize = 60;
/// Its pools: the second one takes sessions.
const DEMO_POOLS: [&str; 2] = ["basic", "sessions"];

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) config: PoolConfig,
    pub(super) command: String,
    pub(super) arguments: Map<String, Value>,
    /// Rising, each once, at least one.
    pub(super) workers: Vec<usize>,
    pub(super) callers: Option<usize>,
    /// None: the calls belong to no session.
    pub(super) sessions: usize,
    pub(super) amount: Amount,
    pub(super) start: WorkerStart,
    pub(super) rounds: usize,
}

/// How much each run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// So many calls.
    Operations(usize),
    /// So many calls as take this long with nothing lost, by what one pool did before.
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

    /// The places where a call can run, of so many workers.
    pub(super) fn call_slots(&self, workers: usize) -> usize {
        workers * self.config.settings().concurrency as usize
    }

    /// Callers of so many workers.
    pub(super) fn callers(&self, workers: usize) -> usize {
        self.callers.unwrap_or(CALLERS_A_LANE * self.call_slots(workers))
    }

    /// The call, as pictures and tables name it.
    pub(super) fn call(&self) -> String {
        let arguments = Value::from(self.arguments.clone()).to_string();
        let shown: String = arguments.chars().take(LONGEST).collect();
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
    let of_the_demo = (source.origin == Origin::Demo).then(|| DEMO_POOLS[usize::from(options.sessions.is_some())]);
    let config = source.one(options.pool.as_deref().or(of_the_demo))?;
    if options.sessions.is_some() && config.worker_type() == WorkerType::Basic {
        let name = config.name();
        return Err(CommandError::usage(format_args!(
            "--sessions needs an enhanced pool, but `{name}` is basic: use `--enhanced` for an app, or set \
             `worker_type = \"enhanced\"` in the file"
        )));
    }
    Ok(config)
}
