//! Arguments as they come from callers, and the way between the codecs (R41): what is accepted every reader accepts.
use herder_wire::{MAX_DEPTH, MAX_INTEGER_DIGITS, PayloadError, check_json_object, json_to_msgpack, msgpack_to_json};
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
        r#"{"x":[1,-2.5e-3,1e999,true,false,null,"\ud800","☕\u0000"]}"#,
        r#"{"[[[\"{{{":"}}}]]]\\"}"#,
        r#"{"x":123456789012345678901234567890}"#,
        &long_fraction,
    ] {
        assert_eq!(check_json_object(good.as_bytes()), Ok(()), "{good}");
    }
}

/// Brackets and digits inside of strings are text, also behind an escaped quote.
#[test]
fn r41_strings_are_not_walked_into() {
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
        "\u{feff}{}",
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

#[test]
fn r41_msgpack_that_json_has_no_place_for_is_refused_by_name() {
    let refused = |bytes: &[u8]| msgpack_to_json(bytes).unwrap_err();
    assert_eq!(refused(b"\x81\xa1x\xc4\x01\x00"), PayloadError::Binary);
    assert_eq!(refused(b"\xc4\x00"), PayloadError::Binary);
    assert_eq!(refused(b"\xd4\x05\x00"), PayloadError::Extension);
    assert_eq!(refused(b"\xd6\xff\x00\x00\x00\x00"), PayloadError::Extension);
    for key in [
        &b"\x01"[..],
        b"\xff",
        b"\xc0",
        b"\xc3",
        b"\xc4\x01x",
        b"\x90",
        b"\x80",
        b"\xd4\x05\x00",
        b"\xcb\0\0\0\0\0\0\0\0",
    ] {
        assert_eq!(refused(&[b"\x81", key, b"\x01"].concat()), PayloadError::KeyNotText, "{key:?}");
    }
    assert_eq!(refused(b"\xcb\x7f\xf8\0\0\0\0\0\0"), PayloadError::NotFinite);
    assert_eq!(refused(b"\xca\x7f\x80\0\0"), PayloadError::NotFinite);
    assert_eq!(refused(&[0x91; 1000]), PayloadError::TooDeep);
    // Cut off, a length of 4 GiB that is not there, a byte too many, a byte that means nothing, text that is not UTF-8.
    for bad in
        [&b""[..], b"\x81\xa1", b"\xdb\xff\xff\xff\xffx", b"\xdd\xff\xff\xff\xff", b"\x01\x02", b"\xc1", b"\xa1\xff"]
    {
        assert!(matches!(refused(bad), PayloadError::MalformedMsgpack { .. } | PayloadError::Binary), "{bad:?}");
    }
}

#[test]
fn r41_json_that_msgpack_has_no_place_for_is_refused_by_name() {
    let large = json_to_msgpack(br#"{"x":18446744073709551616}"#);
    assert_eq!(large, Err(PayloadError::IntegerTooLarge("18446744073709551616".into())));
    assert!(json_to_msgpack(br#"[18446744073709551615,-9223372036854775808,1e20]"#).is_ok());
    assert_eq!(json_to_msgpack(nested(MAX_DEPTH + 1).as_bytes()), Err(PayloadError::TooDeep));
    assert!(json_to_msgpack(nested(MAX_DEPTH).as_bytes()).is_ok());
    for bad in ["", "{", "1 2", "{\"x\":--1}", "\"\\ud800\"", "1e999"] {
        assert!(matches!(json_to_msgpack(bad.as_bytes()), Err(PayloadError::Malformed { .. })), "{bad}");
    }
}

#[test]
fn transcoding_keeps_the_order_of_keys() {
    let json = br#"{"z":1,"a":[null,true,-1,2.5,"\u00e9"],"m":{}}"#;
    let msgpack = json_to_msgpack(json).unwrap();
    assert_eq!(msgpack, &b"\x83\xa1z\x01\xa1a\x95\xc0\xc3\xff\xcb\x40\x04\0\0\0\0\0\0\xa2\xc3\xa9\xa1m\x80"[..]);
    assert_eq!(msgpack_to_json(&msgpack).unwrap(), r#"{"z":1,"a":[null,true,-1,2.5,"é"],"m":{}}"#.as_bytes());
}

/// A float stays the float it is. serde_json reads some as a neighbour, unless told not to: found by fuzzing.
#[test]
fn a_float_is_no_other_one_afterwards() {
    for float in ["5.1555555555555556e+23", "-1.363154783600208e+57"] {
        let msgpack = json_to_msgpack(float.as_bytes()).unwrap();
        assert_eq!(msgpack[1..], float.parse::<f64>().unwrap().to_be_bytes());
        assert_eq!(msgpack_to_json(&msgpack).unwrap(), float.as_bytes());
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
    #[test]
    fn values_survive_both_codecs(value in value()) {
        let json = serde_json::to_vec(&value).unwrap();
        let msgpack = json_to_msgpack(&json).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<Value>(&msgpack).unwrap(), value);
        prop_assert_eq!(&msgpack_to_json(&msgpack).unwrap()[..], &json[..]);
    }

    /// One wrong byte in valid arguments: the check and a parser agree on what is left of them.
    #[test]
    fn r41_the_check_agrees_with_a_parser(value in value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&json!({"arguments": value})).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let parsed = serde_json::from_slice(&text);
        // Python reads 1e999, serde_json does not.
        prop_assume!(!parsed.as_ref().is_err_and(|e: &serde_json::Error| e.to_string().contains("out of range")));
        prop_assert_eq!(check_json_object(&text).is_ok(), matches!(parsed, Ok(Value::Object(_))));
    }

    #[test]
    fn r41_garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (check_json_object(&bytes), msgpack_to_json(&bytes), json_to_msgpack(&bytes));
    }
}
