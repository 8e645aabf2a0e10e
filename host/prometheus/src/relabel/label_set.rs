//! The labels of one series while rules change them.

use std::ops::Range;

/// Labels, in the order in which Prometheus' `labels.Builder` has them: those of the series, and then
/// those that were set, by the time when they were. Their texts are in one buffer, which is kept from
/// one series to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelSet {
    text: String,
    labels: Vec<Label>,
    /// What `each` goes through.
    copied: Vec<Label>,
    scratch: String,
}

#[derive(Clone, Debug)]
struct Label {
    name: Range<usize>,
    value: Range<usize>,
    was_set: bool,
}

impl LabelSet {
    /// Begins a series.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.labels.clear();
    }

    /// Adds a label of the series; they come sorted by name, and none twice.
    pub(crate) fn load(&mut self, name: &str, value: &str) {
        let (name, value) = (self.append(name), self.append(value));
        self.labels.push(Label {
            name,
            value,
            was_set: false,
        });
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.iter();
        labels.map(|label| (self.at(&label.name), self.at(&label.value)))
    }

    /// Sorts them by name.
    pub(crate) fn sort(&mut self) {
        let Self { text, labels, .. } = self;
        labels.sort_by(|a, b| text.get(a.name.clone()).cmp(&text.get(b.name.clone())));
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.iter()
            .find(|(own, _)| *own == name)
            .map_or("", |(_, value)| value)
    }

    /// Sets a label. An empty value is the same as no label.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return self.remove(name);
        }
        let value = self.append(value);
        let at = self.position(name);
        if let Some(label) = at
            .and_then(|at| self.labels.get_mut(at))
            .filter(|label| label.was_set)
        {
            label.value = value;
            return;
        }
        if let Some(at) = at {
            self.labels.remove(at);
        }
        let name = self.append(name);
        self.labels.push(Label {
            name,
            value,
            was_set: true,
        });
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(at) = self.position(name) {
            self.labels.remove(at);
        }
    }

    /// Calls `act` for each label as they are now, whatever it changes.
    pub(super) fn each(&mut self, mut act: impl FnMut(&mut Self, &str, &str)) {
        let mut copied = std::mem::take(&mut self.copied);
        copied.clone_from(&self.labels);
        let (mut name, mut value) = (self.take_scratch(), String::new());
        for label in &copied {
            name.clear();
            name.push_str(self.at(&label.name));
            value.clear();
            value.push_str(self.at(&label.value));
            act(self, &name, &value);
        }
        self.give_scratch(name);
        self.copied = copied;
    }

    /// A buffer that is empty and need not grow.
    pub(super) fn take_scratch(&mut self) -> String {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch
    }

    pub(super) fn give_scratch(&mut self, scratch: String) {
        self.scratch = scratch;
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.iter().position(|(own, _)| own == name)
    }

    fn append(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn at(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }
}
