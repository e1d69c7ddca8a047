//! Access to the server: whether a token is required, and its source. Decided once, at the start.

use crate::{
    error::{CommandError, Outcome},
    source::{ALLOW_CODE, Source},
};
use herder::{
    PoolConfig,
    config::{EnvMode, Token},
};
use std::{env, net::SocketAddr};

const VARIABLE: &str = "HERDER_TOKEN";

/// The callers that may use the server.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Everyone who can reach the server.
    Everyone,
    /// Callers that send this token, which was configured.
    Token(Token),
    /// Callers that send this token, which was generated at the start and must be printed.
    NewToken(Token),
}

impl Access {
    /// Decides who may use the server. A token is required if other machines can reach the server, or if calls can run
    /// any code.
    pub(crate) fn decide(listen: SocketAddr, source: &Source, allow_code: bool) -> Outcome<Self> {
        if let Some(token) = configured_token(source)? {
            return Ok(Self::Token(token));
        }
        if !listen.ip().to_canonical().is_loopback() {
            return Err(CommandError::usage(format_args!(
                "{listen} is reachable from other machines, so a token is required: set `server.token` or {VARIABLE}, \
                 or listen on 127.0.0.1"
            )));
        }
        if allow_code || source.pools.iter().any(runs_any_code) {
            Ok(Self::NewToken(random()?))
        } else {
            Ok(Self::Everyone)
        }
    }

    /// Returns the required token.
    pub(crate) fn token(&self) -> Option<&Token> {
        match self {
            Self::Everyone => None,
            Self::Token(token) | Self::NewToken(token) => Some(token),
        }
    }
}

/// Returns the token of the environment, or else that of the file. The environment has priority, because the person who
/// starts the server sets it.
fn configured_token(source: &Source) -> Outcome<Option<Token>> {
    match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => {
            text.parse().map(Some).map_err(|error| CommandError::usage(format_args!("{VARIABLE}: {error}")))
        }
        _ => Ok(source.server.token.clone()),
    }
}

/// Returns whether calls of the pool can run any code. The variable enables `notebook.run`, whether it is set in the
/// pool or inherited.
fn runs_any_code(pool: &PoolConfig) -> bool {
    match pool.env().get(ALLOW_CODE) {
        Some(value) => value == "1",
        None => pool.env_mode() == EnvMode::Inherit && env::var(ALLOW_CODE).is_ok_and(|value| value == "1"),
    }
}

fn random() -> Outcome<Token> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| CommandError::failed(format_args!("cannot generate a token: {error}")))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.parse().map_err(CommandError::failed)
}
