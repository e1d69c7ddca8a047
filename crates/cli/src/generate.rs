//! `herder generate`: man pages, and the scripts by which shells complete, as files for packages. Both come from the definition of
//! the arguments.

use crate::{
    args::{Arguments, Generate, GenerateCompletions, GenerateMan},
    error::{CommandError, Outcome},
    table,
};
use clap::{Command, CommandFactory};
use clap_complete::env::Shells;
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

/// The name of the program, in `PATH`.
const NAME: &str = "herder";
/// The variable by which the script asks this program for completions.
const VARIABLE: &str = "COMPLETE";

pub(crate) fn run(options: &Generate) -> Outcome {
    match options {
        Generate::Man(GenerateMan { out }) => man(out),
        Generate::Completions(GenerateCompletions { shell }) => completions(&shell.to_string()),
    }
}

/// Writes one page for each command.
fn man(out: &Path) -> Outcome {
    let failed = |error: io::Error| CommandError::failed(format_args!("{}: {error}", out.display()));
    fs::create_dir_all(out).map_err(failed)?;
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let pages = pages(&program).map_err(failed)?;
    for (name, text) in &pages {
        fs::write(out.join(name), text).map_err(failed)?;
    }
    table::print_line(&format!("wrote {} pages to {}", pages.len(), out.display()));
    Ok(())
}

/// Returns the pages of a command and of those below it: the name of the file, and its text.
fn pages(command: &Command) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let page = Man::new(command.clone()).manual("Herder").source(format!("herder {}", env!("CARGO_PKG_VERSION")));
    let mut pages = vec![(page.get_filename().into(), text(command, &page)?)];
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages.extend(self::pages(inner)?);
    }
    Ok(pages)
}

fn text(command: &Command, page: &Man) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (description, sections) = below_options(&help);
    description.to_writer(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    sections.to_writer(&mut text)?;
    if command.get_bin_name() != Some(NAME) {
        let mut more = Roff::new();
        more.control("SH", ["SEE ALSO"]).text([roman("herder(1)")]);
        more.to_writer(&mut text)?;
    }
    Ok(text)
}

/// Converts the text below the options into paragraphs of the description and into sections, in which examples keep their lines. The
/// renderer of clap would join them.
fn below_options(help: &str) -> (Roff, Roff) {
    let (mut description, mut sections) = (Roff::new(), Roff::new());
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        match (first, paragraph.strip_prefix("Exit codes: ")) {
            ("Examples:", _) => lines(sections.control("SH", ["EXAMPLES"]), rest),
            ("Environment:", _) => lines(sections.control("SH", ["ENVIRONMENT"]), rest),
            (_, Some(codes)) => filled(sections.control("SH", ["EXIT STATUS"]), codes),
            _ => filled(description.control("PP", []), paragraph),
        }
    }
    (description, sections)
}

/// Adds lines as they are.
fn lines(roff: &mut Roff, lines: &str) {
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.trim_start())]);
    }
    roff.control("fi", []);
}

/// Adds a paragraph whose lines are broken by the reader.
fn filled(roff: &mut Roff, paragraph: &str) {
    roff.text([roman(paragraph.replace('\n', " "))]);
}

/// Prints the script of a shell. It calls the program in `PATH`, which then completes the names of the running server too.
fn completions(shell: &str) -> Outcome {
    let shells = Shells::builtins();
    let completer =
        shells.completer(shell).ok_or_else(|| CommandError::usage(format_args!("unknown shell {shell}")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, NAME, NAME, NAME, &mut script).map_err(CommandError::failed)?;
    io::stdout().write_all(&script).map_err(CommandError::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_become_sections() {
        let help = "Examples:\n  herder a   one\n  herder b\n\nIt does\nthis.\n\nAnd that.\n\nExit codes: 0 success.";
        let (description, sections) = below_options(help);
        let expected = ".PP\nIt does this.\n.PP\nAnd that.\n";
        assert!(description.to_roff().ends_with(expected), "{}", description.to_roff());
        let expected = ".SH EXAMPLES\n.nf\nherder a   one\nherder b\n.fi\n.SH \"EXIT STATUS\"\n0 success.\n";
        assert!(sections.to_roff().ends_with(expected), "{}", sections.to_roff());
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_a_script() {
        let mut program = Arguments::command().disable_help_subcommand(true);
        program.build();
        let pages = pages(&program).unwrap();
        let page = |name: &str| {
            let found = pages.iter().find(|(file, _)| file.as_os_str() == name);
            String::from_utf8(found.unwrap().1.clone()).unwrap()
        };
        assert!(page("herder.1").contains("herder\\-serve(1)"));
        let install = page("herder-python-install.1");
        assert!(install.contains("\\-\\-venv") && install.contains(".SH EXAMPLES\n.nf\n"), "{install}");
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            assert!(Shells::builtins().completer(shell).is_some(), "{shell}");
        }
    }
}
