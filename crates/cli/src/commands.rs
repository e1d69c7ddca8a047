//! `herder commands`: prints the commands of a pool, which it asks a running server or a worker that it starts. Other
//! subcommands use the descriptions too.

use crate::{
    args::Commands,
    client::{Client, path},
    error::{CommandError, Outcome},
    logs,
    problem::problem,
    schema::Schema,
    table::{self, aligned, shown},
    target::Target,
};
use actix_rt::System;
use herder::{
    Error, Pool, PoolConfig,
    status::{CommandDescription, Status, TemplateStatus},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The timeout for stopping a worker that was started for its descriptions.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The answer to `GET /v1/pools/{pool}/commands`.
#[derive(Deserialize, Serialize)]
pub(crate) struct CommandList {
    pool: String,
    pub(crate) commands: Vec<CommandDescription>,
}

/// Prints all commands, or one command in detail.
pub(crate) fn run(options: &Commands) -> Outcome {
    logs::start("warn")?;
    let mut list = match Target::find(&options.server, options.config.as_deref())? {
        Target::Server(client) => {
            let list = of_server(&client, &options.pool)?;
            if list.commands.is_empty() && !options.json {
                check_ready(&client, &options.pool)?;
            }
            list
        }
        Target::Local(source) => {
            let commands = of_worker(&source.named(&options.pool)?).map_err(|error| problem(&error))?;
            CommandList { pool: options.pool.clone(), commands: commands.to_vec() }
        }
    };
    if let Some(name) = &options.command {
        list.commands = vec![find(&list.commands, name)?.clone()];
    }
    let text = match (options.json, list.commands.as_slice()) {
        (true, _) => serde_json::to_string(&list).map_err(CommandError::failed)?,
        (false, [command]) if options.command.is_some() => details(&list.pool, command),
        (false, commands) => overview(commands),
    };
    table::print_line(&text);
    Ok(())
}

/// Fails if no worker is ready, which is why a pool without commands has none.
fn check_ready(client: &Client, pool: &str) -> Outcome {
    let list = client.json(&path(&[]))?;
    let found = list["pools"].as_array().into_iter().flatten().find(|entry| entry["pool"] == pool);
    match found.map(|entry| (&entry["ready_workers"], shown(&entry["state"]))) {
        Some((ready, state)) if *ready == 0 => Err(CommandError::failed(format_args!(
            "no worker of pool `{pool}` has been ready, so its commands are not known; the pool is {state}: \
             `herder status {pool}` shows why"
        ))),
        _ => Ok(()),
    }
}

/// Asks a server for the commands of a pool.
pub(crate) fn of_server(client: &Client, pool: &str) -> Outcome<CommandList> {
    serde_json::from_str(&client.get(&path(&[pool, "commands"]))?)
        .map_err(|error| CommandError::failed(format_args!("the server's response is malformed: {error}")))
}

/// Starts one worker of a pool, asks it for its commands, and stops it.
pub(crate) fn of_worker(config: &PoolConfig) -> Result<Arc<[CommandDescription]>, Error> {
    of_started(config).map(|(commands, _)| commands)
}

/// Like [`of_worker`]. Also returns the state of the template that was started first, in a pool with one.
pub(crate) fn of_started(config: &PoolConfig) -> Result<(Arc<[CommandDescription]>, Option<TemplateStatus>), Error> {
    with_worker(config, |commands, status| (commands, status.template))
}

/// Starts one worker of a pool, examines it, and stops it.
pub(crate) fn with_worker<T>(
    config: &PoolConfig,
    examine: impl FnOnce(Arc<[CommandDescription]>, Status) -> T,
) -> Result<T, Error> {
    let config = config.clone().with_pool_size(1)?.with_overflow(0)?.with_lazy(false);
    System::new().block_on(async {
        let pool = Pool::start(config).await?;
        let (commands, status) = (pool.commands().await, pool.status().await);
        let examined = commands.and_then(|commands| Ok(examine(commands, status?)));
        pool.shutdown(STOP_TIMEOUT).await?;
        examined
    })
}

/// Returns the command of this name.
///
/// # Errors
/// Fails if there is none, with the most similar name.
pub(crate) fn find<'a>(commands: &'a [CommandDescription], name: &str) -> Outcome<&'a CommandDescription> {
    commands.iter().find(|command| command.name == name).ok_or_else(|| {
        let names: Vec<&str> = commands.iter().map(|command| command.name.as_str()).collect();
        let hint = match similar(name, &names) {
            Some(meant) => format!("did you mean `{meant}`? Available"),
            None => "available".to_owned(),
        };
        CommandError::failed(format_args!("unknown command `{name}`; {hint} commands: {}", names.join(", ")))
    })
}

/// Returns the name that was probably meant: the nearest one, if at most a third of its letters differ.
pub(crate) fn similar<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = names.iter().map(|name| (strsim::osa_distance(given, name), *name));
    near.filter(|(distance, name)| *distance <= usize::max(1, name.len() / 3)).min().map(|(_, name)| name)
}

/// Returns a command with its arguments and its result, as in `add(item: string, count: integer = 1) -> array of string`.
pub(crate) fn signature(command: &CommandDescription) -> String {
    let result = command.result.as_ref().map(|result| format!(" -> {}", Schema::parse(result.get()).shown()));
    format!("{}({}){}", command.name, arguments(command), result.unwrap_or_default())
}

