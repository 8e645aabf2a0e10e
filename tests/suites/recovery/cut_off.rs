//! A member that somebody sees is not dead: neither one that the gateway can't reach, nor one that its peers
//! can't. On a control plane of kubeadm's.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};
use witgate_lab::{Authority, Component, ControlPlane, ControlPlaneOptions, FaultProxy, require};

use super::{
    control_plane::{follow, lead},
    desk::{Desk, stacked},
};

/// The node whose member is cut off.
const CUT_OFF: usize = 2;
const NAME: &str = "cp-3";

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_somebody_sees_is_not_removed() {
    let Ok(()) = require(Component::ControlPlane) else {
        return;
    };
    let options = ControlPlaneOptions::default();
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    follow(&control_plane, CUT_OFF).await;
    let way = behind_proxy(&mut control_plane).await;
    let kubeconfig = control_plane.admin_kubeconfig();
    let desk = Desk::misled(&stacked(&control_plane), Some(&kubeconfig), json!({})).await;
    desk.sees("3 of 3 voters are alive").await;

    // The gateway's way to it is cut, and nobody else's.
    way.refuse();
    way.cut();
    desk.sees("2 of 3 voters are alive").await;
    let unknown = "is not known to be dead: it was seen silent from gateway";
    let refused = desk.refuses("remove-member", NAME, unknown).await;
    for words in [
        "dead-for-sure: member cp-3 (",
        "answers from member cp-1",
        "answers from member cp-2",
        "answers from node",
        "it has to be silent from 2 places and from none otherwise, for 1 s, and it is for 0 s",
    ] {
        assert!(refused.contains(words), "no {words:?} in {refused}");
    }
    let found = desk.says("alice", &["diagnose"]).await.unwrap();
    assert!(!found.contains("dead-member"), "{found}");
    way.pass();
    desk.sees("3 of 3 voters are alive").await;

    // Its peers don't take its certificate any more, and so it has no leader. etcd itself removes a member
    // that the one who is asked is not connected to.
    let strange = Authority::new("another").unwrap().server(&[NAME]).unwrap();
    let pki = control_plane.node(CUT_OFF).pki();
    strange.write(&pki.join("etcd"), "peer").unwrap();
    lead(&control_plane, 1).await;
    for peer in [0, 1] {
        // What is connected stays so.
        let peer = control_plane.node_mut(peer);
        peer.kill();
        peer.restart().await.unwrap();
    }
    let refused = desk.refuses("remove-member", NAME, "and is not removed").await;
    assert!(refused.contains("dead-for-sure: member cp-3 ("), "{refused}");
    assert!(refused.contains(") answers, "), "{refused}");
    let sightings = sightings(&desk).await;
    for (vantage, seen) in [
        ("gateway", "answers"),
        ("member cp-1", "silent"),
        ("member cp-2", "silent"),
    ] {
        assert_eq!(sightings[vantage], seen, "{sightings:?}");
    }
    desk.sees("2 of 3 voters are alive").await;
}

/// Has the member tell clients to come by a proxy, which its peers and its apiserver don't.
async fn behind_proxy(control_plane: &mut ControlPlane) -> FaultProxy {
    let node = control_plane.node_mut(CUT_OFF);
    let proxy = FaultProxy::start((node.address(), 2379).into()).await.unwrap();
    let manifest = node.root().join("etc/kubernetes/manifests/etcd.yaml");
    let before = fs::read_to_string(&manifest).unwrap();
    let flag = "--advertise-client-urls=";
    // By a name, because an address on loopback is taken for the node's.
    let port = proxy.address().port();
    let told = before.replace(
        &format!("{flag}{}", node.etcd_endpoint()),
        &format!("{flag}https://localhost:{port}"),
    );
    assert_ne!(told, before);
    fs::write(&manifest, told).unwrap();
    node.kill();
    node.restart().await.unwrap();
    proxy
}

/// How the member is seen, by where from.
async fn sightings(desk: &Desk) -> BTreeMap<String, String> {
    let status = desk.says("alice", &["status", "--json"]).await.unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let survey = &status["observation"]["survey"];
    let members = survey["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["name"] == NAME).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let sightings = survey["sightings"].as_array().unwrap().iter();
    sightings
        .filter(|sighting| sighting["member"] == member["id"])
        .map(|sighting| (text(&sighting["vantage"]), text(&sighting["seen"])))
        .collect()
}
