//! Access to the server: which tokens are required, and their sources. Decided once, at the start.

use crate::{
    error::{CommandError, Outcome},
    logs::{self, PROGRAM},
    source::{ALLOW_CODE, Source},
};
use herder::{
    PoolConfig,
    config::{EnvMode, Server, Token},
};
use std::{
    env,
    ffi::OsString,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

const ADMIN: &str = "HERDER_TOKEN";
const CALL: &str = "HERDER_CALL_TOKEN";
const METRICS: &str = "HERDER_METRICS_TOKEN";
/// The permission of users who are neither the owner of a file nor in its group to read it.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The callers that may use the server.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Everyone who can reach the server.
    Everyone,
    /// Callers that send a configured token.
    Tokens(Tokens),
    /// Callers that send this token of administrators, which was generated at the start and must be printed.
    NewToken {
        admin: Token,
        /// The configured token for the metrics only.
        metrics: Option<Token>,
    },
}

/// The configured tokens. That of administrators or that of callers is set in an [`Access`].
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    /// The token for every route.
    pub(crate) admin: Option<Token>,
    /// The token for calls only.
    pub(crate) call: Option<Token>,
    /// The token for the metrics only.
    pub(crate) metrics: Option<Token>,
}

impl Access {
    /// Decides who may use the server. A token is required if other machines can reach the server, or if calls can run
    /// any code. Blocks on the file system, if a token is in a file. Logs a warning for each file that every user can read.
    pub(crate) fn decide(listen: SocketAddr, source: &Source, allow_code: bool) -> Outcome<Self> {
        let tokens = Tokens::configured(&source.server)?;
        for path in exposed_files(&source.server).iter().map(|path| path.display()) {
            tracing::warn!(target: PROGRAM, "every user of this machine can read the token file {path}; run `chmod o= {path}`");
        }
        if tokens.admin.is_some() || tokens.call.is_some() {
            return Ok(Self::Tokens(tokens));
        }
        if !listen.ip().to_canonical().is_loopback() {
            return Err(CommandError::usage(format_args!(
                "{listen} is reachable from other machines, so a token is required: set `server.token` or {ADMIN}, \
                 or listen on 127.0.0.1"
            )));
        }
        if allow_code || source.pools.iter().any(runs_any_code) {
            Ok(Self::NewToken { admin: random()?, metrics: tokens.metrics })
        } else if tokens.metrics.is_some() {
            Err(CommandError::usage(format_args!(
                "the token of metrics (`server.metrics_token` or {METRICS}) is set, but no other one, so everybody could use \
                 every route without it: set `server.token` or {ADMIN} as well"
            )))
        } else {
            Ok(Self::Everyone)
        }
    }

    /// Returns who may use the server, in words.
    pub(crate) fn describe(&self) -> String {
        let Self::Tokens(Tokens { admin, call, metrics }) = self else {
            let metrics = if self.metrics_token().is_some() { ", and one for the metrics is set" } else { "" };
            return match self {
                Self::Everyone => "no token: everyone who reaches the server is an administrator".into(),
                _ => format!("a token is generated at each start{metrics}"),
            };
        };
        let set = [(admin, "administrators"), (call, "callers"), (metrics, "metrics")];
        let names: Vec<&str> = set.into_iter().filter_map(|(token, name)| token.as_ref().map(|_| name)).collect();
        format!("tokens are required; set for: {}", names.join(", "))
    }

    /// Returns the token for every route.
    pub(crate) fn admin_token(&self) -> Option<&Token> {
        match self {
            Self::Everyone => None,
            Self::Tokens(tokens) => tokens.admin.as_ref(),
            Self::NewToken { admin, .. } => Some(admin),
        }
    }

    /// Returns the token for calls only.
    pub(crate) fn call_token(&self) -> Option<&Token> {
        match self {
            Self::Tokens(tokens) => tokens.call.as_ref(),
            Self::Everyone | Self::NewToken { .. } => None,
        }
    }

    /// Returns the token for the metrics only.
    pub(crate) fn metrics_token(&self) -> Option<&Token> {
        match self {
            Self::Everyone => None,
            Self::Tokens(tokens) => tokens.metrics.as_ref(),
            Self::NewToken { metrics, .. } => metrics.as_ref(),
        }
    }
}

