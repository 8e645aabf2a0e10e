//! The journal as text that anybody who has it can check.

use serde::{Deserialize, Serialize};

use super::{Entry, HEAD, Journal, JournalError, digest, entry_key, parse, parse_head};

/// The journal as it is on disk. Who has it can check it without the gateway: the SHA-256 digest of each
/// entry's text is the `previous` of the next, and `digest` that of the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Chain {
    /// The entries, oldest first: the texts, in JSON, that the digests are of.
    pub entries: Vec<String>,
    /// The digest of the last entry's text, in hexadecimal; empty if there is none.
    pub digest: String,
}

impl Chain {
    /// The entries, after checking that each follows the one before it and none is missing.
    ///
    /// # Errors
    /// If one was changed, left out or put between.
    pub fn verify(&self) -> Result<Vec<Entry>, JournalError> {
        let mut previous = String::new();
        let mut entries = Vec::new();
        for (next, text) in (0_u64..).zip(&self.entries) {
            let entry = parse(text.as_bytes(), next)?;
            if entry.number != next || entry.previous != previous {
                return Err(JournalError::Broken(format!(
                    "entry {next} does not follow the one before it"
                )));
            }
            previous = digest(text.as_bytes());
            entries.push(entry);
        }
        if self.digest != previous {
            let count = entries.len();
            return Err(JournalError::Broken(format!(
                "the last of its {count} entries is not the one that was written last"
            )));
        }
        Ok(entries)
    }
}

impl Journal {
    /// The whole journal, as it is: not checked beyond that every entry is there.
    pub async fn chain(&self) -> Result<Chain, JournalError> {
        let head = parse_head(self.space.get(HEAD).await?.as_deref())?;
        let mut entries = Vec::new();
        for (next, (key, bytes)) in (0_u64..).zip(self.all(b"entry/").await?) {
            // What was added after the head was read belongs to the next look.
            if next == head.next {
                break;
            }
            if key != entry_key(next) {
                return Err(JournalError::Broken(format!("entry {next} is not there")));
            }
            let text = String::from_utf8(bytes);
            entries.push(text.map_err(|_| JournalError::Broken(format!("entry {next} is no text")))?);
        }
        let (count, wanted) = (entries.len(), head.next);
        if u64::try_from(count) != Ok(wanted) {
            return Err(JournalError::Broken(format!(
                "it ends after {count} entries of {wanted}"
            )));
        }
        Ok(Chain {
            entries,
            digest: head.digest,
        })
    }

    /// All entries, oldest first, after checking the whole chain.
    pub async fn verify(&self) -> Result<Vec<Entry>, JournalError> {
        self.chain().await?.verify()
    }
}

#[cfg(test)]
mod tests {
    use witgate_state::Embedded;

    use super::*;
    use crate::{journal::Event, plan::PlanId};

    #[tokio::test]
    async fn a_chain_is_checked_by_itself_and_shows_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let state = Embedded::open(folder.path()).unwrap();
        let journal = Journal::open(&state).unwrap();
        assert_eq!(journal.chain().await.unwrap(), Chain::default());
        let plan = PlanId::parse(&"0".repeat(64)).unwrap();
        for step in 0..3 {
            let by = "bob".to_owned();
            let event = Event::Confirmed { step, by };
            journal.append(7, &plan, event, None).await.unwrap();
        }
        let chain = journal.chain().await.unwrap();
        let text = serde_json::to_string(&chain).unwrap();
        let read: Chain = serde_json::from_str(&text).unwrap();
        assert_eq!(read.verify().unwrap(), journal.verify().await.unwrap());
        assert_eq!(read.verify().unwrap().len(), 3);

        let mut changed = chain.clone();
        changed.entries[1] = changed.entries[1].replace("bob", "eve");
        let mut last = chain.clone();
        last.entries[2] = last.entries[2].replace("bob", "eve");
        let mut left_out = chain.clone();
        left_out.entries.remove(1);
        let mut cut = chain.clone();
        cut.entries.pop();
        let mut swapped = chain;
        swapped.entries.swap(0, 1);
        for broken in [changed, last, left_out, cut, swapped] {
            assert!(
                matches!(broken.verify(), Err(JournalError::Broken(_))),
                "{broken:?}"
            );
        }
    }
}
