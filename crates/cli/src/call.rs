//! `herder call`: one call, sent to a running server or made on a pool that is started for it.

use crate::{
    args::Call,
    attachments, call_stream,
    client::{Client, path},
    commands,
    error::{CommandError, Outcome},
    logs::{self, PROGRAM},
    named_arguments,
    problem::{check_object, problem},
    source::{Origin, Source, name_of},
    table,
    target::Target,
};
use actix_rt::System;
use bytes::Bytes;
use herder::{Error, Pool, Reply, config::duration, status::CommandDescription};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::{io::Read, path::Path, time::Duration};

/// The byte order mark, with which piped files may start.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A response with a result and metadata, not decoded.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

/// The answer of a successful call.
enum Answer {
    /// The result with its metadata.
    Json(String),
    /// The only buffer of the result, for `--output`.
    Buffer(Vec<u8>),
    /// The items of a stream, which are printed already.
    Stream,
}

/// Makes the call, and prints its result.
pub(crate) fn run(options: &Call) -> Outcome {
    // The command prints the error of its call itself.
    logs::start("warn,herder::call=off")?;
    if options.pool.contains(':') {
        return Err(CommandError::usage(not_a_pool(&options.pool, &options.command)));
    }
    let attached = attachments::read(options)?;
    let arguments = arguments(options)?;
    check_object(&arguments)?;
    let answer = match Target::find(&options.server, options.config.as_deref())? {
        Target::Server(client) => remote(&client, options, arguments, attached),
        Target::Local(source) => local(*source, options, arguments, attached),
    };
    match answer.map_err(|error| with_help(error, options))? {
        Answer::Json(text) => print(&text, options.meta),
        Answer::Buffer(bytes) => attachments::write(options.output.as_deref().unwrap_or(Path::new("-")), &bytes),
        Answer::Stream => Ok(()),
    }
}

/// Returns how to call an app that was given instead of a pool.
fn not_a_pool(app: &str, command: &str) -> String {
    let name = name_of(app).unwrap_or_else(|_| "NAME".into());
    format!(
        "`{app}` is an app, not the name of a pool: run `herder serve {app}`, and then `herder call {name} {command}` in another \
         terminal"
    )
}

/// Adds what to do if neither a server nor a configuration file was found.
fn with_hint(error: CommandError) -> CommandError {
    match error {
        CommandError::Usage(text) => CommandError::Usage(format!(
            "{text}\n  no server answers at the default address, and there is no herder.toml here: run \
             `herder serve path/to/file.py:app` in another terminal first, or name a file with --config"
        )),
        other => other,
    }
}

/// Says where the arguments of the command are shown, if they did not fit.
fn with_help(mut error: CommandError, options: &Call) -> CommandError {
    if let CommandError::Problem(problem) = &mut error
        && problem["type"].as_str().is_some_and(|kind| kind.ends_with("/bad-arguments"))
    {
        let Call { pool, command, .. } = options;
        problem["help"] = format!("`herder commands {pool} {command}` shows the arguments").into();
    }
    error
}

fn arguments(options: &Call) -> Outcome<String> {
    if options.arguments != "-" {
        let is_empty = options.arguments.trim().is_empty();
        return Ok(if is_empty { "{}".into() } else { options.arguments.clone() });
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| CommandError::usage(format_args!("cannot read standard input: {error}")))?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.remove(0);
    }
    Ok(text)
}

fn print(answer: &str, with_meta: bool) -> Outcome {
    let envelope: Envelope<'_> = serde_json::from_str(answer)
        .map_err(|error| CommandError::failed(format_args!("the server's response is malformed: {error}")))?;
    table::print_line(if with_meta { answer } else { envelope.result.get() });
    Ok(())
}

/// Adds the arguments of `--arg`, converted by the schema of the command. Without such options, the schema is not needed.
fn complete(arguments: &str, options: &Call, described: &[CommandDescription]) -> Outcome<String> {
    match described.is_empty() {
        // The pool has had no worker so far.
        true => named_arguments::merge(arguments, &options.args, &options.command, None),
        false => {
            let command = commands::find(described, &options.command)?;
            named_arguments::merge(arguments, &options.args, &options.command, Some(command))
        }
    }
}

