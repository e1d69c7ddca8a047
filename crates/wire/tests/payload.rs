//! Python and serde_json accept all arguments that the check accepts (R41).

use herder_wire::{
    MAX_DEPTH, MAX_INTEGER_DIGITS, PayloadError, check_json, check_json_object, without_byte_order_mark,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn malformed(bytes: &[u8]) -> (usize, usize) {
    match check_json_object(bytes) {
        Err(PayloadError::Malformed { line, column, .. }) => (line, column),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels - 1) + "{}", "}".repeat(levels - 1))
}

#[test]
fn r41_objects_pass_whatever_is_in_them() {
    let long_fraction = format!(r#"{{"x":0.{}}}"#, "1".repeat(5000));
    for good in [
        "{}",
        " \t\r\n{ } ",
        r#"{"a":1,"a":2}"#,
        r#"{"x":[1,-2.5e-3,1e308,1e-999,true,false,null,"\ud800","☕\u0000"]}"#,
        r#"{"[[[\"{{{":"}}}]]]\\"}"#,
        r#"{"x":123456789012345678901234567890}"#,
        &long_fraction,
    ] {
        assert_eq!(check_json_object(good.as_bytes()), Ok(()), "{good}");
    }
}

/// Brackets and digits inside strings are ignored, also after an escaped quote.
#[test]
fn r41_string_contents_do_not_count_as_nesting() {
    let inside = format!(r#"{{"a":"\"{}","b":"\\","c":"{}"}}"#, "[".repeat(200), "9".repeat(5000));
    assert_eq!(check_json_object(inside.as_bytes()), Ok(()));
    let behind = format!(r#"{{"a":"\\","b":{}}}"#, "[".repeat(200));
    assert_eq!(check_json_object(behind.as_bytes()), Err(PayloadError::TooDeep));
}

#[test]
fn r41_malformed_json_is_named_with_its_place() {
    assert_eq!(malformed(b""), (1, 0));
    assert_eq!(malformed(b"{\"x\": NaN}"), (1, 7));
    assert_eq!(malformed(b"{\n\"x\": Infinity}"), (2, 6));
    assert_eq!(malformed(b"{\n\"x\": \xff}"), (2, 6));
    for bad in [
        "{",
        "hello",
        "{'a':1}",
        r#"{"a":1,}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":+1}"#,
        r#"{"a":-}"#,
        "{}x",
        "{}{}",
        "{\"a\":\"\n\"}",
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a"}"#,
        r#"{1:2}"#,
        r#"{"a":-Infinity}"#,
        r#"{"a":"open"#,
        r#"{"a":"open\"#,
        "{]",
        r#"{"a":1e}"#,
        "//{}",
    ] {
        malformed(bad.as_bytes());
    }
}

#[test]
fn r41_arguments_are_an_object() {
    for other in ["[]", "1", "null", "\"{}\"", " [{}]"] {
        assert_eq!(check_json_object(other.as_bytes()), Err(PayloadError::NotAnObject), "{other}");
    }
}

#[test]
fn r41_depth_is_bounded_to_what_every_reader_takes() {
    let deepest = nested(MAX_DEPTH);
    assert_eq!(check_json_object(deepest.as_bytes()), Ok(()));
    serde_json::from_str::<Value>(&deepest).unwrap();
    assert_eq!(check_json_object(nested(MAX_DEPTH + 1).as_bytes()), Err(PayloadError::TooDeep));
    assert_eq!(check_json_object("[".repeat(1_000_000).as_bytes()), Err(PayloadError::TooDeep));
}

#[test]
fn r41_integers_are_as_long_as_python_reads_them() {
    let with = |digits: usize| format!(r#"{{"x":-{}}}"#, "9".repeat(digits));
    assert_eq!(check_json_object(with(MAX_INTEGER_DIGITS).as_bytes()), Ok(()));
    assert_eq!(check_json_object(with(MAX_INTEGER_DIGITS + 1).as_bytes()), Err(PayloadError::IntegerTooLong));
}

/// R39: Python would read the number as infinity.
#[test]
fn r41_a_number_beyond_a_double_is_refused() {
    let long = format!("1{}.5", "0".repeat(400));
    for number in ["1e999", "-1E+309", "1.8e308", &long, &format!("{}e60", "9".repeat(250))] {
        let text = format!(r#"{{"x":[1,{number}]}}"#);
        assert_eq!(check_json_object(text.as_bytes()), Err(PayloadError::NumberTooLarge), "{number}");
        assert_eq!(check_json(text.as_bytes()), Ok(()), "a result passes through as text");
    }
    for number in ["1.7976931348623157e308", "1e-999", "0e999", &"9".repeat(400)] {
        assert_eq!(check_json_object(format!(r#"{{"x":{number}}}"#).as_bytes()), Ok(()), "{number}");
    }
    assert_eq!(check_json_object(br#"{"x":"1e999"}"#), Ok(()), "a text");
}

#[test]
fn a_byte_order_mark_is_skipped_once() {
    let marked = "\u{feff}{}".as_bytes();
    assert_eq!(check_json_object(marked), Ok(()));
    assert_eq!(without_byte_order_mark(marked), b"{}");
    assert_eq!(without_byte_order_mark(b"{}"), b"{}");
    assert_eq!(malformed("\u{feff}\u{feff}{}".as_bytes()), (1, 1));
    assert_eq!(malformed("\u{feff}".as_bytes()), (1, 0));
}

/// R41: a result is inserted into other JSON and must therefore be exactly one value.
#[test]
fn r41_a_result_is_one_value() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    for good in ["1", " null\n", r#"{"a":"\ud800"}"#, &deep] {
        assert_eq!(check_json(good.as_bytes()), Ok(()));
    }
    for bad in ["", " ", "1,2", r#"1,"meta":{}"#, "NaN", "{", "[1]]", "\"\n\"", "\u{feff}1"] {
        assert!(matches!(check_json(bad.as_bytes()), Err(PayloadError::Malformed { .. })), "{bad:?}");
    }
    assert!(check_json(b"\"\xff\"").is_err());
}

/// A float keeps its value. Without the feature `float_roundtrip` serde_json reads some floats as a neighbor; found by fuzzing.
#[test]
fn a_float_is_read_exactly() {
    for float in ["5.1555555555555556e+23", "-1.363154783600208e+57"] {
        assert_eq!(serde_json::from_str::<f64>(float).unwrap(), float.parse::<f64>().unwrap());
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| json!(f64::from(number) / 8.0)),
        any::<f64>().prop_filter("JSON has them", |float| float.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// One byte of valid arguments is changed: the check and a parser agree on the result.
    #[test]
    fn r41_the_check_agrees_with_a_parser(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&json!({"arguments": value})).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let parsed = serde_json::from_slice(&text);
        // Python accepts 1e999, serde_json does not.
        prop_assume!(!parsed.as_ref().is_err_and(|e: &serde_json::Error| e.to_string().contains("out of range")));
        prop_assert_eq!(check_json_object(&text).is_ok(), matches!(parsed, Ok(Value::Object(_))));
    }

    #[test]
    fn r41_garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = check_json_object(&bytes);
    }
}
