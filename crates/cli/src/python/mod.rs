//! `herder python`: the Python package of this program, for editors and type checkers. `interpreter` asks an interpreter for
//! its version and folders; `herder check` uses it too. `imports` measures the import of an app for `herder doctor`. `probe`
//! runs the interpreter for both.

mod imports;
mod install;
mod interpreter;
mod probe;
mod script;

pub(crate) use imports::Imports;
pub(crate) use install::run as install;
pub(crate) use interpreter::{Interpreter, without_tokens};
pub(crate) use script::inline_python;
