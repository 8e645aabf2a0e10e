//! What a recovery plugin sees with, behind its grants.

use wasmtime::component::Linker;

use super::bindings::witgate::recovery::{etcd, kubernetes, types};
use super::convert;
use crate::{
    denials::{Denial, printable},
    guest::{Guest, HasGuest},
    kubernetes::without_secrets,
    recovery::{KubeResource, Observer},
};

/// What one answer may have: far below what may cross in one call, so that several can.
const MAX_ANSWER: usize = 8 << 20;

pub(in crate::v0_1) fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasGuest>(linker, |guest| guest)?;
    kubernetes::add_to_linker::<_, HasGuest>(linker, |guest| guest)?;
    etcd::add_to_linker::<_, HasGuest>(linker, |guest| guest)
}

impl Guest {
    fn observer(&self) -> Result<std::sync::Arc<dyn Observer>, types::Trouble> {
        let early = || types::Trouble::Unavailable("nothing can be seen before a diagnosis has begun".into());
        self.observer.clone().ok_or_else(early)
    }

    fn granted(
        &self,
        resource: &KubeResource,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<(), types::Trouble> {
        let checked = self.shared.kubernetes.check(resource, namespace, name);
        checked.map_err(|words| {
            let denials = self.shared.egress.denials();
            denials.record(Denial::Kubernetes(words.clone()));
            types::Trouble::NotGranted(words)
        })
    }
}

impl types::Host for Guest {}

impl kubernetes::Host for Guest {
    async fn get(
        &mut self,
        resource: types::KubeResource,
        namespace: String,
        name: String,
    ) -> Result<Option<String>, types::Trouble> {
        let resource = convert::resource(resource)?;
        path_segment(&namespace)?;
        path_segment(&name)?;
        if name.is_empty() {
            return Err(types::Trouble::Unavailable("an object has a name".into()));
        }
        self.granted(&resource, &namespace, Some(&name))?;
        let found = self.observer()?.get(&resource, &namespace, &name).await;
        let found = found.map_err(|error| types::Trouble::Unavailable(error.0))?;
        let mut room = MAX_ANSWER;
        found
            .map(|object| fit(without_secrets(&resource, object).to_string(), &mut room))
            .transpose()
    }

    async fn list(
        &mut self,
        resource: types::KubeResource,
        namespace: String,
        selector: String,
    ) -> Result<Vec<String>, types::Trouble> {
        let resource = convert::resource(resource)?;
        path_segment(&namespace)?;
        self.granted(&resource, &namespace, None)?;
        let found = self.observer()?.list(&resource, &namespace, &selector).await;
        let found = found.map_err(|error| types::Trouble::Unavailable(error.0))?;
        let mut room = MAX_ANSWER;
        found
            .into_iter()
            .map(|object| fit(without_secrets(&resource, object).to_string(), &mut room))
            .collect()
    }
}

impl etcd::Host for Guest {
    async fn look(&mut self) -> Result<types::Survey, types::Trouble> {
        if !self.shared.sees_etcd {
            return Err(types::Trouble::NotGranted("grants.etcd is not true".into()));
        }
        let survey = self.observer()?.survey().await;
        let survey = survey.map_err(|error| types::Trouble::Unavailable(error.0))?;
        Ok(convert::survey(survey))
    }
}

fn fit(text: String, room: &mut usize) -> Result<String, types::Trouble> {
    *room = room.checked_sub(text.len()).ok_or_else(|| {
        types::Trouble::TooLarge(format!(
            "the answer is over {} MiB: ask for less",
            MAX_ANSWER >> 20
        ))
    })?;
    Ok(text)
}

/// Refuses what would be more than one segment of a URL's path: it would lead to another resource
/// than the one whose grant was looked up.
pub(super) fn path_segment(text: &str) -> Result<(), types::Trouble> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if text.chars().all(plain) && !matches!(text, "." | "..") && text.len() <= 253 {
        Ok(())
    } else {
        let text = printable(text);
        Err(types::Trouble::Unavailable(format!(
            "`{text}` is no name in Kubernetes"
        )))
    }
}
