//! Problem documents (RFC 9457): as text for a terminal, and as the error of a command whose call failed. Pure.

use crate::error::{CommandError, Outcome};
use herder::{Error, error::ArgumentError};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use std::collections::HashMap;

/// Renders a problem document. The first line contains the error; the other lines contain details for finding the
/// cause.
pub(crate) fn render(problem: &Value) -> String {
    let detail = problem["detail"].as_str().unwrap_or("the server returned an error without details");
    let mut text = detail.to_owned();
    let facts = facts(problem);
    if !facts.is_empty() {
        text += &format!("\n  {}", facts.join("; "));
    }
    let errors = problem["errors"].as_array().into_iter().flatten();
    for error in errors.filter_map(|error| ArgumentError::deserialize(error).ok()) {
        text += &format!("\n  {error}");
    }
    if !problem["data"].is_null() {
        text += &format!("\n  data {}", problem["data"]);
    }
    if let Some(help) = problem["help"].as_str() {
        text += &format!("\n  {help}");
    }
    let earlier =
        problem["attempt_errors"].as_array().into_iter().flatten().filter_map(|error| error["detail"].as_str());
    for (number, detail) in (1..).zip(earlier) {
        text += &format!("\n  attempt {number}: {detail}");
    }
    if let Some(traceback) = problem["traceback"].as_str() {
        text += &indented(traceback.lines());
    }
    if let Some(stack) = problem["stack"].as_str() {
        text += "\n  stack of the hung worker:";
        text += &indented(stack.lines());
    }
    if let Some(lines) = problem["stderr_tail"].as_array().filter(|lines| !lines.is_empty()) {
        text += "\n  the worker's last output:";
        text += &indented(lines.iter().filter_map(Value::as_str));
    }
    text
}

fn facts(problem: &Value) -> Vec<String> {
    let mut facts = Vec::new();
    if let (Some(kind), Some(status)) = (problem["type"].as_str(), problem["status"].as_u64()) {
        facts.push(format!("{} ({status})", kind.rsplit('/').next().unwrap_or(kind)));
    }
    if let (Some(worker), Some(generation)) = (problem["worker"].as_str(), problem["generation"].as_u64()) {
        facts.push(format!("worker {worker} generation {generation}"));
    }
    for (key, name) in [("exit_status", "exit status"), ("signal", "signal"), ("code", "code")] {
        match &problem[key] {
            Value::Null => {}
            Value::String(text) => facts.push(format!("{name} {text}")),
            value => facts.push(format!("{name} {value}")),
        }
    }
    if let Some(id) = problem["error_id"].as_str() {
        facts.push(format!("error id {id}"));
    }
    if problem["retryable"] == true {
        facts.push("retryable".into());
    }
    facts
}

fn indented<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.map(|line| format!("\n    {line}")).collect()
}

/// Converts the error of a call into a problem document.
pub(crate) fn problem(error: &Error) -> CommandError {
    serde_json::to_value(error.problem()).map_or_else(|_| CommandError::failed(error), CommandError::Problem)
}

/// Converts the error of a command that is called repeatedly. An unknown command, or arguments that it refuses, are an
/// error in the usage of `herder`.
pub(crate) fn refused(error: &Error) -> CommandError {
    match error {
        Error::UnknownCommand { .. } | Error::BadArguments { .. } | Error::Malformed { .. } => {
            CommandError::usage(error)
        }
        _ => problem(error),
    }
}

/// Refuses a text that is not a JSON object.
pub(crate) fn check_object(arguments: &str) -> Outcome {
    let object = serde_json::from_str::<HashMap<String, IgnoredAny>>(arguments);
    object.map(drop).map_err(|error| {
        CommandError::usage(format_args!(
            "the arguments are not a JSON object: {error}\n  write them as {}",
            as_object(arguments)
        ))
    })
}

/// Returns how to write the arguments: for `n=1`, `'{"n": 1}'`.
fn as_object(arguments: &str) -> String {
    let Some((name, value)) = arguments.split_once('=').filter(|(name, _)| is_name(name)) else {
        return "'{\"name\": \"value\", \"count\": 1}'".into();
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    format!("'{{{}: {value}}}'", Value::from(name))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{as_object, render};
    use serde_json::json;

    #[test]
    fn arguments_are_shown_as_json() {
        assert_eq!(as_object("n=1"), r#"'{"n": 1}'"#);
        assert_eq!(as_object("item=green tea"), r#"'{"item": "green tea"}'"#);
        for other in ["", "[1]", "{n=1}", "tea"] {
            assert_eq!(as_object(other), r#"'{"name": "value", "count": 1}'"#, "{other}");
        }
    }

    #[test]
    fn problems_are_rendered_as_text() {
        let problem = json!({
            "type": "https://herder.invalid/errors/exception", "status": 500, "detail": "ValueError: no",
            "worker": "w1", "generation": 2, "traceback": "Traceback\n  File", "stderr_tail": ["a", "b"], "retryable": false,
            "stack": "Current thread\n  File", "error_id": "7f",
        });
        let expected = "ValueError: no\n  exception (500); worker w1 generation 2; error id 7f\n    Traceback\n      File\n  \
                        stack of the hung worker:\n    Current thread\n      File\n  \
                        the worker's last output:\n    a\n    b";
        assert_eq!(render(&problem), expected);
        let lost = json!({ "detail": "lost", "attempts": 2, "attempt_errors": [{ "detail": "worker w2 of generation 1 is lost" }] });
        assert_eq!(render(&lost), "lost\n  attempt 1: worker w2 of generation 1 is lost");
        let wrong = json!({ "detail": "wrong arguments: no", "errors": [
            { "loc": ["order", "lines", 0, "price"], "msg": "Input should be a valid number", "type": "float_type" },
            { "loc": 1 }, { "loc": ["count"], "msg": "Field required", "type": "missing", "input": {} },
        ] });
        let expected =
            "wrong arguments: no\n  order.lines[0].price: Input should be a valid number\n  count: Field required";
        assert_eq!(render(&wrong), expected);
        assert_eq!(render(&json!({ "detail": "d", "errors": {} })), "d");
        let rejected = json!({ "detail": "no", "code": "out", "data": { "left": 0 } });
        assert_eq!(render(&rejected), "no\n  code out\n  data {\"left\":0}");
        assert_eq!(render(&json!(null)), "the server returned an error without details");
    }
}
