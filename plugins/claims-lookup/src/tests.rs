//! What is fetched for whom, and what it means when it can't be.
#![expect(clippy::needless_pass_by_value, reason = "`json!` reads well as an argument")]

use std::cell::RefCell;

use serde_json::{Value, json};
use witgate_sdk::{
    claims::{Claims, Identity, VerifiedToken},
    http::{Error, Request, Response, Scripted},
};

use crate::{Lookup, Stop};

fn plugin(config: Value) -> Lookup {
    Lookup::new(serde_json::from_value(config).unwrap()).unwrap()
}

fn directory() -> Value {
    json!({"directory": {"url": "https://d.example/users/{sub}/groups", "secret": "d"}})
}

fn token(claims: Value) -> VerifiedToken {
    let mut all = json!({"sub": "s-1", "email": "a@example.com"});
    for (key, value) in claims.as_object().unwrap() {
        all[key] = value.clone();
    }
    VerifiedToken {
        issuer: "https://issuer.example".into(),
        subject: "s-1".into(),
        claims: all.to_string(),
    }
}

fn ask(
    plugin: &Lookup,
    claims: Value,
    answer: impl Fn(&Request<'_>) -> Result<Response, Error>,
) -> Result<Identity, Stop> {
    plugin.lookup(&Scripted::new(answer), &token(claims))
}

fn json_answer(value: Value) -> Result<Response, Error> {
    Ok(Response::new(200, value.to_string()))
}

fn failure(result: Result<Identity, Stop>) -> String {
    match result {
        Err(Stop::Failed(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn denial(result: Result<Identity, Stop>) -> String {
    match result {
        Err(Stop::Denied(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_is_asked_with_its_secret_and_its_groups_count() {
    let mut config = directory();
    config["groups"] = json!({"prefix": "corp:"});
    let found = ask(&plugin(config), json!({"groups": ["own"]}), |request| {
        assert_eq!(request.url, "https://d.example/users/s-1/groups");
        assert!(
            request
                .headers
                .contains(&("authorization".into(), "{{secret:d}}".into()))
        );
        json_answer(json!({"groups": ["b", "a", "own"]}))
    });
    let found = found.unwrap();
    assert_eq!(found.user, "a@example.com");
    assert_eq!(found.groups, ["corp:a", "corp:b", "corp:own"]);
}

#[test]
fn a_claim_stays_in_its_place() {
    let plugin = plugin(json!({"directory": {"url": "https://d.example/u/{name}?x={name}"}}));
    let seen = RefCell::new(Vec::new());
    let look = |name: Value| {
        ask(&plugin, json!({"name": name}), |request| {
            seen.borrow_mut().push(request.url.clone());
            json_answer(json!({"groups": []}))
        })
    };
    look(json!("../admin?x#y&z=%2e/ä")).unwrap();
    for name in [
        json!(".."),
        json!("."),
        json!(""),
        json!(null),
        json!(7),
        json!("a".repeat(257)),
    ] {
        assert!(!denial(look(name)).is_empty());
    }
    let escaped = "..%2Fadmin%3Fx%23y%26z%3D%252e%2F%C3%A4";
    assert_eq!(
        *seen.borrow(),
        [format!("https://d.example/u/{escaped}?x={escaped}")]
    );
}

#[test]
fn an_address_that_is_not_verified_is_not_looked_up() {
    let plugin = plugin(json!({"user": {"claim": "sub"}, "directory": {"url": "https://d.example/{email}"}}));
    let refused = ask(&plugin, json!({"email_verified": false}), |_| {
        panic!("it is asked")
    });
    assert!(denial(refused).contains("not verified"));
}

#[test]
fn what_a_directory_does_not_say_is_a_failure_and_never_no_groups() {
    let plugin = plugin(directory());
    let cases: [(Response, &str); 7] = [
        (Response::new(500, "oops"), "it answered 500"),
        (Response::new(401, ""), "it answered 401"),
        (Response::new(302, ""), "it answered 302"),
        (Response::new(200, "<html>"), "not JSON"),
        (Response::new(200, r#"{"other":[]}"#), "no list at \"/groups\""),
        (Response::new(200, r#"{"groups":[7]}"#), "without a name"),
        (Response::new(200, vec![b' '; (1 << 20) + 1]), "over 1 MiB"),
    ];
    for (response, expected) in cases {
        let response = RefCell::new(Some(response));
        let why = failure(ask(&plugin, json!({}), |_| Ok(response.take().unwrap())));
        assert!(why.contains(expected), "{expected}: {why}");
    }
    let timeout = Error::Timeout {
        origin: "https://d.example".into(),
        detail: "5 s".into(),
    };
    assert!(failure(ask(&plugin, json!({}), |_| Err(timeout.clone()))).contains("in time"));
}

#[test]
fn whether_an_unknown_user_comes_in_is_the_operators_to_say() {
    let not_found = |_: &Request<'_>| Ok(Response::new(404, ""));
    assert_eq!(
        denial(ask(&plugin(directory()), json!({}), not_found)),
        "the directory does not know you"
    );
    let mut config = directory();
    config["directory"]["whenNotFound"] = json!("noGroups");
    let found = ask(&plugin(config), json!({"groups": ["own"]}), not_found).unwrap();
    assert_eq!(found.groups, ["own"]);
}

#[test]
fn pages_are_followed_within_the_origin_and_not_for_ever() {
    let paged = |next: &'static str| {
        let mut config = directory();
        config["directory"]["list"] =
            json!({"at": "/value", "name": "displayName", "next": "/@odata.nextLink"});
        ask(&plugin(config), json!({}), move |request| {
            let first = !request.url.contains("page=2");
            let name = if first { "a" } else { "b" };
            let mut answer = json!({"value": [{"displayName": name}]});
            if first || next.contains("always") {
                answer["@odata.nextLink"] = json!(next);
            }
            json_answer(answer)
        })
    };
    assert_eq!(paged("https://d.example/x?page=2").unwrap().groups, ["a", "b"]);
    assert!(failure(paged("https://evil.example/x?page=2")).contains("another origin"));
    assert!(failure(paged("https://d.example@evil.example/?page=2")).contains("another origin"));
    assert!(failure(paged("https://d.example/x?page=2&always")).contains("over 32 pages"));
}

#[test]
fn a_token_that_points_elsewhere_is_followed_where_that_is_allowed() {
    let overage = json!({
        "_claim_names": {"groups": "src1"},
        "_claim_sources": {"src1": {"endpoint": "https://graph.example/me", "access_token": "t"}},
    });
    let config = json!({"distributed": {"origins": ["https://graph.example"], "at": "/groups"}});
    let found = ask(&plugin(config.clone()), overage.clone(), |request| {
        assert!(
            request
                .headers
                .contains(&("authorization".into(), "Bearer t".into()))
        );
        json_answer(json!({"groups": ["many"]}))
    });
    assert_eq!(found.unwrap().groups, ["many"]);

    let mut own = config.clone();
    own["distributed"]["secret"] = json!("graph");
    let found = ask(&plugin(own), overage.clone(), |request| {
        assert!(
            request
                .headers
                .contains(&("authorization".into(), "{{secret:graph}}".into()))
        );
        json_answer(json!({"groups": []}))
    });
    assert!(found.unwrap().groups.is_empty());

    let elsewhere = |endpoint: &str| {
        let mut claims = overage.clone();
        claims["_claim_sources"]["src1"]["endpoint"] = json!(endpoint);
        ask(&plugin(config.clone()), claims, |_| panic!("it is asked"))
    };
    for endpoint in [
        "https://evil.example/me",
        "https://graph.example.evil.example/me",
        "https://graph.example@evil.example/me",
        "http://graph.example/me",
        "nonsense",
    ] {
        assert!(
            failure(elsewhere(endpoint)).contains("not in config.distributed.origins"),
            "{endpoint}"
        );
    }
    let not_set_up = ask(&plugin(directory()), overage, |_| panic!("it is asked"));
    assert!(denial(not_set_up).contains("not set up to fetch them"));
}

#[test]
fn too_many_groups_are_said_to_be_too_many() {
    let mut config = directory();
    config["groups"] = json!({"max": 2});
    let found = ask(&plugin(config), json!({}), |_| {
        json_answer(json!({"groups": ["a", "b", "c"]}))
    });
    assert_eq!(denial(found), "you are in 3 groups, and 2 are allowed");
}

#[test]
fn configurations_that_can_not_be_are_refused_with_their_place() {
    for (config, expected) in [
        (json!({}), "neither `directory` nor `distributed`"),
        (json!({"directory": {"url": "d.example"}}), "config.directory.url"),
        (
            json!({"directory": {"url": "https://{sub}.example/"}}),
            "config.directory.url",
        ),
        (json!({"directory": {"url": "https://d.example/{sub"}}), "brace"),
        (
            json!({"distributed": {"origins": ["https://g.example/path"]}}),
            "config.distributed.origins",
        ),
    ] {
        let error = Lookup::new(serde_json::from_value(config.clone()).unwrap()).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
}
