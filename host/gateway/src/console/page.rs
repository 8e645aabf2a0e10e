//! The frame of every page, and the pages themselves. Nothing here needs a script.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use witgate_identity::{Method, Principal};

use crate::wiring::Wiring;

/// Nothing is loaded from anywhere but here, nothing is framed, and forms are sent here only.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

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
pub(super) fn home(wiring: &Wiring, principal: &Principal) -> Markup {
    html! {
        (identity(principal))
        (clusters(wiring))
        (plugins(wiring))
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

fn identity(principal: &Principal) -> Markup {
    html! {
        section aria-labelledby="identity" {
            h1 id="identity" { "You are " (principal.user) }
            table {
                tr { th scope="row" { "Groups" } td { (tags(&principal.groups)) } }
                @if let Some(uid) = &principal.uid { tr { th scope="row" { "Uid" } td { code { (uid) } } } }
                @for (key, values) in &principal.extra {
                    tr { th scope="row" { (key) } td { (tags(values)) } }
                }
                @if let Method::Session { issuer } = &principal.method {
                    tr { th scope="row" { "Logged in with" } td { (issuer) } }
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
                table {
                    @for name in wiring.clusters.keys() {
                        tr { th scope="row" { (name) } td { code { (wiring.config.identity.public_url) "/clusters/" (name) } } }
                    }
                }
            }
        }
    }
}

fn plugins(wiring: &Wiring) -> Markup {
    html! {
        section aria-labelledby="plugins" {
            h2 id="plugins" { "Plugins" }
            div class="scroll" {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Contract" } th scope="col" { "Digest" } th scope="col" { "Calls" } th scope="col" { "Failed" } } }
                    tbody {
                        @for plugin in wiring.plugins.list() {
                            tr {
                                td { (plugin.name) }
                                td { code { (plugin.contract) } }
                                td { code { (plugin.sha256.get(..12).unwrap_or_default()) } }
                                td { (plugin.counts.calls) }
                                td class=(if plugin.counts.failures == 0 { "good" } else { "bad" }) { (plugin.counts.failures) }
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
