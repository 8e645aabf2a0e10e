//! Where the command line keeps its tokens: one file for each gateway, which only its owner can read.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

/// The tokens for one gateway.
#[derive(Debug)]
pub(super) struct Store {
    file: PathBuf,
    server: String,
}

/// The store while nobody else writes it. Many kubectls start at once, and a refresh token is good
/// for one refresh.
pub(super) struct Locked<'a> {
    store: &'a Store,
    _lock: File,
}

/// Tokens of one login.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) access_token: SecretString,
    pub(super) refresh_token: SecretString,
    /// Of the access token, in seconds since 1970.
    pub(super) expires: u64,
    /// The authority of the gateway's certificate (PEM).
    pub(super) authority: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    /// For people who look into the file.
    server: String,
    access_token: String,
    refresh_token: String,
    expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authority: Option<String>,
}

// === impl Store ===

impl Store {
    /// The store for a gateway: a file in `$WITGATE_HOME`, or in `$XDG_STATE_HOME/witgate`, or in
    /// `~/.local/state/witgate`.
    pub(super) fn open(server: &Url) -> anyhow::Result<Self> {
        let server = server.as_str().trim_end_matches('/').to_owned();
        let digest = Sha256::digest(&server);
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            file: directory()?.join(name).with_extension("json"),
            server,
        })
    }

    /// What is there now, perhaps about to be replaced.
    pub(super) fn login(&self) -> anyhow::Result<Option<Login>> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{}: can't be read", self.file.display()));
            }
        };
        let mode = fs::metadata(&self.file)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!(
                "{}: others can read it (mode {:o}): log out and in again, its tokens may be known",
                self.file.display(),
                mode & 0o777
            );
        }
        let content: Content = serde_json::from_slice(&text)
            .with_context(|| format!("{}: is damaged: log in again", self.file.display()))?;
        Ok(Some(Login {
            access_token: content.access_token.into(),
            refresh_token: content.refresh_token.into(),
            expires: content.expires,
            authority: content.authority,
        }))
    }

    /// Waits until nobody else writes.
    pub(super) async fn lock(&self) -> anyhow::Result<Locked<'_>> {
        let directory = self.file.parent().unwrap_or(Path::new("."));
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.with_context(|| format!("{}: can't be made", directory.display()))?;
        let path = self.file.with_extension("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{}: can't be opened", path.display()))?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await?;
        Ok(Locked {
            store: self,
            _lock: lock.with_context(|| format!("{}: can't be locked", path.display()))?,
        })
    }
}

// === impl Locked ===

impl Locked<'_> {
    pub(super) fn login(&self) -> anyhow::Result<Option<Login>> {
        self.store.login()
    }

    /// Replaces what is there, as a whole.
    pub(super) fn put(&mut self, login: &Login) -> anyhow::Result<()> {
        let content = Content {
            server: self.store.server.clone(),
            access_token: login.access_token.expose_secret().to_owned(),
            refresh_token: login.refresh_token.expose_secret().to_owned(),
            expires: login.expires,
            authority: login.authority.clone(),
        };
        let file = &self.store.file;
        replace(file, &serde_json::to_vec(&content)?)
            .with_context(|| format!("{}: can't be written", file.display()))
    }

    pub(super) fn remove(&mut self) -> anyhow::Result<()> {
        let file = &self.store.file;
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}: can't be removed", file.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Replaces a file at once: whoever reads it, reads the whole of one or the other. Only its owner can
/// read the new one.
pub(super) fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    Ok(())
}

/// In seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn directory() -> anyhow::Result<PathBuf> {
    let named = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(directory) = named("WITGATE_HOME") {
        return Ok(directory);
    }
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
    let state = state.context("neither WITGATE_HOME nor HOME says where tokens are kept")?;
    Ok(state.join("witgate"))
}
