//! What is found of made-up clusters, and what is proposed.

use serde_json::{Value, json};
use witgate_sdk::recovery::{Action, Finding, Proposal, Recovery as _, Refusal, Seen, Severity, Trouble};

use crate::{
    Config, Kubeadm,
    specimen::{LONG_AGO, NOW, SOON, Specimen, certificates, lease, token, well},
};

fn plugin() -> Kubeadm {
    Kubeadm(Config {
        nodes: ["cp-1", "cp-2", "cp-3"].map(str::to_owned).to_vec(),
        ..Config::default()
    })
}

fn found(specimen: &Specimen) -> Vec<Finding> {
    let found = plugin().diagnose(specimen).unwrap();
    for finding in &found {
        assert!(!finding.evidence.is_empty(), "{finding:?}");
        let told = |text: &str| !text.is_empty();
        let complete = |e: &witgate_sdk::recovery::Evidence| {
            told(&e.what) && told(&e.vantage) && told(&e.raw) && e.at == NOW
        };
        assert!(finding.evidence.iter().all(complete), "{finding:?}");
    }
    found
}

fn classes(specimen: &Specimen) -> Vec<String> {
    let found = found(specimen).into_iter();
    found
        .map(|finding| format!("{} {}", finding.class, finding.subject))
        .collect()
}

fn plan(specimen: &Specimen) -> Result<Proposal, Refusal> {
    plugin().plan(specimen, found(specimen).remove(0))
}

fn steps(specimen: &Specimen) -> Result<Vec<String>, Refusal> {
    let name = |action: &Action| match action {
        Action::TakeSnapshot => "snapshot".to_owned(),
        Action::RemoveMember(member) => format!("remove {:x}", member.id),
        Action::PromoteLearner(member) => format!("promote {:x}", member.id),
        Action::DeleteNode(object) | Action::DeleteMirrorPod(object) | Action::DeleteLease(object) => {
            format!("delete {}", object.uid)
        }
        Action::EditClusterStatus(entry) => format!("edit {} {}", entry.resource_version, entry.node),
        Action::MintJoinMaterial(material) => {
            format!("mint {} {}", material.node, material.kubernetes_version)
        }
        Action::WaitForMember(awaited) => format!("wait {}", awaited.name),
        Action::RevokeJoinMaterial => "revoke".to_owned(),
        other => format!("{other:?}"),
    };
    let steps = plan(specimen)?.steps;
    assert!(steps.iter().all(|step| !step.reason.is_empty()));
    Ok(steps.iter().map(|step| name(&step.action)).collect())
}

fn refused(specimen: &Specimen) -> (String, String) {
    let refusal = plan(specimen).unwrap_err();
    assert!(!refusal.advice.is_empty());
    (refusal.rule, refusal.reason)
}

const JOIN: [&str; 3] = ["mint cp-2 v1.34.2", "wait cp-2", "revoke"];

#[test]
fn nothing_is_wrong_with_a_cluster_that_is_well() {
    assert!(classes(&well(3)).is_empty());
}

#[test]
fn a_dead_node_is_replaced() {
    let mut cluster = well(3);
    cluster.kill(2);
    cluster
        .leases
        .push(lease("kube-controller-manager", "cp-2_b", LONG_AGO));
    // Not of the control plane, not run out, and another node's.
    cluster.leases.push(lease("ingress", "cp-2_c", LONG_AGO));
    cluster.leases.push(lease("kube-scheduler", "cp-2_d", SOON));
    cluster.leases.push(lease("kube-scheduler", "cp-20_e", LONG_AGO));
    assert_eq!(classes(&cluster), ["dead-node node cp-2"]);
    assert_eq!(found(&cluster)[0].severity, Severity::Critical);
    let vantage: Vec<_> = found(&cluster)[0]
        .evidence
        .iter()
        .map(|evidence| evidence.vantage.clone())
        .collect();
    assert_eq!(vantage, ["kube-apiserver", "gateway", "member cp-1", "node"]);
    let mut expected = vec![
        "snapshot",
        "remove 2",
        "delete node-2",
        "delete etcd-2",
        "delete kube-apiserver-2",
        "delete lease-kube-controller-manager",
    ];
    expected.extend(JOIN);
    assert_eq!(steps(&cluster).unwrap(), expected);
    cluster.map["data"]["ClusterStatus"] =
        json!("apiEndpoints:\n  cp-2: {advertiseAddress: 10.0.0.2, bindPort: 6443}\n");
    expected.insert(6, "edit 7 cp-2");
    assert_eq!(steps(&cluster).unwrap(), expected);
}

