//! `herder check`: reads a configuration file, or an app as `serve` takes it, and reports its problems, with the same checks as `serve`, and asks each
//! interpreter for its version. Starts no workers, except with `--import`.

use crate::{
    access::Access,
    args::Check,
    commands,
    error::{CommandError, Outcome},
    logs,
    python::{Interpreter, without_tokens},
    source::{Origin, Overrides, Source, is_app},
    table,
};
use herder::{
    PoolConfig,
    config::{Config, ConfigError, EnvMode, Launch, StartMethod},
    status::{CommandDescription, PoolName, TemplateStatus},
};
use std::{env, process::Command};

/// Checks a file or an app.
pub(crate) fn run(options: &Check) -> Outcome {
    let source = match options.file.to_str().filter(|text| is_app(text)) {
        Some(app) => Source::of(Some(app), Overrides::default())?.with_programs()?,
        None => {
            let Config { server, traces, pools, .. } =
                Config::load_with_programs(&options.file).map_err(|error| refused(options, error))?;
            Source { origin: Origin::File(options.file.clone()), server, traces, pools }
        }
    };
    if let Err(CommandError::Usage(text) | CommandError::Failed(text)) =
        Access::decide(source.server.listen, &source, false)
    {
        return Err(problems(options, &[format!("server.listen: {text}")]));
    }
    interpreters(options, &source.pools)?;
    if options.import {
        import(options, &source.pools)?;
    }
    let count = source.pools.len();
    let pools: Vec<_> = source.pools.iter().map(shown).collect();
    let noun = if count == 1 { "pool" } else { "pools" };
    table::print_line(&format!("ok: {count} {noun}: {}; listens on {}", pools.join(", "), source.server.listen));
    Ok(())
}

fn refused(options: &Check, error: ConfigError) -> CommandError {
    match error {
        ConfigError::Invalid { ref problems, .. } => {
            table::print_line(&error.to_string());
            count_error(options, problems.len())
        }
        other => CommandError::usage(other),
    }
}

/// Prints problems on standard output, one per line, for editors and `grep`: they are the output of this command.
fn problems(options: &Check, problems: &[String]) -> CommandError {
    problems.iter().for_each(|problem| table::print_line(&format!("{}: {problem}", options.file.display())));
    count_error(options, problems.len())
}

fn count_error(options: &Check, count: usize) -> CommandError {
    let noun = if count == 1 { "problem" } else { "problems" };
    CommandError::usage(format_args!("{count} {noun} in {}", options.file.display()))
}

/// Prints the interpreter of each pool. Fails if one of them is too old.
fn interpreters(options: &Check, pools: &[PoolConfig]) -> Outcome {
    let mut too_old = Vec::new();
    for config in pools {
        let name = config.name();
        match interpreter_command(config).map(Interpreter::ask) {
            None => {}
            Some(Ok(interpreter)) => match interpreter.too_old() {
                Some(reason) => too_old.push(format!("pools.{name}.python: {reason}")),
                None => table::print_line(&format!("{name}: {interpreter}")),
            },
            // A wrapper may accept only the arguments of a worker.
            Some(Err(reason)) => table::print_line(&format!("{name}: unknown version of Python: {reason}")),
        }
    }
    if too_old.is_empty() { Ok(()) } else { Err(problems(options, &too_old)) }
}

/// Returns a command for the interpreter in the directory and with the variables of the first worker, but without those of
/// numeric libraries.
pub(crate) fn interpreter_command(config: &PoolConfig) -> Option<Command> {
    let Launch::App { python, .. } = config.launch() else { return None };
    let mut command = Command::new(python);
    if config.env_mode() == EnvMode::Clean {
        let kept = herder::CLEAN_ENV_VARIABLES.iter().filter_map(|key| Some((key, env::var_os(key)?)));
        command.env_clear().envs(kept);
    }
    without_tokens(&mut command).env("HERDER_SLOT", "0").current_dir(config.cwd());
    command.envs(config.env().iter().map(|(key, value)| (key, value.replace("{slot}", "0"))));
    Some(command)
}

/// Starts one worker of each pool, one pool after the other.
fn import(options: &Check, pools: &[PoolConfig]) -> Outcome {
    // The reasons are printed below. A worker that does not import the installed package says why.
    logs::start("off,herder_actors::shared_state::installed_package=warn")?;
    let mut failed = Vec::new();
    for config in pools {
        let name = config.name();
        match commands::of_started(config) {
            Ok((commands, template)) => {
                commands.iter().for_each(|command| print_command(name, command));
                template
                    .iter()
                    .for_each(|template| table::print_line(&format!("{name}: template: {}", result(template))));
            }
            Err(error) => failed.push(format!("pools.{name}: {error}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(problems(options, &failed)) }
}

/// Prints a command with its arguments, and why its JSON Schemas are incomplete.
fn print_command(pool: &PoolName, command: &CommandDescription) {
    table::print_line(&format!("{pool}: {}", commands::signature(command)));
    if let Some(reason) = &command.schema_error {
        table::print_line(&format!("{pool}: {}: incomplete JSON Schema: {reason}", command.name));
    }
}

/// Describes whether the workers of a pool can be forked.
fn result(template: &TemplateStatus) -> String {
    match template {
        TemplateStatus::Ready { .. } => "ready, workers are forked from it".into(),
        TemplateStatus::Unfit { reason } | TemplateStatus::Absent { reason: Some(reason) } => {
            format!("not possible, workers are spawned: {reason}")
        }
        _ => "not ready".into(),
    }
}

fn shown(pool: &PoolConfig) -> String {
    format!("{} ({})", pool.name(), kind(pool))
}

/// Describes the type of a pool, and how many workers it has and how they start.
pub(crate) fn kind(pool: &PoolConfig) -> String {
    let workers = if pool.pool_size() == 1 { "worker" } else { "workers" };
    let start = if pool.start() == StartMethod::Template { ", forked from a template" } else { "" };
    let lazy = if pool.is_lazy() { ", started by the first call" } else { "" };
    format!("{}, {} {workers}{start}{lazy}", pool.worker_type().name(), pool.pool_size())
}
