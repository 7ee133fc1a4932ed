//! PURE: Ethernet addresses as text.

use xdplb_prog::abi::Mac;

use super::super::excerpt::brief;

/// Six hexadecimal bytes of one or two digits, as the seed's `sscanf("%hhx:…")` takes them, with `:` or `-`.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let separator = if text.contains(':') { ':' } else { '-' };
    let mut mac = Mac::default();
    let mut bytes = text.split(separator);
    for byte in &mut mac {
        let digits = bytes.next()?;
        if !(1..=2).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    bytes.next().is_none().then_some(mac)
}

/// Reads the MAC of one host.
///
/// # Errors
/// What is wrong with it.
pub fn host_mac(text: &str) -> Result<Mac, String> {
    let Some(mac) = parse_mac(text) else {
        return Err(format!(
            "`{}` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)",
            brief(text)
        ));
    };
    if mac[0] & 1 != 0 || mac == [0; 6] {
        return Err(format!("{} is no single host's MAC address", show_mac(mac)));
    }
    Ok(mac)
}

/// `de:ad:be:ef:00:02`.
pub fn show_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_bytes_with_colons_or_dashes() {
        let check = |text: &str| host_mac(text).map_or_else(|why| why, show_mac);
        assert_eq!(check("0:1:2:A:b:c"), "00:01:02:0a:0b:0c");
        assert_eq!(check("de-ad-be-ef-00-04"), "de:ad:be:ef:00:04");
        for wrong in [
            "de:ad:be:ef:00",
            "de:ad:be:ef:00:02:03",
            "de:ad:be:ef:00:+2",
            "",
        ] {
            assert_eq!(
                check(wrong),
                format!(
                    "`{wrong}` is not a MAC address (six hexadecimal bytes, de:ad:be:ef:00:02)"
                )
            );
        }
        for none in [
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert_eq!(
                check(none),
                format!("{none} is no single host's MAC address")
            );
        }
    }
}
