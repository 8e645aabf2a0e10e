//! Every reason why a file is not a plugin gets its own words.

use serde_json::{Value, json};

use crate::{Bench, guests};

/// The core of a claims plugin that was never meant to run.
const CLAIMS: &str = r#"
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "witgate:claims/mapping@0.1.0#init") (param i32 i32) (result i32) unreachable)
    (func (export "witgate:claims/mapping@0.1.0#resolve") (param i32 i32 i32 i32 i32 i32) (result i32) unreachable)
"#;

/// A component that exports the claims contract and imports `import` with one core function.
fn importing(package: &str, import: &str, function: &str) -> Vec<u8> {
    let packages: &[&str] = if package.is_empty() { &[] } else { &[package] };
    let world = format!("import {import}; export witgate:claims/mapping@0.1.0;");
    guests::component(packages, &world, &format!("(module {function} {CLAIMS})"))
}

/// A component that exports an interface with one function, and nothing else.
fn exporting(package: &str, interface: &str, functions: &[&str]) -> Vec<u8> {
    let exports: String = functions
        .iter()
        .map(|name| format!(r#"(func (export "{interface}#{name}"))"#))
        .collect();
    guests::component(
        &[package],
        &format!("export {interface};"),
        &format!("(module {exports})"),
    )
}

#[tokio::test]
async fn a_file_that_is_no_component_is_told_apart() {
    let bench = Bench::new();
    let whole = guests::claims();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 8].fill(0xff);
    for (name, content, says) in [
        ("empty", Vec::new(), "it is not a WebAssembly file"),
        ("text", b"#!/bin/sh".to_vec(), "it is not a WebAssembly file"),
        (
            "module",
            wat::parse_str("(module)").unwrap(),
            "it is a core module, not a component",
        ),
        (
            "magic",
            whole[..3].to_vec(),
            "truncated or damaged at byte 0 of 3",
        ),
        (
            "cut",
            whole[..whole.len() - 1].to_vec(),
            "truncated or damaged at byte ",
        ),
        (
            "half",
            whole[..whole.len() / 2].to_vec(),
            "truncated or damaged at byte ",
        ),
        ("flipped", flipped, "truncated or damaged at byte "),
    ] {
        let error = bench.refused("claims", &content, json!({})).await;
        assert!(
            error.starts_with("plugin it (") && error.contains(says),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn imports_that_are_not_here_are_named_with_what_is() {
    let bench = Bench::new();
    for (package, import, function, says) in [
        (
            "package witgate:host@0.9.0; interface log { write: func(); }",
            "witgate:host/log@0.9.0",
            r#"(import "witgate:host/log@0.9.0" "write" (func))"#,
            "it imports witgate:host/log@0.9.0; this gateway offers 0.1.0 of it",
        ),
        (
            "package witgate:host@0.1.9; interface log { flush: func(); }",
            "witgate:host/log@0.1.9",
            r#"(import "witgate:host/log@0.1.9" "flush" (func))"#,
            "it imports `flush` of witgate:host/log@0.1.9, which this gateway's 0.1.0 doesn't have",
        ),
        (
            "package witgate:host@0.1.9; interface queue { push: func(); }",
            "witgate:host/queue@0.1.9",
            r#"(import "witgate:host/queue@0.1.9" "push" (func))"#,
            "Of witgate:host there is witgate:host/log, witgate:host/key-value.",
        ),
        (
            "package wasi:cli@0.3.0; interface stdout { get: func(); }",
            "wasi:cli/stdout@0.3.0",
            r#"(import "wasi:cli/stdout@0.3.0" "get" (func))"#,
            "it imports wasi:cli/stdout@0.3.0; this gateway offers 0.2 of it",
        ),
        (
            "package acme:vault@1.0.0; interface open { open: func(); }",
            "acme:vault/open@1.0.0",
            r#"(import "acme:vault/open@1.0.0" "open" (func))"#,
            "it imports acme:vault/open@1.0.0, which this gateway doesn't offer",
        ),
        (
            "package witgate:host@0.1.9; interface log { write: func(text: string); }",
            "witgate:host/log@0.1.9",
            r#"(import "witgate:host/log@0.1.9" "write" (func (param i32 i32)))"#,
            "its types differ from the contract's: component imports instance `witgate:host/log@0.1.9`",
        ),
    ] {
        let component = importing(package, import, function);
        let error = bench.refused("claims", &component, json!({})).await;
        assert!(error.contains(says), "{import}: {error}");
    }
}

#[tokio::test]
async fn exports_of_another_kind_or_version_are_named() {
    let bench = Bench::new();
    let old = "package witgate:claims@0.0.9; interface mapping { init: func(); }";
    let half = "package witgate:storage@0.1.7; interface store { init: func(); }";
    let typed = "package witgate:claims@0.1.7; interface mapping { init: func(); resolve: func(); }";
    let other = "package acme:vault@1.0.0; interface open { open: func(); }";
    for (kind, component, says) in [
        (
            "storage",
            guests::claims(),
            "it is a claims plugin, but configured with `kind: storage`; set `kind: claims`",
        ),
        ("claims", guests::storage(), "set `kind: storage`"),
        (
            "claims",
            exporting(old, "witgate:claims/mapping@0.0.9", &["init"]),
            "it exports witgate:claims/mapping@0.0.9; this gateway offers 0.1.0 of it",
        ),
        (
            "storage",
            exporting(half, "witgate:storage/store@0.1.7", &["init"]),
            "it exports witgate:storage/store@0.1.7 without `check`",
        ),
        (
            "claims",
            exporting(typed, "witgate:claims/mapping@0.1.7", &["init", "resolve"]),
            "type mismatch",
        ),
        (
            "claims",
            exporting(other, "acme:vault/open@1.0.0", &["open"]),
            "it exports acme:vault/open@1.0.0, but a claims plugin exports witgate:claims/mapping@0.1.0",
        ),
        (
            "claims",
            wat::parse_str("(component)").unwrap(),
            "it exports nothing, but a claims plugin",
        ),
    ] {
        let error = bench.refused(kind, &component, json!({})).await;
        assert!(error.contains(says), "{kind} {says}: {error}");
    }
}

/// The configuration that `text` prints, under `plugins.it`.
fn printed(text: &str) -> Value {
    let lines = text.split_once("plugins:\n    it:\n").unwrap().1;
    let keys: Vec<_> = lines.lines().map(str::trim).collect();
    json!(keys)
}

#[tokio::test]
async fn a_missing_grant_prints_the_lines_to_add() {
    let bench = Bench::new();
    let component = importing(
        "",
        "witgate:host/key-value@0.1.0",
        r#"(import "witgate:host/key-value@0.1.0" "get" (func (param i32 i32 i32)))"#,
    );
    let error = bench.refused("claims", &component, json!({})).await;
    assert!(
        error.contains("it imports witgate:host/key-value@0.1.0, which has to be granted"),
        "{error}"
    );
    assert_eq!(printed(&error), json!(["grants:", "keyValue:", "maxBytes: 1GiB"]));
    let granted = json!({"grants": {"keyValue": {"maxBytes": "1GiB"}}});
    let error = bench.refused("claims", &component, granted).await;
    assert!(error.contains("it doesn't start: it trapped"), "{error}");

    let http = "package wasi:http@0.2.0; interface outgoing-handler { handle: func(); }";
    let component = importing(
        http,
        "wasi:http/outgoing-handler@0.2.0",
        r#"(import "wasi:http/outgoing-handler@0.2.0" "handle" (func))"#,
    );
    let error = bench.refused("claims", &component, json!({})).await;
    assert_eq!(printed(&error), json!(["grants:", "http:", "- http://HOST:PORT"]));
}
