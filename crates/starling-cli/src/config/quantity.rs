//! Quantities with units as the configuration spells them: durations, sizes, networks.

use std::net::IpAddr;
use std::time::Duration;

/// Units of a duration, largest first, in milliseconds.
const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of a size, largest first, in bytes.
const SIZES: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses `"500ms"`, `"10s"`, `"2m"`, `"1h"`, `"7d"`, or several of them, `"1h30m"`.
///
/// `None` for anything else, also for a bare number: a duration always has a unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, scale) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*scale)?)?;
        rest = tail;
    }
    Some(Duration::from_millis(millis))
}

/// A duration in its largest exact unit, as [`parse_duration`] reads it.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    if millis == 0 {
        return "0s".into();
    }
    let (unit, scale) = DURATIONS.iter().find(|(_, scale)| millis.is_multiple_of(*scale)).unwrap_or(&("ms", 1));
    format!("{}{unit}", millis / scale)
}

/// Parses `"64KiB"`, `"1MiB"`, `"1GiB"`, `"512B"` or `"512"` into bytes.
pub fn parse_size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().ok()?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*scale)
}

/// A number of bytes in its largest exact unit, as [`parse_size`] reads it.
pub fn format_size(bytes: usize) -> String {
    let (unit, scale) = SIZES.iter().find(|(_, scale)| bytes != 0 && bytes.is_multiple_of(*scale)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / scale)
}

/// A network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The network's address; bits after the prefix are zero.
    pub address: IpAddr,
    /// Leading bits that count: 0 to 32, or to 128 for IPv6.
    pub prefix: u8,
}

impl Cidr {
    /// Parses `10.0.0.0/8`, `::1/128`, or a single address.
    ///
    /// `None` also where bits after the prefix are set: `10.0.0.1/8` is more likely a slip than meant.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let (width, bits) = match address {
            IpAddr::V4(v4) => (32, u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => (128, v6.to_bits()),
        };
        let prefix = prefix.unwrap_or(width);
        let tail = bits.checked_shl(u32::from(prefix)).unwrap_or(0);
        (prefix <= width && tail == 0).then_some(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let ms = |millis| Some(Duration::from_millis(millis));
        for (text, expected) in [
            ("500ms", ms(500)),
            ("10s", ms(10_000)),
            ("2m", ms(120_000)),
            ("1h", ms(3_600_000)),
            ("7d", ms(604_800_000)),
            ("1h30m", ms(5_400_000)),
            ("0s", ms(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("10 s", None),
            ("-1s", None),
            ("1.5s", None),
            ("10sec", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_binary_units() {
        for (text, expected) in [
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1_048_576)),
            ("1GiB", Some(1_073_741_824)),
            ("512B", Some(512)),
            ("512", Some(512)),
            ("64KB", None),
            ("64 KiB", None),
            ("KiB", None),
            ("", None),
            ("1.5MiB", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quantities_are_printed_as_they_are_read() {
        for text in ["500ms", "90s", "2m", "1h", "1d", "0s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["64KiB", "1MiB", "3GiB", "1500B", "0B"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
    }

    #[test]
    fn networks() {
        for (text, valid) in [
            ("10.0.0.0/8", true),
            ("192.168.1.7", true),
            ("0.0.0.0/0", true),
            ("::1/128", true),
            ("fd00::/8", true),
            ("::/0", true),
            ("10.0.0.1/8", false),
            ("10.0.0.0/33", false),
            ("::/129", false),
            ("10.0.0/8", false),
            ("example.com", false),
            ("", false),
        ] {
            assert_eq!(Cidr::parse(text).is_some(), valid, "{text:?}");
        }
    }
}
