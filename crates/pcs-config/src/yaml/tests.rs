use super::*;

fn file(text: &str) -> Result<Node, Vec<ConfigError>> {
    parse_file(&"f".into(), text)
}

/// The tree as one line: `key@line:column=value`.
fn shown(node: &Node) -> String {
    match &node.raw {
        Raw::Scalar(scalar) => format!("{:?}({})@{}", scalar.ty, scalar.text, node.place),
        Raw::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Raw::Map(entries) => {
            let show = |entry: &Entry| format!("{}@{}={}", entry.key, entry.place, shown(&entry.node));
            format!("{{{}}}", entries.iter().map(show).collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn texts_types_and_places_are_kept() {
    let cases = [
        ("", "Null()@f"),
        ("# nothing\n", "Null()@f"),
        ("---\n...\n", "Null()@f"),
        ("a: 1", "{a@f:1:1=Number(1)@f:1:4}"),
        (
            "a: 0123\nb: 1e3\nc: 0x1f",
            "{a@f:1:1=Text(0123)@f:1:4, b@f:2:1=Number(1e3)@f:2:4, c@f:3:1=Number(0x1f)@f:3:4}",
        ),
        (
            "a: \"1\"\nb: '~'",
            "{a@f:1:1=Text(1)@f:1:4, b@f:2:1=Text(~)@f:2:4}",
        ),
        (
            "a: true\nb: ~\nc:\n",
            "{a@f:1:1=Bool(true)@f:1:4, b@f:2:1=Null(~)@f:2:4, c@f:3:1=Null()@f:3:3}",
        ),
        (
            "a:\n  - b: x\n  - {c: [1, 2]}\n",
            "{a@f:1:1=[{b@f:2:5=Text(x)@f:2:8}, {c@f:3:6=[Number(1)@f:3:10, Number(2)@f:3:13]}]}",
        ),
        ("a: |\n  x\n  y\n", "{a@f:1:1=Text(x\ny\n)@f:1:4}"),
        (
            "1: x\ntrue: y",
            "{1@f:1:1=Text(x)@f:1:4, true@f:2:1=Text(y)@f:2:7}",
        ),
        (
            "a: &x [1]\nb: *x",
            "{a@f:1:1=[Number(1)@f:1:8], b@f:2:1=[Number(1)@f:1:8]}",
        ),
        (
            "a: 99999999999999999999999999",
            "{a@f:1:1=Number(99999999999999999999999999)@f:1:4}",
        ),
        ("a: .inf", "{a@f:1:1=Number(.inf)@f:1:4}"),
        ("\u{feff}a: 1", "{a@f:1:1=Number(1)@f:1:4}"),
        ("a: {}\nb: []", "{a@f:1:1={}, b@f:2:1=[]}"),
    ];
    for (text, expected) in cases {
        let got = file(text).map(|node| shown(&node));
        assert_eq!(got.as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_yaml_is_refused_with_its_place() {
    let cases = [
        (
            "a: [1",
            "f:2:1: this is no YAML: did not find expected ',' or ']'",
        ),
        (
            "a: b: c",
            "f:1:5: this is no YAML: mapping values are not allowed in this context",
        ),
        (
            "a:\n\t- b",
            "f:2:1: this is no YAML: found character that cannot start any token",
        ),
        ("a: *nowhere", "f:1:4: this is no YAML: unknown anchor"),
        (
            "a: 1\n---\nb: 2",
            "f: this is no YAML: deserializing from YAML containing more than one document is not supported",
        ),
        (
            "a: !secret hunter2",
            "f:1:4: this is no YAML: YAML tags (`!name`) have no meaning here",
        ),
        (
            "a: !!int hunter2",
            "f:1:4: this is no YAML: a value does not fit its tag (`!!name`)",
        ),
        (
            "a: {hunter2: !secret b}",
            "f:1:14: this is no YAML: YAML tags (`!name`) have no meaning here",
        ),
        ("? [a]\n: b", "f:1:1: this is no YAML: a key has to be a text"),
        (
            "a: 1\nb: 2\na: hunter2",
            "f:3:1: the key `a` stands here twice, first in line 1",
        ),
        (
            "x:\n  a: 1\n  a: hunter2",
            "f:3:3: the key `a` stands here twice, first in line 2",
        ),
        ("a: {<<: hunter2}", "f:1:5: `<<` needs a map or a list of maps"),
    ];
    for (text, expected) in cases {
        let errors = file(text).expect_err(text);
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert!(lines.concat().starts_with(expected), "{text}: {lines:?}");
        assert!(!lines.concat().contains("hunter2"), "{lines:?}");
    }
}

#[test]
fn merge_keys_are_applied_and_own_entries_win() {
    let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd:\n  <<: *a\n";
    let mut node = file(text).unwrap();
    let keys = |node: &Node| shown(node).matches("Number").count();
    let c = node.get_mut("c").unwrap();
    let value = |node: &Node, key: &str| shown(&node.get(key).unwrap().node);
    assert!(value(c, "x").starts_with("Number(3)"));
    assert!(value(c, "y").starts_with("Number(1)"));
    assert!(value(c, "z").starts_with("Number(2)"));
    assert_eq!(keys(c), 3);
    assert_eq!(keys(node.get_mut("d").unwrap()), 2);
}

#[test]
fn bombs_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [before.as_str(); 9].join(", ")
        ));
    }
    let errors = file(&bomb).expect_err("aliases multiply");
    assert!(errors[0].message.contains("repetition limit"), "{errors:?}");
    let errors = file(&"[".repeat(5000)).expect_err("brackets pile up");
    assert_eq!(errors.len(), 1);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[-a:{}\\[\\]&*<!|>'\"#,~ \n\t0-9é?%@`$]{0,60}") {
        let _ = file(&text);
    }

    #[test]
    fn a_place_points_at_its_key(depth in 0usize..5, before in 0usize..5, key in "[a-z]{1,8}") {
        let mut text = "# x\n".repeat(before);
        for level in 0..depth {
            text.push_str(&format!("{}k:\n", "  ".repeat(level)));
        }
        text.push_str(&format!("{}{key}: 1\n", "  ".repeat(depth)));
        let node = file(&text).unwrap();
        let mut at = &node;
        for _ in 0..depth {
            at = &at.get("k").unwrap().node;
        }
        let place = &at.get(&key).unwrap().place;
        let expected = format!("f:{}:{}", before + depth + 1, depth * 2 + 1);
        proptest::prop_assert_eq!(place.to_string(), expected);
    }
}
