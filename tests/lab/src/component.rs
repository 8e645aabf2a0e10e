//! Defines the components, where their programs are, and what happens when one is not there.

mod capability;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fmt, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use sha2::{Digest as _, Sha256};

/// A component of the lab, by the programs that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// etcd, etcdctl and etcdutl.
    Etcd,
    /// etcd of the 3.5 line, which older clusters run.
    Etcd35,
    /// kube-apiserver and kubectl, with etcd.
    Kubernetes,
    /// kubeadm and kube-controller-manager, with Kubernetes; and the right to give this machine
    /// addresses.
    ControlPlane,
    /// The lab's own kubelet, with Kubernetes.
    Kubelet,
    /// helm.
    Helm,
    /// slapd and its offline tools.
    OpenLdap,
    /// dex.
    Dex,
    /// Prometheus 2, of the system.
    Prometheus,
    /// The current Prometheus.
    CurrentPrometheus,
    /// VictoriaMetrics and its vmagent.
    VictoriaMetrics,
    /// InfluxDB 1.x.
    InfluxDb,
    /// Chromium, chromedriver and certutil.
    Chromium,
    /// npm's oidc-provider.
    OidcProvider,
    /// PyPI's componentize-py, which makes components of Python.
    ComponentizePy,
}

/// What a component needs and this machine does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A program.
    #[error("{component}: {program} is not {place}; run tests/lab/install {component}")]
    Program {
        /// Whose program.
        component: Component,
        /// Its file's name.
        program: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// A right of this process, which no install gives.
    #[error(
        "{component}: needs {capability}; be root, or run it in \
         `unshare --user --map-root-user --net sh -c 'ip link set lo up && ...'`"
    )]
    Capability {
        /// What needs it.
        component: Component,
        /// The right's name in capabilities(7).
        capability: &'static str,
    },
}

/// Where a program comes from, which is where it is looked for.
enum Origin {
    /// Built by `tests/lab/install` from the module that pins it: the folder under `go/`, and the
    /// line of its go.mod that names the version. A module with sources of its own is built again
    /// when they change.
    Built {
        folder: &'static str,
        pin: &'static str,
        go_mod: &'static str,
        sources: &'static [(&'static str, &'static str)],
    },
    /// Installed by `tests/lab/install` with npm: the folder under `npm/`, and what is in it.
    Npm {
        folder: &'static str,
        sources: &'static [(&'static str, &'static str)],
    },
    /// Installed by `tests/lab/install` with pip, in an environment of its own: the folder, and what
    /// pins it.
    Pip {
        folder: &'static str,
        sources: &'static [(&'static str, &'static str)],
    },
    /// A package of the system's.
    Packaged,
}

/// Debian keeps servers where users' `PATH` does not look.
const SERVER_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// All of `go/kubelet`: Go's files in the order of their names, then the module's.
const KUBELET_SOURCES: [(&str, &str); 6] = [
    ("command.go", include_str!("../go/kubelet/command.go")),
    ("logs.go", include_str!("../go/kubelet/logs.go")),
    ("main.go", include_str!("../go/kubelet/main.go")),
    ("streams.go", include_str!("../go/kubelet/streams.go")),
    ("go.mod", include_str!("../go/kubelet/go.mod")),
    ("go.sum", include_str!("../go/kubelet/go.sum")),
];

/// All of `npm/oidc-provider`.
const OIDC_PROVIDER_SOURCES: [(&str, &str); 4] = [
    (
        "lab-oidc-provider",
        include_str!("../npm/oidc-provider/lab-oidc-provider"),
    ),
    (
        "package-lock.json",
        include_str!("../npm/oidc-provider/package-lock.json"),
    ),
    ("package.json", include_str!("../npm/oidc-provider/package.json")),
    ("server.mjs", include_str!("../npm/oidc-provider/server.mjs")),
];

