//! What a configuration may not say, and where the message points.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    Identity, IdentityConfig, Surroundings,
    fixture::{MemoryState, MirrorClaims, records},
};

/// The message for a section, or nothing if it is fine.
fn refusal(section: Value) -> Option<String> {
    let config: IdentityConfig = match serde_json::from_value(section) {
        Ok(config) => config,
        Err(error) => return Some(error.to_string()),
    };
    let claims = std::sync::Arc::new(MirrorClaims::default());
    let state = MemoryState::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let surroundings = Surroundings {
        base_dir: Path::new("/nowhere"),
        claims: &|name| (name == "mirror").then(|| claims.clone() as _),
        clusters: &|_| None,
        records: &runtime.block_on(records(&state)),
    };
    let built = Identity::new(&config, &surroundings, None);
    built.err().map(|error| error.to_string())
}

fn issuer(changes: Value) -> Value {
    let mut issuer =
        json!({"name": "dex", "url": "https://dex.example.com", "clientId": "witgate", "claims": "mirror"});
    let Value::Object(changes) = changes else {
        panic!("{changes} is no object")
    };
    for (name, value) in changes {
        issuer[name] = value;
    }
    json!({"publicUrl": "https://gateway.example.com", "issuers": [issuer]})
}

#[test]
fn ordinary_sections_are_taken() {
    for section in [
        json!({"publicUrl": "https://gateway.example.com"}),
        json!({"publicUrl": "http://127.0.0.1:8080", "session": {"lifetime": "30m"}}),
        issuer(json!({})),
        issuer(json!({"url": "http://127.0.0.1:5556/dex", "algorithms": ["RS256", "EdDSA"], "scopes": []})),
    ] {
        assert_eq!(refusal(section.clone()), None, "{section}");
    }
}

#[test]
fn messages_point_at_the_place_and_say_what_is_expected() {
    let with = |name: &str, value: Value| json!({"publicUrl": "https://gateway.example.com", name: value});
    let sha256 = "a".repeat(64);
    let dear =
        "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (section, expected) in [
        (json!({}), "missing field `publicUrl`"),
        (with("issuer", json!([])), "unknown field `issuer`"),
        (
            json!({"publicUrl": "gateway.example.com"}),
            "publicUrl: \"gateway.example.com\" is not a URL",
        ),
        (
            json!({"publicUrl": "https://gateway.example.com/"}),
            "publicUrl: \"https://gateway.example.com/\" is not an origin",
        ),
        (
            json!({"publicUrl": "http://gateway.example.com"}),
            "publicUrl: \"http://gateway.example.com\" must begin with https://",
        ),
        (
            issuer(json!({"name": "de x"})),
            "issuers[0].name: \"de x\" is not a name",
        ),
        (
            issuer(json!({"url": "http://dex.example.com"})),
            "issuers[0].url: \"http://dex.example.com\" must begin with https://",
        ),
        (
            issuer(json!({"url": "https://dex.example.com?x"})),
            "issuers[0].url: \"https://dex.example.com?x\" must have no user, query or fragment",
        ),
        (
            issuer(json!({"url": "https://u:p@dex.example.com"})),
            "issuers[0].url: \"https://u:p@dex.example.com\" must have no user",
        ),
        (issuer(json!({"clientId": ""})), "issuers[0].clientId: is empty"),
        (
            issuer(json!({"claims": "other"})),
            "issuers[0].claims: there is no claims plugin \"other\" under `plugins`",
        ),
        (
            issuer(json!({"clientSecretFile": "secret"})),
            "issuers[0].clientSecretFile: /nowhere/secret can't be read",
        ),
        (
            issuer(json!({"caFile": "ca.pem"})),
            "issuers[0].caFile: /nowhere/ca.pem can't be read",
        ),
        (
            issuer(json!({"algorithms": []})),
            "issuers[0].algorithms: is empty",
        ),
        (
            issuer(json!({"algorithms": ["HS256"]})),
            "unknown variant `HS256`",
        ),
        (issuer(json!({"algorithms": ["none"]})), "unknown variant `none`"),
        (
            issuer(json!({"scopes": ["a b"]})),
            "issuers[0].scopes: \"a b\" is not a scope",
        ),
        (issuer(json!({"clientid": "x"})), "unknown field `clientid`"),
        (
            with("tokens", json!([{"name": "a", "sha256": "abc"}])),
            "tokens[0].sha256: is not the 64 hexadecimal digits",
        ),
        (
            with(
                "tokens",
                json!([{"name": "a", "sha256": sha256}, {"name": "a", "sha256": sha256}]),
            ),
            "tokens[1].name: \"a\" names another token too",
        ),
        (
            with(
                "tokens",
                json!([{"name": "a", "sha256": sha256}, {"name": "b", "sha256": sha256}]),
            ),
            "tokens[1].sha256: is another token's too",
        ),
        (
            with(
                "tokens",
                json!([{"name": "a", "sha256": sha256, "groups": ["system:masters"]}]),
            ),
            "tokens[0]: the group name \"system:masters\" is reserved",
        ),
        (
            with("basic", json!([{"username": "a:b", "passwordHash": ""}])),
            "basic[0].username: \"a:b\" can't be sent",
        ),
        (
            with("basic", json!([{"username": "a", "passwordHash": "secret"}])),
            "basic[0].passwordHash: is no password hash",
        ),
        (
            with("basic", json!([{"username": "a", "passwordHash": dear}])),
            "basic[0].passwordHash: costs too much to check (m=4194304,t=2)",
        ),
        (
            with("session", json!({"lifetime": "1s"})),
            "session.lifetime: 1s is not between 1m and 30days",
        ),
    ] {
        let refusal = refusal(section.clone()).unwrap_or_default();
        assert!(
            refusal.starts_with(expected),
            "{section}\n is told {refusal:?},\n expected {expected:?}"
        );
    }
}

#[test]
fn the_schema_describes_every_field() {
    let schema = serde_json::to_value(schemars::schema_for!(IdentityConfig)).unwrap();
    let mut objects = vec![&schema];
    objects.extend(schema["$defs"].as_object().unwrap().values());
    for object in objects {
        for (name, property) in object["properties"].as_object().into_iter().flatten() {
            assert!(property["description"].is_string(), "{name} has no description");
        }
    }
}
