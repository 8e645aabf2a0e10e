//! Names as receivers before Prometheus 3 have them.

use witgate_sdk::storage::Series;

/// What is wrong with a series' names, where not any letters are allowed.
pub(crate) fn fault(series: Series<'_>) -> Option<&'static str> {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let is_name = |text: &str, colon: bool| {
        let fits = |byte: u8| is_letter(byte) || (colon && byte == b':');
        let mut bytes = text.bytes();
        bytes.next().is_some_and(fits) && bytes.all(|byte| fits(byte) || byte.is_ascii_digit())
    };
    for (name, value) in series.labels() {
        if name == "__name__" && !is_name(value, true) {
            return Some(
                "its metric name has other characters than letters, digits, `_` and `:` (`utf8Names` is off)",
            );
        }
        if !is_name(name, false) {
            return Some(
                "a label's name has other characters than letters, digits and `_` (`utf8Names` is off)",
            );
        }
    }
    None
}
