//! What a recovery plugin implements, and what it sees with.

use std::fmt;
use std::marker::PhantomData;
use std::{cell::RefCell, rc::Rc};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::recovery::exports::witgate::recovery::repair;
use crate::config;

pub use crate::bindings::recovery::witgate::recovery::types::{
    Action, Alarm, AlarmKind, AwaitedMember, ClusterStatusEntry, Condition, Evidence, Finding, Hash,
    Instruction, JoinMaterial, KubeResource, Leadership, Member, MemberIdentity, Mode, ObjectIdentity,
    Proposal, Refusal, Seen, Severity, Sighting, Status, Step, Survey, Trouble,
};

/// A recovery plugin: says what is wrong with a control plane, and proposes steps that repair it.
/// Export it with [`export_recovery!`](crate::export_recovery).
///
/// Every call is on an instance of its own. The [`Eyes`] are a parameter so that a plugin can be
/// tested on a made-up control plane, without a gateway.
pub trait Recovery: Sized + 'static {
    /// What the operator writes in the plugin's `config`. Refuse unknown fields
    /// (`#[serde(deny_unknown_fields)]`).
    type Config: DeserializeOwned;

    /// Checks the configuration. The error says which field is wrong and what it should be.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// What is wrong at the moment; nothing if nothing is.
    fn diagnose(&self, eyes: &dyn Eyes) -> Result<Vec<Finding>, Trouble>;

    /// How to repair something that [`diagnose`](Recovery::diagnose) found, or why that must not or
    /// can't be repaired by steps. Look again: it may have changed.
    fn plan(&self, eyes: &dyn Eyes, finding: Finding) -> Result<Proposal, Refusal>;
}

/// What a plugin sees with. Within one call the same question has the same answer.
pub trait Eyes {
    /// One object; none if there is none of that name. `namespace` is empty for what is in none.
    fn get(&self, resource: &KubeResource, namespace: &str, name: &str) -> Result<Option<Value>, Trouble>;

    /// The objects that a label selector selects, in a namespace or (empty) everywhere.
    fn list(&self, resource: &KubeResource, namespace: &str, selector: &str) -> Result<Vec<Value>, Trouble>;

    /// The etcd cluster from all vantage points.
    fn survey(&self) -> Result<Survey, Trouble>;
}

/// The gateway's eyes, as far as the operator grants them.
#[derive(Debug)]
pub struct Granted(());

/// A [`Recovery`] as the component exports it. Made by
/// [`export_recovery!`](crate::export_recovery).
pub struct Exported<P>(PhantomData<P>);

/// Makes a [`Recovery`] what this component exports.
///
/// ```
/// use witgate_sdk::recovery::{Eyes, Finding, Proposal, Recovery, Refusal, Trouble};
///
/// struct Content;
///
/// impl Recovery for Content {
///     type Config = std::collections::BTreeMap<String, String>;
///     fn new(_: Self::Config) -> Result<Self, String> {
///         Ok(Content)
///     }
///     fn diagnose(&self, _: &dyn Eyes) -> Result<Vec<Finding>, Trouble> {
///         Ok(Vec::new())
///     }
///     fn plan(&self, _: &dyn Eyes, finding: Finding) -> Result<Proposal, Refusal> {
///         Err(Refusal::new("unknown-finding", format!("{} is not mine", finding.class), "Ask another plugin."))
///     }
/// }
///
/// witgate_sdk::export_recovery!(Content);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_recovery {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the component's exports, generated")]
        mod witgate_exports {
            type Component = $crate::recovery::Exported<super::$plugin>;
            $crate::bindings::recovery::export!(Component with_types_in $crate::bindings::recovery);
            $crate::stamp!();
        }
    };
}

trait Repair {
    fn diagnose(&self) -> Result<Vec<Finding>, Trouble>;
    fn plan(&self, finding: Finding) -> Result<Proposal, Refusal>;
}

thread_local! {
    // The plugin that `init` made. One component exports one.
    static PLUGIN: RefCell<Option<Rc<dyn Repair>>> = const { RefCell::new(None) };
}

impl<P: Recovery> Repair for P {
    fn diagnose(&self) -> Result<Vec<Finding>, Trouble> {
        Recovery::diagnose(self, &Granted(()))
    }

