//! Configurations, tokens, and what becomes of them.

use witgate_sdk::claims::{Claims, Extra, Identity, VerifiedToken};

use super::Rules;

/// Rules, the claim, and the groups or the denial.
type Case = (
    &'static str,
    &'static str,
    Result<&'static [&'static str], &'static str>,
);

fn resolve(config: &str, claims: &str) -> Result<Identity, String> {
    let config = serde_json::from_str(config).unwrap();
    let token = VerifiedToken {
        issuer: "https://i".into(),
        subject: "s-1".into(),
        claims: claims.into(),
    };
    Rules::new(config)
        .unwrap()
        .resolve(&token)
        .map_err(|denial| denial.reason)
}

#[test]
fn rules_for_the_user_apply_in_order() {
    let cases = [
        ("[]", "Jane@Example.com", Ok("Jane@Example.com")),
        (r#"["lowercase"]"#, "Jane@Example.com", Ok("jane@example.com")),
        (
            r#"[{"stripDomain":"example.com"},{"prefix":"oidc:"}]"#,
            "jane@Example.com",
            Ok("oidc:jane"),
        ),
        (
            r#"[{"stripDomain":"example.com"}]"#,
            "jane@other.com",
            Ok("jane@other.com"),
        ),
        (
            r#"[{"stripDomain":"example.com"}]"#,
            "jane@x@example.com",
            Ok("jane@x"),
        ),
        (
            r#"[{"stripDomain":"example.com"}]"#,
            "jane",
            Err("your name has no domain, and `@example.com` is expected"),
        ),
        (
            r#"["lowercase",{"rename":{"j@b":"root"}},{"prefix":"a:"}]"#,
            "J@B",
            Ok("a:root"),
        ),
        (r#"[{"rename":{"j@b":"root"}},"lowercase"]"#, "J@B", Ok("j@b")),
        (r#"["dnToCn"]"#, "uid=1,cn=jane,dc=org", Ok("jane")),
    ];
    for (rules, email, expected) in cases {
        let config = format!(r#"{{"user":{{"rules":{rules}}}}}"#);
        let user = resolve(&config, &format!(r#"{{"email":"{email}"}}"#)).map(|identity| identity.user);
        assert_eq!(
            user.as_deref().map_err(String::as_str),
            expected,
            "{rules} on {email}"
        );
    }
}

#[test]
fn rules_for_groups_apply_in_order() {
    let cases: [Case; 11] = [
        ("[]", r#"["a","b","a"]"#, Ok(&["a", "b"])),
        (
            r#"[{"rename":{"a":"x","b":"x"}}]"#,
            r#"["a","b","c"]"#,
            Ok(&["x", "c"]),
        ),
        (
            r#"[{"keep":["team-*","ops"]}]"#,
            r#"["team-a","ops","sales"]"#,
            Ok(&["team-a", "ops"]),
        ),
        (r#"[{"drop":["team-*"]}]"#, r#"["team-a","ops"]"#, Ok(&["ops"])),
        (
            r#"[{"prefix":"dex:"},{"keep":["dex:a"]}]"#,
            r#"["a","b"]"#,
            Ok(&["dex:a"]),
        ),
        (
            r#"["dnToCn","lowercase"]"#,
            r#"["cn=Platform,ou=g","Plain"]"#,
            Ok(&["platform", "plain"]),
        ),
        (r#"[{"keep":[]}]"#, r#"["a"]"#, Ok(&[])),
        (
            r#"[{"deny":{"group":"bad*","reason":"no"}}]"#,
            r#"["ok","bad-x"]"#,
            Err("no"),
        ),
        (
            r#"[{"deny":{"group":"bad*","reason":"no"}}]"#,
            r#"["ok"]"#,
            Ok(&["ok"]),
        ),
        (
            r#"[{"rename":{"bad":"ok"}},{"deny":{"group":"bad","reason":"no"}}]"#,
            r#"["bad"]"#,
            Ok(&["ok"]),
        ),
        (
            r#"[{"deny":{"group":"bad","reason":"no"}},{"rename":{"bad":"ok"}}]"#,
            r#"["bad"]"#,
            Err("no"),
        ),
    ];
    for (rules, groups, expected) in cases {
        let config = format!(r#"{{"groups":{{"rules":{rules}}}}}"#);
        let found = resolve(&config, &format!(r#"{{"email":"j@b","groups":{groups}}}"#));
        let expected =
            expected.map(|groups| groups.iter().map(|&group| group.to_owned()).collect::<Vec<_>>());
        assert_eq!(
            found
                .map(|identity| identity.groups)
                .map_err(|reason| reason.clone()),
            expected.map_err(str::to_owned),
            "{rules} on {groups}"
        );
    }
}

#[test]
fn too_many_groups_are_denied_after_the_rules() {
    let config = r#"{"groups":{"max":2,"rules":[{"drop":["x*"]}]}}"#;
    assert!(resolve(config, r#"{"email":"j@b","groups":["a","b","x1"]}"#).is_ok());
    let reason = resolve(config, r#"{"email":"j@b","groups":["a","b","c"]}"#).unwrap_err();
    assert_eq!(reason, "you are in 3 groups, and 2 are allowed");
}

#[test]
fn a_claim_can_keep_a_user_out() {
    let config = r#"{"deny":[{"claim":"status","equals":"suspended","reason":"you are suspended"}]}"#;
    for (claims, denied) in [
        (r#"{"email":"j@b","status":"suspended"}"#, true),
        (r#"{"email":"j@b","status":["x","suspended"]}"#, true),
        (r#"{"email":"j@b","status":"active"}"#, false),
        (r#"{"email":"j@b"}"#, false),
    ] {
        assert_eq!(
            resolve(config, claims).is_err_and(|reason| reason == "you are suspended"),
            denied,
            "{claims}"
        );
    }
}

#[test]
fn a_claim_that_the_rules_cannot_read_is_a_denial_and_not_a_pass() {
    let config = r#"{"deny":[{"claim":"status","equals":"suspended","reason":"no"}]}"#;
    assert!(resolve(config, r#"{"email":"j@b","status":{"suspended":true}}"#).is_err());
    assert!(
        resolve("{}", r#"{"email":"j@b","email_verified":false}"#)
            .unwrap_err()
            .contains("not verified")
    );
    assert_eq!(
        resolve("{}", "{}").unwrap_err(),
        "your token has no claim `email`"
    );
}

#[test]
fn extra_takes_strings_and_lists_and_leaves_out_what_is_absent() {
    let config =
        r#"{"extra":{"example.com/dept":"dept","example.com/roles":"r.roles","example.com/none":"none"}}"#;
    let identity = resolve(config, r#"{"email":"j@b","dept":"it","r":{"roles":["a","b"]}}"#).unwrap();
    let expected = [
        Extra {
            key: "example.com/dept".into(),
            values: vec!["it".into()],
        },
        Extra {
            key: "example.com/roles".into(),
            values: vec!["a".into(), "b".into()],
        },
    ];
    assert_eq!(identity.extra, expected);
    assert_eq!(identity.uid.as_deref(), Some("s-1"));
}

#[test]
fn wrong_configuration_is_refused() {
    for config in [
        r#"{"grups":{}}"#,
        r#"{"groups":{"rules":["uppercase"]}}"#,
        r#"{"groups":{"rules":[{"deny":{"group":"x"}}]}}"#,
        r#"{"user":{"rules":[{"keep":["a"]}]}}"#,
    ] {
        assert!(serde_json::from_str::<super::Config>(config).is_err(), "{config}");
    }
    for config in [r#"{"user":{"claim":""}}"#, r#"{"extra":{"Dept":"dept"}}"#] {
        assert!(
            Rules::new(serde_json::from_str(config).unwrap()).is_err(),
            "{config}"
        );
    }
}
