//! Remote Write 1.0 towards InfluxDB, for the few series that line protocol has no way to write.

use witgate_sdk::storage::{Batch, Sample};

/// What can be sent, and what not.
pub(crate) struct Native {
    /// The request's body.
    pub(crate) body: Vec<u8>,
    /// How many samples of each series are in it.
    pub(crate) sent: Vec<(usize, usize)>,
    /// How many samples of each series are not: InfluxDB drops what is not finite here, and there
    /// is no second field.
    pub(crate) left: Vec<(usize, usize)>,
}

/// Encodes these series of a batch as `prometheus.WriteRequest`.
pub(crate) fn encode(batch: &Batch, series: &[usize]) -> Native {
    let mut native = Native {
        body: Vec::new(),
        sent: Vec::new(),
        left: Vec::new(),
    };
    let mut request = Vec::new();
    let wanted = batch
        .series()
        .enumerate()
        .filter(|(index, _)| series.binary_search(index).is_ok());
    for (index, series) in wanted {
        let fits = |sample: &Sample| {
            f64::from_bits(sample.bits).is_finite() && super::lines::in_range(sample.timestamp)
        };
        let mut message = Vec::new();
        for (name, value) in series.labels() {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut message, 1, &label);
        }
        let total = series.samples().len();
        let mut sent = 0;
        for sample in series.samples().filter(fits) {
            let mut encoded = vec![1 << 3 | 1];
            encoded.extend(sample.bits.to_le_bytes());
            encoded.push(2 << 3);
            varint(&mut encoded, sample.timestamp.cast_unsigned());
            field(&mut message, 2, &encoded);
            sent += 1;
        }
        if sent > 0 {
            field(&mut request, 1, &message);
            native.sent.push((index, sent));
        }
        if sent < total {
            native.left.push((index, total - sent));
        }
    }
    native.body = snappy(&request);
    native
}

/// A length-delimited protobuf field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value.to_le_bytes()[0] & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A snappy block of literals only. What goes this way is too little to be worth compressing.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 16);
    varint(&mut out, bytes.len() as u64);
    for literal in bytes.chunks(1 << 16) {
        // Tag 61: the length less one follows in two bytes.
        out.push(61 << 2);
        out.extend(u16::try_from(literal.len() - 1).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(literal);
    }
    out
}

#[cfg(test)]
mod tests {
    use witgate_sdk::storage::BatchBuilder;

    use super::*;

    #[test]
    fn encodes_what_the_protocol_says() {
        let mut builder = BatchBuilder::default();
        builder.series([("__name__", "other")]);
        builder.sample(Sample {
            timestamp: 1,
            bits: 0,
        });
        builder.series([("__name__", "up"), ("a", "x\ny")]);
        builder.sample(Sample {
            timestamp: 300,
            bits: 1f64.to_bits(),
        });
        builder.sample(Sample {
            timestamp: 301,
            bits: f64::NAN.to_bits(),
        });
        let native = encode(&builder.finish(), &[1]);
        let message = b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x01a\x12\x03x\ny\
            \x12\x0c\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02";
        let length = u8::try_from(message.len()).unwrap();
        let mut expected = vec![length + 2, 61 << 2, length + 1, 0, 0x0a, length];
        expected.extend(message);
        assert_eq!(native.body, expected);
        assert_eq!((native.sent, native.left), (vec![(1, 1)], vec![(1, 1)]));
    }

    #[test]
    fn long_bodies_are_several_literals() {
        let block = snappy(&vec![7; 70_000]);
        assert_eq!(block[..6], [0xf0, 0xa2, 0x04, 61 << 2, 0xff, 0xff]);
        assert_eq!(block.len(), 3 + 3 + 65_536 + 3 + (70_000 - 65_536));
    }
}
