use witgate_identity::{Method, Proof};

use super::*;
use crate::memory::{self, Memory};

const CONFIG: &str = r#"{"tenants": [
    {"name": "a", "storage": "m", "attributes": {"db": "one"},
     "write": {"groups": ["wa"]}, "read": {"groups": ["ra"]}},
    {"name": "b", "storage": "m", "attributes": {"db": "two"},
     "write": {"groups": ["wb"], "clients": ["scraper"]},
     "read": {"users": ["root"], "extra": {"example.com/Role": ["auditor"]}}},
    {"name": "team-{tenant}", "storage": "m", "attributes": {"db": "metrics_{tenant}"},
     "write": {"groups": ["metrics:{tenant}:write"], "extra": {"tenant": ["{tenant}"]}},
     "read": {"groups": ["metrics:{tenant}:read"], "users": ["reader@{tenant}"]}},
    {"name": "plain-{tenant}", "storage": "m", "write": {"groups": ["plain/{tenant}"]}}],
    "limits": {"tenants": 3}}"#;

fn tenants(text: &str) -> Result<Tenants, ConfigError> {
    let config = serde_json::from_str(text).unwrap();
    memory::founded(&[("m", &Arc::new(Memory::default()))], |foundations| {
        Tenants::new(&config, foundations, None)
    })
}

/// `user`, and then groups, `client=` and `key=value`.
fn principal(facts: &str) -> Principal {
    let mut facts = facts.split_whitespace();
    let mut principal = Principal {
        user: facts.next().unwrap_or_default().to_owned(),
        uid: None,
        groups: Vec::new(),
        extra: Vec::new(),
        method: Method::Basic,
        expires: None,
        proof: Proof::default(),
    };
    for fact in facts {
        match fact.split_once('=') {
            None => principal.groups.push(fact.to_owned()),
            Some(("client", client)) => principal.proof.client = Some(client.to_owned()),
            Some((key, value)) => principal.extra.push((key.to_owned(), vec![value.to_owned()])),
        }
    }
    principal
}

#[test]
fn a_tenant_is_reached_by_those_it_grants_only() {
    let tenants = tenants(CONFIG).unwrap();
    let (write, read) = (Endpoint::Write, Endpoint::Read);
    type Case<'a> = (
        &'a str,
        Endpoint,
        Option<&'a str>,
        Option<&'a str>,
        Result<&'a str, &'a str>,
    );
    let cases: &[Case<'_>] = &[
        ("p wa", write, None, None, Ok("a")),
        ("p wa", read, None, None, Err("may not read: no tenant's `read`")),
        ("p wb", write, None, None, Ok("b")),
        ("p wb wa", write, None, None, Ok("a")),
        ("p wa wb", write, None, Some("two"), Ok("b")),
        ("p wa wb", write, Some("b"), None, Ok("b")),
        (
            "p wa wb",
            write,
            Some("b"),
            Some("one"),
            Err("has the database \"one\""),
        ),
        (
            "p wa",
            write,
            None,
            Some("two"),
            Err("has the database \"two\": you may write [\"one\"]"),
        ),
        (
            "p wa",
            write,
            Some("b"),
            None,
            Err("for the tenant \"b\": you may for [\"a\"]"),
        ),
        ("p wa", write, Some("a|b"), None, Err("for the tenant \"a|b\"")),
        ("p ra", read, None, Some("one"), Ok("a")),
        ("p", read, None, None, Err("may not read")),
        ("root", read, None, None, Ok("b")),
        ("root", write, None, None, Err("may not write")),
        ("p root", read, None, None, Err("may not read")),
        ("p client=scraper", write, None, None, Ok("b")),
        ("scraper scraper", write, None, None, Err("may not write")),
        ("p example.com/role=auditor", read, None, None, Ok("b")),
        ("p example.com/role=other", read, None, None, Err("may not read")),
        ("p metrics:red:write", write, None, None, Ok("team-red")),
        ("p metrics:red:write", read, None, None, Err("may not read")),
        ("p metrics:red:write wa", write, None, None, Ok("a")),
        (
            "p metrics:red:write wa",
            write,
            Some("team-red"),
            None,
            Ok("team-red"),
        ),
        (
            "p metrics:red:write wa",
            write,
            None,
            Some("metrics_red"),
            Ok("team-red"),
        ),
        ("p tenant=blue", write, None, None, Ok("team-blue")),
        ("reader@blue", read, None, None, Ok("team-blue")),
        ("p plain/x", write, None, None, Ok("plain-x")),
        (
            "p metrics:red:read metrics:blue:read",
            read,
            None,
            None,
            Err("for [\"team-red\", \"team-blue\"]: say which in the header X-Scope-OrgID"),
        ),
        (
            "p metrics:red:read metrics:blue:read",
            read,
            Some("team-blue"),
            None,
            Ok("team-blue"),
        ),
        (
            "p metrics:red:write tenant=red",
            write,
            None,
            None,
            Ok("team-red"),
        ),
        (
            "p metrics:a/b:write",
            write,
            None,
            None,
            Err("tenant \"team-a/b\", which can't be"),
        ),
        ("p metrics:a/b:write wa", write, None, None, Ok("a")),
        ("p metrics::write", write, None, None, Err("may not write")),
    ];
    for (facts, endpoint, name, database, expected) in cases {
        let asked = Asked {
            name: *name,
            database: *database,
        };
        let found = tenants.choose(*endpoint, &principal(facts), asked);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found.name, *expected, "{facts}"),
            (Err(error), Err(words)) => {
                let said = error.to_string();
                assert!(said.contains(words), "{facts}: {said}");
            }
            (found, _) => panic!("{facts} {endpoint:?} {asked:?}: {found:?}"),
        }
    }
}

