//! `herder python`: the Python package of this program, for editors and type checkers. `interpreter` asks an interpreter for
//! its version and folders; `herder check` uses it too.

mod install;
mod interpreter;
mod script;

pub(crate) use install::run as install;
pub(crate) use interpreter::Interpreter;
pub(crate) use script::inline_python;

/// The variable with the server's token. No program that this command starts gets it: interpreters run the code of their
/// environments, and uv that of packages.
pub(crate) const TOKEN: &str = "HERDER_TOKEN";
