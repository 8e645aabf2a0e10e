//! A browser without a screen: it keeps cookies, follows links and fills in forms.

use std::path::Path;

use reqwest::{
    Client, Method, Response, StatusCode,
    header::{LOCATION, ORIGIN, SET_COOKIE},
    redirect::Policy,
};
use url::Url;

/// A browser with its own cookies.
#[derive(Debug)]
pub struct Browser {
    http: Client,
}

/// A page that was loaded.
#[derive(Debug)]
pub struct Page {
    /// Where it was at last, after redirections.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Every place that was redirected to on the way.
    pub hops: Vec<Url>,
    /// Every cookie that was set on the way, with its attributes.
    pub cookies: Vec<String>,
    /// Its text.
    pub text: String,
}

impl Browser {
    /// A fresh browser that trusts the authorities of a PEM file.
    pub fn new(authorities: &Path) -> Self {
        // Fails only if it was installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pem = std::fs::read(authorities).unwrap();
        let authorities = reqwest::Certificate::from_pem_bundle(&pem).unwrap();
        let client = Client::builder()
            .cookie_store(true)
            .redirect(Policy::none())
            .tls_certs_only(authorities);
        Self {
            http: client.build().unwrap(),
        }
    }

    /// Goes to a page, through redirections.
    pub async fn open(&self, url: &str) -> Page {
        self.follow(Url::parse(url).unwrap(), Method::GET, None).await
    }

    /// One request, without following where it leads.
    pub async fn fetch(&self, url: &str) -> Response {
        self.http.get(url).send().await.unwrap()
    }

    /// The same, as a script of the page's own would do it.
    pub async fn fetch_from_own_page(&self, url: &str) -> Response {
        let request = self.http.get(url).header("sec-fetch-site", "same-origin");
        request.send().await.unwrap()
    }

    /// Fills in the page's first form and sends it off. What is given replaces hidden fields, too.
    pub async fn submit(&self, page: &Page, fields: &[(&str, &str)]) -> Page {
        self.submit_to(page, "", fields).await
    }

    /// The same with the first form that goes to an address with this in it.
    pub async fn submit_to(&self, page: &Page, part: &str, fields: &[(&str, &str)]) -> Page {
        let form = page.form(part).expect("the page has such a form");
        let action = page.form_action(form).expect("the form's address is one");
        let mut form = hidden_fields(form);
        form.retain(|(name, _)| !fields.iter().any(|(given, _)| given == name));
        form.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self.follow(action, Method::POST, Some(form)).await
    }

    async fn follow(
        &self,
        mut url: Url,
        mut method: Method,
        mut form: Option<Vec<(String, String)>>,
    ) -> Page {
        let (mut hops, mut cookies) = (Vec::new(), Vec::new());
        loop {
            assert!(hops.len() < 20, "redirected in circles: {hops:?}");
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(form) = &form {
                request = request
                    .header(ORIGIN, url.origin().ascii_serialization())
                    .form(form);
            }
            let response = request.send().await.unwrap();
            let status = response.status();
            let set = response.headers().get_all(SET_COOKIE);
            cookies.extend(set.iter().map(|cookie| cookie.to_str().unwrap().to_owned()));
            let Some(location) = response.headers().get(LOCATION) else {
                return Page {
                    url,
                    status,
                    hops,
                    cookies,
                    text: response.text().await.unwrap(),
                };
            };
            url = url.join(location.to_str().unwrap()).unwrap();
            hops.push(url.clone());
            (method, form) = (Method::GET, None);
        }
    }
}

impl Page {
    /// The first link whose address has this in it.
    pub fn link(&self, part: &str) -> Option<Url> {
        let links = self
            .text
            .split("<a ")
            .skip(1)
            .filter_map(|link| link.split('>').next());
        let mut addresses = links.filter_map(|link| attribute(link, "href"));
        self.url
            .join(&addresses.find(|address| address.contains(part))?)
            .ok()
    }

    /// A cookie that was set on the way, with its attributes.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut cookies = self.cookies.iter();
        let found = cookies.find(|cookie| cookie.split('=').next() == Some(name));
        found.map(String::as_str)
    }

    /// The first form that goes to an address with this in it.
    fn form(&self, part: &str) -> Option<&str> {
        let forms = self.text.split("<form").skip(1);
        let mut forms = forms.filter_map(|form| form.split("</form").next());
        forms.find(|form| attribute(form, "action").unwrap_or_default().contains(part))
    }

    fn form_action(&self, form: &str) -> Option<Url> {
        match attribute(form.split('>').next()?, "action") {
            Some(action) => self.url.join(&action).ok(),
            None => Some(self.url.clone()),
        }
    }
}

fn hidden_fields(form: &str) -> Vec<(String, String)> {
    let inputs = form
        .split("<input")
        .skip(1)
        .filter_map(|input| input.split('>').next());
    let hidden = inputs.filter(|input| input.contains("hidden"));
    hidden
        .filter_map(|input| Some((attribute(input, "name")?, attribute(input, "value")?)))
        .collect()
}

/// An attribute's value, with the few references that our pages and dex's have.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split(&format!("{name}=\"")).nth(1)?.split('"').next()?;
    Some(
        value
            .replace("&amp;", "&")
            .replace("&#43;", "+")
            .replace("&#39;", "'")
            .replace("&quot;", "\""),
    )
}