#[test]
fn a_derived_tenant_has_its_name_where_the_entry_has_a_place_for_it() {
    let tenants = tenants(CONFIG).unwrap();
    let choose = |facts| {
        tenants
            .choose(Endpoint::Write, &principal(facts), Asked::default())
            .unwrap()
    };
    let red = choose("p metrics:red:write");
    assert_eq!(
        red.context("").attributes,
        [("db".to_owned(), "metrics_red".to_owned())]
    );
    assert!(
        Arc::ptr_eq(&red, &choose("q tenant=red")),
        "it is one tenant, by whomever it is reached"
    );
}

/// Whoever controls a name of a group must not come to a tenant that the configuration names.
#[test]
fn a_derived_name_is_never_a_fixed_ones() {
    let config = CONFIG.replace(r#""name": "a""#, r#""name": "team-a""#);
    let tenants = tenants(&config).unwrap();
    let asked = Asked::default();
    let error = tenants
        .choose(Endpoint::Write, &principal("p metrics:a:write"), asked)
        .unwrap_err();
    assert!(
        error.to_string().contains("another tenant of the configuration"),
        "{error}"
    );
}

#[test]
fn so_many_tenants_are_in_service_at_once() {
    let tenants = tenants(CONFIG).unwrap();
    let choose = |n: u32| {
        let caller = principal(&format!("p metrics:{n}:write"));
        tenants.choose(Endpoint::Write, &caller, Asked::default())
    };
    for n in 0..3 {
        choose(n).unwrap();
    }
    assert_eq!(choose(3).unwrap_err(), NoTenant::TooMany(3));
    choose(2).unwrap();
}

#[test]
fn somebodys_tenants_are_listed_with_what_grants_them() {
    let tenants = tenants(CONFIG).unwrap();
    let usable = tenants.usable(&principal(
        "p wa metrics:red:write metrics:red:read metrics:blue:read",
    ));
    let listed: Vec<_> = usable
        .iter()
        .map(|usable| {
            (
                usable.tenant.name.as_str(),
                usable.write.as_deref(),
                usable.read.as_deref(),
            )
        })
        .collect();
    let expected = [
        ("a", Some("the group wa"), None),
        (
            "team-red",
            Some("the group metrics:red:write"),
            Some("the group metrics:red:read"),
        ),
        ("team-blue", None, Some("the group metrics:blue:read")),
    ];
    assert_eq!(listed, expected);
}

#[test]
fn what_can_not_be_is_refused_with_its_place() {
    let cases = [
        (
            CONFIG.replace(r#""name": "b""#, r#""name": "a""#),
            "tenants[1].name: \"a\" is the name of another",
        ),
        (
            CONFIG.replace(r#""name": "a""#, r#""name": "a/b""#),
            "tenants[0].name: \"a/b\": a tenant's name is",
        ),
        (
            CONFIG.replace("plain-{tenant}", "{tenant}"),
            "tenants[3].name: \"{tenant}\" and \"team-{tenant}\"",
        ),
        (
            CONFIG.replace("plain/{tenant}", "plain"),
            "tenants[3].write.groups[0]: the tenant's `name` has",
        ),
        (
            CONFIG.replace("\"wa\"", "\"wa-{tenant}\""),
            "tenants[0].write.groups[0]: it has `{tenant}`",
        ),
        (
            CONFIG.replace("\"one\"", "\"{tenant}\""),
            "tenants[0].attributes.db: it has",
        ),
        (
            CONFIG.replace("[\"auditor\"]", "[\"x\", \"{tenant}\"]"),
            "tenants[1].read.extra.example.com/Role[1]",
        ),
        (
            CONFIG.replace("plain/{tenant}", "{tenant}/{tenant}"),
            "more than once",
        ),
    ];
    for (config, expected) in cases {
        let error = tenants(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