/// The pin that projects of `witgate plugin new` have.
const COMPONENTIZE_PY_SOURCES: [(&str, &str); 1] = [(
    "requirements.txt",
    include_str!("../../../host/gateway/templates/python/requirements.txt"),
)];

/// Says whether `component` can be started here, so that a test of a suite can end early if not:
///
/// ```no_run
/// # use witgate_lab::{Component, require};
/// let Ok(()) = require(Component::Kubernetes) else { return };
/// ```
///
/// What is missing goes to standard error and, as a line beginning `SKIPPED`, to the file named in
/// `WITGATE_SKIPS`, once per suite.
///
/// # Errors
/// The missing program, and how to get it.
///
/// # Panics
/// If `REQUIRE_LAB=1` and the component is missing: there, a skipped test is a failed one.
#[expect(
    clippy::panic,
    reason = "fails the test that asked, in one place instead of at each call"
)]
pub fn require(component: Component) -> Result<(), Missing> {
    let Err(missing) = component.find_all() else {
        return Ok(());
    };
    if env::var_os("REQUIRE_LAB").is_some_and(|value| value == "1") {
        panic!("REQUIRE_LAB=1, but {missing}");
    }
    static REPORTED: Mutex<BTreeSet<Component>> = Mutex::new(BTreeSet::new());
    if REPORTED
        .lock()
        .is_ok_and(|mut reported| reported.insert(component))
    {
        report(&format!("SKIPPED {}: {missing}\n", suite()));
    }
    Err(missing)
}

fn report(line: &str) {
    eprint!("{line}");
    let Some(path) = env::var_os("WITGATE_SKIPS") else {
        return;
    };
    let written = fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        eprintln!(
            "cannot append to WITGATE_SKIPS={}: {error}",
            Path::new(&path).display()
        );
    }
}

/// The test binary's name without the hash that cargo appends to it.
fn suite() -> String {
    let binary = env::current_exe().ok();
    let stem = binary
        .as_deref()
        .and_then(Path::file_stem)
        .and_then(OsStr::to_str)
        .unwrap_or("tests");
    stem.rsplit_once('-')
        .map_or(stem, |(name, _hash)| name)
        .to_owned()
}

impl Component {
    /// The program of that name, which must be one of this component's.
    ///
    /// # Errors
    /// If it is not on this machine.
    pub fn find(self, program: &'static str) -> Result<PathBuf, Missing> {
        let directory = match self.origin() {
            Origin::Built {
                folder,
                pin,
                go_mod,
                sources,
            } => format!("{folder}-{}{}", pinned_version(go_mod, pin), source_key(sources)),
            Origin::Npm { folder, sources } | Origin::Pip { folder, sources } => {
                format!("{folder}{}", source_key(sources))
            }
            Origin::Packaged => return self.find_packaged(program),
        };
        let directory = cache().join(directory);
        let place = format!("in {}", directory.display());
        self.look(program, [directory], place)
    }

    /// A program of the system's, by name.
    pub(crate) fn find_packaged(self, program: &'static str) -> Result<PathBuf, Missing> {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&path).chain(SERVER_PATHS.map(PathBuf::from));
        self.look(program, directories, "on PATH".to_owned())
    }

    fn look(
        self,
        program: &'static str,
        directories: impl IntoIterator<Item = PathBuf>,
        place: String,
    ) -> Result<PathBuf, Missing> {
        directories
            .into_iter()
            .map(|directory| directory.join(program))
            .find(|candidate| is_executable(candidate))
            .ok_or(Missing::Program {
                component: self,
                program,
                place,
            })
    }