    fn plan(&self, finding: Finding) -> Result<Proposal, Refusal> {
        Recovery::plan(self, &Granted(()), finding)
    }
}

fn plugin() -> Option<Rc<dyn Repair>> {
    PLUGIN.with(|slot| slot.borrow().clone())
}

impl<P: Recovery> repair::Guest for Exported<P> {
    fn init(config: String) -> Result<(), String> {
        let plugin = P::new(config::parse(&config)?)?;
        PLUGIN.with(|slot| slot.replace(Some(Rc::new(plugin))));
        Ok(())
    }

    fn diagnose() -> Result<Vec<Finding>, Trouble> {
        let early = || Trouble::Unavailable("the recovery plugin was called before its init".to_owned());
        plugin().ok_or_else(early)?.diagnose()
    }

    fn plan(finding: Finding) -> Result<Proposal, Refusal> {
        let early = || Refusal::new("not-ready", "the recovery plugin was called before its init", "");
        plugin().ok_or_else(early)?.plan(finding)
    }
}

#[cfg(target_arch = "wasm32")]
impl Eyes for Granted {
    fn get(&self, resource: &KubeResource, namespace: &str, name: &str) -> Result<Option<Value>, Trouble> {
        use crate::bindings::recovery::witgate::recovery::kubernetes;
        let found = kubernetes::get(resource, namespace, name)?;
        found.map(|text| parse(&text)).transpose()
    }

    fn list(&self, resource: &KubeResource, namespace: &str, selector: &str) -> Result<Vec<Value>, Trouble> {
        use crate::bindings::recovery::witgate::recovery::kubernetes;
        let found = kubernetes::list(resource, namespace, selector)?;
        found.iter().map(|text| parse(text)).collect()
    }

    fn survey(&self) -> Result<Survey, Trouble> {
        crate::bindings::recovery::witgate::recovery::etcd::look()
    }
}

#[cfg(target_arch = "wasm32")]
fn parse(text: &str) -> Result<Value, Trouble> {
    serde_json::from_str(text).map_err(|error| Trouble::Unavailable(format!("an object is no JSON: {error}")))
}

#[cfg(not(target_arch = "wasm32"))]
impl Eyes for Granted {
    fn get(&self, _: &KubeResource, _: &str, _: &str) -> Result<Option<Value>, Trouble> {
        Err(outside())
    }

    fn list(&self, _: &KubeResource, _: &str, _: &str) -> Result<Vec<Value>, Trouble> {
        Err(outside())
    }

    fn survey(&self) -> Result<Survey, Trouble> {
        Err(outside())
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn outside() -> Trouble {
    Trouble::Unavailable("there is no gateway to see with: this is not a component".to_owned())
}

impl KubeResource {
    /// A kind of the core group's version 1.
    pub fn core(plural: &str) -> Self {
        Self::of("", plural)
    }

    /// A kind of another group's version 1.
    pub fn of(group: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
        }
    }
}

impl Refusal {
    /// The rule that stands against it, why with its numbers, and what a person can do instead.
    pub fn new(rule: &str, reason: impl Into<String>, advice: &str) -> Self {
        Self {
            rule: rule.to_owned(),
            reason: reason.into(),
            advice: advice.to_owned(),
        }
    }
}

impl Step {
    /// A step without conditions beyond those that the gateway has for every action of that kind.
    pub fn new(action: Action, reason: impl Into<String>) -> Self {
        Self {
            action,
            reason: reason.into(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }
}

impl Member {
    /// The member as steps name it.
    pub fn identity(&self) -> MemberIdentity {
        MemberIdentity {
            id: self.id,
            name: self.name.clone(),
            peer_urls: self.peer_urls.clone(),
        }
    }
}

impl Survey {
    /// What a member said of itself.
    pub fn status(&self, id: u64) -> Option<&Status> {
        self.statuses.iter().find(|status| status.member == id)
    }

    /// What the vantage points say of a member.
    pub fn sightings(&self, id: u64) -> impl Iterator<Item = &Sighting> {
        self.sightings
            .iter()
            .filter(move |sighting| sighting.member == id)
    }
}

impl<P> fmt::Debug for Exported<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}