#[test]
fn what_may_come_back_is_not_found() {
    let mut cluster = well(3);
    cluster.kill(2);
    cluster.member(2).silent_since = Some(NOW - 200_000);
    assert!(classes(&cluster).is_empty(), "it may only be restarting");
    let mut cluster = well(3);
    cluster.silence(2);
    cluster.member(2).silent_since = None;
    cluster.sight(2, "node", Seen::Answers);
    assert!(classes(&cluster).is_empty(), "its machine lives");
}

#[test]
fn a_member_that_one_vantage_point_still_sees_is_not_removed() {
    let mut cluster = well(3);
    cluster.kill(2);
    let finding = found(&cluster).remove(0);
    // Between the finding and the plan.
    cluster
        .survey
        .sightings
        .retain(|sighting| sighting.vantage == "gateway");
    let refusal = plugin().plan(&cluster, finding.clone()).unwrap_err();
    assert_eq!(refusal.rule, "dead-for-sure");
    assert!(
        refusal.reason.contains("from 1 vantage points"),
        "{}",
        refusal.reason
    );
    cluster.sight(2, "member cp-1", Seen::Silent);
    cluster.sight(2, "member cp-3", Seen::Answers);
    let refusal = plugin().plan(&cluster, finding.clone()).unwrap_err();
    assert!(
        refusal.reason.contains("seen by member cp-3"),
        "{}",
        refusal.reason
    );
    let refusal = plugin().plan(&well(3), finding).unwrap_err();
    assert_eq!(refusal.rule, "no-drift");
}

#[test]
fn without_a_quorum_nothing_is_proposed() {
    let mut cluster = well(2);
    cluster.kill(2);
    cluster.survey.statuses[0].leader = 0;
    let refused = plugin().plan(&cluster, found(&cluster).remove(0)).unwrap_err();
    assert_eq!(refused.rule, "quorum-commits");
    let reason = "0 of 2 voters follow one leader, and 2 are needed to commit anything";
    assert_eq!(refused.reason, reason);
    let mut cluster = well(3);
    cluster.kill(2);
    cluster.survey.confirmed = false;
    assert_eq!(self::refused(&cluster).0, "one-change-at-a-time");
}

#[test]
fn of_two_dead_nodes_the_second_plan_lets_another_in() {
    let mut cluster = well(5);
    cluster.kill(2);
    cluster.kill(3);
    assert_eq!(classes(&cluster), ["dead-node node cp-2", "dead-node node cp-3"]);
    let first = plan(&cluster).unwrap();
    assert!(
        first.summary.contains("let none join yet: 3 of 4 voters answer"),
        "{}",
        first.summary
    );
    assert_eq!(
        steps(&cluster).unwrap().last().unwrap(),
        "delete kube-apiserver-2"
    );
    cluster.remove(2);
    cluster.forget(2);
    assert_eq!(
        classes(&cluster),
        ["dead-node node cp-3", "missing-member node cp-2"]
    );
    assert_eq!(steps(&cluster).unwrap().last().unwrap(), "revoke");
}

#[test]
fn an_orphan_is_removed_if_it_is_dead() {
    let mut cluster = well(3);
    cluster.silence(2);
    cluster.nodes.remove(1);
    assert_eq!(classes(&cluster), ["orphan-member member cp-2 (2)"]);
    assert_eq!(
        steps(&cluster).unwrap(),
        ["snapshot", "remove 2", "delete etcd-2", "delete kube-apiserver-2"]
    );
    let mut cluster = well(3);
    cluster.nodes.remove(1);
    assert_eq!(
        refused(&cluster),
        (
            "dead-for-sure".to_owned(),
            "member cp-2 (2) answers, 0 entries behind the leader, and is not removed".to_owned()
        )
    );
}

