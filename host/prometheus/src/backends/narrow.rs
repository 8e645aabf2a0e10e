//! A batch without what a storage has no kind of.

use std::borrow::Cow;

use witgate_plugins::{Batch, Exemplars, Histograms, Kinds};

/// What of a batch, whose kinds are `given`, a storage holds. Series of which nothing is left are not
/// in it.
pub(super) fn to(batch: &Batch, given: Kinds, holds: Kinds) -> Cow<'_, Batch> {
    let has = Kinds {
        histograms: given.histograms && !batch.histograms.timestamps.is_empty(),
        exemplars: given.exemplars && !batch.exemplars.timestamps.is_empty(),
        families: given.families && !batch.families.is_empty(),
        start_timestamps: given.start_timestamps && !batch.start_timestamps.is_empty(),
    };
    let is_whole = (holds.histograms || !has.histograms)
        && (holds.exemplars || !has.exemplars)
        && (holds.families || !has.families)
        && (holds.start_timestamps || !has.start_timestamps);
    if is_whole {
        return Cow::Borrowed(batch);
    }
    let mut less = batch.clone();
    if !holds.histograms {
        less.histograms = Histograms::default();
    }
    if !holds.exemplars {
        less.exemplars = Exemplars::default();
    }
    if !holds.families {
        less.families.clear();
    }
    if !holds.start_timestamps {
        less.start_timestamps.clear();
    }
    drop_empty_series(&mut less);
    Cow::Owned(less)
}

/// Takes out series without data. They are in no column but those that say where series end.
fn drop_empty_series(batch: &mut Batch) {
    let count = batch.label_ends.len();
    let end = |ends: &[u32], at: Option<usize>| at.and_then(|at| ends.get(at)).copied().unwrap_or_default();
    let grows = |ends: &[u32], at: usize| end(ends, Some(at)) > end(ends, at.checked_sub(1));
    let has_data: Vec<bool> = (0..count)
        .map(|at| {
            let columns = [&batch.sample_ends, &batch.histograms.ends, &batch.exemplars.ends];
            columns.into_iter().any(|ends| grows(ends, at))
        })
        .collect();
    if has_data.iter().all(|has| *has) {
        return;
    }
    let (mut labels, mut label_ends) = (Vec::new(), Vec::new());
    for (at, _) in has_data.iter().enumerate().filter(|(_, has)| **has) {
        let from = end(&batch.label_ends, at.checked_sub(1)) as usize;
        let to = end(&batch.label_ends, Some(at)) as usize;
        labels.extend_from_slice(batch.labels.get(from..to).unwrap_or_default());
        label_ends.push(u32::try_from(labels.len()).unwrap_or(u32::MAX));
    }
    (batch.labels, batch.label_ends) = (labels, label_ends);
    let kept = |ends: &[u32]| -> Vec<u32> {
        let ends = ends.iter().zip(&has_data);
        ends.filter(|(_, has)| **has).map(|(end, _)| *end).collect()
    };
    batch.sample_ends = kept(&batch.sample_ends);
    batch.histograms.ends = kept(&batch.histograms.ends);
    batch.exemplars.ends = kept(&batch.exemplars.ends);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series with a sample, one with a histogram, one with both and an exemplar.
    fn batch() -> Batch {
        Batch {
            symbol_bytes: b"__name__abc".to_vec(),
            symbol_ends: vec![0, 8, 9, 10, 11],
            labels: vec![1, 2, 1, 3, 1, 4],
            label_ends: vec![2, 4, 6],
            timestamps: vec![1, 2],
            values: vec![1, 2],
            sample_ends: vec![1, 1, 2],
            start_timestamps: vec![1, 1],
            histograms: Histograms {
                ends: vec![0, 1, 2],
                timestamps: vec![1, 2],
                message_ends: vec![1, 2],
                messages: vec![0, 0],
            },
            exemplars: Exemplars {
                ends: vec![0, 0, 1],
                timestamps: vec![2],
                values: vec![2],
                labels: Vec::new(),
                label_ends: vec![0],
            },
            families: Vec::new(),
        }
    }

    #[test]
    fn what_a_storage_has_no_kind_of_is_left_away_with_the_series_that_have_nothing_else() {
        let batch = batch();
        batch.check().unwrap();
        assert!(matches!(to(&batch, Kinds::ALL, Kinds::ALL), Cow::Borrowed(_)));
        let less = to(&batch, Kinds::ALL, Kinds::default());
        less.check().unwrap();
        assert_eq!(
            (&less.labels[..], &less.sample_ends[..]),
            (&[1, 2, 1, 4][..], &[1, 2][..])
        );
        assert!(less.histograms.timestamps.is_empty() && less.start_timestamps.is_empty());
        let histograms = Kinds {
            histograms: true,
            ..Kinds::default()
        };
        let less = to(&batch, Kinds::ALL, histograms);
        less.check().unwrap();
        assert_eq!(less.label_ends, [2, 4, 6]);
        assert!(less.exemplars.timestamps.is_empty());
    }
}
