use super::*;

/// `name=value` pairs, sorted.
fn labels(text: &str) -> LabelSet {
    let mut pairs: Vec<_> = text
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .collect();
    pairs.sort_unstable();
    let mut labels = LabelSet::default();
    for (name, value) in pairs {
        labels.load(name, value);
    }
    labels
}

fn relabel(rules: &str, series: &str) -> Option<String> {
    let rules: Vec<RelabelConfig> = serde_saphyr::from_str(rules).unwrap();
    let mut labels = labels(series);
    let is_kept = Relabel::new(&rules).unwrap().apply(&mut labels);
    labels.sort();
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    is_kept.then(|| pairs.join(" "))
}

#[test]
fn each_action_does_what_it_does_in_prometheus() {
    let cases: &[(&str, &str, Option<&str>)] = &[
        // replace
        (
            "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}]",
            "a=foo b=bar",
            Some("a=foo b=bar d=choo-choo"),
        ),
        (
            "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}, \
              {source_labels: [c, a], regex: '(b).*b(.*)ba(.*)', target_label: d, replacement: '$1$2$2$3'}]",
            "a=foo b=bar c=baz",
            Some("a=boobam b=bar c=baz d=boooom"),
        ),
        (
            "[{source_labels: [a], regex: oo, target_label: d}]",
            "a=foo",
            Some("a=foo"),
        ),
        (
            "[{source_labels: [a], target_label: d}]",
            "a=foo",
            Some("a=foo d=foo"),
        ),
        ("[{target_label: d, replacement: x}]", "a=foo", Some("a=foo d=x")),
        ("[{target_label: a, replacement: ''}]", "a=foo b=c", Some("b=c")),
        (
            "[{source_labels: [none], target_label: a}]",
            "a=foo b=c",
            Some("b=c"),
        ),
        (
            "[{source_labels: [a], regex: '(f).*', target_label: '${1}x'}]",
            "a=foo",
            Some("a=foo fx=f"),
        ),
        (
            "[{source_labels: [a], regex: '(x)?.*', target_label: '$1', replacement: b}]",
            "a=foo",
            Some("a=foo"),
        ),
        (
            "[{source_labels: [a], regex: '(?P<first>.).*', target_label: b, replacement: '${first}'}]",
            "a=foo",
            Some("a=foo b=f"),
        ),
        (
            "[{source_labels: [a, b], separator: '', target_label: c}]",
            "a=x b=y",
            Some("a=x b=y c=xy"),
        ),
        // keep and drop
        (
            "[{source_labels: [a], regex: '.*o.*', action: drop}]",
            "a=foo",
            None,
        ),
        (
            "[{source_labels: [a], regex: 'o', action: drop}]",
            "a=foo",
            Some("a=foo"),
        ),
        (
            "[{source_labels: [a], regex: 'f|foo', action: keep}]",
            "a=foo",
            Some("a=foo"),
        ),
        (
            "[{source_labels: [none], regex: '.+', action: keep}]",
            "a=foo",
            None,
        ),
        ("[{source_labels: [a], action: DROP, regex: foo}]", "a=foo", None),
        // keepequal and dropequal
        (
            "[{source_labels: [a], target_label: b, action: keepequal}]",
            "a=1 b=1",
            Some("a=1 b=1"),
        ),
        (
            "[{source_labels: [a], target_label: b, action: keepequal}]",
            "a=1 b=2",
            None,
        ),
        (
            "[{source_labels: [a], target_label: b, action: dropequal}]",
            "a=1 b=1",
            None,
        ),
        (
            "[{source_labels: [a], target_label: b, action: dropequal}]",
            "a=1",
            Some("a=1"),
        ),
        // hashmod
        (
            "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
            "a=foo b=bar c=baz",
            Some("a=foo b=bar c=baz d=976"),
        ),
        (
            "[{source_labels: [a], target_label: d, action: hashmod, modulus: 1000}]",
            "a=foo",
            Some("a=foo d=696"),
        ),
        // labelmap
        (
            "[{regex: '(b.*)', replacement: 'bar_${1}', action: labelmap}]",
            "a=foo b1=bar b2=baz",
            Some("a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz"),
        ),
        (
            "[{regex: '__meta_(my.*)', replacement: '${1}', action: labelmap}]",
            "__meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc",
            Some("__meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc my_bar=aaa my_baz=bbb"),
        ),
        // Of two labels that come to one name the last one counts, and one that was set comes last.
        (
            "[{target_label: a1, replacement: set}, {regex: 'a.', replacement: b, action: labelmap}]",
            "a1=1 a2=2",
            Some("a1=set a2=2 b=set"),
        ),
        // labeldrop and labelkeep
        (
            "[{regex: '(b.*)', action: labeldrop}]",
            "a=foo b1=bar b2=baz",
            Some("a=foo"),
        ),
        (
            "[{regex: 'b', action: labeldrop}]",
            "a=foo b1=bar",
            Some("a=foo b1=bar"),
        ),
        (
            "[{regex: '(b.*)', action: labelkeep}]",
            "a=foo b1=bar b2=baz",
            Some("b1=bar b2=baz"),
        ),
        // letters
        (
            "[{source_labels: [a], target_label: a, action: uppercase}]",
            "a=bAr",
            Some("a=BAR"),
        ),
        (
            "[{source_labels: [a], target_label: b, action: lowercase}]",
            "a=bAr",
            Some("a=bAr b=bar"),
        ),
        (
            "[{source_labels: [none], target_label: a, action: lowercase}]",
            "a=bAr b=c",
            Some("b=c"),
        ),
        // order
        (
            "[{source_labels: [a], target_label: b}, {regex: a, action: labeldrop}, \
              {source_labels: [a], regex: '', action: drop}]",
            "a=foo",
            None,
        ),
    ];
    for (rules, series, expected) in cases {
        assert_eq!(relabel(rules, series).as_deref(), *expected, "{rules} {series}");
    }
}

#[test]
fn what_prometheus_refuses_is_refused() {
    let cases = [
        ("{action: hashmod, target_label: a}", "modulus"),
        ("{action: hashmod, modulus: 1}", "target_label"),
        ("{source_labels: [a]}", "target_label"),
        ("{action: lowercase, source_labels: [a]}", "target_label"),
        ("{action: keepequal, source_labels: [a]}", "target_label"),
        (
            "{action: lowercase, target_label: a, replacement: b}",
            "replacement",
        ),
        ("{action: keepequal, target_label: a, regex: b}", "regex"),
        ("{action: dropequal, target_label: a, separator: b}", "separator"),
        (
            "{action: labeldrop, regex: a, source_labels: [b]}",
            "source_labels",
        ),
        ("{action: labelkeep, regex: a, target_label: b}", "target_label"),
        ("{action: labeldrop, regex: a, replacement: b}", "replacement"),
        ("{action: labelmap, regex: a, replacement: ''}", "replacement"),
        ("{action: drop, regex: 'a('}", "regex: \"a(\""),
    ];
    for (rule, expected) in cases {
        let rule: RelabelConfig = serde_saphyr::from_str(rule).unwrap();
        let (index, error) = Relabel::new(&[
            RelabelConfig {
                target_label: Some("x".into()),
                ..Default::default()
            },
            rule,
        ])
        .unwrap_err();
        assert_eq!(index, 1);
        assert!(error.to_string().starts_with(expected), "{expected}: {error}");
    }
    for rule in ["{action: shout}", "{sourceLabels: [a]}"] {
        assert!(serde_saphyr::from_str::<RelabelConfig>(rule).is_err(), "{rule}");
    }
}
