//! The backends that there are, each with a real server where it has one: what is shown of one of them
//! is shown of all.

use std::net::SocketAddr;

use witgate_lab::{Component, FaultProxy, InfluxDb, require};

use crate::world::Setup;

/// A kind of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The gateway's own.
    Local,
    /// InfluxDB 1.x.
    InfluxDb,
}

/// A backend that runs, behind a proxy that can fail.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) backend: Backend,
    server: Option<(InfluxDb, FaultProxy)>,
}

impl Backend {
    /// Starts it; nothing if this machine does not have its server.
    pub(crate) async fn start(self) -> Option<Running> {
        let server = match self {
            Self::Local => None,
            Self::InfluxDb => {
                require(Component::InfluxDb).ok()?;
                let influx = InfluxDb::start().await.unwrap();
                influx.create_database("prometheus").await.unwrap();
                let proxy = FaultProxy::start(influx.address()).await.unwrap();
                Some((influx, proxy))
            }
        };
        Some(Running {
            backend: self,
            server,
        })
    }

    /// Its plugin, as the suite's configurations name it.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::InfluxDb => "influx",
        }
    }

    /// Whether it holds a label with this value. InfluxDB has no place for a line break beside a value
    /// that is not finite, and none for a backslash at the end.
    pub(crate) fn holds_label(self, value: &str) -> bool {
        self == Self::Local || !value.contains('\n') && !value.ends_with('\\')
    }
}

impl Running {
    /// A configuration that stores in it.
    pub(crate) fn setup(&self) -> Setup {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Setup {
            influx: self.server.as_ref().map_or(nowhere, |(_, proxy)| proxy.address()),
            storage: self.backend.plugin(),
            ..Setup::default()
        }
    }
}