    /// The version that is pinned, such as `v1.36.3`; nothing for what the system has.
    pub(crate) fn version(self) -> Option<&'static str> {
        match self.origin() {
            Origin::Built { pin, go_mod, .. } => Some(pinned_version(go_mod, pin)),
            Origin::Npm { .. } | Origin::Pip { .. } | Origin::Packaged => None,
        }
    }

    fn find_all(self) -> Result<(), Missing> {
        match self {
            Self::Kubernetes => Self::Etcd.find_all()?,
            Self::Kubelet => Self::Kubernetes.find_all()?,
            Self::ControlPlane => {
                Self::Kubernetes.find_all()?;
                self.find_packaged("ip")?;
                if let Some(capability) = capability::lacking() {
                    return Err(Missing::Capability {
                        component: self,
                        capability,
                    });
                }
            }
            _ => {}
        }
        self.programs()
            .iter()
            .try_for_each(|program| self.find(program).map(drop))
    }

    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Etcd => &["etcd", "etcdctl", "etcdutl"],
            Self::Etcd35 => &["etcd"],
            Self::Kubernetes => &["kube-apiserver", "kubectl"],
            Self::ControlPlane => &["kubeadm", "kube-controller-manager"],
            Self::Kubelet => &["lab-kubelet"],
            Self::Helm => &["helm"],
            Self::Chromium => &["chromium", "chromedriver", "certutil"],
            Self::OpenLdap => &["slapd", "slapadd"],
            Self::Dex => &["dex"],
            Self::OidcProvider => &["lab-oidc-provider"],
            Self::ComponentizePy => &["bin/componentize-py"],
            Self::Prometheus => &["prometheus"],
            Self::CurrentPrometheus => &["prometheus", "promtool"],
            Self::VictoriaMetrics => &["vmagent", "victoria-metrics"],
            Self::InfluxDb => &["influxd"],
        }
    }

    fn origin(self) -> Origin {
        match self {
            Self::Etcd => Origin::Built {
                folder: "etcd",
                pin: "go.etcd.io/etcd/server/v3",
                go_mod: include_str!("../go/etcd/go.mod"),
                sources: &[],
            },
            Self::Etcd35 => Origin::Built {
                folder: "etcd35",
                pin: "go.etcd.io/etcd/server/v3",
                go_mod: include_str!("../go/etcd35/go.mod"),
                sources: &[],
            },
            Self::Kubernetes | Self::ControlPlane => Origin::Built {
                folder: "kubernetes",
                pin: "k8s.io/kubernetes",
                go_mod: include_str!("../go/kubernetes/go.mod"),
                sources: &[],
            },
            Self::Kubelet => Origin::Built {
                folder: "kubelet",
                pin: "k8s.io/cri-streaming",
                go_mod: include_str!("../go/kubelet/go.mod"),
                sources: &KUBELET_SOURCES,
            },
            Self::Helm => Origin::Built {
                folder: "helm",
                pin: "helm.sh/helm/v4",
                go_mod: include_str!("../go/helm/go.mod"),
                sources: &[],
            },
            Self::Dex => Origin::Built {
                folder: "dex",
                pin: "github.com/dexidp/dex",
                go_mod: include_str!("../go/dex/go.mod"),
                sources: &[],
            },
            Self::CurrentPrometheus => Origin::Built {
                folder: "prometheus",
                pin: "github.com/prometheus/prometheus",
                go_mod: include_str!("../go/prometheus/go.mod"),
                sources: &[],
            },
            Self::VictoriaMetrics => Origin::Built {
                folder: "victoriametrics",
                pin: "github.com/VictoriaMetrics/VictoriaMetrics",
                go_mod: include_str!("../go/victoriametrics/go.mod"),
                sources: &[],
            },
            Self::OidcProvider => Origin::Npm {
                folder: "oidc-provider",
                sources: &OIDC_PROVIDER_SOURCES,
            },
            Self::ComponentizePy => Origin::Pip {
                folder: "componentize-py",
                sources: &COMPONENTIZE_PY_SOURCES,
            },
            Self::OpenLdap | Self::Prometheus | Self::InfluxDb | Self::Chromium => Origin::Packaged,
        }
    }
}

