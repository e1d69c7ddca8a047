//! Who may call: whether a token is needed, and where it comes from. Decided once, at the start.

use crate::{
    error::{CommandError, Outcome},
    source::{ALLOW_CODE, Source},
};
use herder::{EnvMode, PoolConfig, config::Token};
use std::{env, net::SocketAddr};

const VARIABLE: &str = "HERDER_TOKEN";

/// Who may call.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Whoever reaches the server.
    Everyone,
    /// Who shows this token. Its owner knows it already.
    Token(Token),
    /// Who shows this token, made up just now: its owner has to be told.
    NewToken(Token),
}

impl Access {
    /// A token is needed where others reach the server, and where calls may run any code.
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

    /// The token to ask for.
    pub(super) fn token(&self) -> Option<&Token> {
        match self {
            Self::Everyone => None,
            Self::Token(token) | Self::NewToken(token) => Some(token),
        }
    }
}

/// The environment goes before the file: it is nearer to who starts the server.
fn configured_token(source: &Source) -> Outcome<Option<Token>> {
    match env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => {
            text.parse().map(Some).map_err(|error| CommandError::usage(format_args!("{VARIABLE}: {error}")))
        }
        _ => Ok(source.server.token.clone()),
    }
}

/// However its workers come to the variable, it opens `notebook.run`.
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
