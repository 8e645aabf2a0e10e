//! What findings rest on.

use witgate_sdk::recovery::{Evidence, Member, Seen};

use crate::{
    cluster::Cluster,
    member_subject,
    objects::{Node, Pod},
};

/// What was seen of an object.
pub(crate) fn object(cluster: &Cluster, what: String, raw: String) -> Evidence {
    Evidence {
        what,
        vantage: "kube-apiserver".to_owned(),
        at: cluster.now(),
        raw,
    }
}

/// What a node's kubelet says.
pub(crate) fn node(cluster: &Cluster, node: &Node) -> Evidence {
    object(
        cluster,
        format!("Ready condition of node {}", node.name),
        node.raw.clone(),
    )
}

/// That the Nodes were listed, and that name was not among them.
pub(crate) fn no_node(cluster: &Cluster, name: &str) -> Evidence {
    let names: Vec<_> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    let raw = format!("not among {}", names.join(", "));
    object(cluster, format!("whether there is a node {name}"), raw)
}

/// That the members were listed, and none had that name.
pub(crate) fn no_member(cluster: &Cluster, name: &str) -> Evidence {
    let names: Vec<_> = cluster.survey.members.iter().map(member_subject).collect();
    Evidence {
        what: format!("whether etcd has a member {name}"),
        vantage: "gateway".to_owned(),
        at: cluster.now(),
        raw: format!("not among {}", names.join(", ")),
    }
}

/// What is left of a static pod.
pub(crate) fn pod(cluster: &Cluster, pod: &Pod) -> Evidence {
    let raw = format!("uid {} on node {}", pod.identity.uid, pod.node);
    object(cluster, format!("mirror pod {}", pod.identity.name), raw)
}

/// What the vantage points that find a member silent saw.
pub(crate) fn silence(cluster: &Cluster, member: &Member) -> Vec<Evidence> {
    seen(cluster, member, Seen::Silent)
}

/// What the vantage points that find a member alive saw.
pub(crate) fn answers(cluster: &Cluster, member: &Member) -> Vec<Evidence> {
    seen(cluster, member, Seen::Answers)
}

fn seen(cluster: &Cluster, member: &Member, seen: Seen) -> Vec<Evidence> {
    let sightings = cluster.survey.sightings(member.id);
    sightings
        .filter(|sighting| sighting.seen == seen)
        .map(|sighting| Evidence {
            what: format!("whether {} answers", member_subject(member)),
            vantage: sighting.vantage.clone(),
            at: sighting.at,
            raw: sighting.raw.clone(),
        })
        .collect()
}

/// How a member is listed.
pub(crate) fn listed(cluster: &Cluster, member: &Member) -> Evidence {
    let role = if member.learner { "learner" } else { "voter" };
    Evidence {
        what: format!("{} in the list of members", member_subject(member)),
        vantage: "gateway".to_owned(),
        at: cluster.now(),
        raw: format!("{role} at {}", member.peer_urls.join(",")),
    }
}
