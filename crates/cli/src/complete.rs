//! Completion in shells. The names of pools, commands and arguments are those of the running server; without one, there are
//! none. Holds no state.

use crate::{
    args::{Arguments, ServerAt},
    client::Client,
    commands,
    pool_list::PoolList,
    schema::Schema,
    target::Target,
};
use clap::{Command, CommandFactory};
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate};
use std::env;

/// The options of these commands that take the next word as their value.
const OPTIONS_WITH_VALUE: [&str; 8] =
    ["--arg", "--session", "--timeout", "--url", "--config", "--generation", "--interval", "--release"];

/// The commands whose first argument is a pool of the server.
const COMMANDS_OF_A_SERVER: [&str; 10] =
    ["call", "commands", "kill", "log-level", "quarantine", "recorder", "stack", "status", "top", "why"];

/// If a shell asks for completions (`COMPLETE=bash herder`), prints them and exits.
pub(crate) fn answer_shell() {
    CompleteEnv::with_factory(program).complete();
}

/// Returns the definition of the arguments, with what completes their values.
fn program() -> Command {
    COMMANDS_OF_A_SERVER.iter().fold(Arguments::command(), |program, name| program.mut_subcommand(name, with_names))
}

fn with_names(command: Command) -> Command {
    command.mut_args(|arg| match arg.get_id().as_str() {
        "pool" => arg.add(ArgValueCandidates::new(pools)),
        "command" => arg.add(ArgValueCandidates::new(commands)),
        "args" => arg.add(ArgValueCandidates::new(arguments)),
        _ => arg,
    })
}

/// The line that is being completed: `herder`, a command with a pool, and its options.
struct Line {
    words: Vec<String>,
    url: Option<String>,
}

impl Line {
    /// Reads the line that the shell has appended to its question.
    fn read() -> Self {
        Self::of(env::args().skip_while(|word| word != "--").skip(1))
    }

    fn of(words: impl IntoIterator<Item = String>) -> Self {
        let (mut line, mut words) = (Self { words: Vec::new(), url: env::var("HERDER_URL").ok() }, words.into_iter());
        while let Some(word) = words.next() {
            if OPTIONS_WITH_VALUE.contains(&word.as_str()) {
                let value = words.next();
                line.url = value.filter(|_| word == "--url").or(line.url);
            } else if !word.starts_with('-') {
                line.words.push(word);
            }
        }
        line
    }

    fn client(&self) -> Option<Client> {
        match Target::find(&ServerAt { url: self.url.clone() }, None) {
            Ok(Target::Server(client)) => Some(client),
            _ => None,
        }
    }

    /// Returns the pool, which follows `herder` and its command, and the next word.
    fn pool(&self) -> Option<(&str, Option<&str>)> {
        Some((self.words.get(2)?, self.words.get(3).map(String::as_str)))
    }
}

/// Returns the pools of the server.
fn pools() -> Vec<CompletionCandidate> {
    let list = Line::read().client().and_then(|client| PoolList::ask(&client).ok()).unwrap_or_default();
    list.names().filter(|name| is_plain(name)).map(CompletionCandidate::new).collect()
}

/// Returns the commands of the pool in the line.
fn commands() -> Vec<CompletionCandidate> {
    let line = Line::read();
    let list = line.pool().and_then(|(pool, _)| commands::of_server(&line.client()?, pool).ok());
    let described = list.map(|list| list.commands).unwrap_or_default();
    let candidate = |command: &herder::status::CommandDescription| {
        let help =
            command.description.as_deref().and_then(|text| text.lines().next()).map(|text| text.to_owned().into());
        CompletionCandidate::new(&command.name).help(help)
    };
    described.iter().filter(|command| is_plain(&command.name)).map(candidate).collect()
}

/// Returns the arguments of the command in the line, as `name=`.
fn arguments() -> Vec<CompletionCandidate> {
    let line = Line::read();
    let found = || {
        let (pool, command) = line.pool()?;
        let list = commands::of_server(&line.client()?, pool).ok()?;
        let command = commands::find(&list.commands, command?).ok()?.clone();
        let schema = Schema::parse(command.parameters.get());
        let candidate = |(name, property): (&str, crate::schema::Property<'_>)| {
            CompletionCandidate::new(format!("{name}=")).help(Some(property.shown().into()))
        };
        Some(schema.properties().filter(|(name, _)| is_plain(name)).map(candidate).collect())
    };
    found().unwrap_or_default()
}

/// Returns whether every shell takes the name as one word and as text. Names come from the server, and bash inserts a
/// completion without quotes: it would run the program of a name such as `$(program)`.
fn is_plain(name: &str) -> bool {
    let is_text = |char: char| char.is_alphanumeric() || "_-.:/@+,".contains(char);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(is_text)
}

#[cfg(test)]
mod tests {
    use super::{Line, is_plain};

    #[test]
    fn names_that_a_shell_would_interpret_are_not_completed() {
        for name in ["add", "notebook.run", "a-b_c:d/e", "größe"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "$(id)", "`id`", "a;id", "a b", "a\nb", "a'b", "a\"b", "*", "~", "a|b", "-x", "\u{202e}a"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    #[test]
    fn the_words_of_a_line_are_told_from_its_options() {
        let words = "herder call --session ann --meta carts add --arg item=tea --url http://h:1 --arg";
        let line = Line::of(words.split(' ').map(str::to_owned));
        assert_eq!((line.pool(), line.url.as_deref()), (Some(("carts", Some("add"))), Some("http://h:1")));
    }
}
