//! `docs/cli.md`: its tables list every command, and each command's arguments and options with their help. `HERDER_BLESS=1`
//! writes the tables of options.

use crate::args::Arguments;
use clap::{Arg, Command, CommandFactory};
use std::{env, fs, path::PathBuf};

const HEADINGS: &str = "| argument or option | meaning |";

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md")
}

fn commands() -> Vec<Command> {
    let mut program = Arguments::command();
    program.build();
    let all = program.get_subcommands().filter(|command| command.get_name() != "help").cloned();
    // A group such as `herder python` stands for its subcommands.
    all.flat_map(|command| {
        let inner: Vec<_> = command.get_subcommands().filter(|inner| inner.get_name() != "help").cloned().collect();
        if inner.is_empty() { vec![command] } else { inner }
    })
    .collect()
}

/// Returns the command as it is typed, without `herder`.
fn typed(command: &Command) -> &str {
    let name = command.get_bin_name().unwrap_or_default();
    name.strip_prefix("herder ").unwrap_or(name)
}

/// The row of an argument or option: how it is written, its help, and its default.
fn row(arg: &Arg) -> String {
    let value = || match arg.get_value_names() {
        Some([name]) => name.to_string(),
        names => panic!("{}: {names:?}", arg.get_id()),
    };
    let takes_value = arg.get_action().takes_values();
    let written = match arg.get_long() {
        None => value(),
        Some(long) if takes_value && arg.is_require_equals_set() => format!("--{long}[={}]", value()),
        Some(long) if takes_value => format!("--{long} {}", value()),
        Some(long) => format!("--{long}"),
    };
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if let [default] = arg.get_default_values()
        && takes_value
    {
        meaning += &format!(" [default: {}]", default.display());
    }
    if let Some(variable) = arg.get_env() {
        meaning += &format!(" [env: {}]", variable.display());
    }
    format!("| `{}` | {} |", written.replace('|', "\\|"), meaning.replace('|', "\\|"))
}

fn rows(command: &Command) -> Vec<String> {
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help";
    command.get_arguments().filter(shown).map(row).collect()
}

/// The page with these tables of options.
fn with_tables(page: &str, commands: &[Command]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut command = None;
    let mut in_table = false;
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            command = commands.iter().find(|command| heading == format!("`herder {}`", typed(command)));
        }
        in_table &= line.starts_with('|');
        if !in_table {
            lines.push(line.into());
        } else if line.starts_with("|---") {
            lines.push(line.into());
            lines.extend(command.map(rows).unwrap_or_else(|| panic!("a table of options belongs to no command")));
        }
        in_table |= line == HEADINGS;
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_tables_of_options_are_those_of_the_program() {
    let page = fs::read_to_string(file()).unwrap();
    let commands = commands();
    assert_eq!(page.matches(HEADINGS).count(), commands.len(), "each command has a table");
    let expected = with_tables(&page, &commands);
    if env::var_os("HERDER_BLESS").is_some() {
        return fs::write(file(), expected).unwrap();
    }
    let first = page.lines().zip(expected.lines()).find(|(line, expected)| line != expected);
    assert!(first.is_none(), "docs/cli.md differs; HERDER_BLESS=1 writes it. The first line that differs: {first:#?}");
    assert_eq!(page, expected);
}

#[test]
fn every_command_is_listed_with_a_section() {
    let page = fs::read_to_string(file()).unwrap();
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| [`herder ")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let sections: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("## `herder ")?.strip_suffix('`')).collect();
    let commands = commands();
    let names: Vec<&str> = commands.iter().map(typed).collect();
    assert_eq!((listed, sections), (names.clone(), names));
}
