//! The frame of every page, and the pages themselves. Nothing here needs a script.

use std::time::{Duration, UNIX_EPOCH};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use witgate_identity::{Client, Method, Principal, SessionSummary};

use super::{Administration, kubeconfig, metrics, recovery, revocations};
use crate::wiring::Wiring;

/// Nothing is loaded from anywhere but here, nothing is framed, and forms are sent here only.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The same for a page whose form leads on to a command line that listens on this machine.
const TO_LOOPBACK: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' http://127.0.0.1:* http://[::1]:*; base-uri 'none'; frame-ancestors 'none'",
);

/// A page whose form leads to a loopback address.
pub(super) fn page_to_loopback(principal: &Principal, title: &str, content: &Markup) -> Response {
    let mut response = page(StatusCode::OK, title, Some(principal), content);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, TO_LOOPBACK);
    response
}

/// A whole page.
pub(super) fn page(
    status: StatusCode,
    title: &str,
    principal: Option<&Principal>,
    content: &Markup,
) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · witgate" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                a class="skip" href="#content" { "Skip to the content" }
                header {
                    a href="/" { "witgate" }
                    @if let Some(principal) = principal {
                        span class="quiet" { (principal.user) }
                        form method="post" action="/logout" { button type="submit" { "Log out" } }
                    }
                }
                main id="content" { (content) }
                footer { "witgate " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, markup).into_response()
}

/// What somebody sees who has not logged in.
pub(super) fn welcome(wiring: &Wiring, return_to: Option<&str>) -> Markup {
    let issuers = &wiring.config.identity.issuers;
    html! {
        section {
            h1 { "Log in" }
            @if issuers.is_empty() {
                p { "No issuer is configured, so nobody can log in with a browser. Add one under " code { "identity.issuers" } "." }
            } @else {
                p class="quiet" { "You will be sent to your identity provider and come back here." }
                ul class="plain" {
                    @for issuer in issuers {
                        li { p { a class="button" href=(login_url(&issuer.name, return_to)) { "Log in with " (issuer.name) } } }
                    }
                }
            }
        }
    }
}

/// What somebody sees who has.
pub(super) fn home(
    wiring: &Wiring,
    principal: &Principal,
    own: &[SessionSummary],
    claims: Option<&(String, String)>,
    administration: Option<&Administration>,
) -> Markup {
    html! {
        (identity(principal, claims))
        (clusters(wiring))
        (metrics::section(wiring, principal))
        (recovery::section(wiring, principal))
        @if !own.is_empty() {
            section aria-labelledby="sessions" {
                h2 id="sessions" { "Your sessions" }
                (sessions(own, principal, false))
            }
        }
        @if let Some(Administration { sessions: all, revocations }) = administration {
            section aria-labelledby="all-sessions" {
                h2 id="all-sessions" { "Everybody's sessions" }
                @if all.is_empty() { p class="quiet" { "There are none." } } @else { (sessions(all, principal, true)) }
            }
            (revocations::section(revocations))
        }
        (plugins(wiring))
    }
}

