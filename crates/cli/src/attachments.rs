//! The options `--attach NAME=@FILE` and `--output FILE` of `herder call`: reads the files, and writes the buffer of a result.

use crate::{
    args::Call,
    error::{CommandError, Outcome},
};
use std::{
    fs,
    hash::BuildHasher,
    io::{self, Read, Write},
    path::Path,
};

/// The name that stands for standard input and standard output.
const STANDARD: &str = "-";

/// Reads the files that are attached, by name of the argument.
pub(crate) fn read(options: &Call) -> Outcome<Vec<(String, Vec<u8>)>> {
    let from_stdin = options.attach.iter().filter(|(_, file)| file == STANDARD).count();
    if from_stdin + usize::from(options.arguments == STANDARD) > 1 {
        return Err(CommandError::usage("standard input can be used only once, by one --attach or as the arguments"));
    }
    let read = |(name, file): &(String, String)| {
        let mut bytes = Vec::new();
        let read = match file.as_str() {
            STANDARD => io::stdin().read_to_end(&mut bytes).map(|_| bytes),
            file => fs::read(file),
        };
        let bytes =
            read.map_err(|error| CommandError::usage(format_args!("--attach {name}: cannot read `{file}`: {error}")))?;
        Ok((name.clone(), bytes))
    };
    options.attach.iter().map(read).collect()
}

/// Writes the buffer of a result to the file of `--output`.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> Outcome {
    let written = match file.to_str() {
        // A flush at the exit would ignore errors.
        Some(STANDARD) => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        _ => fs::write(file, bytes),
    };
    written.map_err(|error| CommandError::failed(format_args!("--output: cannot write `{}`: {error}", file.display())))
}

/// Returns the error for a result that is not a single buffer.
pub(crate) fn not_one_buffer(command: &str, count: &str) -> CommandError {
    CommandError::failed(format_args!(
        "--output: the result of `{command}` has {count}, not one; call it without --output to see the result as JSON"
    ))
}

/// A form with the arguments and the attached files, and its media type.
pub(crate) fn form(arguments: &str, attached: &[(String, Vec<u8>)]) -> (String, Vec<u8>) {
    let boundary = boundary();
    let mut body = Vec::new();
    let mut part = |head: &str, data: &[u8]| {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    };
    part("name=\"args\"\r\nContent-Type: application/json", arguments.as_bytes());
    for (name, data) in attached {
        part(&format!("name=\"{name}\"; filename=\"{name}\"\r\nContent-Type: application/octet-stream"), data);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Returns a boundary that was unknown when the files were written, so that none of them has it.
#[expect(clippy::disallowed_types, reason = "random, and no decision of a pool")]
fn boundary() -> String {
    let [first, second] = [0, 1].map(|number| std::collections::hash_map::RandomState::new().hash_one(number));
    format!("herder-{first:016x}{second:016x}")
}
