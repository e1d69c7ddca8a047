//! Whom a command asks about a pool: a running server, or the pool itself, which the command starts.

use crate::{
    args::ServerAt,
    client::{Client, token},
    error::Outcome,
    source::{Overrides, Source},
};
use std::path::Path;

/// Where a call goes.
pub(crate) enum Target {
    /// A running server.
    Server(Client),
    /// A pool of this configuration, which the command must start.
    Local(Source),
}

impl Target {
    /// Returns the server that was named, or else the one that answers at the configured address, or else the configuration.
    pub(crate) fn find(server: &ServerAt, config: Option<&Path>) -> Outcome<Self> {
        if let Some(url) = &server.url {
            return Ok(Self::Server(Client::new(url, token(None))));
        }
        let source = match config {
            Some(file) => Source::file(file, Overrides::default())?,
            None => Source::of(None, Overrides::default())?,
        };
        let configured = source.server.token.as_ref().map(|token| token.expose().to_owned());
        let client = Client::new(&format!("http://{}", source.server.listen), token(configured));
        Ok(if client.answers() { Self::Server(client) } else { Self::Local(source) })
    }
}
