//! The arguments of `herder generate`.

use clap::{Args, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

const MAN_EXAMPLES: &str = "\
Examples:
  herder generate man --out /usr/local/share/man/man1
  herder generate man --out man && man man/herder-serve.1

Writes herder.1 and a page for each command, such as herder-serve.1.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  herder generate completions bash > /usr/share/bash-completion/completions/herder
  herder generate completions zsh > /usr/local/share/zsh/site-functions/_herder
  herder generate completions fish > ~/.config/fish/completions/herder.fish

The script calls the `herder` in PATH, which also completes the names of pools and commands of the running server. For one user, a line in
the shell's own configuration does the same: source <(herder generate completions bash)";

/// Files for packages.
#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// Write man pages
    Man(GenerateMan),
    /// Print the completion script of a shell
    Completions(GenerateCompletions),
}

#[derive(Args, Debug)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct GenerateMan {
    /// The folder to write to; it is created
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct GenerateCompletions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