fn arguments(command: &CommandDescription) -> String {
    let schema = Schema::parse(command.parameters.get());
    let mut shown: Vec<String> = schema
        .properties()
        .map(|(name, property)| {
            let value = match (property.default(), schema.requires(name)) {
                (Some(default), _) => format!(" = {default}"),
                (None, true) => String::new(),
                (None, false) => " = ..".into(),
            };
            format!("{name}: {}{value}", property.shown())
        })
        .collect();
    if schema.additional().is_some() {
        shown.push("..".into());
    }
    shown.join(", ")
}

fn overview(commands: &[CommandDescription]) -> String {
    let row = |command: &CommandDescription| {
        let first = command.description.as_deref().and_then(|text| text.lines().next()).unwrap_or("-");
        let session = if command.needs_session { "required" } else { "-" };
        vec![command.name.clone(), or_dash(arguments(command)), session.into(), first.to_owned()]
    };
    aligned(&["COMMAND", "ARGUMENTS", "SESSION", "DESCRIPTION"], &commands.iter().map(row).collect::<Vec<_>>())
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

fn details(pool: &str, command: &CommandDescription) -> String {
    let schema = Schema::parse(command.parameters.get());
    let mut text = signature(command);
    if let Some(description) = &command.description {
        text += &format!("\n\n{}", description.trim_end());
    }
    let rows: Vec<Vec<String>> = schema
        .properties()
        .map(|(name, property)| {
            let presence = match (property.default(), schema.requires(name)) {
                (Some(default), _) => default,
                (None, true) => "required".into(),
                (None, false) => "optional".into(),
            };
            vec![name.to_owned(), property.shown(), presence, property.description().unwrap_or("").to_owned()]
        })
        .collect();
    if !rows.is_empty() {
        text += &format!("\n\n{}", aligned(&["ARGUMENT", "TYPE", "DEFAULT", "DESCRIPTION"], &rows));
    }
    if command.stream {
        text += "\n\nIts result can be taken as a stream: with --stream, each item is printed as it arrives.";
    }
    if let Some(reason) = &command.schema_error {
        text += &format!("\n\nThe JSON Schema is incomplete: {reason}");
    }
    text + &format!("\n\nExample:\n  {}", example(pool, command, &schema))
}

/// Returns a command line that calls the command with its required arguments.
fn example(pool: &str, command: &CommandDescription, schema: &Schema) -> String {
    let required = schema.properties().filter(|(name, _)| schema.requires(name));
    let mut args: String = required.map(|(name, property)| format!(" --arg {name}={}", property.sample())).collect();
    if schema.properties().next().is_none() && schema.additional().is_some() {
        // Arguments of any name, such as those of a batch: which ones it needs is unknown.
        args = " '{\"KEY\": VALUE}'".into();
    }
    let session = if command.needs_session { " --session ID" } else { "" };
    format!("herder call {pool} {}{args}{session}", command.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(parameters: &str) -> CommandDescription {
        let text = format!(
            r#"{{"name": "add", "description": "Adds an item.\n\nMore.", "needs_session": true, "parameters": {parameters},
                "result": {{"type": "array", "items": {{"type": "string"}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// A text, since a `Value` would not keep the order.
    const PARAMETERS: &str = r##"{
        "type": "object", "additionalProperties": false, "required": ["item", "order"],
        "properties": {
            "item": { "type": "string", "description": "what to add" },
            "order": { "$ref": "#/$defs/Order" },
            "count": { "type": "integer", "default": 1 },
            "note": { "anyOf": [{ "type": "string" }, { "type": "null" }] }
        },
        "$defs": { "Order": { "type": "object" } }
    }"##;

    #[test]
    fn r73_commands_are_shown_with_their_arguments() {
        let add = described(PARAMETERS);
        assert_eq!(
            signature(&add),
            "add(item: string, order: Order, count: integer = 1, note: string | null = ..) -> array of string"
        );
        assert_eq!(
            overview(std::slice::from_ref(&add)),
            "COMMAND  ARGUMENTS                                                                 SESSION   DESCRIPTION\n\
             add      item: string, order: Order, count: integer = 1, note: string | null = ..  required  Adds an item."
        );
        assert_eq!(
            details("carts", &add),
            "add(item: string, order: Order, count: integer = 1, note: string | null = ..) -> array of string\n\n\
             Adds an item.\n\nMore.\n\n\
             ARGUMENT  TYPE           DEFAULT   DESCRIPTION\n\
             item      string         required  what to add\n\
             order     Order          required\n\
             count     integer        1\n\
             note      string | null  optional\n\n\
             Example:\n  herder call carts add --arg item=TEXT --arg order='{..}' --session ID"
        );
    }

    #[test]
    fn r73_a_command_without_a_schema_takes_any_arguments() {
        let any = described(r#"{"type": "object"}"#);
        assert_eq!(signature(&any), "add(..) -> array of string");
        assert!(details("carts", &any).ends_with("\n  herder call carts add '{\"KEY\": VALUE}' --session ID"));
    }

    #[test]
    fn an_unknown_command_is_answered_with_a_similar_one() {
        let commands = [described(r#"{"type": "object"}"#)];
        let Err(CommandError::Failed(text)) = find(&commands, "ad") else { panic!() };
        assert_eq!(text, "unknown command `ad`; did you mean `add`? Available commands: add");
    }
}
