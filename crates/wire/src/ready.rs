//! The command table that a worker sends when it is ready. Holds no state.

use crate::{FrameError, body::Body};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, num::NonZeroU32};

/// The command table of a worker. Each name occurs once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The commands, in the order in which the worker registered them.
    pub commands: Vec<CommandEntry>,
    /// Replaces the window of the hello if the worker has found while loading that it can accept fewer calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<NonZeroU32>,
}

/// One command of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// The name that calls use.
    pub name: String,
    /// Whether a call of this command may run again on another worker after its worker died.
    #[serde(default)]
    pub idempotent: bool,
}

impl Ready {
    pub(crate) fn parse(body: &Body) -> Result<Self, FrameError> {
        let ready: Self = body.json()?;
        let mut names = HashSet::new();
        match ready.commands.iter().find(|command| !names.insert(command.name.as_str())) {
            Some(twice) => Err(FrameError::DuplicateCommand(twice.name.clone())),
            None => Ok(ready),
        }
    }
}
