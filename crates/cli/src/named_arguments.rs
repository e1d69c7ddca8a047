//! The options `--arg NAME=VALUE`: converts the values by the schema of the command. Reads the files that they name.

use crate::{
    commands::similar,
    error::{CommandError, Outcome},
    problem::check_object,
    schema::{Property, Schema},
};
use herder::status::CommandDescription;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, fs, io::Read};

/// Adds the named arguments to a JSON object. Without a description of the command, a value that is JSON is taken as such, and
/// any other one as a string.
pub(crate) fn merge(
    object: &str,
    args: &[(String, String)],
    command: &str,
    described: Option<&CommandDescription>,
) -> Outcome<String> {
    check_object(object)?;
    let mut arguments: BTreeMap<String, Box<RawValue>> = serde_json::from_str(object).map_err(CommandError::usage)?;
    let schema = Schema::parse(described.map_or("true", |described| described.parameters.get()));
    for (name, text) in args {
        let property = schema.argument(name).ok_or_else(|| unknown(command, name, &schema))?;
        let value = value(name, text, property)?;
        let value = RawValue::from_string(value).map_err(CommandError::usage)?;
        if arguments.insert(name.clone(), value).is_some() {
            return Err(CommandError::usage(format_args!("the argument `{name}` was given twice")));
        }
    }
    serde_json::to_string(&arguments).map_err(CommandError::usage)
}

fn unknown(command: &str, name: &str, schema: &Schema) -> CommandError {
    let names: Vec<&str> = schema.properties().map(|(name, _)| name).collect();
    let hint = similar(name, &names).map_or_else(|| "the".to_owned(), |meant| format!("did you mean `{meant}`? The"));
    let takes = if names.is_empty() { "no arguments".to_owned() } else { names.join(", ") };
    CommandError::usage(format_args!("`{command}` has no argument `{name}`; {hint} command takes {takes}"))
}

/// Returns the JSON of a value.
fn value(name: &str, text: &str, property: Property<'_>) -> Outcome<String> {
    let text = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some("") => return Err(CommandError::usage(no_file(name))),
        Some(text) if text.starts_with('@') => text.to_owned(),
        Some(file) if property.is_base64() => return Ok(quoted(&base64(&read(name, file)?))),
        Some(file) => String::from_utf8(read(name, file)?).map_err(|_| {
            CommandError::usage(format_args!("--arg {name}: `{file}` is not UTF-8, and `{name}` is not binary data"))
        })?,
    };
    let types = property.types();
    let takes_text = types.contains("string");
    if takes_text && (types.len() == 1 || property.prefers_text()) {
        return Ok(quoted(&text));
    }
    match serde_json::from_str::<Box<RawValue>>(&text) {
        Ok(json) if accepts(&types.iter().copied().collect::<Vec<_>>(), json.get()) => Ok(json.get().to_owned()),
        _ if takes_text => Ok(quoted(&text)),
        Ok(_) => Err(wrong(name, &text, property, "")),
        Err(error) => Err(wrong(name, &text, property, &format!(" ({error})"))),
    }
}

fn no_file(name: &str) -> String {
    format!("--arg {name}: the name of a file is missing after `@`; for the text `@`, write `{name}=@@`")
}

fn wrong(name: &str, text: &str, property: Property<'_>, reason: &str) -> CommandError {
    let shown: String = text.chars().take(80).collect();
    CommandError::usage(format_args!(
        "--arg {name}: `{shown}` is invalid; expected JSON of the type {}{reason}",
        property.shown()
    ))
}

/// Returns whether a value has one of these JSON types.
fn accepts(types: &[&str], json: &str) -> bool {
    let is_whole = !json.contains(['.', 'e', 'E']);
    let kind = match json.as_bytes().first() {
        Some(b'"') => "string",
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ if is_whole && types.contains(&"integer") => "integer",
        _ => "number",
    };
    types.contains(&kind)
}