impl Tokens {
    /// Returns the tokens that the server requires: of each kind, that of the environment, or else that of the file. The
    /// environment has priority, because the person who starts the server sets it.
    fn configured(server: &Server) -> Outcome<Self> {
        let one = |variable, token: &Option<Token>, file: &Option<PathBuf>| {
            // The file is not read if the environment has the token.
            match of_environment(variable)? {
                None => of_setting(token.as_ref(), file.as_deref()),
                set => Ok(set),
            }
        };
        let admin = one(ADMIN, &server.token, &server.token_file)?;
        let call = one(CALL, &server.call_token, &server.call_token_file)?;
        let metrics = one(METRICS, &server.metrics_token, &server.metrics_token_file)?;
        const NAMES: [&str; 3] = [
            "of administrators (`server.token`)",
            "of callers (`server.call_token`)",
            "of metrics (`server.metrics_token`)",
        ];
        let all = [&admin, &call, &metrics];
        for (first, second) in [(0, 1), (0, 2), (1, 2)] {
            if all[first].is_some() && all[first] == all[second] {
                return Err(CommandError::usage(format_args!(
                    "the token {} is the same as that {}: choose different ones",
                    NAMES[second], NAMES[first]
                )));
            }
        }
        Ok(Self { admin, call, metrics })
    }

    /// Returns the token that a client sends. One of the environment is preferred to one of the file, and then that of
    /// administrators to that of callers. A token that is set but cannot be read is an error: the client never sends another
    /// one instead.
    pub(crate) fn of_client(server: &Server) -> Outcome<Option<Token>> {
        for variable in [ADMIN, CALL] {
            if let Some(token) = of_environment(variable)? {
                return Ok(Some(token));
            }
        }
        for (token, file) in [(&server.token, &server.token_file), (&server.call_token, &server.call_token_file)] {
            if let Some(token) = of_setting(token.as_ref(), file.as_deref())? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }
}

/// Returns the token files of a server that every user of this machine can read.
pub(crate) fn exposed_files(server: &Server) -> Vec<PathBuf> {
    let kinds = [(ADMIN, &server.token_file), (CALL, &server.call_token_file), (METRICS, &server.metrics_token_file)];
    let of_kind = |(variable, file): (&str, &Option<PathBuf>)| match set(&file_variable(variable)) {
        Some(path) => Some(PathBuf::from(path)),
        None => file.clone().filter(|_| set(variable).is_none()),
    };
    let is_exposed =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & READABLE_BY_OTHERS != 0);
    kinds.into_iter().filter_map(of_kind).filter(is_exposed).collect()
}

fn file_variable(variable: &str) -> String {
    format!("{variable}_FILE")
}

/// Returns the value of an environment variable that is not empty.
fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|text| !text.is_empty())
}

/// Returns the token of the variable, or that in the file named by the variable with `_FILE`.
fn of_environment(variable: &str) -> Outcome<Option<Token>> {
    let file_variable = file_variable(variable);
    match (set(variable), set(&file_variable)) {
        (Some(_), Some(_)) => Err(CommandError::usage(format_args!("set only one of {variable} and {file_variable}"))),
        (Some(text), None) => {
            let parsed = text.to_string_lossy().parse().map(Some);
            parsed.map_err(|error| CommandError::usage(format_args!("{variable}: {error}")))
        }
        (None, Some(path)) => read(Path::new(&path)).map(Some),
        (None, None) => Ok(None),
    }
}

/// Returns a token of the configuration, which has it or names its file.
fn of_setting(token: Option<&Token>, file: Option<&Path>) -> Outcome<Option<Token>> {
    match (token, file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(path)) => read(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// Reads a token file. One that is a pipe may keep this waiting: after a moment, it says so.
fn read(path: &Path) -> Outcome<Token> {
    let (read, waiting) = mpsc::channel::<()>();
    let name = path.display().to_string();
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        thread::spawn(move || say_after_a_moment(&waiting, &name));
    }
    let token = Token::from_file(path).map_err(CommandError::usage);
    drop(read);
    token
}

#[expect(clippy::disallowed_methods, reason = "a pipe that is written at once is not worth a line")]
fn say_after_a_moment(read: &Receiver<()>, name: &str) {
    if read.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        logs::write_line(&format!("waiting for the token: nobody has written it to {name} and closed it yet"));
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