#[test]
fn a_voter_that_never_started_is_removed() {
    let mut cluster = well(4);
    cluster.silence(4);
    cluster.forget(4);
    cluster.member(4).name.clear();
    assert_eq!(classes(&cluster), ["orphan-member member (never started) (4)"]);
    assert_eq!(steps(&cluster).unwrap(), ["snapshot", "remove 4"]);
}

#[test]
fn a_learner_that_has_caught_up_gets_its_vote() {
    let mut cluster = well(3);
    cluster.learn(3);
    assert_eq!(classes(&cluster), ["stuck-learner member cp-3 (3)"]);
    assert_eq!(steps(&cluster).unwrap(), ["promote 3"]);
    cluster.survey.statuses[2].raft_applied_index = 90_000;
    let reason = "member cp-3 (3) is 10000 entries behind, and 1000 may be".to_owned();
    assert_eq!(refused(&cluster), ("grows-when-whole".to_owned(), reason));
    cluster.pods[4]["metadata"]["creationTimestamp"] = json!("2025-12-31T23:59:00Z");
    assert!(classes(&cluster).is_empty(), "it learns");
}

#[test]
fn a_learner_without_a_node_or_that_never_started_is_removed() {
    let mut cluster = well(3);
    cluster.learn(3);
    cluster.silence(3);
    cluster.forget(3);
    assert_eq!(
        classes(&cluster),
        ["stuck-learner member cp-3 (3)"],
        "it is listed, so it is not missing"
    );
    assert_eq!(steps(&cluster).unwrap(), ["snapshot", "remove 3"]);
    cluster.member(3).name.clear();
    assert_eq!(classes(&cluster)[0], "stuck-learner member (never started) (3)");
    assert_eq!(steps(&cluster).unwrap(), ["snapshot", "remove 3"]);
}

#[test]
fn a_learner_gets_no_vote_while_a_voter_is_silent() {
    let mut cluster = well(4);
    cluster.learn(4);
    cluster.silence(3);
    cluster.member(3).silent_since = Some(NOW - 1000);
    assert_eq!(refused(&cluster).0, "grows-when-whole");
}

#[test]
fn what_is_left_of_a_node_without_a_member_goes() {
    let mut cluster = well(3);
    cluster.kill(2);
    cluster.remove(2);
    assert_eq!(classes(&cluster), ["stale-node node cp-2"]);
    let mut expected = vec![
        "snapshot",
        "delete node-2",
        "delete etcd-2",
        "delete kube-apiserver-2",
    ];
    expected.extend(JOIN);
    assert_eq!(steps(&cluster).unwrap(), expected);
    cluster.nodes.remove(1);
    expected.drain(..2);
    assert_eq!(classes(&cluster)[0], "stale-node node cp-2");
    assert_eq!(steps(&cluster).unwrap(), expected);
    // One that is not among the nodes that should be there is not let in again.
    let mut cluster = well(4);
    cluster.kill(4);
    cluster.remove(4);
    assert_eq!(
        steps(&cluster).unwrap().last().unwrap(),
        "delete kube-apiserver-4"
    );
}

#[test]
fn a_node_without_a_member_joins() {
    let mut cluster = well(3);
    cluster.remove(2);
    assert_eq!(classes(&cluster), ["missing-member node cp-2"]);
    assert_eq!(steps(&cluster).unwrap(), JOIN);
    cluster.forget(2);
    assert_eq!(classes(&cluster), ["missing-member node cp-2"]);
    cluster.map["data"]["ClusterConfiguration"] = json!("kind: ClusterConfiguration\n");
    assert_eq!(refused(&cluster).0, "version-fits");
}

#[test]
fn an_entry_of_another_time_goes() {
    let mut cluster = well(3);
    cluster.map["data"]["ClusterStatus"] = json!(
        "apiEndpoints:\n  cp-1: {advertiseAddress: 10.0.0.1, bindPort: 6443}\n  old: {advertiseAddress: \
         10.0.0.9, bindPort: 6443}\n"
    );
    assert_eq!(
        classes(&cluster),
        ["stale-cluster-status ClusterStatus entry old"]
    );
    assert_eq!(steps(&cluster).unwrap(), ["edit 7 old"]);
}

