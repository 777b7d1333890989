use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<String, String> {
    let matchers: Result<Matchers, _> = text.parse();
    matchers
        .map(|it| it.to_string())
        .map_err(|error| error.to_string())
}

#[test]
fn both_syntaxes_are_read() {
    let cases = [
        ("", "{}"),
        ("{}", "{}"),
        ("foo=bar", r#"{foo="bar"}"#),
        (r#"{foo="bar",}"#, r#"{foo="bar"}"#),
        (r#"foo=~"a|b", bar!=c"#, r#"{foo=~"a|b",bar!="c"}"#),
        (r#"foo!~"[0-9]+""#, r#"{foo!~"[0-9]+"}"#),
        (r#" foo = "a, b" "#, r#"{foo="a, b"}"#),
        // Only the classic syntax takes these.
        ("foo=", r#"{foo=""}"#),
        ("foo=bar baz", r#"{foo="bar baz"}"#),
        ("{foo=bar", r#"{foo="bar"}"#),
        // Only the newer one takes these.
        (r#"{"a b"="c"}"#, r#"{"a b"="c"}"#),
        ("größe=xl", r#"{größe="xl"}"#),
        (r#"foo="\u00e9""#, r#"{foo="\\u00e9"}"#),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn an_error_says_the_column() {
    let cases = [
        (
            "{foo",
            "column 5: unexpected end of input: expected an operator",
        ),
        (
            r#""a b"=c, ~"#,
            "column 10: unexpected `~`: expected label name",
        ),
        (r#""a b"="c"#, "missing end"),
        (
            r#"é="c" d"#,
            "column 7: unexpected `d`: expected a comma or the end",
        ),
    ];
    for (text, expected) in cases {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(
        read("foo=~\"(\"")
            .unwrap_err()
            .contains("regular expression")
    );
}

#[test]
fn a_label_that_is_not_there_is_empty_and_expressions_match_whole_values() {
    let labels = Labels::from_iter([("job", "shop"), ("env", "prod")]);
    let cases = [
        (r#"job="shop""#, true),
        (r#"job=~"sho""#, false),
        (r#"job=~"sho.*""#, true),
        (r#"none="""#, true),
        (r#"none!="""#, false),
        (r#"none!~".+""#, true),
        (r#"job="shop",env!="prod""#, false),
    ];
    for (text, expected) in cases {
        let matchers: Matchers = text.parse().unwrap();
        assert_eq!(matchers.matches(&labels), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(name in "[a-zA-Z_][a-z0-9_]{0,8}", value in "\\PC{0,12}", op in 0_usize..2) {
        let operator = [Operator::Equal, Operator::NotEqual][op];
        let matchers = Matchers::from(vec![Matcher::new(name, operator, value).unwrap()]);
        prop_assert_eq!(matchers.to_string().parse::<Matchers>().unwrap(), matchers);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,30}") {
        let _ = text.parse::<Matchers>();
    }
}
