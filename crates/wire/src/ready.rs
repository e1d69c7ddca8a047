//! The table of commands a worker sends when it is ready. Holds no state.

use crate::{FrameError, body::Body};
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, num::NonZeroU32};

/// The worker takes calls, of these commands. No name stands there twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The commands, in the worker's order.
    pub commands: Vec<CommandEntry>,
    /// Replaces the hello's window when loading showed that it can take less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<NonZeroU32>,
}

/// One command of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// What calls name.
    pub name: String,
    /// It may run again elsewhere when its worker dies in the middle.
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