#[test]
fn join_material_that_has_run_out_is_found_and_made_anew_where_it_is_needed() {
    let mut cluster = well(3);
    cluster.secret(token("aaaaaa", LONG_AGO));
    cluster.secret(token("bbbbbb", SOON));
    assert_eq!(
        classes(&cluster),
        ["expired-join-token secret bootstrap-token-aaaaaa"]
    );
    assert_eq!(refused(&cluster).0, "only-its-objects");
    cluster.remove(2);
    let finding = found(&cluster).remove(1);
    assert_eq!(finding.class, "expired-join-token");
    let proposal = plugin().plan(&cluster, finding).unwrap();
    assert_eq!(proposal.steps.len(), 3);
}

#[test]
fn certificates_that_nothing_ends_are_found() {
    for (owner, tokens, wrong) in [
        (Some("bbbbbb"), vec![token("bbbbbb", SOON)], false),
        (Some("aaaaaa"), vec![token("bbbbbb", SOON)], true),
        (None, vec![token("bbbbbb", SOON)], true),
        (Some("aaaaaa"), vec![token("aaaaaa", LONG_AGO)], true),
    ] {
        let mut cluster = well(3);
        cluster.secret(certificates(owner));
        tokens.into_iter().for_each(|token| cluster.secret(token));
        let found = classes(&cluster);
        let stale = found.contains(&"stale-certificates secret kubeadm-certs".to_owned());
        assert_eq!(stale, wrong, "{owner:?}: {found:?}");
    }
    let mut cluster = well(3);
    cluster.secret(certificates(None));
    assert!(
        plan(&cluster)
            .unwrap_err()
            .advice
            .ends_with("delete secret kubeadm-certs")
    );
    cluster.secrets = None;
    assert!(classes(&cluster).is_empty(), "nobody granted it");
}

#[test]
fn versions_that_do_not_go_together_are_found_with_the_one_that_joins() {
    let mut cluster = well(3);
    cluster.nodes[1]["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.32.9+k3s1");
    assert!(classes(&cluster).is_empty(), "a kubelet may be older");
    cluster.pods[3]["spec"]["containers"][0]["image"] = json!("registry:5000/kube-apiserver:v1.34.3");
    assert_eq!(
        found(&cluster)[0].severity,
        Severity::Notice,
        "an upgrade is under way"
    );
    cluster.nodes[1]["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.35.0");
    let found = found(&cluster).remove(0);
    assert_eq!(
        (found.class.as_str(), found.severity),
        ("version-skew", Severity::Degraded)
    );
    assert_eq!(
        found.summary,
        "the cluster is of v1.34.2, and 2 apiservers or kubelets do not go with that, 1 of them further than \
         Kubernetes allows; a node joins with kubeadm v1.34.2"
    );
    assert_eq!(refused(&cluster).0, "version-fits");
    cluster.nodes[1]["status"]["nodeInfo"]["kubeletVersion"] = json!("v1.30.0");
    assert_eq!(self::found(&cluster)[0].severity, Severity::Degraded, "too old");
}

#[test]
fn etcd_elsewhere_is_left_to_others() {
    let mut cluster = well(3);
    cluster.kill(2);
    cluster.map["data"]["ClusterConfiguration"] =
        json!("kubernetesVersion: v1.34.2\netcd:\n  external:\n    endpoints: [https://10.0.1.1:2379]\n");
    assert!(classes(&cluster).is_empty());
}

#[test]
fn a_cluster_that_kubeadm_did_not_make_is_said_to_be_none() {
    let mut cluster = well(3);
    cluster.map = Value::Null;
    assert!(matches!(
        plugin().diagnose(&cluster),
        Err(Trouble::Unavailable(_))
    ));
    cluster = well(3);
    cluster.map["data"]["ClusterConfiguration"] = json!("kubernetesVersion: [");
    let Err(Trouble::Unavailable(why)) = plugin().diagnose(&cluster) else {
        panic!("it was read");
    };
    assert!(
        why.starts_with("ClusterConfiguration in kube-system/kubeadm-config is no YAML"),
        "{why}"
    );
}
