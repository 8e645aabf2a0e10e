//! Versions that do not go together. kubeadm lets a node join only with the version that the cluster was
//! made with or upgraded to last; and what runs has to be near that.

use semver::Version;
use witgate_sdk::recovery::{Evidence, Finding, Refusal, Severity};

use crate::{cluster::Cluster, evidence, node_subject};

pub(crate) const CLASS: &str = "version-skew";

/// How many minor versions a kubelet may be older than an apiserver, and from which apiserver on
/// (Kubernetes' version skew policy).
const OLDER_KUBELETS: [(u64, u64); 2] = [(28, 3), (0, 2)];

/// What runs on one node.
struct Runs<'a> {
    node: &'a str,
    version: Version,
    raw: &'a str,
}

/// The versions that differ, with what is wrong about each; and whether Kubernetes forbids it.
struct Skew {
    evidence: Vec<Evidence>,
    forbidden: usize,
}

pub(crate) fn find(cluster: &Cluster) -> Option<Finding> {
    let skew = skew(cluster)?;
    if skew.evidence.is_empty() {
        return None;
    }
    let version = &cluster.kubeadm.version;
    Some(Finding {
        class: CLASS.to_owned(),
        severity: if skew.forbidden > 0 {
            Severity::Degraded
        } else {
            Severity::Notice
        },
        subject: "versions".to_owned(),
        summary: format!(
            "the cluster is of {version}, and {} apiservers or kubelets do not go with that, {} of them further \
             than Kubernetes allows; a node joins with kubeadm {version}",
            skew.evidence.len(),
            skew.forbidden
        ),
        evidence: skew.evidence,
    })
}

/// Versions are not changed from here.
pub(crate) fn refuse(cluster: &Cluster) -> Refusal {
    let (count, forbidden) = skew(cluster).map_or((0, 0), |skew| (skew.evidence.len(), skew.forbidden));
    let version = &cluster.kubeadm.version;
    Refusal::new(
        "version-fits",
        format!("the cluster is of {version}; {count} things are not, {forbidden} of them too far"),
        &format!(
            "Install kubeadm {version} and a kubelet of that version on the node that joins. Bring nodes that are \
             behind forward with `kubeadm upgrade node`, and finish an upgrade that was begun with `kubeadm \
             upgrade apply`."
        ),
    )
}

/// None if the cluster's own version can't be read.
fn skew(cluster: &Cluster) -> Option<Skew> {
    let declared = parse(&cluster.kubeadm.version)?;
    let apiservers: Vec<_> = cluster
        .pods
        .iter()
        .filter(|pod| pod.component == "kube-apiserver")
        .filter_map(|pod| runs(&pod.node, tag(&pod.image)?))
        .collect();
    let kubelets = cluster
        .nodes
        .iter()
        .filter_map(|node| runs(&node.name, &node.kubelet));
    let minors = || {
        apiservers
            .iter()
            .map(|runs| runs.version.minor)
            .chain([declared.minor])
    };
    let (oldest, newest) = (minors().min()?, minors().max()?);
    let mut skew = Skew {
        evidence: Vec::new(),
        forbidden: 0,
    };
    for apiserver in &apiservers {
        let far = newest - apiserver.version.minor > 1;
        if apiserver.version != declared {
            skew.note(cluster, "apiserver", apiserver, far);
        }
    }
    let allowed = OLDER_KUBELETS.iter().find(|(from, _)| newest >= *from);
    let allowed = allowed.map_or(0, |(_, older)| *older);
    for kubelet in kubelets {
        let minor = kubelet.version.minor;
        if minor > oldest || minor + allowed < newest {
            skew.note(cluster, "kubelet", &kubelet, true);
        }
    }
    Some(skew)
}

impl Skew {
    fn note(&mut self, cluster: &Cluster, what: &str, runs: &Runs<'_>, forbidden: bool) {
        let what = format!("version of the {what} of {}", node_subject(runs.node));
        self.evidence
            .push(evidence::object(cluster, what, runs.raw.to_owned()));
        self.forbidden += usize::from(forbidden);
    }
}

fn runs<'a>(node: &'a str, raw: &'a str) -> Option<Runs<'a>> {
    let version = parse(raw)?;
    Some(Runs { node, version, raw })
}

/// What an image is tagged with; a registry's port is none.
fn tag(image: &str) -> Option<&str> {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    let (_, tag) = image.rsplit_once(':')?;
    (!tag.contains('/')).then_some(tag)
}

fn parse(version: &str) -> Option<Version> {
    Version::parse(version.strip_prefix('v')?).ok()
}
