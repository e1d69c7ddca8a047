//! `herder call`: one call, sent to a running server or made on a pool that is started for it.

use crate::{
    args::Call,
    client::{Client, path, token},
    error::{CommandError, Outcome},
    logs,
    problem::{check_object, problem},
    source::{Overrides, Source},
    table,
};
use actix_rt::System;
use bytes::Bytes;
use herder::{Error, Pool, Reply, config::duration};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::{io::Read, time::Duration};

/// The byte order mark, with which piped files may start.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// A response with a result and metadata, not decoded.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

/// Makes the call, and prints its result.
pub(crate) fn run(options: &Call) -> Outcome {
    // The command prints the error of its call itself.
    logs::start("warn,herder::call=off")?;
    let arguments = arguments(options)?;
    let answer = match &options.server.url {
        Some(url) => remote(&Client::new(url, token(None)), options, &arguments)?,
        None => {
            let source = source(options)?;
            let configured = source.server.token.as_ref().map(|token| token.expose().to_owned());
            let client = Client::new(&format!("http://{}", source.server.listen), token(configured));
            if client.answers() { remote(&client, options, &arguments)? } else { local(source, options, arguments)? }
        }
    };
    print(&answer, options.meta)
}

fn source(options: &Call) -> Outcome<Source> {
    match &options.config {
        Some(file) => Source::file(file, Overrides::default()),
        None => Source::of(None, Overrides::default()),
    }
}

fn arguments(options: &Call) -> Outcome<String> {
    if options.arguments != "-" {
        return Ok(options.arguments.clone());
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

fn remote(client: &Client, options: &Call, arguments: &str) -> Outcome<String> {
    let mut headers = Vec::new();
    headers.extend(options.session.iter().map(|session| ("Herder-Session", session.clone())));
    headers.extend(options.timeout.map(|timeout| ("Herder-Timeout", duration::show(timeout))));
    headers.extend(options.idempotent.then(|| ("Herder-Idempotent", "true".to_owned())));
    client.post(&path(&[&options.pool, "call", &options.command]), &headers, arguments)
}

/// Starts the pool, makes the call, and stops the pool.
fn local(source: Source, options: &Call, arguments: String) -> Outcome<String> {
    check_object(&arguments)?;
    let config = source.named(&options.pool)?;
    let reply = System::new().block_on(async {
        let pool = Pool::start(config).await?;
        let reply = call(&pool, options, arguments).await;
        if let Err(error) = pool.shutdown(Duration::from_secs(5)).await {
            tracing::warn!(%error, "pool shutdown failed");
        }
        reply
    });
    reply.and_then(|reply| serde_json::to_string(&reply).map_err(Error::decode)).map_err(|error| problem(&error))
}

async fn call(pool: &Pool, options: &Call, arguments: String) -> Result<Reply, Error> {
    let mut call = pool.call_json::<IgnoredAny>(&options.command, Bytes::from(arguments));
    if let Some(session) = &options.session {
        call = call.session(session);
    }
    if let Some(timeout) = options.timeout {
        call = call.timeout(timeout);
    }
    if options.idempotent {
        call = call.idempotent(true);
    }
    call.reply().await
}