/// The name that `tests/lab/install` knows the component by.
impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Etcd => "etcd",
            Self::Etcd35 => "etcd35",
            Self::ControlPlane => "control-plane",
            Self::Kubernetes => "kubernetes",
            Self::Kubelet => "kubelet",
            Self::Helm => "helm",
            Self::Chromium => "chromium",
            Self::OpenLdap => "openldap",
            Self::Dex => "dex",
            Self::OidcProvider => "oidc-provider",
            Self::ComponentizePy => "componentize-py",
            Self::Prometheus => "prometheus",
            Self::CurrentPrometheus => "prometheus-current",
            Self::VictoriaMetrics => "victoriametrics",
            Self::InfluxDb => "influxdb",
        })
    }
}

/// Where `tests/lab/install` puts what it builds.
fn cache() -> PathBuf {
    if let Some(cache) = env::var_os("WITGATE_LAB_CACHE") {
        return cache.into();
    }
    let caches = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir);
    caches.join("witgate/lab")
}

/// The version after `module` in a go.mod's requirements; empty, and so never found, if it has none.
fn pinned_version<'a>(go_mod: &'a str, module: &str) -> &'a str {
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(name, rest)| *name == module && rest.starts_with('v'))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_default()
}

/// What tells builds of other sources apart: as in `tests/lab/install`, the beginning of the SHA-256
/// of all of them in a row; nothing for a module that only pins.
fn source_key(sources: &[(&str, &str)]) -> String {
    if sources.is_empty() {
        return String::new();
    }
    let mut digest = Sha256::new();
    for (_name, text) in sources {
        digest.update(text);
    }
    let digest = format!("{:x}", digest.finalize());
    format!("-{}", digest.get(..12).unwrap_or_default())
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_names_a_version() {
        for component in [
            Component::Etcd,
            Component::Etcd35,
            Component::Kubernetes,
            Component::ControlPlane,
            Component::Kubelet,
            Component::Helm,
            Component::Dex,
            Component::CurrentPrometheus,
            Component::VictoriaMetrics,
        ] {
            let Origin::Built { pin, go_mod, .. } = component.origin() else {
                panic!("{component} is built");
            };
            assert!(pinned_version(go_mod, pin).starts_with('v'), "{component}");
        }
    }

    #[test]
    fn a_version_is_read_from_a_line_and_from_a_block() {
        let go_mod = "tool example.org/a\nrequire example.org/a v1.2.3\nrequire (\n\texample.org/b v0.4.0 // indirect\n)";
        assert_eq!(pinned_version(go_mod, "example.org/a"), "v1.2.3");
        assert_eq!(pinned_version(go_mod, "example.org/b"), "v0.4.0");
        assert_eq!(pinned_version(go_mod, "example.org/c"), "");
    }

    #[test]
    fn the_kubelet_speaks_as_its_cluster_does() {
        let version = |component: Component| {
            let Origin::Built { pin, go_mod, .. } = component.origin() else {
                panic!("{component} is built");
            };
            pinned_version(go_mod, pin)
        };
        let (_major, minor) = version(Component::Kubernetes).split_once('.').unwrap();
        assert_eq!(version(Component::Kubelet), format!("v0.{minor}"));
    }

    #[test]
    fn every_source_of_the_kubelet_counts_for_its_key() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("go/kubelet");
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".go"))
            .collect();
        names.sort();
        names.extend(["go.mod".to_owned(), "go.sum".to_owned()]);
        assert_eq!(KUBELET_SOURCES.map(|(name, _)| name).as_slice(), names);
        let one = [("main.go", "a")];
        assert_ne!(source_key(&one), source_key(&[("main.go", "b")]));
        assert_eq!(source_key(&one), "-ca978112ca1b");
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let missing = Missing::Program {
            component: Component::Dex,
            program: "dex",
            place: "on PATH".to_owned(),
        };
        assert_eq!(
            missing.to_string(),
            "dex: dex is not on PATH; run tests/lab/install dex"
        );
    }
}
