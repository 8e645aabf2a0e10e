//! What passes the policy on names and what does not.

use super::{NameError, Names, Proposal};

fn user(name: &str) -> Proposal {
    Proposal {
        user: name.into(),
        ..Proposal::default()
    }
}

fn groups<const N: usize>(groups: [&str; N]) -> Proposal {
    Proposal {
        user: "alice".into(),
        groups: groups.map(str::to_owned).to_vec(),
        ..Proposal::default()
    }
}

#[test]
fn ordinary_names_pass_as_they_are() {
    for name in [
        "alice",
        "alice@example.com",
        "CN=Alice Müller,O=Beispiel",
        "systematic",
        "systems: x",
        "日本語",
        "Алиса",
        "ops:admins",
    ] {
        let approved = Names::default().approve(user(name)).unwrap();
        assert_eq!(approved.0.user, name);
    }
}

#[test]
fn reserved_names_and_their_look_alikes_are_refused() {
    for name in [
        "system:masters",
        "system:serviceaccount:kube-system:default",
        "system:node:n1",
        "system:anonymous",
        "kubeadm:cluster-admins",
        "SYSTEM:masters",
        "Kubeadm:x",
        "ｓｙｓｔｅｍ:masters",
        "system：masters",
        "ѕуѕtеm:masters",
        "ſystem:masters",
        "system∶masters",
        "𝐬𝐲𝐬𝐭𝐞𝐦:masters",
    ] {
        for proposal in [user(name), groups([name])] {
            let refused = Names::default().approve(proposal);
            assert!(
                matches!(refused, Err(NameError::Reserved { .. })),
                "{name}: {refused:?}"
            );
        }
    }
}

#[test]
fn the_exact_name_can_be_allowed_and_no_other() {
    let names = Names::new(["system:masters".to_owned()]);
    assert_eq!(
        names.approve(groups(["system:masters"])).unwrap().0.groups,
        ["system:masters"]
    );
    for name in ["system:Masters", "system:masters2", "ｓystem:masters"] {
        assert!(
            matches!(names.approve(groups([name])), Err(NameError::Reserved { .. })),
            "{name}"
        );
    }
}

#[test]
fn names_that_are_not_what_they_seem_are_refused() {
    for name in [
        "",
        " alice",
        "alice ",
        "al\rice",
        "alice\n",
        "al\0ice",
        "al\tice",
        "al\u{200b}ice",
        "\u{202e}ecila",
        "\u{a0}system:masters",
        "sys\u{ad}tem:masters",
        "al\u{7f}ice",
        "al\u{85}ice",
    ] {
        for proposal in [user(name), groups([name])] {
            let refused = Names::default().approve(proposal);
            let expected = matches!(
                refused,
                Err(NameError::Empty { .. } | NameError::Padded { .. } | NameError::Control { .. })
            );
            assert!(expected, "{name:?}: {refused:?}");
        }
    }
}

#[test]
fn too_many_groups_are_counted_in_the_message() {
    let many = Proposal {
        user: "alice".into(),
        groups: (0..2000).map(|n| format!("g{n}")).collect(),
        ..Proposal::default()
    };
    let message = Names::default().approve(many).unwrap_err().to_string();
    assert_eq!(
        message,
        "the user has 2000 groups, more than 1000: let the claims plugin filter them"
    );

    let large = Proposal {
        user: "alice".into(),
        groups: (0..900).map(|n| format!("{n:0>100}")).collect(),
        ..Proposal::default()
    };
    let refused = Names::default().approve(large).unwrap_err();
    assert_eq!(
        refused,
        NameError::TooLarge {
            groups: 900,
            size: 90_005
        }
    );
}

#[test]
fn a_group_is_kept_once_and_system_authenticated_left_out() {
    let names = Names::new(["system:authenticated".to_owned()]);
    let approved = names
        .approve(groups(["b", "a", "b", "system:authenticated"]))
        .unwrap();
    assert_eq!(approved.0.groups, ["b", "a"]);
}

#[test]
fn extra_keys_are_folded_and_must_not_collide() {
    let with = |keys: &[&str]| Proposal {
        user: "alice".into(),
        extra: keys
            .iter()
            .map(|key| ((*key).to_owned(), vec!["v".to_owned()]))
            .collect(),
        ..Proposal::default()
    };
    let names = Names::default();
    let approved = names.approve(with(&["Example.com/Department"])).unwrap();
    assert_eq!(
        approved.0.extra,
        [("example.com/department".to_owned(), vec!["v".to_owned()])]
    );
    assert!(matches!(
        names.approve(with(&["a", "A"])),
        Err(NameError::ExtraTwice(_))
    ));
    for key in ["", "a b", "a\r\nb", "ä"] {
        assert!(
            matches!(names.approve(with(&[key])), Err(NameError::ExtraKey(_))),
            "{key:?}"
        );
    }
    for key in [
        "authentication.kubernetes.io/credential-id",
        "Kubernetes.io/x",
        "k8s.io/x",
    ] {
        assert!(
            matches!(names.approve(with(&[key])), Err(NameError::ExtraReserved(_))),
            "{key:?}"
        );
    }
    names.approve(with(&["notkubernetes.io/x"])).unwrap();
}
