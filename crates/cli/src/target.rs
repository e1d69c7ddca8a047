//! Whom a command asks about a pool: a running server, or the pool itself, which the command starts.

use crate::{
    access::Tokens,
    args::ServerAt,
    client::Client,
    error::Outcome,
    source::{Overrides, Source},
};
use herder::config::Server;
use std::path::Path;

/// Where a call goes.
pub(crate) enum Target {
    /// A running server.
    Server(Client),
    /// A pool of this configuration, which the command must start.
    Local(Box<Source>),
}

impl Target {
    /// Returns the server that was named, or else the one that answers at the configured address, or else the configuration.
    pub(crate) fn find(server: &ServerAt, config: Option<&Path>) -> Outcome<Self> {
        if let Some(url) = &server.url {
            return Ok(Self::Server(Client::new(url, Tokens::of_client(&Server::default())?)));
        }
        let source = match config {
            Some(file) => Source::file(file, Overrides::default())?,
            None => Source::of(None, Overrides::default())?,
        };
        let url = format!("http://{}", source.server.listen);
        if !Client::new(&url, None).answers() {
            return Ok(Self::Local(Box::new(source)));
        }
        Ok(Self::Server(Client::new(&url, Tokens::of_client(&source.server)?)))
    }
}
