//! `kubectl --as`, by the cluster's own rules.

use serde_json::Value;
use witgate_lab::Kubectl;

use crate::{complaint, grant, site::Site};

async fn who(kubectl: &Kubectl, args: &[&str]) -> Value {
    let args = [&["auth", "whoami", "-o", "json"], args].concat();
    let answer: Value = serde_json::from_str(&kubectl.succeed(&args).await.unwrap()).unwrap();
    answer["status"]["userInfo"].clone()
}

#[tokio::test]
async fn whoever_may_impersonate_acts_as_others_and_nobody_else_does() {
    let Some(site) = Site::start().await else { return };
    grant(&site.kubernetes, "corp:platform").await;
    let alice = site.kubectl(&site.cluster_path(), &site.token("alice").await);
    let bob = site.kubectl(&site.cluster_path(), &site.token("bob").await);
    let args = ["--as=carol", "--as-group=team", "--as-uid=7"];
    let carol = who(&alice, &args).await;
    assert_eq!(
        (&carol["username"], &carol["uid"]),
        (&"carol".into(), &"7".into())
    );
    assert_eq!(
        carol["groups"],
        serde_json::json!(["team", "system:authenticated"])
    );
    let robot = who(&alice, &["--as=system:serviceaccount:default:robot"]).await;
    assert_eq!(
        robot["groups"],
        serde_json::json!([
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated"
        ])
    );

    let said = complaint(&bob, &["get", "pods", "--as=carol"]).await;
    assert!(
        said.contains(
            r#"users "carol" is forbidden: User "bob@example.org" cannot impersonate resource "users""#
        ),
        "{said}"
    );
    // One name, and nothing else.
    let admin = site.kubernetes.kubectl().unwrap();
    for args in [
        &[
            "create",
            "clusterrole",
            "as-carol",
            "--verb=impersonate",
            "--resource=users",
            "--resource-name=carol",
        ][..],
        &[
            "create",
            "clusterrolebinding",
            "as-carol",
            "--clusterrole=as-carol",
            "--user=bob@example.org",
        ],
    ] {
        admin.succeed(args).await.unwrap();
    }
    assert_eq!(who(&bob, &["--as=carol"]).await["username"], "carol");
    for (args, resource) in [
        (&["--as=dave"][..], "users"),
        (&["--as=carol", "--as-group=system:masters"], "groups"),
        (&["--as=carol", "--as-uid=7"], "uids"),
        (&["--as=carol", "--as-user-extra=scopes=all"], "userextras/scopes"),
        (
            &["--as=system:serviceaccount:kube-system:default"],
            "serviceaccounts",
        ),
    ] {
        let args = [&["get", "pods"], args].concat();
        let said = complaint(&bob, &args).await;
        let expected = format!("cannot impersonate resource \"{resource}\"");
        assert!(said.contains(&expected), "{args:?}: {said}");
    }
    let audit = site.audit();
    let acted = audit
        .iter()
        .find(|line| line["as"]["user"] == "carol" && line["user"] == "bob@example.org");
    assert!(acted.is_some(), "{audit:?}");
}