fn read(name: &str, file: &str) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if file == "-" { std::io::stdin().read_to_end(&mut bytes).map(|_| bytes) } else { fs::read(file) };
    read.map_err(|error| CommandError::usage(format_args!("--arg {name}: cannot read `{file}`: {error}")))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Encodes bytes as base64 (RFC 4648), with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(object: &str, args: &[(&str, &str)]) -> Result<String, String> {
        let described = json!({ "name": "add", "parameters": {
            "type": "object", "additionalProperties": false, "properties": {
                "text": { "type": "string" },
                "note": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
                "count": { "type": "integer" },
                "share": { "type": "number" },
                "tags": { "type": "array", "items": { "type": "string" } },
                "price": { "type": ["string", "number"], "format": "decimal" },
                "data": { "type": "string", "contentEncoding": "base64" },
            },
        } });
        let described: CommandDescription = serde_json::from_str(&described.to_string()).unwrap();
        let args: Vec<_> = args.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        merge(object, &args, "add", Some(&described)).map_err(|error| match error {
            CommandError::Usage(text) => text,
            other => panic!("{other:?}"),
        })
    }

    /// R73: each value becomes what the schema of its argument accepts.
    #[test]
    fn r73_named_arguments_are_converted_by_the_schema() {
        for (name, text, json) in [
            ("text", "1", r#""1""#),
            ("text", "@@", r#""@""#),
            ("text", "@@home \"x\"", r#""@home \"x\"""#),
            ("note", "null", "null"),
            ("note", "none", r#""none""#),
            ("note", r#""null""#, r#""null""#),
            ("count", "12345678901234567890123", "12345678901234567890123"),
            ("share", "1", "1"),
            ("share", "0.10", "0.10"),
            ("tags", r#"["a"]"#, r#"["a"]"#),
            ("price", "1.10", r#""1.10""#),
            ("data", "AP8=", r#""AP8=""#),
        ] {
            assert_eq!(merged("{}", &[(name, text)]), Ok(format!(r#"{{"{name}":{json}}}"#)), "{name}={text}");
        }
        assert_eq!(merged(r#"{"text":"a"}"#, &[("count", "1")]), Ok(r#"{"count":1,"text":"a"}"#.into()));
    }

    #[test]
    fn r73_a_wrong_named_argument_names_the_argument_and_its_type() {
        for (object, args, expected) in [
            ("{}", &[("count", "1.5")][..], "--arg count: `1.5` is invalid; expected JSON of the type integer"),
            (
                "{}",
                &[("count", "x")],
                "--arg count: `x` is invalid; expected JSON of the type integer (expected value at",
            ),
            ("{}", &[("tags", "a")], "expected JSON of the type array of string"),
            (
                "{}",
                &[("txt", "a")],
                "`add` has no argument `txt`; did you mean `text`? The command takes count, data, note",
            ),
            (
                "{}",
                &[("tags", "@")],
                "--arg tags: the name of a file is missing after `@`; for the text `@`, write `tags=@@`",
            ),
            ("{}", &[("text", "@/none")], "--arg text: cannot read `/none`: No such file"),
            (r#"{"text":"b"}"#, &[("text", "a")], "the argument `text` was given twice"),
            ("[", &[("text", "a")], "the arguments are not a JSON object"),
        ] {
            let error = merged(object, args).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_is_read_as_base64_for_binary_data() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, text) in
            [(&b""[..], ""), (b"\x00", "AA=="), (b"\x00\xff", "AP8="), (b"abc", "YWJj"), (b"abcd", "YWJjZA==")]
        {
            let file = folder.path().join("data");
            fs::write(&file, bytes).unwrap();
            let given = format!("@{}", file.display());
            assert_eq!(merged("{}", &[("data", &given)]), Ok(format!(r#"{{"data":"{text}"}}"#)));
        }
    }

    /// A pool of workers that describe nothing.
    #[test]
    fn without_a_schema_json_is_recognized() {
        let args = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x".to_owned())];
        assert_eq!(merge("{}", &args, "any", None).unwrap(), r#"{"a":1,"b":"x"}"#);
    }
}