fn sessions(list: &[SessionSummary], principal: &Principal, of_all: bool) -> Markup {
    html! {
        table {
            thead { tr {
                @if of_all { th scope="col" { "User" } }
                th scope="col" { "Where" } th scope="col" { "Logged in with" }
                th scope="col" { "Since" } th scope="col" { "Until" }
                th scope="col" { span class="hidden" { "End it" } }
            } }
            tbody {
                @for session in list {
                    @let here = principal.proof.session == Some(session.id);
                    tr {
                        @if of_all { td data-label="User" { (session.user) } }
                        td data-label="Where" {
                            span {
                                (place(&session.client))
                                @if here { " " span class="good here" { "this one" } }
                            }
                        }
                        td data-label="Logged in with" { (session.issuer) }
                        td data-label="Since" { (time(session.created)) }
                        td data-label="Until" { (time(session.expires)) }
                        td {
                            form method="post" action="/sessions/end" {
                                input type="hidden" name="id" value=(session.id);
                                button type="submit" class="small" aria-label={ "End the session of " (place(&session.client)) } { "End" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn place(client: &Client) -> String {
    match client {
        Client::Browser { agent } => format!("Browser: {}", browser(agent)),
        Client::CommandLine { name } => format!("Command line: {name}"),
    }
}

/// The one word of a browser's name for itself that people know.
fn browser(agent: &str) -> &str {
    let known = ["Edg", "OPR", "Firefox", "Chrome", "Chromium", "Safari", "curl"];
    let found = known.into_iter().find(|name| agent.contains(name));
    match found {
        Some("Edg") => "Edge",
        Some("OPR") => "Opera",
        Some(name) => name,
        None if agent.is_empty() => "unknown",
        None => agent,
    }
}

pub(super) fn time(seconds: u64) -> Markup {
    let at = UNIX_EPOCH + Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    // To the minute, which is what people tell sessions apart by.
    let shown = text.get(..16).unwrap_or(&text).replace('T', " ");
    html! { time datetime=(text) title=(text) { (shown) " UTC" } }
}

/// Asks whether a command line may act for the user.
pub(super) fn consent(
    principal: &Principal,
    name: &str,
    code: Option<&str>,
    hidden: &[(&str, &str)],
    action: &str,
) -> Markup {
    html! {
        section {
            h1 { "Let a command line act for you?" }
            p { strong { (name) } " asks to act as " strong { (principal.user) } ", with everything that you may do. It stays logged in until you end its session." }
            @match code {
                Some(code) => p { "Go on only if that machine shows this code: " code class="code" { (code) } },
                None => p { "Go on only if you have just typed " code { "witgate login" } " or a kubectl command on this machine." },
            }
            form method="post" action=(action) class="choice" {
                @for (key, value) in hidden { input type="hidden" name=(key) value=(value); }
                button type="submit" name="decision" value="allow" { "Allow" }
                button type="submit" name="decision" value="deny" class="second" { "Don't" }
            }
        }
    }
}

/// Where a code is typed that another machine shows.
pub(super) fn type_code(error: Option<&str>) -> Markup {
    html! {
        section {
            h1 { "Log in another machine" }
            @if let Some(error) = error { p role="alert" class="bad" { (error) } }
            form method="get" action="/device" {
                p {
                    label for="code" { "The code that it shows" } br;
                    input id="code" name="user_code" autocomplete="off" autocapitalize="characters" spellcheck="false" required autofocus placeholder="XXXX-XXXX";
                }
                button type="submit" { "Go on" }
            }
        }
    }
}

/// What became of a consent.
pub(super) fn decided(allowed: bool) -> Markup {
    html! {
        section {
            @if allowed {
                h1 { "It is logged in" }
                p { "You can close this page and go back to the command line." }
            } @else {
                h1 { "It is not logged in" }
                p { "If it was not you who began this, there is nothing more to do." }
            }
            p { a href="/" { "Your sessions" } }
        }
    }
}

/// Logged out here, and a way to be logged out at the issuer too.
pub(super) fn logged_out(issuer: &str, url: &str) -> Markup {
    html! {
        section {
            h1 { "You are logged out" }
            p { "You may still be logged in at " (issuer) ": whoever uses this browser next could log in here as you." }
            p { a class="button" href=(url) { "Log out of " (issuer) " too" } }
            p { a href="/" { "Back" } }
        }
    }
}

/// Something that did not work.
pub(super) fn failed(title: &str, reason: &str) -> Markup {
    html! {
        section {
            h1 { (title) }
            p role="alert" { (reason) }
            p { a href="/" { "Back" } }
        }
    }
}

/// Why a login did not work.
pub(super) fn login_failed(reason: &str) -> Markup {
    html! {
        section {
            h1 { "You are not logged in" }
            p role="alert" { (reason) }
            p { a class="button" href="/" { "Try again" } }
        }
    }
}

/// Why somebody who is known may not come in, with a way to become somebody else.
pub(super) fn not_let_in(reason: &str) -> Markup {
    html! {
        section {
            h1 { "You are not let in" }
            p role="alert" { (reason) }
            form method="post" action="/logout" { button type="submit" { "Log out" } }
        }
    }
}

fn identity(principal: &Principal, claims: Option<&(String, String)>) -> Markup {
    html! {
        section aria-labelledby="identity" {
            h1 id="identity" { "You are " (principal.user) }
            table class="facts" {
                // Those beyond the first rows have to be scrolled to.
                @let count = principal.groups.len();
                tr { th scope="row" { "Groups" @if count > 10 { " (" (count) ")" } } td { (tags(&principal.groups)) } }
                @if let Some(uid) = &principal.uid { tr { th scope="row" { "Uid" } td { code { (uid) } } } }
                @for (key, values) in &principal.extra {
                    tr { th scope="row" { (key) } td { (tags(values)) } }
                }
                @if let Method::Session { issuer } = &principal.method {
                    tr { th scope="row" { "Logged in with" } td { (issuer) } }
                }
                @if let Some(subject) = &principal.proof.subject {
                    tr { th scope="row" { "Known there as" } td { code { (subject.subject) } } }
                }
            }
            @if let Some((plugin, claims)) = claims {
                details {
                    summary { "Why: what the issuer said, and who made this of it" }
                    p class="quiet" { "The plugin " code { (plugin) } " made the names above of these claims:" }
                    pre { code { (claims) } }
                }
            }
        }
    }
}

fn clusters(wiring: &Wiring) -> Markup {
    html! {
        section aria-labelledby="clusters" {
            h2 id="clusters" { "Clusters" }
            @if wiring.clusters.is_empty() {
                p class="quiet" { "None is configured." }
            } @else {
                table class="facts" {
                    @for name in wiring.clusters.keys() {
                        tr { th scope="row" { (name) } td { code { (wiring.config.identity.public_url) "/clusters/" (name) } } }
                    }
                }
                h3 { "Your kubeconfig" }
                p class="quiet" { "There is no secret in it: kubectl logs in through " code { "witgate" } ", which has to be on your PATH." }
                p { a class="button" href="/kubeconfig" download="kubeconfig" { "Download" } }
                details {
                    summary { "Show it, to copy" }
                    pre { code { (kubeconfig::render(wiring)) } }
                }
            }
        }
    }
}

fn plugins(wiring: &Wiring) -> Markup {
    html! {
        section aria-labelledby="plugins" {
            h2 id="plugins" { "Plugins" }
            @if wiring.plugins.list().next().is_none() { p class="quiet" { "None is configured." } } @else {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Contract" } th scope="col" { "Digest" } th scope="col" { "Calls" } th scope="col" { "Failed" } } }
                    tbody {
                        @for plugin in wiring.plugins.list() {
                            tr {
                                td data-label="Name" { (plugin.name) }
                                td data-label="Contract" { code { (plugin.contract) } }
                                td data-label="Digest" { code { (plugin.sha256.get(..12).unwrap_or_default()) } }
                                td data-label="Calls" { (plugin.counts.calls) }
                                td data-label="Failed" class=(if plugin.counts.failures == 0 { "good" } else { "bad" }) { (plugin.counts.failures) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tags(values: &[String]) -> Markup {
    html! {
        @if values.is_empty() { span class="quiet" { "none" } }
        @else { ul class="tags" { @for value in values { li { (value) } } } }
    }
}

fn login_url(issuer: &str, return_to: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("issuer", issuer);
    if let Some(return_to) = return_to {
        query.append_pair("return_to", return_to);
    }
    format!("/login?{}", query.finish())
}
