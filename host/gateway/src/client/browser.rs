//! The loopback address that the browser comes back to with a code (RFC 8252 section 7.3).

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, anyhow, bail};
use axum::{
    Router,
    extract::{Query, State},
    response::Html,
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use maud::{DOCTYPE, html};
use tokio::{net::TcpListener, sync::mpsc};

/// How long the user has to log in.
const TIME: Duration = Duration::from_secs(600);

/// How long the browser has to be told that it is done.
const FAREWELL: Duration = Duration::from_millis(500);

type Parameters = HashMap<String, String>;

/// A listener on a port that the system chose.
pub(super) struct Listener {
    tcp: TcpListener,
    authority: String,
}

// === impl Listener ===

impl Listener {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await;
        let tcp = tcp.context("no port on 127.0.0.1 can be listened on")?;
        let authority = tcp.local_addr()?.to_string();
        Ok(Self { tcp, authority })
    }

    pub(super) fn redirect_uri(&self) -> String {
        format!("http://{}/callback", self.authority)
    }

    /// Waits for the browser. What comes without the right `state` is not of this login, and any page
    /// in the browser can send it: it is refused, and the wait goes on.
    pub(super) async fn code(self, state: &str, issuer: &str) -> anyhow::Result<String> {
        let (answers, mut answered) = mpsc::channel(1);
        let expected = Expected {
            authority: self.authority,
            state: state.to_owned(),
            answers,
        };
        let router = Router::new()
            .route("/callback", get(callback))
            .with_state(std::sync::Arc::new(expected));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = axum::serve(self.tcp, router).with_graceful_shutdown(async {
            let _sender_is_gone = stopped.await;
        });
        let serving = tokio::spawn(serving.into_future());
        let parameters = tokio::time::timeout(TIME, answered.recv())
            .await
            .map_err(|_| anyhow!("nobody logged in within {} minutes", TIME.as_secs() / 60))?;
        let parameters = parameters.context("the browser did not come back")?;
        // Lets the page that says so get to the browser; one that keeps its connection is not waited
        // for.
        drop(stop);
        let _still_serving = tokio::time::timeout(FAREWELL, serving).await;
        if parameters.get("iss").map(String::as_str) != Some(issuer) {
            bail!("the answer is not of the gateway that was asked");
        }
        if let Some(error) = parameters.get("error") {
            bail!("you did not allow it ({error})");
        }
        let code = parameters.get("code").context("the browser brought no code")?;
        Ok(code.clone())
    }
}

/// What this login waits for.
struct Expected {
    authority: String,
    state: String,
    answers: mpsc::Sender<Parameters>,
}

async fn callback(
    State(expected): State<std::sync::Arc<Expected>>,
    headers: HeaderMap,
    Query(parameters): Query<Parameters>,
) -> (StatusCode, Html<String>) {
    use subtle::ConstantTimeEq;
    // A page that had its own name resolve to this address comes with that name.
    let is_here = headers
        .get(header::HOST)
        .is_some_and(|host| host == expected.authority.as_str());
    let state = parameters.get("state").map_or("", String::as_str);
    let is_ours = bool::from(state.as_bytes().ct_eq(expected.state.as_bytes()));
    if !is_here || !is_ours {
        return (
            StatusCode::BAD_REQUEST,
            page("This is not an answer to the login under way."),
        );
    }
    let text = match parameters.contains_key("code") {
        true => "You are logged in. You can close this page and go back to the command line.",
        false => "You are not logged in. You can close this page.",
    };
    match expected.answers.try_send(parameters) {
        Ok(()) => (StatusCode::OK, page(text)),
        Err(_) => (StatusCode::BAD_REQUEST, page("The login is over already.")),
    }
}

/// The console's look, in little: nothing can be loaded from a page that is gone in a moment.
const STYLE: &str = ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1.25rem}h1{font-size:1.2rem}";

fn page(text: &str) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "witgate" }
                style { (STYLE) }
            }
            body { main { h1 { "witgate" } p { (text) } } }
        }
    };
    Html(markup.into_string())
}