fn remote(client: &Client, options: &Call, mut arguments: String, attached: Vec<(String, Vec<u8>)>) -> Outcome<Answer> {
    if !options.args.is_empty() {
        arguments = complete(&arguments, options, &commands::of_server(client, &options.pool)?.commands)?;
    }
    let mut headers = Vec::new();
    headers.extend(options.session.iter().map(|session| ("Herder-Session", session.clone())));
    headers.extend(options.timeout.map(|timeout| ("Herder-Timeout", duration::show(timeout))));
    headers.extend(options.idempotent.then(|| ("Herder-Idempotent", "true".to_owned())));
    headers.extend(options.headers.iter().map(|(name, value)| (name.as_str(), value.clone())));
    headers.extend(options.idle_timeout.map(|idle| ("Herder-Idle-Timeout", duration::show(idle))));
    let path = path(&[&options.pool, "call", &options.command]);
    if attached.is_empty() && options.output.is_none() {
        if options.stream {
            let content = ("application/json", arguments.as_bytes());
            return call_stream::remote(client, &path, headers, content).map(|()| Answer::Stream);
        }
        return client.post(&path, &headers, &arguments).map(Answer::Json);
    }
    if options.output.is_some() {
        headers.push(("Accept", "application/octet-stream".to_owned()));
    }
    let (media_type, form) = attachments::form(&arguments, &attached);
    drop(attached);
    if options.stream {
        return call_stream::remote(client, &path, headers, (&media_type, &form)).map(|()| Answer::Stream);
    }
    let (received, body) = client.post_bytes(&path, &headers, (&media_type, &form))?;
    let media_type = received.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match (&options.output, media_type.split(';').next().unwrap_or_default()) {
        (None, _) => String::from_utf8(body)
            .map(Answer::Json)
            .map_err(|_| CommandError::failed("the server's response is not valid UTF-8")),
        // Not the media type: a buffer may have any, also that of JSON.
        (Some(_), _) if received.contains_key("herder-pointer") => Ok(Answer::Buffer(body)),
        (Some(_), "multipart/mixed") => Err(attachments::not_one_buffer(&options.command, "several buffers")),
        (Some(_), _) => Err(attachments::not_one_buffer(&options.command, "no buffer")),
    }
}

/// Starts the pool, makes the call, and stops the pool.
fn local(source: Source, options: &Call, arguments: String, attached: Vec<(String, Vec<u8>)>) -> Outcome<Answer> {
    let demo = source.origin == Origin::Demo;
    let config = source.named(&options.pool).map_err(|error| if demo { with_hint(error) } else { error })?;
    let reply = System::new().block_on(async {
        let pool = Pool::start(config.with_lazy(false)).await.map_err(|error| problem(&error))?;
        let reply = call(&pool, options, arguments, attached).await;
        if let Err(error) = pool.shutdown(Duration::from_secs(5)).await {
            tracing::warn!(target: PROGRAM, %error, "pool shutdown failed");
        }
        reply
    })?;
    let Some(reply) = reply else { return Ok(Answer::Stream) };
    match (&options.output, reply.buffers()) {
        (None, _) => serde_json::to_string(&reply).map(Answer::Json).map_err(|error| problem(&Error::decode(error))),
        (Some(_), [buffer]) => Ok(Answer::Buffer(buffer.bytes().to_vec())),
        (Some(_), []) => Err(attachments::not_one_buffer(&options.command, "no buffer")),
        (Some(_), _) => Err(attachments::not_one_buffer(&options.command, "several buffers")),
    }
}

/// Makes the call. Returns its reply, unless it is a stream, which is printed.
async fn call(
    pool: &Pool,
    options: &Call,
    mut arguments: String,
    attached: Vec<(String, Vec<u8>)>,
) -> Outcome<Option<Reply>> {
    if !options.args.is_empty() {
        let described = pool.commands().await.map_err(|error| problem(&error))?;
        arguments = complete(&arguments, options, &described)?;
    }
    let mut call = pool.call_json::<IgnoredAny>(&options.command, Bytes::from(arguments));
    for (name, bytes) in attached {
        call = call.attach(&name, bytes);
    }
    if options.output.is_some() {
        call = call.take_buffers();
    }
    if let Some(session) = &options.session {
        call = call.session(session);
    }
    if let Some(timeout) = options.timeout {
        call = call.timeout(timeout);
    }
    if options.idempotent {
        call = call.idempotent(true);
    }
    for (name, value) in &options.headers {
        check_forwarded(pool, name)?;
        call = call.header(name, value);
    }
    if let Some(idle) = options.idle_timeout {
        call = call.idle(idle);
    }
    if options.stream {
        return call_stream::local(call).await.map(|()| None);
    }
    call.reply().await.map(Some).map_err(|error| problem(&error))
}

/// Refuses a header that a server would not pass on to the handler.
fn check_forwarded(pool: &Pool, name: &str) -> Outcome {
    let forwarded = pool.config().forward_headers().iter().map(|each| &**each);
    match forwarded.chain(["traceparent", "tracestate"]).any(|each| each.eq_ignore_ascii_case(name)) {
        true => Ok(()),
        false => Err(CommandError::usage(format_args!(
            "the handlers of the pool `{}` do not get the header `{name}`; add it to `forward_headers` of the pool",
            pool.name()
        ))),
    }
}
