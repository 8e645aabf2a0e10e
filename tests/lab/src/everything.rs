//! Every component at once, for a developer, until Ctrl-C.

use std::fmt::Display;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use witgate_lab::{
    Dex, DexOptions, Error, Etcd, InfluxDb, Kubelet, Kubernetes, OpenLdap, Prometheus, VictoriaMetrics,
};

/// Where a gateway or a login tool on this machine listens for the browser's return, by habit.
const REDIRECT_URIS: [&str; 3] = [
    "http://127.0.0.1:8080/callback",
    "http://localhost:8080/callback",
    "http://localhost:8000",
];

/// The database that the example configurations write to.
const DATABASE: &str = "prometheus";

/// The Pod to run commands in.
const POD: &str = "web";

/// Starts everything, prints where it is, and stops it when told to.
pub(crate) async fn run() -> anyhow::Result<()> {
    let mut interrupted = signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?;
    let mut terminated = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    println!("lab: starting; the first start may take a minute");
    let mut lab = None;
    tokio::select! {
        started = Lab::start() => {
            lab.insert(started).print();
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
        }
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    println!("\nlab: stopping");
    drop(lab);
    Ok(())
}

/// What could be started; the rest has said why not.
struct Lab {
    kubelet: Option<Kubelet>,
    kubernetes: Option<(Kubernetes, String)>,
    dex: Option<Dex>,
    ldap: Option<OpenLdap>,
    influxdb: Option<InfluxDb>,
    victoriametrics: Option<VictoriaMetrics>,
    prometheus: Option<Prometheus>,
    etcd: Option<Etcd>,
}

impl Lab {
    async fn start() -> Self {
        let (kubernetes, (ldap, dex), influxdb, victoriametrics, prometheus, etcd) = tokio::join!(
            start("Kubernetes", kubernetes()),
            identity(),
            start("InfluxDB", influxdb()),
            start("VictoriaMetrics", VictoriaMetrics::start(&[])),
            start("Prometheus", Prometheus::start(|address| scrape_itself(&address))),
            start("etcd", Etcd::start()),
        );
        let kubelet = match &kubernetes {
            Some((kubernetes, _)) => start("the kubelet", kubelet(kubernetes)).await,
            None => None,
        };
        Self {
            kubelet,
            kubernetes,
            dex,
            ldap,
            influxdb,
            victoriametrics,
            prometheus,
            etcd,
        }
    }

    fn print(&self) {
        println!("\nlab: running; Ctrl-C stops and removes everything\n");
        if let Some((kubernetes, gateway)) = &self.kubernetes {
            row("Kubernetes", kubernetes.server());
            row("  authority", kubernetes.authority_path().display());
            row(
                "  everything",
                format!(
                    "kubectl --kubeconfig {} get namespaces",
                    kubernetes.admin_kubeconfig().display()
                ),
            );
            if self.kubelet.is_some() {
                row(
                    "  a Pod",
                    format!(
                        "kubectl --kubeconfig {} exec -it {POD} -- sh  (on this machine)",
                        kubernetes.admin_kubeconfig().display()
                    ),
                );
            }
            row(
                "  impersonator",
                format!("{gateway}  (for the gateway's configuration)"),
            );
        }
        if let Some(etcd) = &self.etcd {
            row(
                "etcd",
                format!("{}  (a second one, for the gateway's state)", etcd.endpoint()),
            );
        }
        if let Some(dex) = &self.dex {
            self.print_dex(dex);
        }
        if let Some(ldap) = &self.ldap {
            let (address, admin, password) = (ldap.address(), OpenLdap::ADMIN, OpenLdap::ADMIN_PASSWORD);
            row("OpenLDAP", format!("ldap://{address}  as {admin} / {password}"));
            row(
                "  people",
                "alice (platform, developers), bob (developers), carol; NAME-password",
            );
            row(
                "  look",
                format!(
                    "ldapsearch -x -H ldap://{address} -b {} cn=platform",
                    OpenLdap::BASE
                ),
            );
        }
        if let Some(influxdb) = &self.influxdb {
            let url = influxdb.url();
            row(
                "InfluxDB",
                format!("{url}  database {DATABASE}, without authentication"),
            );
            row(
                "  look",
                format!("curl -G {url}/query --data-urlencode 'q=SHOW DATABASES'"),
            );
        }
        if let Some(victoriametrics) = &self.victoriametrics {
            let url = victoriametrics.url();
            row("VictoriaMetrics", &url);
            row(
                "  look",
                format!("curl -G {url}/api/v1/export --data-urlencode 'match[]={{__name__!=\"\"}}'"),
            );
        }
        if let Some(prometheus) = &self.prometheus {
            let url = prometheus.url();
            row("Prometheus", format!("{url}  scrapes itself"));
            row(
                "  look",
                format!("curl -G {url}/api/v1/query --data-urlencode query=up"),
            );
        }
    }

    fn print_dex(&self, dex: &Dex) {
        let (issuer, client, secret) = (dex.issuer(), Dex::CLIENT_ID, Dex::CLIENT_SECRET);
        row("dex", issuer);
        row(
            "  client",
            format!("{client} / {secret}, returning to {}", REDIRECT_URIS.join(" or ")),
        );
        row("  public client", Dex::PUBLIC_CLIENT_ID);
        for (user, password) in Dex::LOCAL_USERS {
            row("  user", format!("{user} / {password}"));
        }
        let (user, password) = match (&self.ldap, Dex::LOCAL_USERS) {
            (Some(_), _) => ("alice", "alice-password"),
            (None, [local, _]) => local,
        };
        row(
            "  token",
            format!(
                "curl -s -u {client}:{secret} {issuer}/token -d grant_type=password \
                 -d 'scope=openid profile email groups' -d username={user} -d password={password}"
            ),
        );
    }
}

async fn kubernetes() -> Result<(Kubernetes, String), Error> {
    let kubernetes = Kubernetes::start().await?;
    let gateway = kubernetes.gateway_kubeconfig().await?;
    Ok((kubernetes, gateway.display().to_string()))
}

async fn kubelet(kubernetes: &Kubernetes) -> Result<Kubelet, Error> {
    let kubelet = Kubelet::start(kubernetes).await?;
    kubelet.pod("default", POD).await?;
    Ok(kubelet)
}

async fn identity() -> (Option<OpenLdap>, Option<Dex>) {
    let ldap = start("OpenLDAP", OpenLdap::start()).await;
    let redirect_uris = REDIRECT_URIS.map(str::to_owned).to_vec();
    let options = DexOptions {
        redirect_uris,
        ldap: ldap.as_ref(),
        ..DexOptions::default()
    };
    let dex = start("dex", Dex::start(options)).await;
    (ldap, dex)
}

async fn influxdb() -> Result<InfluxDb, Error> {
    let influxdb = InfluxDb::start().await?;
    influxdb.create_database(DATABASE).await?;
    Ok(influxdb)
}

/// Says what could not be started and goes on without it.
async fn start<T>(name: &str, starting: impl Future<Output = Result<T, Error>>) -> Option<T> {
    match starting.await {
        Ok(component) => {
            println!("lab: {name} is up");
            Some(component)
        }
        Err(error) => {
            eprintln!("lab: no {name}: {error}");
            None
        }
    }
}

fn scrape_itself(address: &impl Display) -> String {
    format!(
        "global: {{scrape_interval: 5s}}\n\
         scrape_configs: [{{job_name: prometheus, static_configs: [{{targets: ['{address}']}}]}}]\n"
    )
}

fn row(name: &str, value: impl Display) {
    println!("  {name:<16} {value}");
}
